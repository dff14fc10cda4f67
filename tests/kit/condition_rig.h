/* SPDX-License-Identifier: MIT
 * Compares the conditions of a view with documents: a path that no document has makes a condition that is never
 * true. */
#ifndef ORGAN_TEST_CONDITION_RIG_H
#define ORGAN_TEST_CONDITION_RIG_H

#include <jansson.h>
#include <stddef.h>

struct organ_view;

/* Returns every path in a condition of the view's blocks, fields, items and words, as a key with false; the caller
 * releases it. */
json_t *condition_paths(const struct organ_view *view);

/* Sets those paths to true that the document has where the condition reads them. */
void condition_paths_meet(json_t *paths, const struct organ_view *view, const json_t *report);

/* Checks for each view with documents that one of them has every path of its conditions, except paths in a table of
 * rare ones. */
void conditions_must_name_members(json_t *const *documents, size_t count);

#endif
