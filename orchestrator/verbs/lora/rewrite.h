/* SPDX-License-Identifier: MIT
 * Checks of adapters for servers, rounding of merged weights, and adapters that are rewritten for sanitize and resize.
 */
#ifndef ORGAN_VERBS_LORA_REWRITE_H
#define ORGAN_VERBS_LORA_REWRITE_H

#include "orchestrator/surgery/adapter/adapter.h"
#include "orchestrator/verbs/lora/servers.h"

/* Checks an adapter that peft can read for properties that vLLM rejects or silently handles in another way. "Servers"
 * means vLLM here. */

/* The largest rank that vLLM can be configured to serve. */
#define ORGAN_SERVED_RANK 512u

/* Returns the smallest value of vLLM's --max-lora-rank (1, 8, 16, 32, 64, 128, 256, 320, 512) that is at least `rank`;
 * 0 if there is none. */
unsigned organ_served_rank(uint64_t rank);

/* Returns the reason why servers cannot load the tensor `name` of an adapter (orchestrator/verbs/lora/servers.h), or
 * that it is not a factor of a pair (`factor` false). `architecture` is that of the base, NULL if it is unknown.
 * Returns NULL if servers can load the tensor. For a GGUF adapter names do not matter, because llama.cpp applies
 * factors of any weight. */
const organ_served *organ_lora_unservable(const organ_adapter *adapter, const char *architecture, const char *name,
                                          bool factor);

/* Returns the reason why servers cannot load a pair of factors: a reason of organ_lora_unservable, or, unless the
 * adapter is GGUF, that they load factors of experts in another form. Returns NULL if they can load the pair. */
const organ_served *organ_lora_pair_unservable(const organ_adapter *adapter, const char *architecture,
                                               const organ_adapter_pair *pair);

/* Returns whether a tensor is the base's embedding or head, which peft stores beside factors and servers skip. */
bool organ_lora_is_base_copy(const char *name);

/* Returns the rank that vLLM compares with --max-lora-rank: the largest of r and the values of rank_pattern. */
uint64_t organ_lora_compared_rank(const organ_adapter *adapter);

typedef struct organ_lora_check {
    const organ_adapter *adapter;
    const organ_adapter *fit;     /* the adapter with the names of the base, or `adapter` */
    const organ_model *model;     /* the base; NULL: none */
    const organ_lora_names *base; /* of the base; NULL: none */
    uint64_t max;                 /* largest rank that is no finding */
} organ_lora_check;

/* Appends rows {"rule", "where", "text", "count"} to `findings`, one for each kind of setting, tensor and rank that a
 * server would reject, and one row if no module remains; and to `conditions`, one for each property that vLLM 0.32
 * loads and other servers may not. "rule" is "field", "target", "key", "rank" or "base"; "where" is the name of the
 * setting, or of the first tensor or module. For a GGUF adapter checks neither settings nor ranks. With a base, modules
 * that it lacks or has in another shape are also findings. Does not read values of tensors. Returns ORGAN_IO if memory
 * runs out. */
organ_status organ_lora_findings(const organ_lora_check *checked, json_t *findings, json_t *conditions,
                                 organ_error *error);

/* Returns whether an entry of target_modules selects the module: it equals the module's name, or one or more of the
 * last words of this name, which dots separate ("q_proj", "self_attn.q_proj"). */
bool organ_lora_is_target(const char *target, const char *module);

/* ---- rounding merged weights ---- */

/* Rounds merged weights so that the errors of a row cancel in the directions in which the adapter changes it. */

/* The directions in which an adapter changes the rows of a matrix: a change of a row is a sum of columns of `values`.
 */
typedef struct organ_lora_directions {
    const float *values;   /* [cols][rank] */
    const double *squares; /* organ_lora_square of each column's `rank` values */
    size_t rank;
} organ_lora_directions;

/* Returns the sum of the squares of `rank` values. */
double organ_lora_square(const float *direction, size_t rank);

