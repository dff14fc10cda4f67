/* SPDX-License-Identifier: MIT
 * Writes adapter directories in the format of peft (adapter_config.json, adapter_model.safetensors) or of llama.cpp
 * (adapter_model.gguf) through organ_write, which adds journal, --resume, ranks, reports and publishing. The verb lists
 * units: groups of tensors that are made together, such as the factors of a module. The ranks of factors need not be
 * known in advance. */
#ifndef ORGAN_VERBS_LORA_ADAPTER_WRITE_H
#define ORGAN_VERBS_LORA_ADAPTER_WRITE_H

#include "formats/tensor/module_names.h"
#include "orchestrator/output/output.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stddef.h>

/* Reads the factors of an adapter as numbers, and finds the weights of a model that they belong to. */

/* FP32 values of the factors of a pair: a copy that organ_lora_factors_release frees, or a view into another struct.
 * All members are zero if there are no factors. */
typedef struct organ_lora_factors {
    size_t rank, in, out; /* in, out: in_features and out_features */
    float *a, *b;         /* `a` is [experts][rank][in], `b` is [experts][out][rank] */
    size_t experts;       /* number of experts; 1: not a stack */
} organ_lora_factors;

/* Reads A and B of all experts of a pair into *factors. If pair->origin is set, reads them from the stored pairs of the
 * origin. Multiplies B by `scale` and rounds it once to FP32 (scale 1: B unchanged). If the origin has one stored pair
 * for each expert, also multiplies the B of each expert by the scale of its stored pair. Returns ORGAN_BAD_INPUT, with
 * the tensor's name, if a value is not finite; ORGAN_IO if reading or memory fails. The caller frees *factors with
 * organ_lora_factors_release, also after an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_release(organ_lora_factors *factors);

/* Returns a view into `factors`: the factors of one expert (index below factors->experts). */
organ_lora_factors organ_lora_factors_of(const organ_lora_factors *factors, size_t expert);

/* Returns the transpose, cols x rows, of a row-major rows x cols matrix. The caller frees it; NULL if out of memory. */
float *organ_lora_transposed(const float *values, size_t rows, size_t cols);

/* Reads the change of a stored weight as two factors b and a: the weight becomes W + b a. *b, which includes the pair's
 * scale, becomes a matrix with the rows of the weight and `rank` columns; *a becomes a matrix with `rank` rows and the
 * columns of the weight. b a is scale B A, or its transpose if `transposed` is set: the weight is stored as in_features
 * x out_features (embeddings, Conv1D). The caller frees *b and *a, also after an error. Returns errors of
 * organ_lora_factors_read, and ORGAN_BAD_INPUT if an element of b a could exceed the range of FP32 or the pair is a
 * stack of experts. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error);

/* Reads all values of a tensor of an adapter as FP32. organ_can_widen must accept the type of the tensor. The caller
 * frees *values, which is NULL on error. Returns ORGAN_BAD_INPUT if a value is not finite; ORGAN_IO if reading or
 * memory fails. */
organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error);

/* Returns ||B A||^2, summed over all experts, in FP64. Computes it from the rank x rank matrices B^T B and A A^T, as
 * the sum of the products of their corresponding elements, so that B A is not formed. Returns a negative number if out
 * of memory. */
double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels);

/* Sets *norm to the Frobenius norm of a tensor of an adapter. *norm becomes -1 if organ_can_widen rejects the type of
 * the tensor or reading fails, and NaN or infinity if a value is not finite. Returns ORGAN_IO if reading or memory
 * fails. */
organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error);

/* Sets *norm to the Frobenius norm of a tensor of the adapter minus a weight of the base. Both must have the same
 * shape. Sets *norm to 0 if the tensor has no elements, to -1 if organ_can_widen rejects the tensor's type or reading
 * fails, and to NaN or infinity if a value is not finite. Returns ORGAN_IO if reading or memory fails. */
organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error);

/* Returns the name that the base has for a tensor that the adapter stores whole: `name` without the prefixes and
 * infixes of peft. "base_model.model.lm_head.modules_to_save.default.weight" becomes "lm_head.weight". The caller frees
 * the result; NULL if out of memory. */
char *organ_adapter_plain_name(const char *name);

