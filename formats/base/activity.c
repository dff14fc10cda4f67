/* SPDX-License-Identifier: MIT */
#include "formats/base/activity.h"

#include <stddef.h>
#include <time.h>

static _Thread_local organ_activity_clock *clock_here; /* of this thread; NULL: it is not measured */

uint64_t organ_activity_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

organ_activity organ_activity_turn(organ_activity_clock *clock, organ_activity to, uint64_t time)
{
    const organ_activity before = clock->now;
    clock->sums.spent[before] += time - clock->since;
    clock->now = to;
    clock->since = time;
    return before;
}

organ_activity organ_activity_begin(organ_activity to)
{
    return clock_here ? organ_activity_turn(clock_here, to, organ_activity_time()) : to;
}

void organ_activity_moved(uint64_t bytes)
{
    if (clock_here && (clock_here->now == ORGAN_READING || clock_here->now == ORGAN_WRITING))
        clock_here->sums.moved[clock_here->now] += bytes;
}

organ_activity_clock *organ_activity_attach(organ_activity_clock *clock, organ_activity now)
{
    organ_activity_clock *const before = clock_here;
    const uint64_t time = before || clock ? organ_activity_time() : 0;
    if (before)
        organ_activity_turn(before, before->now, time);
    if (clock) {
        clock->now = now;
        clock->since = time;
    }
    clock_here = clock;
    return before;
}

void organ_activity_add(organ_activity_sums *sums, const organ_activity_sums *more)
{
    for (int k = 0; k < ORGAN_ACTIVITIES; k++) {
        sums->spent[k] += more->spent[k];
        sums->moved[k] += more->moved[k];
    }
}
