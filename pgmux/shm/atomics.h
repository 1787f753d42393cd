/* The only textual C of pgmux: sequentially consistent operations on 64-bit words
 * that several processes map, and the robust mutex (pthread_mutexattr_setrobust(3)).
 * Everything else is Cython. */
#ifndef PGMUX_ATOMICS_H
#define PGMUX_ATOMICS_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t pgmux_load(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void pgmux_store(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* One compare-and-swap: 1 when *word was `seen` and is now `next`. */
static inline int pgmux_swap(uint64_t *word, uint64_t seen, uint64_t next) {
    return __atomic_compare_exchange_n(word, &seen, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t pgmux_exchange(uint64_t *word, uint64_t value) {
    return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

static inline uint64_t pgmux_or(uint64_t *word, uint64_t bits) {
    return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}

static inline uint64_t pgmux_and(uint64_t *word, uint64_t bits) {
    return __atomic_fetch_and(word, bits, __ATOMIC_SEQ_CST);
}

static inline int pgmux_lowest_bit(uint64_t word) {
    return __builtin_ctzll(word);
}

/* Position of the highest set bit, 0 for 0: the bucket of a power-of-two histogram. */
static inline int pgmux_log2(uint64_t value) {
    return value ? 63 - __builtin_clzll(value) : 0;
}

static inline uint64_t pgmux_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static inline int pgmux_mutex_init(void *where) {
    pthread_mutexattr_t attributes;
    int rc = pthread_mutexattr_init(&attributes);
    if (rc == 0) rc = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (rc == 0) rc = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (rc == 0) rc = pthread_mutex_init((pthread_mutex_t *)where, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return rc;
}

/* 0 = locked, 1 = locked and its last holder died holding it, -1 = not locked. */
static inline int pgmux_mutex_lock(void *where) {
    int rc = pthread_mutex_lock((pthread_mutex_t *)where);
    if (rc == EOWNERDEAD) {
        pthread_mutex_consistent((pthread_mutex_t *)where);
        return 1;
    }
    return rc == 0 ? 0 : -1;
}

static inline void pgmux_mutex_unlock(void *where) {
    pthread_mutex_unlock((pthread_mutex_t *)where);
}

#endif
