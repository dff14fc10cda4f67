/* SPDX-License-Identifier: MIT
 * The refusal of work for which --memory is too little: one sentence, which names what is enough. */
#ifndef ORGAN_ENOUGH_MEMORY_H
#define ORGAN_ENOUGH_MEMORY_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether so many bytes do. More never do less. */
typedef bool organ_memory_fits(void *context, uint64_t memory);

/* The least number of bytes that does, above `given`, which does not; 2^62 where less does not do either. */
uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context);

/* ORGAN_USAGE "--memory 16M is too little for WHAT; --memory 493M is enough". The number is the least in K, from 10M on
 * in M, that is not below `enough`. */
organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds to such a message what is enough where hidden states are not in memory, if that is less: ", or 21M with
 * --scratch DIR"; in place of what it may offer already. */
void organ_memory_offer_scratch(organ_error *error, uint64_t enough);

/* What such a message names; 0: it is none. */
uint64_t organ_memory_named(const organ_error *error);

/* After the second of two parts of one work was tried, as `other` says: where memory was refused to both, `error`
 * becomes the refusal that names more, and offers what both offer; a fault of `other` alone becomes that of `error`.
 * Its status. */
organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other);

#endif
