/* SPDX-License-Identifier: MIT
 * Obsolete settings of a config.json: sparsity_config, also inside quantization_config or compression_config, describes
 * a sparse storage that the tensors no longer have, and servers reject a model because of it. Every verb that writes a
 * config.json omits it, prints a note and lists it in its document as "left_out_settings". */
#ifndef ORGAN_LEFTOVERS_H
#define ORGAN_LEFTOVERS_H

#include "formats/base/json_edit.h"
#include "formats/model/model.h"
#include "orchestrator/stream/progress.h"

#include <jansson.h>

/* Removes these settings from the text of the model's config.json, unless tensors are stored in such a format; adds
 * their number to *stripped. */
organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error);

/* Removes these settings from the copy of config.json in the directory `to`, and rewrites the copy if it has any. NULL:
 * only counts them. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error);

void organ_leftovers_note(const organ_progress *progress, size_t stripped);

/* Adds the member "left_out_settings" to a document if settings were removed. */
void organ_leftovers_report(json_t *document, size_t stripped);

#endif
