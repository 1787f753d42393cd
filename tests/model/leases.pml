/* Workers, one pool, and a supervisor that buries the dead: who may use which backend, at every interleaving.
 *
 * What one processor instruction does is one step here (d_step); everything between two of them may be
 * interrupted, by any other process or by death. law.h is written from the compiled table of
 * pgmux/shm/leases.pyx, so the moves are the real ones; the functions below are named after those of
 * pools.pyx, workers.pyx and leasing.pyx, and go through the same steps in the same order.
 *
 * The wait queue is one step an operation here: its ring of cells is tested instruction by instruction in tests/shm.
 *
 * Each BROKEN_... takes one precaution away; tests/model/test_leases.py sees to it that each is missed.
 * So few workers and transactions cannot wrap a counter, nor bring about that three workers and a death make one
 * grant look like another: for those, `grants` and the generation are in the word.
 */
#include "law.h"

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef TRANSACTIONS
#define TRANSACTIONS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define NOBODY 7
#define NO_SLOT 7
#define NO_TICKET 255

/* A lease word, from the lowest bit: phase 3, owner 3, grants 3, generation 4. */
#define PHASE(w) ((w) & 7)
#define OWNER(w) (((w) >> 3) & 7)
#define IS_HELD(w, phase, owner) (((w) & 63) == ((owner) << 3 | (phase)))
#define MOVED(w, verb, owner) (TARGET(verb) | (owner) << 3 | ((((w) >> 6) + ((verb) == GRANT)) & 7) << 6 \
                               | ((((w) >> 9) + RENEWS(verb)) & 15) << 9)

short word[SLOTS];                /* the truth */
bit is_free[SLOTS];               /* the bitmap: a hint */
byte user[SLOTS];                 /* who touches the socket at this instant; NOBODY */
byte queue[WORKERS + 1], length, q;
byte parked[WORKERS];
bit inbox[WORKERS * SLOTS], looks[WORKERS], sleeping[WORKERS], bell[WORKERS];
bit killed[WORKERS], is_reaped[WORKERS], waits[WORKERS];
byte kills;

inline move(slot, seen, verb, owner, ok) {
#ifdef BROKEN_MOVE_IN_TWO_STEPS
    ok = word[slot] == seen && LEGAL(verb, PHASE(seen));
    if :: ok -> word[slot] = MOVED(seen, verb, owner) :: else fi
#else
    d_step {
        ok = word[slot] == seen && LEGAL(verb, PHASE(seen));
        if :: ok -> word[slot] = MOVED(seen, verb, owner) :: else fi
    }
#endif
}

/* --- the wait queue: tickets, oldest first. A ticket is its worker, and how often that has parked */

#define WORKER_OF(ticket) ((ticket) & 7)

inline q_park(mine) {
    d_step {
        mine = me | parked[me] << 3;
        parked[me] = (parked[me] + 1) & 7;
        queue[length] = mine;
        length++
    }
}

inline q_head(ticket, heir) {
    d_step {
        if
        :: length -> ticket = queue[0]; heir = WORKER_OF(ticket)
        :: else -> ticket = NO_TICKET; heir = 0
        fi
    }
}

inline q_take_out(ticket, ok) {   /* leave, and pop: the first to do it has done it */
    d_step {
        ok = 0;
        q = 0;
        do
        :: q < length && ok -> queue[q - 1] = queue[q]; q++
        :: q < length && !ok -> ok = queue[q] == ticket; q++
        :: else -> break
        od;
        if :: ok -> length--; queue[length] = 0 :: else fi;
        q = 0
    }
}

/* --- the bell */

inline ring(whom) {
    if
    :: d_step { sleeping[whom] -> sleeping[whom] = 0 }; bell[whom] = 1
    :: else
    fi
}

inline deliver(whom, slot) {
    inbox[(whom) * SLOTS + slot] = 1;
    ring(whom)
}

/* --- taking and releasing */

inline take(got) {
    got = NO_SLOT;
    at = 0;
    do
    :: at < SLOTS && is_free[at] ->
        seen = word[at];
        if
        :: PHASE(seen) == FREE ->
            move(at, seen, TAKE, me, ok);
            if
            :: ok ->
                got = at;
                is_free[at] = 0;
                break
            :: else -> at++
            fi
        :: else -> at++
        fi
    :: at < SLOTS && !is_free[at] -> at++
    :: else -> break
    od
}

