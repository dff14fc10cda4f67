/* SPDX-License-Identifier: MIT
 * Removes obsolete settings from config.json. sparsity_config, at the top or inside quantization_config or
 * compression_config, describes a sparse storage that the tensors no longer have, and servers reject a model because of
 * it. Every verb that writes a config.json omits it, prints a note and lists it in its document as
 * "left_out_settings". */
#ifndef ORGAN_LEFTOVERS_H
#define ORGAN_LEFTOVERS_H

#include "formats/base/json_edit.h"
#include <organ/models.h>
#include <organ/stream.h>

#include <jansson.h>

/* Removes obsolete settings from `config`, the text of the model's config.json, and adds their number to *stripped.
 * Does nothing if tensors of the model are stored in the sparse format that the settings describe. */
organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error);

/* Removes obsolete settings from the copy of the model's config.json in the directory `to`, and adds their number to
 * *stripped. If `to` is NULL, only counts them. Does nothing for GGUF models, organ directories, and models without
 * config.json. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error);

/* Prints a note if `stripped`, the number of removed settings, is not 0. */
void organ_leftovers_note(const organ_progress *progress, size_t stripped);

/* Adds the member "left_out_settings" to a document if settings were removed. */
void organ_leftovers_report(json_t *document, size_t stripped);

#endif
