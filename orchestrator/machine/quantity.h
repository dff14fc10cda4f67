/* SPDX-License-Identifier: MIT
 * Formatting and parsing of amounts of bytes, durations and counts. */
#ifndef ORGAN_QUANTITY_H
#define ORGAN_QUANTITY_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* Sets *bytes to the amount in the text: "512M", "64m", "1.5G", "2GiB", "4096": a number and an optional K, M, G or
 * T (powers of 1024; "iB" and "B" allowed, either case). A fraction needs K, M, G or T; fractions of a byte are
 * dropped. Returns false, with *bytes unchanged, for anything else: empty text, sign, blank, exponent, trailing
 * text, more than 2^63 - 1. */
bool organ_quantity_parse(const char *text, uint64_t *bytes);

/* Formats bytes as "640 B", "9.9 MB", "15.2 GB", "152 GB": decimal units, rounded half up, one decimal below 100 and
 * none from there on. 999.95 MB is "1.0 GB". Returns `out`. */
char *organ_quantity_text(uint64_t bytes, char out[16]);

/* Returns the decimal unit in which the amount has one to three digits before the point: "MB". Sets *factor to the
 * number by which bytes are multiplied to get that unit. */
const char *organ_quantity_unit(double bytes, double *factor);

/* Formats bytes as an option's value, "640K", "492M": rounded up to K, or to M from 10M on, so that
 * organ_quantity_parse returns at least `bytes`. Returns `out`. */
char *organ_quantity_option(uint64_t bytes, char out[24]);

/* Formats a duration as "0.34 s", "12.3 s", "4 min 05 s", "2 h 14 min", rounded half up; "unknown" for a negative,
 * infinite or NaN time and for 10^12 s and more. Returns `out`. */
char *organ_duration_text(double seconds, char out[24]);

/* Formats 1450103613 as "1,450,103,613". Returns `out`. */
char *organ_count_text(uint64_t count, char out[32]);

ORGAN_API_END

#endif
