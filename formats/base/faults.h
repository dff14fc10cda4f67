/* SPDX-License-Identifier: MIT
 * Collects all faults of a file. A reader normally stops at the first fault. A caller that needs a list of all
 * faults passes an organ_faults, and the reader reports to it each fault after which it can continue. */
#ifndef ORGAN_FAULTS_H
#define ORGAN_FAULTS_H

#include <organ/base.h>

#include <stdbool.h>

/* Receives the faults of a file: each is passed to one call of `take`. */
typedef struct organ_faults {
    void (*take)(void *context, const char *message); /* receives one message of organ_fail */
    void *context;                                    /* the caller's, passed to `take` */
} organ_faults;

/* If `error` is a fault of the input (ORGAN_BAD_INPUT), passes its message to faults->take, clears `error` and returns
 * true. Returns false and leaves `error` unchanged for other errors and if `faults` is NULL. */
bool organ_faults_take(const organ_faults *faults, organ_error *error);

#endif
