/* SPDX-License-Identifier: MIT
 * How long something took. */
#ifndef ORGAN_STOPWATCH_H
#define ORGAN_STOPWATCH_H

/* Seconds of a clock that never goes back; only differences mean something. */
double organ_seconds_now(void);

/* To whole milliseconds: what reports give. */
double organ_milliseconds(double seconds);

#endif
