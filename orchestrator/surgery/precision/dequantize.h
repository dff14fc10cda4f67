/* SPDX-License-Identifier: MIT
 * Dequantisation: writes a model without packed tensors. The values that codes, scales and zero points represent become
 * tensors of a plain type, under the names that the plain model has. */
#ifndef ORGAN_DEQUANTIZE_H
#define ORGAN_DEQUANTIZE_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

/* Options of organ dequantize. */
typedef struct organ_dequantize_options {
    const char *model; /* path of the model */
    const char *dtype; /* type of the unpacked tensors: "bf16", "f16" or "f32" */
    organ_write_options write;
} organ_dequantize_options;

/* Writes a copy of the model in which every packed weight is converted to `dtype`.
 *
 * Plain tensors keep their type and bytes. If the model has no packed tensors, the copy is only re-sharded, and a note
 * reports that. Packed tensors, their scales and zero points are removed from the shards, the index and config.json;
 * torch_dtype becomes `dtype` if a tensor was packed. quantize_config.json and similar files are left out; all other
 * files are copied. A GGUF model becomes one GGUF file. The report has the number of infinite and NaN values of each
 * converted weight.
 *
 * *report is schema organ.dequantize/1, or NULL on error; the caller releases it. It is also written with
 * DEQUANTIZE_REPORT.md to organ/ in the output folder, or next to a single output file under that file's name. A run
 * that ends with ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors leaves them in .NAME.organ-partial, and
 * `resume` continues it to the same bytes.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid;
 *   - ORGAN_BAD_INPUT if the model is malformed, has an unsupported packing, or changed during the run, or if the
 *     first or the last layer of the output gives other results (not checked for a single safetensors file);
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested.
 * With `evaluate` also returns the errors of organ_perplexity, before the first write if they can be detected then.
 * After a later error of the evaluation the finished output stays, and *report is set and contains the reason. */
organ_status organ_dequantize_model(const organ_dequantize_options *options, const organ_engine *engine,
                                    const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
