/* SPDX-License-Identifier: MIT
 * Clocks that measure how long a thread computes, reads, writes and waits, and how many bytes it moves. A thread
 * without a clock is not measured: the functions then cost one look at a thread-local pointer. */
#ifndef ORGAN_ACTIVITY_H
#define ORGAN_ACTIVITY_H

#include <stdint.h>

/* The activities of a thread. ORGAN_READING and ORGAN_WRITING include waiting for a transfer that another thread or the
 * kernel carries out for this thread; ORGAN_WAITING is waiting for other workers. */
typedef enum organ_activity {
    ORGAN_WAITING, /* the first one: a clock that was set to zero waits */
    ORGAN_COMPUTING,
    ORGAN_READING,
    ORGAN_WRITING,
    ORGAN_ACTIVITIES /* their number */
} organ_activity;

/* Nanoseconds and bytes by activity. Bytes of ORGAN_WAITING and ORGAN_COMPUTING remain 0. */
typedef struct organ_activity_sums {
    uint64_t spent[ORGAN_ACTIVITIES];
    uint64_t moved[ORGAN_ACTIVITIES];
} organ_activity_sums;

/* The clock of one thread. */
typedef struct organ_activity_clock {
    organ_activity_sums sums; /* of activities that have ended */
    organ_activity now;       /* the present activity */
    uint64_t since;           /* when it began, by organ_activity_time */
} organ_activity_clock;

/* Switches the clock of this thread to the activity `to` and returns the one before it. */
organ_activity organ_activity_begin(organ_activity to);

static inline void organ_activity_end(const organ_activity *before) { organ_activity_begin(*before); }

/* A statement that switches the clock of this thread to the activity `to` until the end of its block. organ_input_read,
 * organ_pread_full and organ_write_all do so themselves. */
#define ORGAN_DURING(to)                                                                                               \
    const organ_activity organ_before __attribute__((cleanup(organ_activity_end), unused)) = organ_activity_begin(to)

/* Adds `bytes` to the bytes that this thread has read or written, by its present activity. Another activity than
 * ORGAN_READING and ORGAN_WRITING ignores them. */
void organ_activity_moved(uint64_t bytes);

/* Makes `clock` the clock of this thread, in the activity `now` from this moment on, and stops the clock that it had
 * before, which it returns. NULL: this thread has no clock. The clock must remain valid until another one replaces
 * it. */
organ_activity_clock *organ_activity_attach(organ_activity_clock *clock, organ_activity now);

/* Returns nanoseconds of a monotonic clock; only differences are meaningful. */
uint64_t organ_activity_time(void);

/* Ends the present activity of the clock at the time `time` and begins `to`. Returns the activity that ended. */
organ_activity organ_activity_turn(organ_activity_clock *clock, organ_activity to, uint64_t time);

/* Adds `more` to `sums`. */
void organ_activity_add(organ_activity_sums *sums, const organ_activity_sums *more);

#endif
