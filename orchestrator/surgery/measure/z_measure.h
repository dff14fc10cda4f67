/* SPDX-License-Identifier: MIT
 * The Z-measure "z/1" of tensors: how far the distribution of their values is from that of noise. It says nothing about
 * how good a model is: damage can raise theta. */
#ifndef ORGAN_Z_MEASURE_H
#define ORGAN_Z_MEASURE_H

#include "formats/base/api.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/measure/z_result.h"

ORGAN_API_BEGIN

struct organ_z_subjects;

typedef struct organ_z_options {
    const bool *chosen; /* a flag per tensor of the model; NULL: all */
    bool seed;          /* the older measure besides */
    /* A weight has just been measured. One call at a time, on any thread, in any order; an error ends the measuring.
     * May be NULL. */
    organ_status (*finished)(void *context, const organ_weight *weight, const organ_z *z, organ_error *error);
    void *context;
    const struct organ_z_subjects *subjects; /* of the model, where the caller has found them; NULL: they are found */
} organ_z_options;

/* Measures the chosen tensors into out[0 .. model->tensor_count), which starts as zeros; tensors whose `done` is set
 * already are passed over. A packed weight is measured in the place of its codes, from the values that organ_dequantize
 * writes as BF16: codes times scales, rounded to that type; its companions are not measured. Block types of GGUF are
 * measured from the FP32 values that they stand for. A tensor that fits into its thread's part of engine->memory is
 * read once, a larger one twice. The same numbers to the last bit with any number of threads, any memory and on every
 * ISA of one machine. ORGAN_IO and ORGAN_BAD_INPUT as organ_weights_find and organ_model_read; ORGAN_USAGE if the
 * memory is too small; ORGAN_INTERRUPTED. */
organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error);

/* The least memory with which that is not refused. */
organ_status organ_measure_least(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                 uint64_t *least, organ_error *error);

/* All tensors. */
organ_status organ_measure_model(const organ_model *model, const organ_engine *engine, const organ_progress *progress,
                                 organ_z *out, organ_error *error);

ORGAN_API_END

#endif
