/* SPDX-License-Identifier: MIT
 * Errors for work that needs more than --memory: each message states an amount that is enough. */
#ifndef ORGAN_MACHINE_QUANTITY_H
#define ORGAN_MACHINE_QUANTITY_H

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returns true if `memory` bytes are enough for the work of `context`. Must be monotonic: if some amount is enough,
 * every larger one is too. */
typedef bool organ_memory_fits(void *context, uint64_t memory);

/* Returns the least number of bytes above `given` for which `fits` returns true, or 2^62 if no smaller number does.
 * `given` itself must not fit. */
uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context);

/* Reports ORGAN_USAGE: "--memory 16M is too little for WHAT; --memory 493M is enough". The second number is `enough`
 * as organ_quantity_option writes it. `what` is formatted like printf. */
organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends ", or 21M with --scratch DIR" to a message of organ_memory_refuse: `enough` bytes suffice if hidden states
 * are in a file. First removes the text that an earlier call appended. Appends nothing unless `enough` is less than the
 * amount in the message. */
void organ_memory_offer_scratch(organ_error *error, uint64_t enough);

/* Returns the bytes that a message of organ_memory_refuse calls enough, or 0 for other messages. */
uint64_t organ_memory_named(const organ_error *error);

/* Return the bytes that such a message calls enough with `moments` blocks, and with `scratch`; 0: it does not say. */
uint64_t organ_memory_with_blocks(const organ_error *error);
uint64_t organ_memory_with_scratch(const organ_error *error);

/* Combines the errors of two parts of one task. If memory was insufficient for both, `error` becomes the one with the
 * larger amount, and its message offers the amount that is enough for both with --scratch, if that is less. If only
 * `other` is an error, copies it to `error`. Returns the status of `error`. */
organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other);

/* Runs `check` for another part of the task and combines its error with `error` like organ_memory_refuse_both. Does
 * not run it if `error` is a fault other than a lack of memory. */
organ_status organ_memory_check_also(organ_status (*check)(void *context, organ_error *error), void *context,
                                     organ_error *error);

/* Formats an amount of memory as "9 MiB", "1.5 GiB", "2176 MiB": exactly, in the largest unit in which it has at most
 * one decimal and four digits before it. Other amounts are rounded half up, "62.8 GiB", with one decimal below 100 and
 * none from there on. Sizes of files have decimal units (organ_quantity_text). Returns `out`. */
char *organ_memory_text(uint64_t bytes, char out[16]);

/* Returns the seconds of a monotonic clock; only differences are meaningful. */
double organ_seconds_now(void);

/* Returns `seconds`, still in seconds, rounded to a multiple of 0.001: reports state milliseconds. */
double organ_rounded_seconds(double seconds);

/* Writes `s` as one word of a POSIX shell, in single quotes if necessary. A word with control characters is written
 * in bash's notation $'...'. */
void organ_shell_word(FILE *out, const char *s);

/* ---- sizes, counts and positions ---- */

static inline size_t organ_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t organ_max(size_t a, size_t b) { return a > b ? a : b; }

/* Returns the greatest common divisor; if one number is 0, the other one. */
static inline uint64_t organ_common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Returns whole / each, rounded up: the number of pieces of size `each` that cover `whole`. */
static inline size_t organ_pieces_of(size_t whole, size_t each) { return whole / each + (whole % each != 0); }

/* Returns `bytes` rounded up to a multiple of 64, the bytes of a cache line. */
static inline size_t organ_to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
