/* SPDX-License-Identifier: MIT
 * Pruning and quantisation in one run over a calibration text. Each matrix is pruned, then quantised, on the inputs
 * that the already pruned and quantised layers compute. */
#ifndef ORGAN_QUANTIZE_PRUNED_H
#define ORGAN_QUANTIZE_PRUNED_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/write/write.h"
#include <organ/quantize.h>

/* Argument of organ_quantize_pruning.open: the targets that are quantised, and the sizes of the output. */
typedef struct organ_quantize_held {
    const organ_model *model;
    /* Targets that the scheme can represent. organ_calibration_matrix.target is an index of this list. */
    const organ_targets *targets;
    uint64_t codes, scales; /* bytes that codes, and scales, of all targets have in the output */
    uint64_t other_bytes;   /* bytes that all other tensors have in the output */
} organ_quantize_held;

/* A pruning method. All callbacks get `context` as first argument. */
typedef struct organ_quantize_pruning {
    void *context;
    const char *method;                  /* name of the method, for messages */
    organ_calibration_inputs_of streams; /* the inputs on which matrices are calibrated */
    bool moments_only; /* the calibration computes second moments only: organ_calibration_run_options */
    size_t reserve;    /* tokens of the text that calibration windows leave for `begin` */
    uint64_t seed;     /* of the noise with which the calibration measures stability */
    bool rows;         /* `prune` can share the rows of a matrix among ranks */
    /* Returns an upper bound of the bytes that `prune` needs for a matrix of rows x cols, including `keep`, but without
     * its weights and its calibration. */
    uint64_t (*memory)(void *context, uint64_t rows, uint64_t cols);
    /* Prunes `weights`, rows x cols. Sets keep[i * cols + j] to 0 if it removes weight (i, j), else to 1. */
    organ_status (*prune)(void *context, const organ_calibration_matrix *matrix, float *weights, uint8_t *keep,
                          organ_error *error);
    json_t *(*parameters)(void *context); /* returns the member "pruning" of the parameters */
    organ_plan_solve solve;               /* work of `prune`, for the plan of a dry run */
    /* All callbacks below may be NULL. `open` is called after the targets are selected; it checks that memory and text
     * suffice for `begin`. */
    organ_status (*open)(void *context, const organ_quantize_held *held, organ_error *error);
    void (*estimate)(void *context, organ_plan *plan); /* adds the work of `begin` to the plan of a dry run */
    /* Called once, before the first matrix is pruned. */
    organ_status (*begin)(void *context, organ_writing *run, organ_error *error);
    json_t *(*allocation)(void *context); /* returns the member "sparsity_allocation" of the report */
    void (*close)(void *context);         /* called at the end, also after an error; the model is still open */
} organ_quantize_pruning;

/* Same as organ_quantize with method gptq, which `options` must name, but prunes each matrix first. A target that
 * the scheme cannot represent is not pruned. Returns ORGAN_USAGE if the scheme is one of GGUF models. With `pruning`
 * NULL it is organ_quantize. */
organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

#endif
