/* SPDX-License-Identifier: MIT
 * Settings of a config.json that were left over: sparsity_config, also inside of quantization_config or
 * compression_config, tells of a sparse storage that the tensors no longer have, and servers refuse a model for it.
 * Every verb that writes a config.json leaves it out, says so in a note and names it in its document as
 * "left_out_settings". */
#ifndef ORGAN_LEFTOVERS_H
#define ORGAN_LEFTOVERS_H

#include "formats/base/json_edit.h"
#include "formats/model/model.h"
#include "orchestrator/stream/progress.h"

#include <jansson.h>

/* Takes them out of the text of the model's config.json, unless tensors are stored so; adds to *stripped how many there
 * were. */
organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error);

/* The same of the copy of that config.json in the directory `to`, which is written anew where there are some. NULL:
 * they are counted. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error);

void organ_leftovers_note(const organ_progress *progress, size_t stripped);

/* Adds the member to a document, where some were left out. */
void organ_leftovers_tell(json_t *document, size_t stripped);

#endif
