/* SPDX-License-Identifier: MIT
 * The Z-measure "z/1" of tensors: how far the distribution of their values is from that of noise. It says nothing about how good a model
 * is: damage can raise theta. */
#ifndef ORGAN_Z_MEASURE_H
#define ORGAN_Z_MEASURE_H

#include "formats/api.h"
#include "formats/weights.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"

ORGAN_API_BEGIN

#define ORGAN_Z_DEFINITION    "z/1"
#define ORGAN_SEED_DEFINITION "seed/1" /* the older measure: seed_measure.h */
#define ORGAN_Z_LEVELS        65536    /* distinct values are counted exactly up to here */

/* The older measure of a tensor, where it was asked for. */
typedef struct organ_seed_z {
    bool there;     /* all below is set */
    double e, k, c; /* entropy, kurtosis, spacings: 0 to 1 */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */
    unsigned scales;
    double dI_dlog2s; /* where scales >= 2 */
} organ_seed_z;

typedef struct organ_z {
    bool done;          /* this tensor was measured: all below is set */
    const char *reason; /* why there is no theta, one static sentence; NULL where there is one */

    /* Where there is a theta. */
    double e, k, c; /* entropy, kurtosis, scale coherence: 0 (noise) to 1 */
    double power;   /* their mean S */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */

    /* Of the finite values; all 0 where the type cannot be read. */
    organ_moments moments;
    double std;      /* of the whole, not of a sample */
    double kurtosis; /* excess; 0 where std is 0 */
    uint32_t levels; /* distinct values, -0 and +0 being one; ORGAN_Z_LEVELS + 1: more than ORGAN_Z_LEVELS */

    /* Over scales 1, 2, 4 ... at which there are at least 16 pairwise means along the rows and they differ; an unpaired end of a row is
     * left out. */
    unsigned scales;       /* how many */
    double dI_dlog2s;      /* bits per octave: -0.5 for noise, 0 for what survives scaling; where scales >= 2 */
    double coherence;      /* clamp(1 + 2 dI_dlog2s, 0, 1); where scales >= 2 */
    double information[5]; /* I(s): h + log2 of the standard deviation, for those scales */

    organ_seed_z seed; /* there only with organ_z_options.seed */
} organ_z;

struct organ_z_subjects;

typedef struct organ_z_options {
    const bool *chosen; /* a flag per tensor of the model; NULL: all */
    bool seed;          /* the older measure besides */
    /* A weight has just been measured. One call at a time, on any thread, in any order; an error ends the measuring. May be NULL. */
    organ_status (*finished)(void *context, const organ_weight *weight, const organ_z *z, organ_error *error);
    void *context;
    const struct organ_z_subjects *subjects; /* of the model, where the caller has found them; NULL: they are found */
} organ_z_options;

/* Measures the chosen tensors into out[0 .. model->tensor_count), which starts as zeros; tensors whose `done` is set already are passed
 * over. A packed weight is measured in the place of its codes, from the values that organ_dequantize writes as BF16: codes times scales,
 * rounded to that type; its companions are not measured. Block types of GGUF are measured from the FP32 values that they stand for. A
 * tensor that fits into its thread's part of engine->memory is read once, a larger one twice. The same numbers to the last bit with any
 * number of threads, any memory and on every ISA of one machine. ORGAN_IO and ORGAN_BAD_INPUT as organ_weights_find and organ_model_read;
 * ORGAN_USAGE if the memory is too small; ORGAN_INTERRUPTED. */
organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error);

/* All tensors. */
organ_status organ_measure_model(const organ_model *model, const organ_engine *engine, const organ_progress *progress, organ_z *out,
                                 organ_error *error);

ORGAN_API_END

#endif
