/* SPDX-License-Identifier: MIT
 * Which rows the lists of organ.inspect/1 take. */
#ifndef ORGAN_INSPECT_LISTS_H
#define ORGAN_INSPECT_LISTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct organ_inspect_lists {
    const char *match; /* glob on names of tensors; NULL for all */
    bool tensors;      /* list every tensor, and every weight */
    size_t most;       /* rows at most of each list; 0: no limit */
    json_t *cut;       /* names of the lists that are longer than shown */
} organ_inspect_lists;

/* Whether the name matches. */
bool organ_inspect_selects(const organ_inspect_lists *lists, const char *name);

/* Whether a list of `rows` rows may take one more. Where it may not, its name is added to lists->cut, once. */
bool organ_inspect_has_room(const organ_inspect_lists *lists, const char *list, size_t rows);

#endif
