/* SPDX-License-Identifier: MIT
 * Turns quantised safetensors models of AWQ, GPTQ and compressed-tensors into each other with the same codes, scales
 * and zero points: the part of `organ convert` that no value is computed for. */
#ifndef ORGAN_SURGERY_REPACK_REPACK_H
#define ORGAN_SURGERY_REPACK_REPACK_H

#include <organ/convert.h>

/* Runs a conversion whose options have a `format`. Returns
 * - ORGAN_USAGE if other options have no meaning with it, or the model is no quantised model of another of the formats;
 * - ORGAN_BAD_INPUT, naming tensor or member and the reason, if the format cannot express a part of the model;
 * - the other errors of organ_convert. */
organ_status organ_repack(const organ_convert_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

#endif
