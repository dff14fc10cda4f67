/* SPDX-License-Identifier: MIT
 * Reads from a model's files how it was made and how it is stored: from the report of the organ verb that wrote it,
 * from its quantization_config and from the types of its tensors. */
#ifndef ORGAN_OWN_REPORT_H
#define ORGAN_OWN_REPORT_H

#include <organ/models.h>

#include <jansson.h>

/* Returns the report `file`, such as "layers.json", of the verb that wrote the model: from its folder organ/, or next
 * to a single file X.gguf as X.layers.json. Adds the member "file", its path in the model's folder. The caller releases
 * it. Returns NULL without an error if there is no such file or if its schema is not `schema`, NULL with
 * ORGAN_BAD_INPUT in *error if it is no JSON. */
json_t *organ_own_report(const organ_model *model, const char *file, const char *schema, organ_error *error);

/* Returns {"by", "method", "scheme"}: the verb of organ that wrote the model, its method ("gptq"; "nearest" for
 * quantize without one; null for verbs without methods), and the scheme that quantize was asked for, else null. Without
 * a report of organ, "by" is null and "method" the quant_method of the model's quantization_config, null if there is
 * none. Returns NULL on error. */
json_t *organ_model_made(const organ_model *model, organ_error *error);

/* Returns {"as", "bits", "packed"}: how the projections are stored ("BF16"; "INT4 group 32"; "Q4_K, Q6_K", the type of
 * the most weights first), their bits per weight with scales, and whether any type is a quantised one. "as" and "bits"
 * are null if the model has no projections. Returns NULL on error. */
json_t *organ_model_stored(const organ_model *model, organ_error *error);

#endif
