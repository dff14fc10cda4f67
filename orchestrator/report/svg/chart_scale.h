/* SPDX-License-Identifier: MIT
 * The axis of a chart: positions of values, ticks, and numbers as text independent of the locale. */
#ifndef ORGAN_CHART_SCALE_H
#define ORGAN_CHART_SCALE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* The scale of an axis. A linear one begins at first * step and ends at last * step, with a tick at each whole multiple
 * of `step`. A logarithmic one begins at 10^first and ends at 10^last, with a tick every `step` decades. */
typedef struct organ_scale {
    bool log;
    double step, first, last;
    int mantissa, exponent; /* linear: step = mantissa * 10^exponent, mantissa 1, 2 or 5 */
} organ_scale;

#define ORGAN_MAX_TICKS 16

/* A tick of an axis. */
typedef struct organ_tick {
    double at; /* position: 0 at the beginning of the axis, 1 at its end */
    char text[32];
} organ_tick;

/* Returns a scale that contains low and high and begins and ends at ticks. It has about `ticks` ticks, at most
 * ORGAN_MAX_TICKS; with `integers` only at whole numbers. low and high are finite, and above 0 if `log`. low > high
 * means that there are no values; the result is then a default scale. */
organ_scale organ_scale_of(double low, double high, unsigned ticks, bool log, bool integers);

/* Returns a linear scale that has the step of organ_scale_of, but begins exactly at `low` and ends exactly at `high`;
 * these two ends need not be ticks. low < high. */
organ_scale organ_scale_tight(double low, double high, unsigned ticks, bool integers);

/* Returns the position of a value on the axis: 0 at its beginning, 1 at its end. On a logarithmic axis the value must
 * be above 0. */
double organ_scale_place(const organ_scale *scale, double value);

/* Writes the ticks in ascending order and returns their number. */
size_t organ_scale_ticks(const organ_scale *scale, organ_tick ticks[ORGAN_MAX_TICKS]);

/* A scale with its ticks. */
typedef struct organ_axis {
    organ_scale scale;
    organ_tick ticks[ORGAN_MAX_TICKS];
    size_t count;
} organ_axis;
/* Returns the scale with the ticks of organ_scale_ticks. */
organ_axis organ_axis_of(organ_scale scale);

/* A range of values; low > high if it contains none (ORGAN_EXTENT_NONE). */
typedef struct organ_extent {
    double low, high;
} organ_extent;
#define ORGAN_EXTENT_NONE ((organ_extent){INFINITY, -INFINITY})
/* Extends the range so that it contains the value; ignores a value that is not finite. */
void organ_extent_widen(organ_extent *extent, double value);

/* Writes a finite number with at most `digits` significant digits (1 to 9), without trailing zeros: "0.00412", "-120",
 * "1.5e-7", "3". Returns `out`. */
char *organ_number_text(double value, int digits, char out[32]);

/* Returns the number of decimals (0 to 6) for all numbers of a column, so that the number `largest` has `digits`
 * significant digits (1 to 9). Returns -1 if `largest` is too large or too small for this; each number should then be
 * formatted by organ_number_text. */
int organ_decimals_for(double largest, int digits);

/* Writes a number with a fixed number of decimals, 0 to 6, so that a column of numbers aligns: "4.90". |value| is below
 * 10^9. Returns `out`. */
char *organ_fixed_text(double value, int decimals, char out[32]);

#endif