inline release(slot) {
    seen = word[slot];
    do
    :: !IS_HELD(seen, LEASED, me) -> break
    :: else ->
        q_head(ticket, heir);
        if
        :: ticket == NO_TICKET ->
            move(slot, seen, RELEASE, NOBODY, ok);
            if :: !ok -> break :: else fi;
            is_free[slot] = 1;
#ifdef BROKEN_NO_LOOK_AFTER_FREEING
            break;
#endif
            q_head(ticket, heir);
            if :: ticket == NO_TICKET -> break :: else fi;
            take(again);
            if :: again == NO_SLOT -> break :: else fi;
            slot = again;
            seen = word[slot]
        :: else ->
            granted = MOVED(seen, GRANT, heir);
#ifdef BROKEN_POP_BEFORE_GRANT
            q_take_out(ticket, ok);
            if
            :: ok ->
                move(slot, seen, GRANT, heir, ok);
                if :: ok -> deliver(heir, slot) :: else fi;
                break
            :: else
            fi
#else
            move(slot, seen, GRANT, heir, ok);
            if :: !ok -> break :: else fi;
            q_take_out(ticket, ok);
            if :: ok -> deliver(heir, slot); break :: else fi;
            move(slot, granted, RECALL, me, ok);
            if :: !ok -> break :: else fi;
            seen = word[slot]
#endif
        fi
    od
}

/* --- a worker with one client */

inline use(slot) {
    d_step { assert(user[slot] == NOBODY); user[slot] = me };
    d_step { assert(user[slot] == me); user[slot] = NOBODY }
}

inline serve(slot) {              /* our client has been leased the slot: its transaction, then on to the next */
    waits[me] = 0;
    use(slot);
    transactions++;
    release(slot)
}

inline serve_granted(slot) {
    if
    :: waits[me] ->
        q_take_out(mine, ok);
        serve(slot)
    :: else -> release(slot)      /* it has left, or was served by another backend */
    fi
}

inline serve_lobby(slot) {        /* taken while our client waits: ours first, or who has waited longest */
    q_head(ticket, heir);
    if
    :: waits[me] -> q_take_out(mine, ok); serve(slot)
    :: ticket != NO_TICKET && heir != me -> release(slot)
    fi
}

inline check_inbox() {
    d_step { looking = looks[me]; looks[me] = 0 };
    here = 0;
    do
    :: here < SLOTS && (looking || inbox[me * SLOTS + here]) ->
        inbox[me * SLOTS + here] = 0;
        seen = word[here];
        if
        :: IS_HELD(seen, GRANTED, me) ->
            move(here, seen, ACCEPT, me, ok);
            if :: ok -> slot = here; serve_granted(slot) :: else fi
        :: else
        fi;
        here++
    :: here < SLOTS && !(looking || inbox[me * SLOTS + here]) -> here++
    :: else -> break
    od;
#ifndef BROKEN_NOBODY_LOOKS_FOR_FREE_ONES
    if                            /* the errand OPEN_BACKENDS: what somebody freed, and died before handing it out */
    :: looking && waits[me] -> take(slot); if :: slot != NO_SLOT -> serve_lobby(slot) :: else fi
    :: else
    fi
#endif
}

inline bury() {                   /* the slots left to us CLOSING: PostgreSQL ends them, and others take their place */
    here = 0;
    do
    :: here < SLOTS && IS_HELD(word[here], CLOSING, me) ->
        seen = word[here];
        move(here, seen, CLEAR, NOBODY, ok);
        seen = word[here];
        move(here, seen, OPEN, me, ok);
        seen = word[here];
        move(here, seen, ADOPT, me, ok);
        slot = here;
        release(slot);
        here++
    :: here < SLOTS && !IS_HELD(word[here], CLOSING, me) -> here++
    :: else -> break
    od
}

inline forget() {                 /* what is not needed any more would only make more states */
    d_step {
        at = 0; again = 0; ticket = 0; heir = 0; slot = 0; here = 0; seen = 0; granted = 0; ok = 0; looking = 0;
        if :: !waits[me] -> mine = 0 :: else fi
    }
}