/* Returns the weight that a training program calls `name` ("model.layers.0.mlp.up_proj.weight"). Looks for the name
 * itself first. Then tries the name without and with each word of organ_base_words ("model.", "transformer."), because
 * a model may be trained or published without its head. Then tries the prefixes that transformers before and after 4.52
 * gives to the text part of models with several parts. Returns NULL if there is no such weight, or if out of memory,
 * which counts as a refused allocation (organ_memory_refusals). */
const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name);

/* Returns the value of init_lora_weights if this initialisation changed the base before training, so that the factors
 * fit only the changed base. The value is then a text that begins with "pissa", "olora", "corda", "loftq" or "lora_ga";
 * the adapter owns the text. Returns NULL for all other initialisations. */
const char *organ_adapter_changed_base(const organ_adapter *adapter);

/* Warns of the remarks on an adapter of organ_adapter_open and, if `lost` is true, of the keys of a GGUF adapter that
 * only another GGUF adapter could keep, such as adapter.lora.prompt_prefix. */
void organ_adapter_warn(const organ_progress *progress, const organ_adapter *adapter, bool lost);

/* Returns the description of an adapter for a report: {"name", "r", "lora_alpha", "use_rslora", "use_dora", "base",
 * "pairs", "other_tensors"}, where "pairs" and "other_tensors" are counts. NULL if out of memory. */
json_t *organ_adapter_json(const organ_adapter *adapter);

/* Returns the name of a factor of `pair` in an adapter's file. `factor` is 'A' or 'B'. The name is
 * "base_model.model.MODULE.lora_A.weight" or, for embeddings, "base_model.model.MODULE.lora_embedding_A" in peft's
 * format, "MODULE.weight.lora_a" in GGUF. Uses only the members module, embedding, layout, origin and, for
 * ORGAN_FACTORS_PARAMETER, a->name. The caller frees the name; NULL if out of memory. */
char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor);

/* Returns a name as a key of rank_pattern, a regular expression that matches only this name ("model\.layers\.0"). The
 * caller frees it; NULL if out of memory. */
char *organ_adapter_pattern(const char *name);

/* Returns an adapter_config.json with all members that peft, transformers and vLLM require. r and lora_alpha are `r`,
 * base_model_name_or_path is `base` (NULL: null), target_modules is the list `targets`, which the function takes over,
 * and the other members have the values of a plain LoRA adapter of a causal model. NULL if out of memory. */
json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets);

/* Returns a value of target_modules that selects the `count` modules of the given names: a list of the last words of
 * the names ("q_proj"), each word once, in alphabetical order. It also selects all other modules whose names end in
 * these words. NULL if out of memory. */
json_t *organ_adapter_targets(const char *const *modules, size_t count);

/* A unit of an adapter. */
typedef struct organ_adapter_unit {
    const char *name;      /* in the journal; the names of all units differ */
    uint64_t source_bytes; /* bytes that are read for it, for the progress */
    uint64_t most;         /* upper bound of the bytes of its tensors */
    /* The unit is a copy of this tensor of `model`, which gets the name `key`. `key` may be set as late as in `config`.
     * NULL: `fill` makes the unit. */
    const organ_tensor *same;
    const organ_model *model;
    const char *key;
} organ_adapter_unit;

typedef struct organ_adapter_writer organ_adapter_writer;

/* An adapter that organ_adapter_make makes. The callbacks get write.context. */
typedef struct organ_adapter_making {
    organ_write write; /* with the members that no comment of organ_adapter_make names */
    /* In the order of the adapter: units of wider elements first, because readers require aligned tensors. */
    const organ_adapter_unit *units;
    size_t unit_count;
    size_t tensors, name_bytes;    /* upper bounds of the number of tensors, and of the bytes of all their names */
    const char *architecture;      /* general.architecture of a GGUF adapter; NULL: an adapter of peft */
    const char *base_name;         /* general.base_model.0.name of a GGUF adapter; NULL: none */
    const char *repair_pair;       /* digest that the adapter shares with its model; NULL: none */
    bool calib;                    /* value of organ_unit.calib for the units that `fill` makes */
    const organ_adapter *files_of; /* adapter whose tokenizer and similar files are copied; NULL: none */
    /* Makes the units that are no copies and for which organ_adapter_done returns false, in any order: calls
     * organ_adapter_begin, organ_adapter_add and organ_adapter_end, and advances the progress. */
    organ_status (*fill)(void *context, organ_adapter_writer *writer, organ_error *error);
    /* Restores the results of a unit that organ_adapter_end got in another run or rank. Returns false if they are
     * malformed: the unit is then made again. */
    bool (*recall)(void *context, size_t unit, const json_t *results);
    /* Returns adapter_config.json, a new object, after all units are made; NULL with an error. All ranks call it. */
    json_t *(*config)(void *context, organ_error *error);
    uint64_t bytes; /* set before write.document is called: bytes of all tensors */
} organ_adapter_making;

