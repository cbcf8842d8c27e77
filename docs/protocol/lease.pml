/* The lease protocol of docs/state_machine.md, for spin. README.md says how to run it and what it found.
 *
 * A transaction that is one statement, or that holds its locks to the end and waits for nobody, is one d_step. One that
 * others may meet half-way is several: storing, reaping, and looking at the run. Time is left out: whatever may be due
 * or overdue may be so at any moment, so the model knows more orders of events than a clock allows.
 */

#ifndef WORKERS
#define WORKERS 3
#endif
#ifndef ANSWERS
#define ANSWERS 2   /* jobs of the first stage */
#endif
#ifndef SCORED
#define SCORED 0    /* how many of the answers get a score, a job that the pipeline makes once the answer is stored */
#endif
#ifndef FAULTS
#define FAULTS 2    /* kills, leases that run out, broken transactions, crashes of Postgres, SIGTERMs, lost wake-ups */
#endif
#ifndef MOVES
#define MOVES 1     /* what operators do: cancel, retry, pause, cancel the run */
#endif
#define LEASES (WORKERS + 1)   /* each worker's, and one more beside one that a killed worker left; used again later */
/* protocol.py has 5, 2, 3 and 6: smaller numbers meet each other sooner. */
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2
#endif
#ifndef ALONE_AFTER_LOSSES
#define ALONE_AFTER_LOSSES 1
#endif
#define POISON_LOSSES  (ALONE_AFTER_LOSSES + 1)
#define RAN_OUT_LOSSES (ALONE_AFTER_LOSSES + 2)

#define STAGE (ANSWERS + SCORED)   /* the job that does a whole stage: train_router, route */
#define JOBS  (STAGE + 1)
#define NONE  255

mtype = { absent, ready, leased, done, dead, cancelled };   /* job.state */
mtype = { unused, live, overdue, revoked };                 /* a lease: not there, renewed, expires_at is past, revoked_at */

/* The tables. */
mtype state[JOBS] = absent;
byte lease_of[JOBS] = NONE;   /* job.lease_id */
byte attempt[JOBS];
byte lost_count[JOBS];
bool waits;                   /* the stage's job: not_before is a hundred years away, until open_stage */
mtype lease[LEASES] = unused;
bool orphan[LEASES];          /* its worker is gone or has given it up: nobody renews it */
byte locked[LEASES];          /* by whose transaction: 1 + worker, or REAPER */
bool paused, run_cancelled, finished, blocked;
bool run_locked;
bool unflushed[JOBS];         /* its claim is committed and not on the disk yet (synchronous_commit = off) */
byte wake_ups;                /* in the broker */

/* The workers. A worker that is killed and one that is started in its place are one process here. */
byte my_lease[WORKERS] = NONE;
byte mind[WORKERS];           /* the jobs that it believes it holds, as bits */
bool in_transaction[WORKERS];
bool reaping;
byte alive = WORKERS;
byte faults = FAULTS, moves = MOVES;

/* Scratch, within one step: no part of the state. */
hidden byte k;
hidden byte suspect_held, holds, due, lacking, block;

/* What must hold is said of these; nothing else reads them. */
byte stored[JOBS];            /* results */
byte failures[JOBS];          /* errors that were the job's own, since its start or its retry */

#define REAPER (WORKERS + 1)
#define IS_OPEN(j)   (state[j] == ready || state[j] == leased)
#define IS_FINAL(j)  (state[j] == absent || state[j] == done || state[j] == dead || state[j] == cancelled)
#define HAS(w, j)    ((mind[w] >> (j)) & 1)
#define DUE(j)       (state[j] == ready && !paused && !((j) == STAGE && waits))
#if JOBS == 2
#define WORK_IS_DUE (DUE(0) || DUE(1))
#define ANY_OPEN    (IS_OPEN(0) || IS_OPEN(1))
#define EARLIER_OPEN IS_OPEN(0)
#elif JOBS == 3
#define WORK_IS_DUE (DUE(0) || DUE(1) || DUE(2))
#define ANY_OPEN    (IS_OPEN(0) || IS_OPEN(1) || IS_OPEN(2))
#define EARLIER_OPEN (IS_OPEN(0) || IS_OPEN(1))
#else
#define WORK_IS_DUE (DUE(0) || DUE(1) || DUE(2) || DUE(3))
#define ANY_OPEN    (IS_OPEN(0) || IS_OPEN(1) || IS_OPEN(2) || IS_OPEN(3))
#define EARLIER_OPEN (IS_OPEN(0) || IS_OPEN(1) || IS_OPEN(2))
#endif
#ifdef REAP_WHAT_IS_LOCKED
#define OVERDUE(l)   (alive > 0 && lease[l] == overdue)
#else
#define OVERDUE(l)   (alive > 0 && lease[l] == overdue && locked[l] == 0)
#endif
#define EXPIRES(l)   (lease[l] == live && (orphan[l] || faults > 0))
#define A_ROW(w)     (lease[w] == unused || lease[WORKERS] == unused)
#define IS_SUSPECT(j) (lost_count[j] >= ALONE_AFTER_LOSSES)

