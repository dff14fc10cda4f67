/* SPDX-License-Identifier: MIT
 * Private to this room: organ evaluate of models with different vocabularies.
 *
 * Each model reads the text in its own tokens. The text is cut where a token of every model ends, so that all models
 * score the same bytes. */
#ifndef ORGAN_VERBS_EVALUATE_ACROSS_H
#define ORGAN_VERBS_EVALUATE_ACROSS_H

#include "orchestrator/verbs/evaluate/evaluate_parts.h"

/* A model, its tokens of the text, and what they score. */
typedef struct across_model {
    const char *path;
    organ_tokenizer *tokenizer;
    uint64_t trained; /* the context of the configuration; 0: unknown */
    uint32_t *ids;    /* of the text */
    size_t tokens;
    size_t skipped; /* bytes of the first token that the text lacks: the blank that SentencePiece puts before a text */
    /* Tokens first[w] to first[w + 1] are window w of the text; those from lead[w] on are scored. */
    size_t *first, *lead;
    size_t first_room, lead_room;
    double *nll;                /* sum of -ln p of each scored window, in the order of scoring */
    size_t scored;              /* number of scored tokens */
    uint32_t *shared_ids;       /* ids in the first model of the tokens 0, 1, .. */
    organ_shared_tokens shared; /* tokens of the first model that are all tokens of this one; count 0: others */
    char why_not[300];          /* why there are no such tokens */
    json_t *entry;              /* of the report */
} across_model;

typedef struct across_job {
    const organ_evaluate_options *options;
    organ_experiment_options experiment; /* of the options; activations "both" is "on" */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_progress quiet; /* the progress without notes and warnings, which were reported when the models were opened */
    across_model *models;
    size_t count;
    char digest[17]; /* XXH3 of the text */
    size_t text_bytes, context;
    const char *compute, *compute_isa; /* arithmetic, and its instructions (NULL: those of `exact`) */
    bool leads;                        /* a model has no BOS: no model scores the first tokens of a window */
    uint64_t *bytes;                   /* scored bytes of each window of the text */
    size_t bytes_room;                 /* allocated entries */
    size_t windows;                    /* of the text */
    size_t chosen, *order;             /* scored windows; their numbers in the text, NULL: 0, 1, .. */
    uint64_t scored_bytes;
    organ_score_windows sums; /* one value for each scored window */
    organ_plan plan;
    double seconds;
    json_t *run;
} across_job;

/* ---- across_windows.c ---- */

/* Reads the text in the tokens of each model and cuts it into windows. Returns ORGAN_BAD_INPUT for a text that is not
 * UTF-8, whose bytes the tokens of a model do not spell, or that is too short; ORGAN_USAGE for a context that is too
 * short. */
organ_status organ_across_read(across_job *job, organ_error *error);
/* Returns the bytes that tokens, windows and shared ids of all models take beside a scoring. */
uint64_t organ_across_memory(const across_job *job);
/* Sets *plan to the scored windows in the tokens of the model. The caller releases it. */
organ_status organ_across_plan(const across_job *job, const across_model *m, organ_perplexity_plan *plan,
                               organ_error *error);
/* Finds whether all tokens of a model are tokens of the first one, in the same order. */
organ_status organ_across_share(const across_job *job, across_model *m, organ_error *error);

/* ---- across_document.c ---- */

/* Returns the report, from the entries of the models; NULL if memory runs out. */
json_t *organ_across_document(const across_job *job);
/* Returns the figures of a model; its comparison with the first, which is NULL for the first. `divergence` are its
 * members of the comparison of distributions, JSON null if there is none; the function takes it. */
json_t *organ_across_figures(const across_job *job, const across_model *m);
json_t *organ_across_comparison(const across_job *job, const across_model *m, json_t *divergence, organ_error *error);
/* Returns the comparison of the distributions that a scoring of two models with shared tokens has made. */
json_t *organ_across_divergence(const organ_scoring *scoring, const across_model *m, organ_error *error);

/* ---- across.c ---- */

/* Runs organ_evaluate for models with different vocabularies: *report has the schema organ.vocabularies/1 and is
 * written as vocabularies.json and VOCABULARIES_REPORT.md. `paths` are those of the donor and of the `count` - 1 other
 * models. */
organ_status organ_evaluate_across(const organ_evaluate_options *options, const char *const *paths, size_t count,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error);

#endif