/* Writes the adapter. Sets the members of organ_write that list and fill pieces and files. Returns the errors of
 * organ_write_run, of the callbacks and of organ_adapter_open for the finished adapter; ORGAN_BAD_INPUT if two tensors
 * have one name. */
organ_status organ_adapter_make(organ_adapter_making *making, json_t **report, organ_error *error);

/* ---- for `fill` ---- */

/* Returns whether this rank need not make the unit. */
bool organ_adapter_done(const organ_adapter_writer *writer, size_t unit);

/* Begins a unit. Returns ORGAN_IO if memory runs out. */
organ_status organ_adapter_begin(organ_adapter_writer *writer, size_t unit, organ_error *error);

/* Adds a tensor of `rank` dimensions to the unit. Rounds `values` to `dtype` (F32, F16 or BF16), ties to even. Returns
 * ORGAN_BAD_INPUT, with the tensor's name, if a value is not finite or exceeds the range of the type, or the unit has
 * no room for the tensor; ORGAN_IO if writing or memory fails. */
organ_status organ_adapter_add(organ_adapter_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                               const uint64_t *shape, const float *values, organ_error *error);

/* Adds A and B of a pair in the layout of the new adapter's format. Of `pair`, uses the members that organ_adapter_key
 * uses. Returns errors of organ_adapter_add. */
organ_status organ_adapter_add_factors(organ_adapter_writer *writer, const organ_adapter_pair *pair, organ_dtype dtype,
                                       const organ_lora_factors *factors, organ_error *error);

/* Reads back the factors of a unit that organ_adapter_add_factors made, in this run or in the one that it continues,
 * for which organ_adapter_done returns true. `parameter`: the pair had ORGAN_FACTORS_PARAMETER. The caller sets in, out
 * and experts of *factors and frees it with organ_lora_factors_release, also after an error. Returns ORGAN_IO if
 * reading or memory fails, or the journal's line is malformed. */
organ_status organ_adapter_read_factors(const organ_adapter_writer *writer, size_t unit, bool parameter,
                                        organ_lora_factors *factors, organ_error *error);

/* Completes the unit with its results, an object, which the function takes over. Returns ORGAN_IO if the journal cannot
 * be written or memory ran out. */
organ_status organ_adapter_end(organ_adapter_writer *writer, json_t *results, organ_error *error);

/* Returns a copy of the adapter's model that stands for its whole directory or, if the user named a GGUF file, for that
 * file. */
organ_model organ_adapter_whole(const organ_adapter *adapter);

/* Returns ORGAN_USAGE if the output would be this adapter, be inside it or contain it. */
organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error);

/* Finds the weights of a base by the names that an adapter has for them: names of its files or of transformers. */

/* The weights of a base by their names in transformers. */
typedef struct organ_lora_names {
    const organ_weights *weights;
    const char *model_type;   /* of the base; "" for GGUF, whose names are its own */
    organ_module_index index; /* numbers of weights */
} organ_lora_names;

/* Fills *names. Returns ORGAN_IO if memory runs out; the caller calls organ_lora_names_release in any case. */
organ_status organ_lora_names_build(const organ_model *base, const organ_weights *weights, organ_lora_names *names,
                                    organ_error *error);
void organ_lora_names_release(organ_lora_names *names);

/* Returns the weight that organ_lora_weight finds, else the one that has the same name in transformers; NULL if there
 * is none. */
const organ_weight *organ_lora_names_find(const organ_lora_names *names, const char *name);

