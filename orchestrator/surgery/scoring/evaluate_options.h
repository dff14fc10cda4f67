/* SPDX-License-Identifier: MIT
 * Options of the operations that score models on a text. */
#ifndef ORGAN_EVALUATE_OPTIONS_H
#define ORGAN_EVALUATE_OPTIONS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_experiment_options {
    const char *text;  /* a file */
    const char *style; /* "hf", "llama.cpp", "lm-eval"; NULL: hf */
    unsigned context; /* tokens of a window; 0: 512 for llama.cpp, else 2048, but no more than the model was made for */
    unsigned max_tokens; /* only the beginning of the text; 0: all of it */
    const char *output;  /* directory to make, for the reports; NULL: none */
    bool force;
    bool imatrix; /* with `output`: the directory also has imatrix.gguf, the importance matrix of the first model */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    const char *compute; /* "exact", "split", "bf16": as organ_product of kernels/kernels.h has them; NULL: exact */
} organ_experiment_options;

typedef struct organ_perplexity_options {
    const char *model, *compare; /* compare: NULL for none */
    bool dry_run;                /* only plan: the document has the plan, and no file is written */
    organ_experiment_options experiment;
} organ_perplexity_options;

typedef struct organ_evaluate_options {
    const char *donor;
    const char *const *pruned;
    size_t count;
    const char *const *experiments; /* "NAME=MODEL": the models whose paths or names match the pattern MODEL belong to
                                       experiment NAME */
    size_t experiment_count;
    const char *targets; /* as in organ_audit_options; NULL: what the log of each pruning says, else the projections */
    bool tasks;          /* experiment.text is a JSONL file of questions (text/task_file.h), and `count` may be 0 */
    bool answers;        /* with `tasks`: the report has the answer of each model to each question */
    organ_experiment_options experiment;
} organ_evaluate_options;

ORGAN_API_END

#endif
