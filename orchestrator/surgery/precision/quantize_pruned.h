/* SPDX-License-Identifier: MIT
 * Pruning and quantisation in one walk over a calibration text. Each matrix is pruned, then quantised, on the inputs
 * that the already pruned and quantised layers compute. */
#ifndef ORGAN_QUANTIZE_PRUNED_H
#define ORGAN_QUANTIZE_PRUNED_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/precision/quantize.h"

/* The targets that are quantised, and the size of the output. */
typedef struct organ_quantize_held {
    const organ_model *model;
    const organ_targets *targets; /* targets that the scheme can represent; the walk's target k is the k-th of
                                   * them */
    uint64_t codes, scales,
        other_bytes; /* bytes of their codes, of their scales, and of all other tensors of the output */
} organ_quantize_held;

/* The callbacks of a pruning method. */
typedef struct organ_quantize_pruning {
    void *context;
    const char *method;                  /* for messages */
    organ_calibration_inputs_of streams; /* as in organ_calibration_run_options */
    bool moments_only;
    size_t reserve; /* as in organ_calibration_run_options */
    uint64_t seed;
    bool rows; /* as in organ_calibration_work */
    /* Upper bound of its memory in bytes, including `keep`, as in organ_calibration_work. */
    uint64_t (*memory)(void *context, uint64_t rows, uint64_t cols);
    /* Prunes `weights`, rows x cols, and sets `keep` to 0 for each weight that it removes, to 1 for all others. */
    organ_status (*prune)(void *context, const organ_calibration_matrix *matrix, float *weights, uint8_t *keep,
                          organ_error *error);
    json_t *(*parameters)(void *context); /* "pruning" of the parameters */
    organ_plan_solve solve;               /* work of `prune`, for the plan of a dry run */
    /* The remaining callbacks may be NULL. `open` runs once the targets are selected; it checks that memory and text
     * suffice for `begin`. */
    organ_status (*open)(void *context, const organ_quantize_held *held, organ_error *error);
    void (*estimate)(void *context, organ_plan *plan); /* adds the work of `begin` */
    /* Runs before the first matrix of a run. */
    organ_status (*begin)(void *context, organ_writing *run, organ_error *error);
    json_t *(*allocation)(void *context); /* "sparsity_allocation" of the document */
    void (*close)(void *context);         /* runs after success and after errors, while the model is open */
} organ_quantize_pruning;

/* Runs organ_quantize_model with method gptq, which `options` must name, and prunes each matrix before. A target that
 * the scheme cannot represent is not pruned. Returns ORGAN_USAGE if the scheme is one of GGUF models. */
organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

#endif
