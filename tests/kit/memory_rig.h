/* SPDX-License-Identifier: MIT
 * Memory that runs out when a test says so. A program with this is linked with --wrap for malloc, calloc and realloc.
 */
#ifndef ORGAN_TEST_MEMORY_RIG_H
#define ORGAN_TEST_MEMORY_RIG_H

#include <jansson.h>
#include <stdbool.h>

/* From here on the allocation after `granted` more fails, it alone, until memory_returns; true: it never came to that
 * one. */
void memory_fails_after(long granted);
bool memory_returns(void);

/* Whether the allocations of the JSON library count as well; they do not at first. */
void memory_counts_json(bool counts);

/* The page of a report while memory fails after `granted` allocations: it is whole or there is none, else the test
 * fails. True: whole. */
bool memory_of_page(const json_t *report, long granted);

#endif
