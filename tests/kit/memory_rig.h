/* SPDX-License-Identifier: MIT
 * Makes allocations fail on request. A program with this is linked with --wrap for malloc, calloc and realloc. */
#ifndef ORGAN_TEST_MEMORY_RIG_H
#define ORGAN_TEST_MEMORY_RIG_H

#include <jansson.h>
#include <stdbool.h>

/* Lets `granted` more allocations succeed and the next one fail, until memory_returns. memory_returns returns true if
 * that allocation was never made. */
void memory_fails_after(long granted);
bool memory_returns(void);

/* Sets whether allocations of the JSON library count (default: not). */
void memory_counts_json(bool counts);

/* Makes the page of a report while the allocation after `granted` ones fails: the page must be complete or absent.
 * Returns true if complete. */
bool memory_of_page(const json_t *report, long granted);

#endif
