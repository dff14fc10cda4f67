/* SPDX-License-Identifier: MIT
 * Amounts of bytes as people write and read them. */
#ifndef ORGAN_QUANTITY_H
#define ORGAN_QUANTITY_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* "512M", "64m", "1.5G", "2GiB", "4096": a number and an optional K, M, G or T (powers of 1024; "iB" and "B" allowed,
 * either case). A fraction needs K, M, G or T; what is left of a byte is dropped. false, with *bytes untouched, for
 * anything else: empty, sign, blank, exponent, trailing text, more than 2^63 - 1. */
bool organ_quantity_parse(const char *text, uint64_t *bytes);

/* "640 B", "9.9 MB", "15.2 GB", "152 GB": decimal units, rounded half up, one decimal below 100 and none from there on.
 * 999.95 MB is "1.0 GB". Returns `out`. */
char *organ_quantity_text(uint64_t bytes, char out[16]);

/* The unit in which the amount has one to three digits before the point: "MB"; *factor x bytes are so many of it. */
const char *organ_quantity_unit(double bytes, double *factor);

/* "640K", "492M": the least number of K, of M from 10M on, that is at least so many bytes, as organ_quantity_parse
 * reads it. Returns `out`. */
char *organ_quantity_option(uint64_t bytes, char out[24]);

/* "0.34 s", "12.3 s", "4 min 05 s", "2 h 14 min", rounded half up; "unknown" for a negative, infinite or NaN time and
 * for 10^12 s and more. Returns `out`. */
char *organ_duration_text(double seconds, char out[24]);

/* 1450103613 -> "1,450,103,613". Returns `out`. */
char *organ_count_text(uint64_t count, char out[32]);

ORGAN_API_END

#endif
