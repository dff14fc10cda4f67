/* SPDX-License-Identifier: MIT
 * Conditions of a view held against documents: a path that none of them has makes a condition that never holds. */
#ifndef ORGAN_TEST_CONDITION_RIG_H
#define ORGAN_TEST_CONDITION_RIG_H

#include <jansson.h>
#include <stddef.h>

struct organ_view;

/* Every path that a condition of the view names, of its blocks, fields, items and words, as a key with false; to be
 * released. */
json_t *condition_paths(const struct organ_view *view);

/* Sets those to true that stand in this document where the condition looks for them. */
void condition_paths_meet(json_t *paths, const struct organ_view *view, const json_t *report);

/* Of each view that there are documents of, every path is in one of them, but for those that a table of rare ones
 * names. */
void conditions_must_name_members(json_t *const *documents, size_t count);

#endif
