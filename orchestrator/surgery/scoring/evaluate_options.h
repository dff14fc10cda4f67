/* SPDX-License-Identifier: MIT
 * Options of the operations that score models on a text. */
#ifndef ORGAN_EVALUATE_OPTIONS_H
#define ORGAN_EVALUATE_OPTIONS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* The text, and how it is scored. */
typedef struct organ_experiment_options {
    const char *text; /* path of the text */
    /* How the text is cut into windows, and which tokens are scored: "hf", "llama.cpp", "lm-eval"; NULL: "hf". */
    const char *style;
    /* Tokens of a window; 0: 512 for llama.cpp, else 2048, but at most the context for which the model was trained. */
    unsigned context;
    unsigned max_tokens; /* number of tokens from the beginning of the text that are used; 0: all */
    const char *output;  /* directory to create for the reports; NULL: none */
    bool force;          /* replace an existing directory of such reports */
    bool imatrix; /* --write-imatrix: the directory also gets imatrix.gguf, the importance matrix of the first model */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    /* How products are computed: "exact", "split", "bf16" (organ_product in kernels/kernels.h); NULL: "exact". */
    const char *compute;
} organ_experiment_options;

/* Options of organ_perplexity: one model, or two that are compared. */
typedef struct organ_perplexity_options {
    const char *model, *compare; /* paths; `compare`: a second model, NULL: none */
    bool dry_run;                /* only plan the work: the report has the plan, and no file is written */
    organ_experiment_options experiment;
} organ_perplexity_options;

/* Options of organ_evaluate: a donor and several pruned copies of it. */
typedef struct organ_evaluate_options {
    const char *donor;         /* path of the donor */
    const char *const *pruned; /* paths of `count` pruned copies of the donor */
    size_t count;
    /* `experiment_count` texts "NAME=MODEL": the models whose paths or names match the pattern MODEL belong to the
     * experiment NAME. */
    const char *const *experiments;
    size_t experiment_count;
    /* Tensors whose zeros are counted, as in organ_audit_options; NULL: those that each pruning's log names, else the
     * projections. */
    const char *targets;
    bool tasks;   /* experiment.text is a JSONL file of questions (text/task_file.h), and `count` may be 0 */
    bool answers; /* with `tasks`: the report also has each model's answer to each question */
    organ_experiment_options experiment;
} organ_evaluate_options;

ORGAN_API_END

#endif
