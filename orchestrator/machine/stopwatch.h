/* SPDX-License-Identifier: MIT
 * Measures durations. */
#ifndef ORGAN_STOPWATCH_H
#define ORGAN_STOPWATCH_H

/* Returns the seconds of a monotonic clock; only differences are meaningful. */
double organ_seconds_now(void);

/* Returns `seconds`, still in seconds, rounded to a multiple of 0.001: reports state milliseconds. */
double organ_rounded_seconds(double seconds);

#endif