/* Rounds `rows` rows of `cols` values to `dtype` (F16 or BF16) and stores them in `codes`, which must not overlap
 * `values`. For each value in the order of the columns, takes the nearest number of the type, or the next one on the
 * other side of the value if the sum of (value - number) * direction over the columns of the row so far then has a
 * smaller norm. `sums` is scratch of `rank` values, `nearest` of `cols` values. A finite value does not become infinite
 * unless its nearest number is. Rows do not depend on each other, and sums have a fixed order, so that the result has
 * the same bits on every instruction set. */
void organ_lora_round_with_feedback(const organ_kernels *kernels, organ_dtype dtype, const float *values, size_t rows,
                                    size_t cols, const organ_lora_directions *directions, double *sums, float *nearest,
                                    void *codes);

/* ---- rewriting an adapter ---- */

/* Rewrites an adapter so that all modules have the same rank and scale 1, for sanitize and resize. */

/* A pair of factors that the new adapter keeps. */
typedef struct organ_lora_row {
    const organ_adapter_pair *pair; /* the pair of the old adapter */
    organ_dtype dtype; /* type of the written factors: that of A and B if both have the same 2-byte type, else F32 */
    size_t unit;       /* its unit in the new adapter; set by organ_lora_write */
    /* Set by organ_lora_survey and organ_lora_write: */
    organ_lora_factors factors; /* the new factors, between computing and writing them; owned */
    /* All sigma_count singular values of scale B A, if the pair was decomposed and is no stack; else NULL. Owned. */
    float *sigma;
    uint64_t memory; /* bytes that the row needs while it is made; 0: six times its factors as FP32 */
    /* New rank of the pair, without padding. The processes of the run exchange the members from here on, which contain
     * no pointers. */
    uint64_t rank;
    double norm;          /* ||scale B A|| */
    double residual;      /* ||scale B A - new B A|| / ||scale B A|| before rounding; 0 if not decomposed */
    double folding_error; /* rounding error of the new B, which includes the scale: ||B as written - B|| / ||B|| */
    size_t sigma_count;   /* number of values in `sigma` */
} organ_lora_row;

struct organ_lora_rewrite;

/* Where the factors of a rewritten adapter come from, if not from rewrite->adapter itself. Both functions run on any
 * worker, for one row at a time. */
typedef struct organ_lora_source {
    void *context;
    /* Called for each row by organ_lora_survey, which sets no norms. The caller has set the ranks of the rows. */
    organ_status (*survey)(const struct organ_lora_rewrite *rewrite, organ_lora_row *row, organ_error *error);
    /* Sets *factors, which organ_lora_factors_release frees, also after an error, and row->norm. The factors have at
     * most the rank of row->pair. A rank of at most row->rank, with row->residual set, is not cut. */
    organ_status (*read)(const struct organ_lora_rewrite *rewrite, organ_lora_row *row, organ_lora_factors *factors,
                         organ_error *error);
} organ_lora_source;

/* An adapter and how it is rewritten. The caller sets the members up to `scale`, except `assignment`. */
typedef struct organ_lora_rewrite {
    const organ_adapter *adapter;
    const organ_engine *engine;
    const organ_progress *progress;
    const char *stage;               /* label of the progress: "sanitizing" */
    const organ_lora_source *source; /* NULL: the factors are those of the pairs of `adapter` */
    organ_lora_row *rows; /* `count` rows that organ_lora_row_of returned; organ_lora_rewrite_release frees them */
    size_t count;
    organ_assignment assignment; /* which rank processes which row; set by the survey */
    uint64_t max;                /* largest new rank: pairs of a larger rank are cut to their best approximation */
    /* Above 0: every pair gets the smallest rank that keeps this share of ||scale B A||^2, but at most `max`. */
    double energy;
    bool mlx;          /* write an adapter of mlx-lm */
    bool keeps;        /* all pairs have one scale, which stays; false: it is folded into B */
    double scale;      /* with `keeps` */
    uint64_t rank;     /* result of the survey: the common rank of all modules, the largest new rank of a row */
    organ_output made; /* output of organ_lora_write, with its times */
    uint64_t bytes;    /* bytes of the tensors in that output */
} organ_lora_rewrite;

