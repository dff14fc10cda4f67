/* SPDX-License-Identifier: MIT
 * The axis of a chart: where values lie on it, where its ticks are, and numbers as text that no locale changes. */
#ifndef ORGAN_CHART_SCALE_H
#define ORGAN_CHART_SCALE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* From `first` to `last` in steps of `step`; of a logarithmic axis: decades, each first 10^first. */
typedef struct organ_scale {
    bool log;
    double step, first, last;
    int mantissa, exponent; /* step = mantissa 10^exponent, mantissa 1, 2 or 5 */
} organ_scale;

#define ORGAN_MOST_TICKS 16

typedef struct organ_tick {
    double at; /* 0 at the beginning of the axis, 1 at its end */
    char text[32];
} organ_tick;

/* An axis that holds low and high and ends at ticks: about `ticks` of them, at most ORGAN_MOST_TICKS; `whole`: only at
 * whole numbers. low and high are finite, above 0 if `log`; where low > high there is nothing to show and the axis is a
 * default one. */
organ_scale organ_scale_of(double low, double high, unsigned ticks, bool log, bool whole);

/* The same, but the axis ends at low and high themselves, and there need be no ticks there. Not logarithmic; low <
 * high. */
organ_scale organ_scale_tight(double low, double high, unsigned ticks, bool whole);

/* Where a value lies, 0 to 1 for what the axis holds. Of a logarithmic axis the value is above 0. */
double organ_scale_place(const organ_scale *scale, double value);

/* The ticks in ascending order; how many. */
size_t organ_scale_ticks(const organ_scale *scale, organ_tick ticks[ORGAN_MOST_TICKS]);

/* A scale with its ticks. */
typedef struct organ_axis {
    organ_scale scale;
    organ_tick ticks[ORGAN_MOST_TICKS];
    size_t count;
} organ_axis;
organ_axis organ_axis_of(organ_scale scale);

/* From the least to the greatest of the values that it was widened by, but for those that are not finite; low > high:
 * none. */
typedef struct organ_extent {
    double low, high;
} organ_extent;
#define ORGAN_EXTENT_NONE ((organ_extent){INFINITY, -INFINITY})
void organ_extent_widen(organ_extent *extent, double value);

/* A finite number with so many significant digits (1 to 9), as short as that: "0.00412", "-120", "1.5e-07", "3".
 * Returns `out`. */
char *organ_number_text(double value, int digits, char out[32]);

/* How many decimals give numbers up to `largest` so many significant digits (1 to 9): 0 to 6, or -1 where numbers are
 * better told one by one, by organ_number_text. */
int organ_decimals_for(double largest, int digits);

/* The same with a fixed number of decimals, 0 to 6, so that numbers below each other agree: "4.90". |value| is below
 * 10^9. Returns `out`.
 */
char *organ_fixed_text(double value, int decimals, char out[32]);

#endif
