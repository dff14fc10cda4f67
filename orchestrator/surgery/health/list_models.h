/* SPDX-License-Identifier: MIT
 * Lists the models in the caches of other programs, and what organ can do with each. */
#ifndef ORGAN_LIST_MODELS_H
#define ORGAN_LIST_MODELS_H

#include <organ/base.h>
#include <organ/stream.h>

#include <jansson.h>

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