inline check(j) {   /* the job's row agrees with what happened to it */
    assert(stored[j] <= 1);
    assert((stored[j] == 1) == (state[j] == done));
    assert((state[j] == leased) == (lease_of[j] != NONE));
    assert(attempt[j] == failures[j] + ((state[j] == leased || state[j] == done) -> 1 : 0));
    assert(attempt[j] <= MAX_ATTEMPTS)
}

/* Every commit but a claim's waits for the disk, and takes along what was committed before. */
inline flush() {
    k = 0;
    do
    :: k < JOBS -> unflushed[k] = false; k++
    :: else -> break
    od
}

inline give_back(j) { state[j] = ready; lease_of[j] = NONE; attempt[j] = attempt[j] - 1 }

inline drop(l) { lease[l] = unused; orphan[l] = false }   /* nobody names it any more */

inline forget(w) {   /* the worker drops its lease and all that it computed under it */
    if
    :: my_lease[w] == NONE
    :: else ->
        if
        :: lease[my_lease[w]] == revoked -> drop(my_lease[w])
        :: else -> orphan[my_lease[w]] = true
        fi;
        my_lease[w] = NONE
    fi;
    mind[w] = 0
}

inline unlock(w) {
    if
    :: in_transaction[w] ->
        in_transaction[w] = false;
        if
        :: locked[my_lease[w]] == 1 + w -> locked[my_lease[w]] = 0
        :: else
        fi
    :: else
    fi
}

inline lose(l, at_most) {   /* lose.sql: all that the lease holds */
    k = 0;
    do
    :: k < JOBS ->
        if
        :: state[k] == leased && lease_of[k] == l ->
            give_back(k);
#ifdef LOSS_COSTS_AN_ATTEMPT
            attempt[k]++;
#endif
            lost_count[k]++;
            if
            :: lost_count[k] >= at_most -> state[k] = dead
            :: else
            fi;
            check(k)
        :: else
        fi;
        k++
    :: else -> break
    od;
    flush()
}

/* claim.sql and claim_suspect.sql: may this lease take this job? */
inline look(w) {
    suspect_held = false; holds = false; due = false; k = 0;
    do
    :: k < JOBS ->
        if
        :: state[k] == leased && lease_of[k] == my_lease[w] -> holds = true; suspect_held = suspect_held || IS_SUSPECT(k)
        :: DUE(k) && !IS_SUSPECT(k) -> due = true
        :: else
        fi;
        k++
    :: else -> break
    od
}
#ifdef SUSPECTS_IN_COMPANY
#define MAY_TAKE(w, j) (DUE(j))
#else
#define MAY_TAKE(w, j) (DUE(j) && !suspect_held && (!IS_SUSPECT(j) || (!due && !holds && mind[w] == 0)))
#endif

inline claim(w, j) {
    state[j] = leased; lease_of[j] = my_lease[w]; attempt[j]++; unflushed[j] = (faults > 0); mind[w] = mind[w] | (1 << j);
    check(j);
    assert(stored[j] == 0);
    /* A suspect is alone under its lease. */
    assert(!(holds && IS_SUSPECT(j)) && !suspect_held);
    /* No stage begins while an earlier job is open, or a score is missing that an answer should have. */
    if
    :: j == STAGE -> earlier_is_final()
    :: else
    fi
}

inline earlier_is_final() {
    k = 0;
    do
    :: k < STAGE -> assert(IS_FINAL(k)); k++
    :: else -> break
    od;
    k = 0;
    do
    :: k < SCORED -> assert(!(state[k] == done && state[ANSWERS + k] == absent)); k++
    :: else -> break
    od
}