/* Checks an adapter that peft can read for properties that vLLM rejects or silently handles in another way. "Servers"
 * means vLLM here. */

/* The largest rank that vLLM can be configured to serve. */
#define ORGAN_SERVED_RANK 512u

/* Returns the smallest value of vLLM's --max-lora-rank (1, 8, 16, 32, 64, 128, 256, 320, 512) that is at least `rank`;
 * 0 if there is none. */
unsigned organ_served_rank(uint64_t rank);

/* Returns the reason why servers cannot load the tensor `name` of an adapter: the name has a word such as "lm_head" or
 * "norm", or `factor` is false, which means that the tensor is not a factor of a pair. Returns NULL if servers can load
 * the tensor. Does not check the words for a GGUF adapter, because llama.cpp applies factors of any weight. */
const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor);

/* Returns the reason why servers cannot load a pair of factors: a reason of organ_lora_unservable, or, unless the
 * adapter is GGUF, that the pair belongs to a stack of experts. Returns NULL if they can load the pair. */
const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair);

/* Appends a row {"rule", "where", "text"} to `findings` for each setting, tensor and rank (above `max`) that a server
 * would reject, and one row if no module remains. "rule" is "field", "target", "key", "rank" or "base"; "where" is the
 * name of the setting, tensor or module. For a GGUF adapter checks neither settings nor ranks. `model` is the base and
 * `base` has its weights; if they are not NULL, modules that the base lacks or has in another shape are also findings.
 * Does not read values of tensors. Returns ORGAN_IO if memory runs out. */
organ_status organ_lora_findings(const organ_adapter *adapter, const organ_model *model, const organ_lora_names *base,
                                 uint64_t max, json_t *findings, organ_error *error);

/* Returns whether an entry of target_modules selects the module: it equals the module's name, or one or more of the
 * last words of this name, which dots separate ("q_proj", "self_attn.q_proj"). */
bool organ_lora_is_target(const char *target, const char *module);

/* Translates an adapter for a base that names, orders or stacks its weights differently from the adapter. */

/* Sets *made to an adapter whose pairs have the names of the base's weights. organ_lora_factors_read reads the factors
 * of these pairs from `adapter`, which must stay open until *made is freed. The function translates between peft's
 * names and those of llama.cpp, between numbered experts and stacks of experts, and from fused gate and up projections
 * to separate ones. If the architecture requires it, it also reorders the rows of Q and K. A pair for which the base
 * has no weight keeps its name. Sets *made to NULL if every pair already has the name of a weight, or the architecture
 * is unknown. Returns ORGAN_BAD_INPUT if the adapter uses DoRA, two pairs change the same weight, or numbered experts
 * do not fit their stack; ORGAN_IO if memory runs out; and errors of organ_forward_config_read. */
organ_status organ_adapter_translate(const organ_adapter *adapter, const organ_model *base,
                                     const organ_lora_names *names, organ_adapter **made, organ_error *error);
void organ_adapter_translated_free(organ_adapter *made); /* NULL is allowed */

/* Finds the weight of the base that has the place of a tensor which the adapter stores whole: organ_lora_names_find,
 * and for a base in GGUF by the names of llama.cpp: "model.norm.weight" is output_norm.weight. *weight is NULL if
 * there is none; *why is then a sentence, or NULL if the base simply has no such tensor. Returns errors of
 * organ_forward_config_read. */
organ_status organ_adapter_place(const organ_adapter *adapter, const organ_model *base, const organ_lora_names *names,
                                 const char *name, const organ_weight **weight, const char **why, organ_error *error);

/* Lists model types whose modules peft 0.21 with transformers 5 does not find by their names, or refuses. */

/* Returns whether an entry of target_modules that ends with this word does not reach the module of this name: peft
 * takes it for the routed experts of the model type, and targets their stacked parameters instead. The weight of a
 * dense module or of a shared expert can only be reached as a parameter, "MODULE.weight" in target_parameters. */
bool organ_peft_converts(const char *model_type, const char *word);

/* Returns whether peft renames tensors of an adapter of this model type that have the names of transformers, so that
 * they must have those of the files. */
bool organ_peft_renames(const char *model_type);

/* Returns whether peft ignores the factors of numbered experts of this model type. */
bool organ_peft_ignores_experts(const char *model_type);

