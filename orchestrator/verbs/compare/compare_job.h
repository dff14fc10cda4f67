/* SPDX-License-Identifier: MIT
 * Data and functions that the files of organ compare share. compare_models.c is the verb, compare_tensors.c pairs
 * tensors, compare_pass.c reads them, compare_lineage.c finds ancestors, compare_experts.c matches experts,
 * compare_tokens.c compares vocabularies, compare_clashes.c settings, compare_report.c makes the report.
 *
 * The form is the model with an adapter, else the first that is not GGUF, else the first model: weights of the others
 * are compared in the names and shapes that they have in its format and layout. Pair p of models i < j is numbered by
 * organ_compare_pair. */
#ifndef ORGAN_VERBS_COMPARE_COMPARE_JOB_H
#define ORGAN_VERBS_COMPARE_COMPARE_JOB_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/adapter/adapter.h"

#include <jansson.h>
#include <organ/inspect.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <stdbool.h>

#define COMPARE_MODELS  ((size_t)ORGAN_COMPARE_MOST)
#define COMPARE_PAIRS   (COMPARE_MODELS * (COMPARE_MODELS - 1) / 2)
#define COMPARE_TRIPLES (COMPARE_PAIRS * COMPARE_MODELS)
#define COMPARE_NONE    SIZE_MAX
#define COMPARE_NAME    ((size_t)1024) /* bytes of a renumbered name */

/* ---- sums ---- */

/* Numbers of elements at which two numbers have equal and opposite signs; zeros do not count. */
typedef struct compare_signs {
    uint64_t equal, opposite;
} compare_signs;

/* Sums over the elements that two models have. */
typedef struct compare_pair {
    uint64_t tensors, values; /* values: finite in all models */
    uint64_t same;            /* equal values */
    compare_signs signs;
    double square[2], distance; /* of the squares of both models, and of the differences */
} compare_pair;

typedef struct compare_sums {
    uint64_t skipped; /* elements with a value that is not finite in one of the models */
    compare_pair pairs[COMPARE_PAIRS];
    double shared[COMPARE_PAIRS]; /* as `distance`, over tensors that all models have */
    /* Differences from model b, of the models of pair p, at [p * COMPARE_MODELS + b]; over tensors that all have. */
    compare_signs differences[COMPARE_TRIPLES];
} compare_sums;

/* Returns the number of the pair of models i and j, which differ. */
static inline size_t organ_compare_pair(size_t i, size_t j)
{
    return i < j ? j * (j - 1) / 2 + i : i * (i - 1) / 2 + j;
}

void organ_compare_add(compare_sums *sums, const compare_sums *more);

/* ---- the job ---- */

typedef struct compare_model {
    const char *name; /* as in the options */
    const char *path; /* of the model, without an adapter */
    organ_model *model;
    organ_weights *weights;
    organ_across *across;  /* its weights in the form of the form; NULL: it has that form */
    bool coarse;           /* most values are stored in less than 12 bits */
    organ_adapted adapted; /* MODEL+ADAPTER; all zero: no adapter */
} compare_model;

/* A tensor that at least two models have. */
typedef struct compare_item {
    const organ_weight *like;                    /* the first of `weights` */
    const organ_weight *weights[COMPARE_MODELS]; /* NULL: the model lacks it, or has another shape */
    const uint32_t *orders[COMPARE_MODELS];      /* order of its experts in each model; NULL: the stored order */
    size_t experts;                              /* length of each order */
    size_t cell;
    bool all; /* all models have it */
} compare_item;

/* All tensors of a role in a layer. */
typedef struct compare_cell {
    int32_t layer;
    unsigned row; /* organ_anatomy_row */
    compare_sums sums;
} compare_cell;

/* The experts of a layer in all models. */
typedef struct compare_order {
    size_t experts;                     /* 0: they are not matched */
    const uint32_t *of[COMPARE_MODELS]; /* of each model: its expert for each of the matching; NULL: the same */
} compare_order;

/* The experts of a layer in two models. */
typedef struct compare_match {
    const organ_weight *router;
    size_t pair;
    uint64_t experts, moved; /* moved: matched with an expert of another number */
    double cosine, in_order; /* means of organ_expert_match: of matched experts, and of those with the same number */
} compare_match;

