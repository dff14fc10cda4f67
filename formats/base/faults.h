/* SPDX-License-Identifier: MIT
 * For who wants to know of every fault of a file: a reader hands over the faults after which it can go on. */
#ifndef ORGAN_FAULTS_H
#define ORGAN_FAULTS_H

#include "formats/base/status.h"

#include <stdbool.h>

typedef struct organ_faults {
    void (*take)(void *context, const char *message); /* one sentence, as organ_fail makes it */
    void *context;
} organ_faults;

/* Whether the fault was taken and `error` is empty again: only faults of the input (ORGAN_BAD_INPUT) are, and none
 * where `faults` is NULL.
 */
bool organ_faults_take(const organ_faults *faults, organ_error *error);

#endif
