/* SPDX-License-Identifier: MIT
 * The measure "z/1" of tensors: theta, which says how far the distribution of their values is from noise. It does not
 * measure the quality of a model: damage can raise theta. */
#ifndef ORGAN_Z_MEASURE_H
#define ORGAN_Z_MEASURE_H

#include "formats/base/api.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/measure/z_result.h"

ORGAN_API_BEGIN

struct organ_z_subjects;

/* Options of organ_measure_tensors. */
typedef struct organ_z_options {
    const bool *chosen; /* for each tensor of the model: measure the weight whose codes it is; NULL: all weights */
    bool seed;          /* also compute the older measure seed/1 */
    /* Called after each weight is measured: one call at a time, on any thread, in any order. An error ends the
     * measurement. NULL: not called. */
    organ_status (*finished)(void *context, const organ_weight *weight, const organ_z *z, organ_error *error);
    void *context;
    /* Weights of the model, if the caller has found them; NULL: organ_measure_tensors finds them. */
    const struct organ_z_subjects *subjects;
} organ_z_options;

/* Measures the chosen tensors into out[0 .. model->tensor_count), which the caller sets to zeros; skips those whose
 * out[].done is already set. A packed weight is measured at the index of its codes, from the values that
 * organ_dequantize writes as BF16: codes times scales, rounded to that type; its companions are not measured. GGUF
 * blocks are measured from their FP32 values. A tensor that fits into its thread's part of engine->memory is read once,
 * a larger one twice; of a remote model also a larger one once, through a file without a name (unnamed_file.h), if
 * files are allowed and the disk has room. Results are bit-identical for any number of threads, any memory and every
 * ISA of one machine. Returns errors of organ_weights_find and organ_model_read; ORGAN_USAGE if the memory is too
 * small; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error);

/* Sets *least to the smallest engine->memory, in bytes, that organ_measure_tensors accepts; 0 if there is nothing to
 * measure. Ignores options->subjects. Returns errors of organ_weights_find and of the headers of packed weights. */
organ_status organ_measure_min(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                               uint64_t *least, organ_error *error);

/* Same as organ_measure_tensors for all tensors. */
organ_status organ_measure_model(const organ_model *model, const organ_engine *engine, const organ_progress *progress,
                                 organ_z *out, organ_error *error);

ORGAN_API_END

#endif
