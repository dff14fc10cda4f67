/* SPDX-License-Identifier: MIT
 * Pruning and quantisation in one run over a calibration text. Each matrix is pruned, then quantised, on the inputs
 * that the already pruned and quantised layers compute. */
#ifndef ORGAN_QUANTIZE_PRUNED_H
#define ORGAN_QUANTIZE_PRUNED_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/precision/quantize.h"

/* The targets that are quantised, and the sizes of the output, for `open`. */
typedef struct organ_quantize_held {
    const organ_model *model;
    /* Targets that the scheme can represent; target k of the calibration is the k-th of them. */
    const organ_targets *targets;
    uint64_t codes, scales,
        other_bytes; /* bytes in the output: of the targets' codes, of their scales, of all other tensors */
} organ_quantize_held;

/* A pruning method. The callbacks get `context`. */
typedef struct organ_quantize_pruning {
    void *context;
    const char *method;                  /* name for messages */
    organ_calibration_inputs_of streams; /* as in organ_calibration_run_options */
    bool moments_only;                   /* as in organ_calibration_run_options */
    size_t reserve;                      /* as in organ_calibration_run_options */
    uint64_t seed;                       /* as in organ_calibration_run_options */
    bool rows;                           /* as in organ_calibration_work */
    /* Returns an upper bound of the bytes that `prune` needs for a matrix of rows x cols, including `keep`, as
     * organ_calibration_work.memory. */
    uint64_t (*memory)(void *context, uint64_t rows, uint64_t cols);
    /* Prunes `weights`, rows x cols, and sets `keep` to 0 for each weight that it removes, to 1 for all others. */
    organ_status (*prune)(void *context, const organ_calibration_matrix *matrix, float *weights, uint8_t *keep,
                          organ_error *error);
    json_t *(*parameters)(void *context); /* returns the member "pruning" of the parameters */
    organ_plan_solve solve;               /* work of `prune`, for the plan of a dry run */
    /* The remaining callbacks may be NULL. Called after the targets are selected; checks that memory and text suffice
     * for `begin`. */
    organ_status (*open)(void *context, const organ_quantize_held *held, organ_error *error);
    void (*estimate)(void *context, organ_plan *plan); /* adds the work of `begin` */
    /* Runs before the first matrix of a run. */
    organ_status (*begin)(void *context, organ_writing *run, organ_error *error);
    json_t *(*allocation)(void *context); /* returns the member "sparsity_allocation" of the report */
    void (*close)(void *context);         /* runs after success and after errors, while the model is open */
} organ_quantize_pruning;

/* Same as organ_quantize_model with method gptq, which `options` must name, but prunes each matrix first. A target that
 * the scheme cannot represent is not pruned. Returns ORGAN_USAGE if the scheme is one of GGUF models. */
organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

#endif