proctype Worker(byte me, transactions) {
    byte at, again, ticket, heir, slot, here, mine;
    short seen, granted;
    bit ok, looking;
    {
        bury();
        forget();
        do
        :: transactions < TRANSACTIONS && !waits[me] ->            /* acquire */
            take(slot);
            if
            :: slot != NO_SLOT -> serve(slot)
            :: else ->                                             /* park */
                waits[me] = 1;
                q_park(mine);
#ifndef BROKEN_NO_LOOK_AFTER_PARKING
                take(slot);
                if :: slot != NO_SLOT -> serve_lobby(slot) :: else fi
#endif
            fi;
            forget()
        :: waits[me] && transactions + 1 == TRANSACTIONS ->        /* the last one may give up waiting */
            q_take_out(mine, ok);
            waits[me] = 0;
            transactions++;
            forget()
        :: waits[me] || transactions >= TRANSACTIONS ->            /* a turn of the loop */
            sleeping[me] = 1;
#ifndef BROKEN_SLEEP_WITHOUT_A_LOOK
            if
            :: looks[me] -> sleeping[me] = 0; goto awake
            :: else
            fi;
            at = 0;
            do
            :: at < SLOTS && inbox[me * SLOTS + at] -> sleeping[me] = 0; goto awake
            :: at < SLOTS && !inbox[me * SLOTS + at] -> at++
            :: else -> break
            od;
#endif
end_asleep: atomic { bell[me] -> bell[me] = 0 };
            sleeping[me] = 0;
awake:      check_inbox();
            forget()
        od
    } unless { atomic { killed[me] -> killed[me] = 0; is_reaped[me] = 1 } }
}

/* --- death, and who sees to it */

proctype Reaper() {
    byte dead, slot, each, ticket;
    short seen;
    bit ok;
end_watching:
    do
    :: kills < KILLS ->
        if
        :: dead = 0
        :: dead = 1
        fi;
        d_step {                  /* kill -9, at any instant; what it was touching, it touches no more */
            kills++;
            killed[dead] = 1;
            waits[dead] = 0;
            slot = 0;
            do
            :: slot < SLOTS -> if :: user[slot] == dead -> user[slot] = NOBODY :: else fi; slot++
            :: else -> break
            od
        };
        atomic { is_reaped[dead] -> is_reaped[dead] = 0 };
        /* dismiss */
        sleeping[dead] = 0;
        slot = 0;
        do :: slot < SLOTS -> inbox[dead * SLOTS + slot] = 0; slot++ :: else -> break od;
        /* fence: tickets, then slots, then the bitmap, then the others */
        do
        :: atomic {
            each = 0;
            do
            :: each < length && WORKER_OF(queue[each]) != dead -> each++
            :: else -> break
            od;
            if :: each < length -> ticket = queue[each] :: else -> ticket = 0; break fi
           };
           q_take_out(ticket, ok)
        od;
        slot = 0;
        do
        :: slot < SLOTS ->
            seen = word[slot];
            if
            :: OWNER(seen) != dead -> slot++
            :: OWNER(seen) == dead && PHASE(seen) == GRANTED ->
                move(slot, seen, RETURN, NOBODY, ok);
                if :: ok -> slot++ :: else fi
            :: else ->
                move(slot, seen, FENCE, dead, ok);
                if :: ok -> slot++ :: else fi
            fi
        :: else -> break
        od;
#ifndef BROKEN_BITMAP_NOT_REBUILT
        slot = 0;
        do
        :: slot < SLOTS -> if :: PHASE(word[slot]) == FREE -> is_free[slot] = 1 :: else fi; slot++
        :: else -> break
        od;
#endif
        each = 0;
        do
        :: each < WORKERS ->
#ifndef BROKEN_NO_ERRANDS
            looks[each] = 1;
#endif
            bell[each] = 1;
            each++
        :: else -> break
        od;
        run Worker(dead, TRANSACTIONS)      /* its successor has no client yet */
    :: kills >= KILLS -> break
    :: break                      /* nobody dies any more */
    od
}

/* When nothing moves any more: nobody waits, and every backend is there for the next. */
proctype Judge() {
    byte slot, each;
    timeout ->
    slot = 0;
    do
    :: slot < SLOTS -> assert(PHASE(word[slot]) == FREE); assert(is_free[slot]); slot++
    :: else -> break
    od;
    each = 0;
    do
    :: each < WORKERS -> assert(!waits[each]); each++
    :: else -> break
    od
}

init {
    byte n;
    d_step {
        n = 0;
        do
        :: n < SLOTS -> word[n] = FREE | NOBODY << 3; is_free[n] = 1; user[n] = NOBODY; n++
        :: else -> break
        od
    };
    atomic {
        n = 0;
        do
        :: n < WORKERS -> run Worker(n, 0); n++
        :: else -> break
        od;
        run Reaper();
        run Judge()
    }
}