/* Returns whether factors of modules with this last word have no effect in peft: it refuses an adapter that targets
 * them, or transformers reads the weight of the module instead of calling it. */
bool organ_peft_refuses(const char *model_type, const char *word);

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

/* Finds out which weights of a base are stored as in_features x out_features: the layers of GPT-2 and its kin, which
 * are of the class Conv1D. The factors of an adapter are always for out_features x in_features. */

/* How a base stores the matrices of its layers. It stores all other matrices, such as heads, as out_features x
 * in_features. */
typedef enum organ_lora_orientation {
    ORGAN_LORA_STRAIGHT, /* out_features x in_features */
    ORGAN_LORA_TURNED,   /* in_features x out_features */
    ORGAN_LORA_AMBIGUOUS /* unknown: the adapter sets fan_in_fan_out, but the files do not show whether it is true */
} organ_lora_orientation;

/* Returns how the base stores the matrices of its layers. Ignores fan_in_fan_out of the adapter if the architecture or
 * the shapes decide, because peft writes the flag of the last module that it wraps. `adapter` NULL: only the base
 * decides. */
organ_lora_orientation organ_lora_orientation_of(const organ_model *base, const organ_weights *weights,
                                                 const organ_adapter *adapter);

/* Returns whether the base stores this weight as in_features x out_features. */
bool organ_lora_is_turned(organ_lora_orientation orientation, const organ_weight *weight);

struct forward_mixture;

/* Returns whether peft takes the stacks of experts of the architecture as experts x in_features x out_features. It does
 * so only where the class of the experts in transformers says so (is_transposed): for GPT-OSS, not for Llama 4.
 * `mixture` may be NULL. */
bool organ_lora_stacks_are_turned(const struct forward_mixture *mixture);

/* Returns whether a matrix of the base is the transpose of what the factors of the pair change. Its shape decides; if
 * it is square, the orientation. */
bool organ_lora_pair_is_turned(organ_lora_orientation orientation, const organ_adapter_pair *pair,
                               const organ_weight *weight);

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
    /* New rank of the pair, without padding. The processes of the run exchange the members from here on, which contain
     * no pointers. */
    uint64_t rank;
    double norm;          /* ||scale B A|| */
    double residual;      /* ||scale B A - new B A|| / ||scale B A|| before rounding; 0 if not decomposed */
    double folding_error; /* rounding error of the new B, which includes the scale: ||B as written - B|| / ||B|| */
    size_t sigma_count;   /* number of values in `sigma` */
} organ_lora_row;

/* An adapter and how it is rewritten. The caller sets the members up to `energy`, except `assignment`. */
typedef struct organ_lora_rewrite {
    const organ_adapter *adapter;
    const organ_engine *engine;
    const organ_progress *progress;
    const char *stage;    /* label of the progress: "sanitizing" */
    organ_lora_row *rows; /* `count` rows that organ_lora_row_of returned; organ_lora_rewrite_release frees them */
    size_t count;
    organ_assignment assignment; /* which rank processes which row; set by the survey */
    uint64_t max;                /* largest new rank: pairs of a larger rank are cut to their best approximation */
    /* Above 0: every pair gets the smallest rank that keeps this share of ||scale B A||^2, but at most `max`. */
    double energy;
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

/* The output that organ_lora_write makes. */
typedef struct organ_lora_output {
    organ_write_options write;       /* output, force, resume */
    const json_t *config;            /* adapter_config.json */
    const organ_tensor *const *rest; /* tensors that are copied unchanged */
    size_t rest_count;
    organ_report_files files;                 /* names of the report's files in organ/ */
    void *context;                            /* argument of `document` */
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
 * alpha_pattern are unset, so that every module has scale 1. NULL if out of memory. */
json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank);

/* Returns an array with {"module", "role", "layer", "rank_before", "rank", "scale", "norm", "residual", "explained",
 * "folding_error", "dtype", "sigma"} for each row. NULL if memory runs out. */
json_t *organ_lora_rows_json(const organ_lora_rewrite *rewrite);

/* Frees the rows with their factors and singular values, and the assignment. */
void organ_lora_rewrite_release(organ_lora_rewrite *rewrite);

#endif