proctype Worker(byte w) {
    byte j;
end_idle:
    do
    :: atomic {   /* a look of its own, as workers take now and then, or a wake-up alone; no row is left: later */
#ifdef BY_WAKE_UPS
        wake_ups > 0 && A_ROW(w) -> wake_ups--;
#else
        WORK_IS_DUE && A_ROW(w) ->
#endif
        my_lease[w] = (lease[w] == unused -> w : WORKERS);
        lease[my_lease[w]] = live;
        goto drain
    }
    :: atomic { faults > 0 && alive > 1 -> faults--; alive--; goto killed }
    od;

drain:
    do
    /* Claim. The lease's row is locked against the reaper, who looks again once this is committed. */
    :: atomic {
        locked[my_lease[w]] != REAPER && in_transaction[w] == false ->
        if
        :: lease[my_lease[w]] == revoked -> forget(w); goto end_idle   /* LeaseLost */
        :: else ->
            look(w);
            if
            :: MAY_TAKE(w, 0) -> j = 0
#if JOBS > 1
            :: MAY_TAKE(w, 1) -> j = 1
#endif
#if JOBS > 2
            :: MAY_TAKE(w, 2) -> j = 2
#endif
#if JOBS > 3
            :: MAY_TAKE(w, 3) -> j = 3
#endif
            :: else -> j = NONE
            fi;
            if
            :: j == NONE ->
                if
                :: mind[w] == 0 -> goto close   /* nothing is due: the drain ends */
                :: else -> goto computed
                fi
#ifndef STAGE_AT_ANY_TIME
            :: j == STAGE && EARLIER_OPEN -> waits = true   /* it goes back until the pipeline opens the stage */
#endif
            :: else -> claim(w, j)
            fi;
            j = 0
        fi
    }
    :: atomic { mind[w] != 0 -> goto computed }
    :: atomic { lease[my_lease[w]] == revoked || lease[my_lease[w]] == overdue -> forget(w); goto end_idle }   /* heartbeat */
    :: atomic { faults > 0 -> faults--; goto close }   /* SIGTERM */
    :: atomic { faults > 0 && alive > 1 -> faults--; alive--; goto killed }
    od;

computed:   /* one of its jobs has come to its end */
    atomic {
        if
        :: HAS(w, 0) -> j = 0
#if JOBS > 1
        :: HAS(w, 1) -> j = 1
#endif
#if JOBS > 2
        :: HAS(w, 2) -> j = 2
#endif
#if JOBS > 3
        :: HAS(w, 3) -> j = 3
#endif
        fi;
        if
        :: goto store
        :: goto failed
        :: goto server_died
        fi
    };

failed:   /* retry.sql: an error of the job's own */
    atomic {
        locked[my_lease[w]] != REAPER ->
        if
        :: lease[my_lease[w]] == revoked -> forget(w); j = 0; goto end_idle
        :: else ->
            mind[w] = mind[w] & ~(1 << j);
            if
            :: state[j] == leased && lease_of[j] == my_lease[w] ->
                lease_of[j] = NONE; failures[j]++;
                if
                :: state[j] = dead   /* permanent */
                :: attempt[j] >= MAX_ATTEMPTS -> state[j] = dead
                :: attempt[j] < MAX_ATTEMPTS -> state[j] = ready
                fi;
                check(j);
                flush()
            :: else
            fi;
            j = 0; goto drain
        fi
    };

server_died:   /* report_lost, with all that was in flight */
    atomic {
        locked[my_lease[w]] != REAPER ->
        if
        :: lease[my_lease[w]] == revoked -> forget(w); j = 0; goto end_idle
        :: else -> lose(my_lease[w], POISON_LOSSES); mind[w] = 0; j = 0; goto drain
        fi
    };

store:   /* hold.sql, then complete.sql and the result, then COMMIT */
    atomic {
        locked[my_lease[w]] != REAPER ->
#ifndef NO_HOLD
        if
        :: lease[my_lease[w]] == revoked -> forget(w); j = 0; goto end_idle
        :: else
        fi;
        locked[my_lease[w]] = 1 + w;
#endif
        in_transaction[w] = true
    };
    if
    :: atomic {
        in_transaction[w] ->
        mind[w] = mind[w] & ~(1 << j);
#ifndef REVOKED_MAY_STORE
        assert(lease[my_lease[w]] != revoked);   /* none is stored under a revoked lease */
#endif
        if
#ifdef NO_FENCE
        :: true ->
#else
#ifdef ANY_OWNER
        :: state[j] == leased ->
#else
        :: state[j] == leased && lease_of[j] == my_lease[w] ->
#endif
#endif
            assert(lease_of[j] == my_lease[w] && state[j] == leased);
            state[j] = done; lease_of[j] = NONE; stored[j]++;
            check(j);
            flush()
        :: else
        fi;
        unlock(w); j = 0;
        if
        :: goto drain
        :: faults > 0 -> faults--; goto close   /* the connection broke at the COMMIT: it cannot know that it stands */
        fi
    }
    :: atomic { !in_transaction[w] -> j = 0; goto close }                              /* Postgres ended it */
    :: atomic { faults > 0 -> faults--; unlock(w); j = 0; goto close }                 /* it idled for too long */
    :: atomic { faults > 0 && alive > 1 -> faults--; alive--; unlock(w); j = 0; goto killed }
    fi;

close:   /* hand back what is unfinished, and end the lease */
    atomic {
        locked[my_lease[w]] == 0 ->
        if
        :: lease[my_lease[w]] == revoked -> forget(w)
        :: lease[my_lease[w]] != revoked ->
            k = 0;
            do
            :: k < JOBS ->
                if
                :: state[k] == leased && lease_of[k] == my_lease[w] -> give_back(k); check(k)
                :: else
                fi;
                k++
            :: else -> break
            od;
            drop(my_lease[w]); my_lease[w] = NONE; mind[w] = 0;
            flush()
        :: lease[my_lease[w]] != revoked && faults > 0 -> faults--; forget(w)   /* Postgres is away: it runs out */
        fi;
        goto end_idle
    };

killed:
    atomic {
        forget(w);
        if
        :: skip             /* its host is gone for good */
        :: alive++; goto end_idle
        fi
    }
}


