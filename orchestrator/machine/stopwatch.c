/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/stopwatch.h"

#include <math.h>
#include <time.h>

double organ_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double organ_rounded_seconds(double seconds) { return round(seconds * 1000.0) / 1000.0; }
