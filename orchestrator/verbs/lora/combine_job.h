/* SPDX-License-Identifier: MIT
 * The parts of organ lora combine. An adapter is opened and joined with the others (combine_open.c); its factors are
 * compared with theirs and made to those of the output (combine_factors.c); the verb writes them as lora resize does
 * (rewrite.h). */
#ifndef ORGAN_VERBS_LORA_COMBINE_JOB_H
#define ORGAN_VERBS_LORA_COMBINE_JOB_H

#include "formats/base/arena.h"
#include "orchestrator/verbs/lora/combine_values.h"
#include "orchestrator/verbs/lora/rewrite.h"

#include <organ/lora.h>

enum { ORGAN_COMBINE_MOST = 16 }; /* adapters */

/* A type of combination. peft has the same names for all of them. */
typedef struct organ_combine_method {
    const char *name;
    bool cat;    /* keeps all factors, one after the other; `svd` then cuts them */
    bool svd;    /* the changes B A are combined, and decomposed to the rank of the output */
    bool prunes; /* values of small magnitude become 0 */
    bool drops;  /* random values become 0 (DARE) */
    bool elects; /* values with the sign of the minority become 0 (TIES) */
    const char *text;
} organ_combine_method;

/* Figures that compare two adapters, of one module or of all. */
typedef struct organ_combine_figures {
    double dot;       /* the sum of the products of the elements of both changes scale B A */
    double norms[2];  /* ||scale B A||^2 of each, of modules that both change */
    uint64_t same;    /* elements of one sign in both changes */
    uint64_t opposed; /* elements of opposed signs */
    uint64_t elements, modules;
} organ_combine_figures;

typedef struct organ_combine_job {
    const organ_lora_combine_options *options;
    const organ_combine_method *method;
    size_t count; /* adapters */
    organ_adapter *adapters[ORGAN_COMBINE_MOST];
    double weights[ORGAN_COMBINE_MOST];
    organ_dtype dtype;             /* of the options; ORGAN_DTYPE_COUNT: none */
    organ_adapter joined;          /* pairs of all modules; path, model and format are those of the first adapter */
    organ_adapter_pair *pairs;     /* of `joined` */
    const organ_adapter_pair **of; /* [module][adapter]; NULL: the adapter does not change the module */
    const organ_tensor **rest;     /* tensors that are copied */
    const organ_model **rest_models;
    size_t *rest_adapters;
    size_t rest_count;
    uint64_t largest; /* of the ranks in the configs of the adapters */
    bool unchanged;   /* all factors are copied unchanged, with one scale for all */
    organ_arena arena;
    json_t *config;                 /* the new adapter_config.json */
    size_t compared;                /* pairs of adapters: count * (count - 1) / 2 */
    organ_combine_figures *figures; /* [module][compared], in the order 0-1, 0-2, ..., 1-2, ... */
    organ_lora_source source;
    organ_lora_rewrite rewrite;
} organ_combine_job;

/* Returns the method of a name of peft; NULL if there is none. */
const organ_combine_method *organ_combine_method_of(const char *name);

/* Opens the adapters, checks that they can be combined and joins their modules. Returns ORGAN_USAGE for options that do
 * not fit each other, ORGAN_BAD_INPUT for adapters that cannot be combined by the method; organ_combine_close frees
 * what it leaves, also after an error. */
organ_status organ_combine_open(organ_combine_job *job, organ_error *error);
void organ_combine_close(organ_combine_job *job);

/* Sets the ranks, the types and the memory of all rows, and whether the scale is kept. Returns ORGAN_USAGE, with the
 * module, if its matrix does not fit the engine's memory. */
organ_status organ_combine_settle(organ_combine_job *job, organ_error *error);

/* The functions of organ_lora_source. */
organ_status organ_combine_survey(const organ_lora_rewrite *rewrite, organ_lora_row *row, organ_error *error);
organ_status organ_combine_read(const organ_lora_rewrite *rewrite, organ_lora_row *row, organ_lora_factors *factors,
                                organ_error *error);

/* Sets *distance to || scale B A - D || / || D || of the stored factors, where D is the sum of weight x scale B A of
 * the adapters; 0 if D is 0. No product is formed: differences below about 1e-8 are rounding. */
organ_status organ_combine_distance(const organ_combine_job *job, const organ_lora_row *row,
                                    const organ_lora_factors *stored, double scale, double *distance,
                                    organ_error *error);

/* Sets *same to whether two tensors of adapters have the same type, shape and bytes. */
organ_status organ_combine_same(const organ_adapter *x, const organ_tensor *s, const organ_adapter *y,
                                const organ_tensor *t, bool *same, organ_error *error);

/* Returns the number of the module of a row. */
static inline size_t organ_combine_module(const organ_combine_job *job, const organ_lora_row *row)
{
    return (size_t)(row - job->rewrite.rows);
}

/* Makes adapter_config.json. Returns ORGAN_IO without memory. */
organ_status organ_combine_config(organ_combine_job *job, organ_error *error);

#endif
