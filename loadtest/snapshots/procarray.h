/* A model of PostgreSQL's ProcArray: one dense array under one lock that behaves like an LWLock.
 *
 * As there: the lock is one word with a count of those who share it and a bit for who has it alone; who does not get it
 * puts himself into a list, tries once more and sleeps; who releases it wakes the first of the list, and if that one
 * wants to share, all who do; the woken try again like everybody else. Whoever takes a place in the array needs the
 * lock alone, whoever makes a snapshot shares it and copies the array.
 * The list is guarded by a spinlock, sleeping is a futex (PostgreSQL: a semaphore, which is one).
 *
 * Sources: PostgreSQL's src/backend/storage/lmgr/README and lwlock.c, procarray.c, read for their behaviour.
 */
#ifndef LOADTEST_PROCARRAY_H
#define LOADTEST_PROCARRAY_H

#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MODEL_PROCESSES = 256, MODEL_PLACES = 1024, ALONE = 1 << 24, SOMEBODY_WAITS = 1 << 25, NOBODY_NEXT = -1 };

struct model_waiter { uint32_t sleeping; int32_t next; uint32_t wants_alone; uint32_t pad[13]; };

struct model_array {
    uint32_t lock; uint32_t pad0[15];
    uint32_t list_lock; int32_t first, last; uint32_t pad1[13];
    struct model_waiter waiters[MODEL_PROCESSES];
    uint32_t count; uint32_t pad2[15];
    int32_t places[MODEL_PLACES];       /* indexes into xids, sorted, as pgprocnos is */
    uint32_t xids[MODEL_PLACES];        /* dense, as ProcGlobal->xids is */
};

static inline void model_init(struct model_array *a)
{
    memset(a, 0, sizeof *a);
    a->first = a->last = NOBODY_NEXT;
}

static inline bool model_try(struct model_array *a, bool alone)
{
    uint32_t seen = __atomic_load_n(&a->lock, __ATOMIC_RELAXED);
    for (;;) {
        bool is_free = alone ? !(seen & ~SOMEBODY_WAITS) : !(seen & ALONE);
        if (!is_free)
            return false;
        if (__atomic_compare_exchange_n(&a->lock, &seen, seen + (alone ? ALONE : 1), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    }
}

static inline void model_spin(struct model_array *a)
{
    int spins = 0;
    while (__atomic_exchange_n(&a->list_lock, 1, __ATOMIC_ACQUIRE))
        if (++spins % 100 == 0)
            sched_yield();
        else
            __builtin_ia32_pause();
}

static inline void model_unspin(struct model_array *a) { __atomic_store_n(&a->list_lock, 0, __ATOMIC_RELEASE); }

static inline void model_enqueue(struct model_array *a, int me, bool alone)
{
    model_spin(a);
    a->waiters[me].sleeping = 1;
    a->waiters[me].wants_alone = alone;
    a->waiters[me].next = NOBODY_NEXT;
    if (a->last == NOBODY_NEXT)
        a->first = me;
    else
        a->waiters[a->last].next = me;
    a->last = me;
    __atomic_or_fetch(&a->lock, SOMEBODY_WAITS, __ATOMIC_SEQ_CST);
    model_unspin(a);
}

/* Out of the list, if nobody has taken me out of it already. */
static inline void model_dequeue(struct model_array *a, int me)
{
    int before = NOBODY_NEXT;
    model_spin(a);
    for (int at = a->first; at != NOBODY_NEXT; before = at, at = a->waiters[at].next) {
        if (at != me)
            continue;
        if (before == NOBODY_NEXT)
            a->first = a->waiters[me].next;
        else
            a->waiters[before].next = a->waiters[me].next;
        if (a->last == me)
            a->last = before;
        break;
    }
    if (a->first == NOBODY_NEXT)
        __atomic_and_fetch(&a->lock, ~SOMEBODY_WAITS, __ATOMIC_SEQ_CST);
    model_unspin(a);
    __atomic_store_n(&a->waiters[me].sleeping, 0, __ATOMIC_SEQ_CST);
}

static inline void model_lock(struct model_array *a, int me, bool alone)
{
    while (!model_try(a, alone)) {
        model_enqueue(a, me, alone);
        if (model_try(a, alone)) {      /* it was released before we stood in the list */
            model_dequeue(a, me);
            return;
        }
        while (__atomic_load_n(&a->waiters[me].sleeping, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &a->waiters[me].sleeping, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
}

static inline void model_wake(struct model_array *a)
{
    int woken[MODEL_PROCESSES], count = 0, at;
    model_spin(a);
    while ((at = a->first) != NOBODY_NEXT) {
        if (count && a->waiters[at].wants_alone)
            break;
        a->first = a->waiters[at].next;
        if (a->first == NOBODY_NEXT)
            a->last = NOBODY_NEXT;
        woken[count++] = at;
        if (a->waiters[at].wants_alone)
            break;
    }
    if (a->first == NOBODY_NEXT)
        __atomic_and_fetch(&a->lock, ~SOMEBODY_WAITS, __ATOMIC_SEQ_CST);
    model_unspin(a);
    for (int i = 0; i < count; i++) {
        __atomic_store_n(&a->waiters[woken[i]].sleeping, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &a->waiters[woken[i]].sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static inline void model_unlock(struct model_array *a, bool alone)
{
    uint32_t left = __atomic_sub_fetch(&a->lock, alone ? ALONE : 1, __ATOMIC_RELEASE);
    if ((left & SOMEBODY_WAITS) && !(left & ~SOMEBODY_WAITS))
        model_wake(a);
}

/* A place in the array, as ProcArrayAdd and ProcArrayRemove: sorted, by moving all that come after it. */
static inline void model_take(struct model_array *a, int me, int place)
{
    uint32_t at = 0;
    model_lock(a, me, true);
    while (at < a->count && a->places[at] < place)
        at++;
    memmove(&a->places[at + 1], &a->places[at], (a->count - at) * sizeof *a->places);
    memmove(&a->xids[at + 1], &a->xids[at], (a->count - at) * sizeof *a->xids);
    a->places[at] = place;
    a->xids[at] = place + 1;
    a->count++;
    model_unlock(a, true);
}

static inline void model_release(struct model_array *a, int me, int place)
{
    uint32_t at = 0;
    model_lock(a, me, true);
    while (a->places[at] != place)
        at++;
    a->count--;
    memmove(&a->places[at], &a->places[at + 1], (a->count - at) * sizeof *a->places);
    memmove(&a->xids[at], &a->xids[at + 1], (a->count - at) * sizeof *a->xids);
    model_unlock(a, true);
}

/* A snapshot, as GetSnapshotData: all that is in the array. Gives how many that are. */
static inline uint32_t model_snapshot(struct model_array *a, int me, uint32_t *into)
{
    uint32_t found = 0;
    model_lock(a, me, false);
    for (uint32_t at = 0; at < a->count; at++)
        if (a->xids[at])
            into[found++] = a->xids[at];
    model_unlock(a, false);
    return found;
}

static inline uint32_t model_count(struct model_array *a) { return a->count; }
static inline int model_place(struct model_array *a, uint32_t at) { return a->places[at]; }

static inline uint64_t race_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

#endif
