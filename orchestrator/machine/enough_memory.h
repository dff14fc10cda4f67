/* SPDX-License-Identifier: MIT
 * The error for work that does not fit --memory: one sentence with the amount that is enough. */
#ifndef ORGAN_ENOUGH_MEMORY_H
#define ORGAN_ENOUGH_MEMORY_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Returns true if `memory` bytes are enough. Must be monotonic: more memory is never insufficient. */
typedef bool organ_memory_fits(void *context, uint64_t memory);

/* Returns the least number of bytes above `given` that fits, or 2^62 if no smaller number does. `given` itself must
 * not fit. */
uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context);

/* Fails with ORGAN_USAGE "--memory 16M is too little for WHAT; --memory 493M is enough". The number is `enough`
 * rounded up to K, or to M from 10M on. */
organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Returns ORGAN_OK if `given` bytes fit. Otherwise fails like organ_memory_refuse, with the least amount that fits. */
organ_status organ_memory_require(organ_error *error, uint64_t given, organ_memory_fits *fits, void *context,
                                  const char *what, ...) __attribute__((format(printf, 5, 6)));

/* Appends to such a message ", or 21M with --scratch DIR", the amount that is enough if hidden states are in a file,
 * if that is less. Replaces an earlier offer. */
void organ_memory_offer_scratch(organ_error *error, uint64_t enough);

/* Returns the amount in such a message, or 0 for other messages. */
uint64_t organ_memory_named(const organ_error *error);

/* Combines the errors of two parts of one task. If memory was insufficient for both, `error` becomes the one with the
 * larger amount, with a --scratch offer if both have one. A fault in `other` alone is copied to `error`. Returns the
 * status of `error`. */
organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other);

/* Runs the check of another part of the task and combines the errors like organ_memory_refuse_both. Does not run it if
 * `error` is a fault other than a lack of memory. */
organ_status organ_memory_check_also(organ_status (*check)(void *context, organ_error *error), void *context,
                                     organ_error *error);

#endif
