/* SPDX-License-Identifier: MIT
 * Classifies each tensor of a model: a weight, the codes of a packed weight, or a companion of one. */
#ifndef ORGAN_VERBS_INSPECT_INSPECT_PARTS_H
#define ORGAN_VERBS_INSPECT_INSPECT_PARTS_H

#include "orchestrator/output/inputs.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/stream.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stddef.h>

/* A tensor and its part in a weight. */
typedef struct organ_inspect_part {
    const organ_tensor *tensor;
    organ_anatomy anatomy; /* of the weight to which the tensor belongs; without one, of the tensor */
    bool weight;   /* the tensor is a weight or its codes, and all following members describe the weight; otherwise the
                    * tensor adds bytes but no elements */
    unsigned rank; /* shape of the weight */
    const uint64_t *shape;
    uint64_t elements; /* elements of the weight */
} organ_inspect_part;

/* Returns an array with one part for each tensor of the model, in the model's order; the caller frees it with
 * organ_rows_free. NULL if memory runs out. If `weights` is NULL, every tensor counts as a weight of its stored shape.
 */
organ_inspect_part *organ_inspect_parts_of(const organ_model *model, const organ_weights *weights);

/* ---- selection of the rows in the lists of organ.inspect/1 ---- */

/* Options that select rows, and the names of lists that were cut. */
typedef struct organ_inspect_lists {
    const char *match;                /* the value of --select; NULL for all */
    const organ_selection *selection; /* the same, parsed */
    bool tensors;                     /* list every tensor, and every weight */
    size_t max;                       /* largest number of rows of each list; 0: no limit */
    json_t *truncated;                /* array of the names of lists that would have more than `max` rows */
} organ_inspect_lists;

/* Returns true if --select selects the tensor or weight. */
bool organ_inspect_selects(const organ_inspect_lists *lists, const char *name, const organ_anatomy *anatomy);

/* Returns true if the list named `list`, which has `rows` rows, may get one more row: fewer than lists->max, or no
 * limit. Otherwise returns false and appends `list` to lists->truncated, unless it is the last name there. */
bool organ_inspect_has_room(const organ_inspect_lists *lists, const char *list, size_t rows);

/* ---- the part of organ.inspect/1 that describes the quantisation ---- */

/* Returns the value of the member "quantization": null for a model that has none of the following: packed weights,
 * tensors that belong to no weight, notes, a method. If `weights` is NULL, because the weights could not be found, the
 * object has only the members "method" and "found". Lists the packed weights if lists->tensors is set. If memory runs
 * out, rows are missing, and organ_memory_refusals counts the failure. */
json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights);

/* ---- --for ---- */

/* Returns the member "readers": a row for each bit 1 << organ_reader of `readers`. NULL after an error. */
json_t *organ_inspect_readers(const organ_model *model, const organ_weights *weights, unsigned readers,
                              organ_error *error);

/* ---- models in the caches of other programs, and what organ can do with each ---- */

/* Options of organ_models. */
typedef struct organ_models_options {
    const char *match; /* glob on names: only these are listed; NULL: all */
} organ_models_options;

/* Reads the headers of all models in the caches, but no weights, and creates the report of schema organ.models/1,
 * ordered by store and name. A model that cannot be opened is a row with the reason. Returns ORGAN_IO if a folder
 * cannot be listed or memory is exhausted, or ORGAN_INTERRUPTED; *report is NULL after an error. The caller releases
 * *report. */
organ_status organ_models(const organ_models_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

#endif