typedef struct compare_job {
    const organ_compare_options *options;
    organ_model_access access; /* to models behind URLs */
    const organ_engine *engine;
    const organ_progress *progress;
    double started;
    size_t count; /* models */
    compare_model models[COMPARE_MODELS];
    size_t form;
    size_t base; /* the model to which differences are taken: of the options, or found; COMPARE_NONE */
    organ_arena arena;
    compare_item *items;
    size_t item_count, item_room;
    organ_name_table names; /* index of each item by name */
    compare_cell *cells;
    size_t cell_count, cell_room;
    compare_sums all, matrices; /* of all tensors, and of those with two axes or more */
    compare_order *orders;      /* of each layer */
    int32_t order_count;
    compare_match *matches;
    size_t match_count, match_room;
    json_t *only, *shapes;   /* tensors that only some models have, or have in other shapes */
    json_t *vocabularies;    /* a row for each pair */
    json_t *patches;         /* a row for each patch, with options->patch */
    json_t *clashes, *notes; /* what a merge would clash on; sentences */
    bool broken;             /* memory ran out while rows were added */
} compare_job;

/* Pairs the tensors of all models: fills items, cells, only and shapes. */
organ_status organ_compare_pair_up(compare_job *job, organ_error *error);

/* Returns the item's weight in model i, which has it, with the change of the model's adapter. */
static inline organ_merge_input organ_compare_input(const compare_job *job, const compare_item *item, size_t i)
{
    const compare_model *const m = &job->models[i];
    return (organ_merge_input){.model = m->model,
                               .weight = item->weights[i],
                               .change = organ_adapted_change(&m->adapted, item->weights[i], item->weights[i]),
                               .order = item->orders[i],
                               .experts = item->experts};
}

/* Reads all items once and fills the sums. */
organ_status organ_compare_read(compare_job *job, organ_error *error);

/* Fills job->orders and job->matches, once models[].across are open. Experts that cannot be matched add a note. */
organ_status organ_compare_experts(compare_job *job, organ_error *error);
/* Returns the name, in the names of the form, that model k gives to what model `owner` calls like->name: that of
 * another expert if the experts have another order. It is like->name or is written to `name`. */
const char *organ_compare_name_in(const compare_job *job, const organ_weight *like, size_t owner, size_t k,
                                  char name[COMPARE_NAME]);
/* Returns the order in which the experts of model k are compared, for its tensor that corresponds to `like`. NULL: the
 * stored order. */
const uint32_t *organ_compare_order_in(const compare_job *job, const organ_weight *like, size_t k);

/* Fills job->vocabularies and adds differences to job->clashes. Tokenizers that cannot be read add a note. */
organ_status organ_compare_vocabularies(compare_job *job, organ_error *error);

/* Fills job->clashes with settings and heads that differ. */
organ_status organ_compare_settings(compare_job *job, organ_error *error);

/* Adds {"what", "values": "A: ..., B: ..."} to job->clashes; `values` has a text for each model, NULL: none. */
void organ_compare_clash(compare_job *job, const char *what, const char *const *values);

/* ---- patches (compare_patch.c) ---- */

/* Returns ORGAN_USAGE for a model with an adapter. */
organ_status organ_compare_check_patches(const compare_job *job, organ_error *error);
/* Fills job->patches: the cost of patches from the base of the options, or else from the first model, to the others. */
organ_status organ_compare_patches(compare_job *job, organ_error *error);

/* ---- figures ---- */

/* Figures of two models; NaN: there is nothing to compare. */
typedef struct compare_figures {
    double distance, cosine, same, signs;
} compare_figures;
compare_figures organ_compare_figures(const compare_pair *pair);

/* Returns the cosine of the differences of models i and j from model b; NaN if one of them is 0. */
double organ_compare_difference(const compare_sums *sums, size_t b, size_t i, size_t j);

/* Returns whether the models descend from one base. */
bool organ_compare_related(const compare_job *job, size_t i, size_t j);

/* Returns an object {"base", "given", "near", "cosine", "says"}, and sets job->base. NULL if memory runs out. */
json_t *organ_compare_lineage(compare_job *job);

/* Returns an array with the nearest relative of each model. */
json_t *organ_compare_nearest(const compare_job *job);

/* Returns the name of model k in reports: "A", "B", ... */
static inline const char *organ_compare_label(size_t k) { return (const char *)"A\0B\0C\0D\0E\0F\0G\0H" + 2 * k; }

json_t *organ_compare_document(compare_job *job);

#endif