/* Returns a row for a pair, with the type of the new factors and without results. */
organ_lora_row organ_lora_row_of(const organ_adapter_pair *pair);

/* Reads all factors once and sets `norm` and `rank` of all rows, and rewrite->rank. Each process of the run reads its
 * share of the rows. Returns ORGAN_BAD_INPUT if values are not finite, ORGAN_IO if reading or memory fails,
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_survey(organ_lora_rewrite *rewrite, organ_error *error);

/* Computes row->factors as organ_lora_write writes them, before they are rounded to row->dtype. After the survey. The
 * caller frees them. Returns the errors of reading. */
organ_status organ_lora_make_factors(const organ_lora_rewrite *rewrite, organ_lora_row *row, organ_error *error);

/* The output that organ_lora_write makes. */
typedef struct organ_lora_output {
    organ_write_options write;       /* output, force, resume */
    const json_t *config;            /* adapter_config.json */
    const organ_tensor *const *rest; /* tensors that are copied unchanged */
    size_t rest_count;
    const organ_model *const *rest_models; /* the model of each of them; NULL: that of the adapter */
    /* Returns further parameters that a continued run must have, a new object; NULL: there are none */
    json_t *(*parameters)(const void *context);
    /* Adds the files that are read besides those of the adapter; NULL: there are none */
    organ_status (*inputs)(const void *context, organ_run_inputs *inputs, organ_error *error);
    const organ_view *view;                   /* of the report */
    void *context;                            /* argument of the functions */
    json_t *(*document)(const void *context); /* returns the report; NULL if out of memory */
} organ_lora_output;

/* Computes the new factors and writes the new adapter: the factors of all rows, the tensors output->rest, the files of
 * the old adapter such as its tokenizer, and the report. Call it after organ_lora_survey. Sets *report, which the
 * caller releases. Returns ORGAN_BAD_INPUT if a value exceeds the range of its type or the old adapter has changed
 * since it was opened, ORGAN_USAGE for an unfinished run without `resume`, ORGAN_IO if files or memory fail,
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_write(organ_lora_rewrite *rewrite, const organ_lora_output *output, json_t **report,
                              organ_error *error);

/* Returns a copy of the adapter's config in which r and lora_alpha are `rank` and use_rslora, rank_pattern and
 * alpha_pattern are unset, so that every module has scale 1. Adds the members of peft if the adapter is of mlx-lm, or
 * was of GGUF. NULL if out of memory. */
json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank);
/* Returns whether the output can state rewrite->scale for all modules: lora_alpha is the scale times the rank, which
 * GGUF stores in FP32. */
bool organ_lora_can_keep_scale(const organ_lora_rewrite *rewrite);
/* Returns adapter_config.json of mlx-lm for the rows of a rewritten adapter; `model`: of its base. NULL if out of
 * memory. */
json_t *organ_lora_mlx_config(const organ_lora_rewrite *rewrite, const char *model);
/* Returns the rank that vLLM compares with --max-lora-rank: the largest of `r` and the values of rank_pattern, whether
 * or not they match a module. `config` may be NULL. */
uint64_t organ_lora_config_rank(const json_t *config, uint64_t r);

/* Returns an array with {"module", "role", "layer", "rank_before", "rank", "scale", "norm", "residual", "explained",
 * "folding_error", "dtype", "sigma"} for each row. NULL if memory runs out. */
json_t *organ_lora_rows_json(const organ_lora_rewrite *rewrite);

/* Frees the rows with their factors and singular values, and the assignment. */
void organ_lora_rewrite_release(organ_lora_rewrite *rewrite);

#endif
