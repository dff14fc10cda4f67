/* SPDX-License-Identifier: MIT
 * Measures durations. */
#ifndef ORGAN_STOPWATCH_H
#define ORGAN_STOPWATCH_H

/* Returns the seconds of a monotonic clock; only differences are meaningful. */
double organ_seconds_now(void);

/* Returns the seconds rounded to whole milliseconds, the precision of reports. */
double organ_milliseconds(double seconds);

#endif
