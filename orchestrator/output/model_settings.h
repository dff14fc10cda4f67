/* SPDX-License-Identifier: MIT
 * Compares the settings of models, in config.json or the key-values of GGUF files, on which the function of the weights
 * depends. Tensors of equal names and shapes can belong to models with other functions. */
#ifndef ORGAN_OUTPUT_MODEL_SETTINGS_H
#define ORGAN_OUTPUT_MODEL_SETTINGS_H

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>

/* A model whose settings are compared. */
typedef struct organ_settings_side {
    const organ_model *model;
    const char *label; /* its name in rows and sentences */
} organ_settings_side;

/* Bytes of the values of one model in a row. */
#define ORGAN_SETTINGS_VALUE 64

/* Returns the architecture of the text model: the class of transformers, or general.architecture of a GGUF file; "" if
 * the model does not state it. */
const char *organ_settings_architecture(const organ_model *model, char out[96]);

/* Returns whether both models have the same architecture, in files of either format. A model that does not state its
 * architecture, and one in safetensors that llama.cpp lacks beside a GGUF file, agree with every model. */
bool organ_settings_agree(const organ_model *a, const organ_model *b);

/* Appends to `rows` an object {"what": "architecture", "values": "A: 1, B: 2"} if two of the models differ in it.
 * Returns ORGAN_IO if memory runs out. */
organ_status organ_settings_compare_architectures(const organ_settings_side *sides, size_t count, json_t *rows,
                                                  organ_error *error);

/* Appends such a row to `rows` for each setting in which two of the models differ. A member that is missing has the
 * default of transformers. Some settings are compared between models of one format only, because the other format
 * states them in another way; the model `form` then decides the format. `by_layer`: layers with the same number
 * correspond, so their number and their structure are compared too. Appends to `notes` a sentence for each model whose
 * settings organ cannot read. Returns ORGAN_IO if memory runs out.
 */
organ_status organ_settings_compare(const organ_settings_side *sides, size_t count, size_t form, bool by_layer,
                                    json_t *rows, json_t *notes, organ_error *error);

/* Appends to `sentences` "the models differ in WHAT: VALUES" for each row of organ_settings_compare. */
void organ_settings_say(const json_t *rows, json_t *sentences);

/* Appends a row to `rows`; `values` has a text for each model, NULL: the row leaves the model out. */
organ_status organ_settings_row(const organ_settings_side *sides, size_t count, const char *what,
                                const char *const *values, json_t *rows, organ_error *error);

#endif