proctype Reaper() {   /* reap: one at a time, under an advisory lock */
    byte l;
end:
    do
    :: atomic {
        if
        :: OVERDUE(0) -> l = 0
        :: OVERDUE(1) -> l = 1
#if LEASES > 2
        :: OVERDUE(2) -> l = 2
#endif
#if LEASES > 3
        :: OVERDUE(3) -> l = 3
#endif
        fi;
        locked[l] = REAPER; reaping = true
    };
        if
        :: atomic {
            reaping ->
            lease[l] = revoked;
            lose(l, RAN_OUT_LOSSES);
            locked[l] = 0; reaping = false;
            if
            :: orphan[l] -> drop(l)
            :: else
            fi
        }
        :: atomic { faults > 0 -> faults--; locked[l] = 0; reaping = false }   /* the worker that reaps is killed */
        :: !reaping
        fi;
        l = 0
    od
}

inline take_back() {
    k = 0;
    do
    :: k < JOBS ->
        if
        :: state[k] == ready -> state[k] = cancelled; finished = false
        :: else
        fi;
        k++
    :: else -> break
    od
}

inline walk() {
    lacking = (state[STAGE] != done);   /* more is missing than the run allows: here, all of it */
    k = 0;
    do
    :: k < SCORED -> if :: (scores >> k) & 1 -> state[ANSWERS + k] = ready :: else fi; k++
    :: else -> break
    od;
    k = 0;
    do
    :: k < ANSWERS -> lacking = lacking && (state[k] == dead || state[k] == cancelled); k++
    :: else -> break
    od;
    if
    :: new > 0 || open
    :: new == 0 && !open ->
        if
        :: lacking -> block = true
        :: !lacking && state[STAGE] == absent -> state[STAGE] = ready; waits = false; new++
        :: !lacking && (state[STAGE] == dead || state[STAGE] == cancelled) -> block = true
        :: !lacking && IS_OPEN(STAGE) -> waits = false   /* open_stage.sql */
        :: !lacking && state[STAGE] == done
        fi
    fi
}

/* A look that finds an earlier job open changes nothing, unless it makes scores meanwhile: it is left out. */
#if SCORED > 0
#define WORTH_A_LOOK true
#else
#define WORTH_A_LOOK (run_cancelled || (!EARLIER_OPEN && !(IS_OPEN(STAGE) && !waits)))
#endif

