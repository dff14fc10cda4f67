/* SPDX-License-Identifier: MIT
 * Measures how well models predict texts, generates text, lists the tokens of a text. */
#ifndef ORGAN_API_EVALUATE_H
#define ORGAN_API_EVALUATE_H

#include <organ/base.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

/* ---- perplexity and evaluate: one model, two in comparison, or a donor and its pruned copies ---- */

#define ORGAN_CONTINUATIONS 8
#define ORGAN_CONTINUED     64

/* Options of organ_perplexity: one model, or two that are compared. */
typedef struct organ_perplexity_options {
    size_t size;                 /* see ORGAN_DEFAULTS */
    const char *model, *compare; /* paths; `compare`: a second model, NULL: none */
    bool dry_run;                /* only plan the work: the report has the plan, and no file is written */
    organ_experiment_options experiment;
    /* Standard error in percent at which the scoring ends before the text does: that of the perplexity, or with
     * `compare` that of the ratio of both, as estimates of the figures of the whole text. 0: the whole text is scored;
     * less: 0 with max_windows, experiment.max_tokens or experiment.imatrix, else ORGAN_MAX_ERROR or
     * ORGAN_MAX_ERROR_PAIRED. A text that is less work than ORGAN_WHOLE_WORK is scored whole. The windows are scored in
     * an order whose beginnings are spread evenly over the text. Scores of windows are the same either way. */
    double max_error;
    bool announce; /* report a long run's plan as a note before the work begins */
    bool mtp;      /* also score the blocks for multi-token prediction, of those models that have one */
    /* With `mtp`: number of greedy continuations, of ORGAN_CONTINUED tokens each, on which all drafted tokens are
     * scored. */
    unsigned continuations;
    /* With `mtp`: path of a report of organ_vocabulary with draft_head: blocks propose only the tokens that it lists.
     * NULL: all. */
    const char *draft_tokens;
    /* Score this number of windows, the first ones in the order of max_error; 0, or more than the text has: all. */
    unsigned max_windows;
} organ_perplexity_options;
ORGAN_DEFAULTS(perplexity, o.max_error = -1, o.experiment.activations = "on", o.continuations = ORGAN_CONTINUATIONS)

#define ORGAN_MAX_ERROR        2.0 /* percent of the perplexity of one model */
#define ORGAN_MAX_ERROR_PAIRED 0.5 /* percent of the ratio of two perplexities */

/* Multiply-adds of all models on a text, of which less is scored whole: about a minute of one core (AVX2: 25e9 in a
 * second). */
#define ORGAN_WHOLE_WORK 1e12

/* Options of organ_evaluate: a donor and several pruned copies of it. */
typedef struct organ_evaluate_options {
    size_t size;               /* see ORGAN_DEFAULTS */
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
    bool tasks;   /* experiment.text is a JSONL file of questions with choices, and `count` may be 0 */
    bool answers; /* with `tasks`: the report also has each model's answer to each question */
    organ_experiment_options experiment;
    double max_error; /* as in organ_perplexity_options: the largest error of a ratio to the donor; not with `tasks` */
    bool announce;    /* as in organ_perplexity_options */
    bool dry_run;     /* as in organ_perplexity_options */
    bool mtp;         /* as in organ_perplexity_options; not with `tasks` */
    unsigned continuations;   /* as in organ_perplexity_options */
    const char *draft_tokens; /* as in organ_perplexity_options */
    unsigned max_windows;     /* as in organ_perplexity_options; not with `tasks` */
} organ_evaluate_options;
ORGAN_DEFAULTS(evaluate, o.max_error = -1, o.experiment.activations = "both", o.continuations = ORGAN_CONTINUATIONS)

