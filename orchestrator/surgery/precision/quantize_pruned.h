/* SPDX-License-Identifier: MIT
 * Quantisation by a text of a model that is pruned on the way: each matrix is pruned, then gets its codes, by the
 * inputs that it has behind the layers that have both already. */
#ifndef ORGAN_QUANTIZE_PRUNED_H
#define ORGAN_QUANTIZE_PRUNED_H

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/precision/quantize.h"

/* What becomes codes. */
typedef struct organ_quantize_held {
    const organ_model *model;
    const organ_targets *targets;    /* that the scheme can hold: target k of the walk is the k-th of them */
    uint64_t codes, scales, besides; /* bytes of their codes and scales, and of all else in the output's tensors */
} organ_quantize_held;

/* How a matrix is pruned. */
typedef struct organ_quantize_pruning {
    void *context;
    const char *method;          /* for messages */
    organ_along_streams streams; /* as in organ_along_options */
    bool moments_only;
    size_t reserve; /* as in organ_along_options */
    uint64_t seed;
    bool rows; /* as in organ_along_work */
    /* Bytes that it takes at most, `keep` among them; the rest as in organ_along_work. */
    uint64_t (*memory)(void *context, uint64_t rows, uint64_t cols);
    /* Changes weights, rows x cols; keep becomes 1 for what may have a code, and 0 for what is zero. */
    organ_status (*prune)(void *context, const organ_along_matrix *matrix, float *weights, uint8_t *keep,
                          organ_error *error);
    json_t *(*parameters)(void *context); /* "pruning" of the parameters */
    organ_plan_solve solve;               /* the work of that, for the plan of a dry run */
    /* The rest may be NULL. What is to become codes is known: whether memory and text are enough for what `begin` does
     * is seen here. */
    organ_status (*open)(void *context, const organ_quantize_held *held, organ_error *error);
    void (*foresee)(void *context, organ_plan *plan); /* adds what `begin` takes */
    /* Before the first matrix of a run. */
    organ_status (*begin)(void *context, organ_writing *run, organ_error *error);
    json_t *(*allocation)(void *context); /* "sparsity_allocation" of the document */
    void (*close)(void *context);         /* while the model is still open, whatever has happened */
} organ_quantize_pruning;

/* organ_quantize_model with method gptq, which the options have. A target that the scheme cannot hold is not pruned
 * either. ORGAN_USAGE for a scheme of GGUF models. */
organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

#endif