proctype Pipeline() {   /* advance, by whichever worker holds the lock of the run's row */
    byte new, scores;
    bool open, around;
end:
    do
    :: atomic {
        alive > 0 && !finished && !run_locked && WORTH_A_LOOK -> run_locked = true;
#ifndef COUNT_LATE
        open = EARLIER_OPEN; around = ANY_OPEN
#endif
    };
#if SCORED > 0
        atomic {   /* score.enqueue_calibration: its rows are there for others at the commit */
            scores = 0; new = 0; k = 0;
            do
            :: k < SCORED ->
                if
                :: state[k] == done && state[ANSWERS + k] == absent && !run_cancelled -> scores = scores | (1 << k); new++
                :: else
                fi;
                k++
            :: else -> break
            od
        };
#endif
#ifdef COUNT_LATE
        open = EARLIER_OPEN; around = ANY_OPEN;
#endif
        if
        :: atomic {
            run_locked ->
            block = false;
            if
            :: run_cancelled -> take_back()
            :: else -> walk()
            fi;
            blocked = block;
            if
            :: new == 0 && !(block -> open : around) -> finished = true
            :: new > 0 -> finished = false
            :: else
            fi;
            run_locked = false;
            flush()
        }
        :: atomic { faults > 0 -> faults--; run_locked = false }
        :: !run_locked
        fi;
        atomic { new = 0; scores = 0; open = false; around = false }
    od
}

#ifdef BY_WAKE_UPS
proctype WakeUps() {   /* reconcile's last step, in every worker */
end:
    do
    :: atomic { alive > 0 && wake_ups == 0 && WORK_IS_DUE -> wake_ups = 1 }
    od
}
#endif

inline expire(l) {
    if
    :: orphan[l]
    :: else -> faults--   /* frozen, cut off, or its work does not move */
    fi;
    lease[l] = overdue
}

inline crash() {   /* Postgres is killed and recovers: open transactions are undone, and claims not on the disk */
    k = 0;
    do
    :: k < JOBS ->
        if
        :: unflushed[k] && state[k] == leased -> give_back(k); check(k)
        :: else
        fi;
        unflushed[k] = false; k++
    :: else -> break
    od;
    l = 0;
    do
    :: l < LEASES -> locked[l] = 0; l++
    :: else -> break
    od;
    k = 0;
    do
    :: k < WORKERS -> in_transaction[k] = false; k++
    :: else -> break
    od;
    reaping = false; run_locked = false;
    l = 0; k = 0
}

proctype World() {   /* what befalls Postgres, the broker and the hosts' time */
    byte l;
end:
    do
    :: atomic { EXPIRES(0) -> expire(0) }
    :: atomic { EXPIRES(1) -> expire(1) }
#if LEASES > 2
    :: atomic { EXPIRES(2) -> expire(2) }
#endif
#if LEASES > 3
    :: atomic { EXPIRES(3) -> expire(3) }
#endif
#ifdef BY_WAKE_UPS
    :: atomic { faults > 0 && wake_ups > 0 -> faults--; wake_ups = 0 }
    :: atomic { faults > 0 && wake_ups == 1 -> faults--; wake_ups = 2 }
#endif
    :: atomic { faults > 0 -> faults--; crash() }
    od
}

proctype Operators() {
    byte j;
end:
    do
    :: atomic {   /* each of them changes the run's row, too, so it waits for a look at the run */
        moves > 0 && !run_locked ->
        moves--; j = 0;
        do
        :: j < JOBS - 1 -> j++
        :: break
        od;
        if
        :: state[j] == ready || state[j] == dead -> state[j] = cancelled; finished = false; blocked = false
        :: state[j] == dead || state[j] == cancelled ->   /* revive.sql */
            state[j] = ready; attempt[j] = 0; lost_count[j] = 0; failures[j] = 0; finished = false; blocked = false;
#ifndef REVIVE_AT_ONCE
            if
            :: j == STAGE -> waits = true
            :: else
            fi
#endif
        :: !paused -> paused = true
        :: !run_cancelled -> run_cancelled = true; paused = true; finished = false
        :: else
        fi;
        j = 0
    }
    :: atomic { paused && !run_cancelled -> paused = false }
    od
}

proctype Time() {   /* it goes on where nothing else can, so that a fleet that stands still is seen to do so for ever */
end:
    do
    :: k = 0
    od
}

init {
    atomic {
        k = 0;
        do
        :: k < ANSWERS -> state[k] = ready; k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < WORKERS -> run Worker(k); k++
        :: else -> break
        od;
        run Pipeline();
#ifndef NO_REAPER
        run Reaper();
#endif
        run World(); run Operators(); run Time()
#if defined(BY_WAKE_UPS) && !defined(NO_TOP_UP)
        ; run WakeUps()
#endif
    }
}

/* Every job ends. One that does a whole stage waits where its run is blocked, which says why. */
#define ENDED (finished && (!ANY_OPEN || (blocked && !EARLIER_OPEN)))
ltl every_job_ends { <>[] ENDED }