/* Scores one model, or two, on a text. *report has the schema organ.perplexity/1 and is also written into the directory
 * `output` as perplexity.json and PERPLEXITY_REPORT.md. The caller releases it; after an error it is NULL, and nothing
 * is left of the output.
 *
 * All models score the same tokens in the same windows, in FP32 arithmetic on the stored weights, and on inputs rounded
 * as experiment.activations says, but not with experiment.imatrix. `engine->memory`
 * bounds the weights of a layer, activations, hidden states and logits; the text, its tokens and their scores (up to 18
 * bytes for each token and model) need memory in addition. Whether a standard error is reached is decided after 16
 * windows or more, and again after each block of at least 8192 tokens in whole windows, whatever the threads, ranks and
 * memory.
 *
 * Returns ORGAN_USAGE for an unknown style, an output that exists or would overwrite an input, or too little memory for
 * one window; ORGAN_BAD_INPUT for tokenizers that differ, a tokenizer or an architecture that is not supported, or a
 * text that is too short; ORGAN_IO or ORGAN_INTERRUPTED if reading, writing or memory fails or a stop was requested. */
organ_status organ_perplexity(const organ_perplexity_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

/* Scores a donor and its pruned copies on a text, as organ_perplexity does; *report has the schema organ.evaluate/1 and
 * is written as evaluate.json and EVALUATION_REPORT.md. Killed weights are counted by comparing the bytes of donor and
 * copy: elements that are not zero in the donor but are zero in the copy. Also returns ORGAN_USAGE if killed weights of
 * two experiments (other donors, methods or parameters) would be listed in one table and `experiments` does not give
 * each its own name.
 *
 * Models with different vocabularies score the same bytes, each in its own tokens: *report has the schema
 * organ.vocabularies/1 and is written as vocabularies.json and VOCABULARIES_REPORT.md. It then returns ORGAN_BAD_INPUT,
 * naming the file, for a text that is not UTF-8 or whose bytes the tokens of a model do not spell, and ORGAN_USAGE for
 * `mtp`, `targets`, `experiments`, `max_error` above 0, another style than "hf", and a context in which no stretch of
 * the text ends for all models.
 *
 * With options->tasks, scores questions with several choices, as multiple_choice tasks of lm-evaluation-harness;
 * *report has the schema organ.tasks/1. It then also returns ORGAN_USAGE for options that count killed weights, and
 * ORGAN_BAD_INPUT for a malformed line in the file of questions. */
organ_status organ_evaluate(const organ_evaluate_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

/* ---- imatrix: writes an importance matrix for llama.cpp ---- */

#define ORGAN_IMATRIX_CONTEXT 512 /* tokens of a chunk, as llama-imatrix has them by default */

typedef struct organ_importance_options {
    size_t size;         /* see ORGAN_DEFAULTS */
    const char *model;   /* path or URL of the model */
    const char *text;    /* path of the text */
    const char *output;  /* path of the file to write */
    const char *format;  /* "gguf" or "dat"; NULL: "dat" if the path of the output ends in .dat, else "gguf" */
    unsigned context;    /* tokens of a chunk; 0: ORGAN_IMATRIX_CONTEXT, but at most the model's context */
    unsigned chunks;     /* number of chunks from the beginning of the text; 0: all */
    bool head;           /* also the inputs of the output head */
    bool resume;         /* continue an interrupted run that had the same options and inputs */
    bool force;          /* replace an existing importance matrix */
    bool dry_run;        /* only plan the work: the report has the plan, and no file is written */
    const char *compute; /* how products are computed: "exact", "split", "bf16" (organ_product); NULL: "exact" */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_importance_options;
ORGAN_DEFAULTS(importance, )

/* Sums the squared inputs of every matrix of the model over the chunks of a text, as llama.cpp's llama-imatrix cuts
 * them, and writes the sums as an importance matrix under llama.cpp's names. The bytes of the file are the same for any
 * number of threads and ranks, any memory, on every ISA, and after an interruption. *report has the schema
 * organ.imatrix/1; the caller releases it; after an error it is NULL.
 *
 * Returns ORGAN_USAGE for an unknown format, an output that exists or would overwrite an input, an architecture whose
 * matrices have no known names in llama.cpp, or too little memory for one chunk; ORGAN_BAD_INPUT for a tokenizer or an
 * architecture that is not supported, a text of fewer than two chunks, or inputs that are not finite; ORGAN_IO or
 * ORGAN_INTERRUPTED if reading, writing or memory fails or a stop was requested. */
organ_status organ_importance(const organ_importance_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

typedef struct organ_importance_merge_options {
    size_t size;              /* see ORGAN_DEFAULTS */
    const char *const *files; /* paths of the importance matrices */
    size_t count;             /* number of files, at least 1 */
    const char *output;       /* path of the file to write */
    const char *format;       /* as in organ_importance_options */
    unsigned context;         /* tokens of a chunk; 0: as the files state it, or ORGAN_IMATRIX_CONTEXT if none does */
    bool force;               /* replace an existing importance matrix */
    bool dry_run;             /* write no file */
} organ_importance_merge_options;
ORGAN_DEFAULTS(importance_merge, )

/* Adds importance matrices of one model, in either format, over several texts, with the values of llama-imatrix that
 * gets the same files in this order. *report has the schema organ.imatrix/1; the caller releases it; after an error it
 * is NULL. Returns ORGAN_USAGE for an unknown format, an output that exists or is one of the files, or files that state
 * different chunks if `context` is 0; ORGAN_BAD_INPUT for malformed files, and, naming the first entry, if the names or
 * sizes of their entries differ; ORGAN_IO if reading, writing or memory fails. */
organ_status organ_importance_merge(const organ_importance_merge_options *options, const organ_engine *engine,
                                    const organ_progress *progress, json_t **report, organ_error *error);

/* ---- generate: continues a text greedily, which shows whether a model still produces coherent text ---- */

typedef struct organ_generate_options {
    size_t size;                      /* see ORGAN_DEFAULTS */
    const char *model;                /* path or URL of the model */
    const char *prompt;               /* text to continue, UTF-8 */
    unsigned count;                   /* upper bound of new tokens */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    /* How products are computed: "exact", "split", "bf16" (organ_product); NULL: "exact". */
    const char *compute;
} organ_generate_options;
ORGAN_DEFAULTS(generate, o.count = 64)

/* Receives the generated text in whole UTF-8 characters while it is generated. Control characters except tab and
 * newline, and invalid UTF-8, are passed as \xNN. */
typedef struct organ_listener {
    void *context;
    void (*on_text)(void *context, const char *text, size_t bytes);
} organ_listener;

/* Continues the prompt with the likeliest token each time (the lowest id of equal ones), until `count` tokens or one
 * that ends the text: EOS as a number or a list in generation_config.json, else in config.json, else of the tokenizer;
 * EOS, EOT and EOM of a GGUF file. Begins the prompt with BOS if the model's tokenizer does; names of special tokens in
 * the prompt are read as those tokens. Each step runs only the new token through the model (organ_forward_continue).
 * `listener` may be NULL. *report has the schema organ.generate/1; the caller releases it; NULL on error. Returns
 * ORGAN_USAGE for too little memory; ORGAN_BAD_INPUT for a tokenizer or an architecture that is not supported, an empty
 * prompt without BOS, or logits that are not finite; ORGAN_IO if reading or memory fails; ORGAN_INTERRUPTED if a stop
 * was requested. */
organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error);

/* ---- tokenize: lists the tokens of a text ---- */

typedef struct organ_tokenize_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    const char *text;                 /* path of the text; "-": standard input */
    bool ids;                         /* report all ids, not only the first tokens */
    bool special;                     /* read names of special tokens in the text as these tokens, not as characters */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_tokenize_options;
ORGAN_DEFAULTS(tokenize, )

/* Tokenizes a text of up to 1 GiB. *report has the schema organ.tokenize/1; the caller releases it; NULL on error. BOS
 * is reported, but not counted. Returns ORGAN_BAD_INPUT if the text is longer or the tokenizer is not supported,
 * ORGAN_IO if reading or memory fails, ORGAN_INTERRUPTED if `stop` (NULL: none) is set. */
organ_status organ_tokenize(const organ_tokenize_options *options, const organ_stop *stop, json_t **report,
                            organ_error *error);

ORGAN_API_END

#endif
