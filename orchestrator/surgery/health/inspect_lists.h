/* SPDX-License-Identifier: MIT
 * Selection of the rows in the lists of organ.inspect/1. */
#ifndef ORGAN_INSPECT_LISTS_H
#define ORGAN_INSPECT_LISTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Options that select rows, and the names of lists that were cut. */
typedef struct organ_inspect_lists {
    const char *match; /* glob on names of tensors; NULL for all */
    bool tensors;      /* list every tensor, and every weight */
    size_t max;        /* largest number of rows of each list; 0: no limit */
    json_t *truncated; /* array of the names of lists that would have more than `max` rows */
} organ_inspect_lists;

/* Returns true if lists->match is NULL or the name matches it. */
bool organ_inspect_selects(const organ_inspect_lists *lists, const char *name);

/* Returns true if the list named `list`, which has `rows` rows, may get one more row: fewer than lists->max, or no
 * limit. Otherwise returns false and appends `list` to lists->truncated, unless it is the last name there. */
bool organ_inspect_has_room(const organ_inspect_lists *lists, const char *list, size_t rows);

#endif
