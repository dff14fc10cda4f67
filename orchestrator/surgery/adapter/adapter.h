/* SPDX-License-Identifier: MIT
 * Adapters: reads their factors and finds the weights that they change, writes adapters, translates them for bases with
 * other names, and reads models of the form MODEL+ADAPTER. */
#ifndef ORGAN_SURGERY_ADAPTER_ADAPTER_H
#define ORGAN_SURGERY_ADAPTER_ADAPTER_H

#include "formats/base/arena.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/output/head.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/merge/merge_input.h"
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
 * for each expert or part, also multiplies the B of each by the scale of its stored pair. Returns ORGAN_BAD_INPUT, with
 * the tensor's name, if a value is not finite; ORGAN_IO if reading or memory fails. The caller frees *factors with
 * organ_lora_factors_release, also after an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_release(organ_lora_factors *factors);

/* The origin of a pair for a weight that is fused of two parts of equal rows, gate and up, which have a stored pair
 * each. The rank is the sum of the parts' ranks, and B is zero outside the blocks of the parts. */
typedef struct organ_lora_fused {
    organ_adapter_origin origin; /* its step is 0, and its pairs are [experts][2]; NULL: zeros */
    bool interleaved;            /* row k of part p is row 2 k + p of the weight; false: the parts follow each other */
} organ_lora_fused;

/* Returns the origin of a pair that joins two pairs; NULL for other pairs. */
static inline const organ_lora_fused *organ_lora_fused_of(const organ_adapter_pair *pair)
{
    return pair->origin && pair->origin->step == 0 ? (const organ_lora_fused *)pair->origin : NULL;
}

/* Returns the columns of B that belong to a part: the largest rank of its stored pairs. */
uint64_t organ_lora_part_rank(const organ_adapter_origin *origin, size_t part);

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

/* Sets *repeats to whether a tensor is the base's own embedding or head, which peft stores beside factors of them as
 * "...base_layer.weight". `weight`: of its plain name in the base, NULL if there is none. Returns the errors of
 * organ_adapter_change. */
organ_status organ_adapter_repeats(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                   const organ_weight *weight, const organ_kernels *kernels, bool *repeats,
                                   organ_error *error);

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

/* Warns if the adapter has a chat template other than that of `base`, whose template the output keeps. Returns the
 * errors of organ_chat_template_read. */
organ_status organ_adapter_warn_of_template(const organ_progress *progress, const organ_adapter *adapter,
                                            const organ_model *base, organ_error *error);

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

/* ---- writing adapter directories ---- */

/* Writes adapter directories in the format of peft (adapter_config.json, adapter_model.safetensors) or of llama.cpp
 * (adapter_model.gguf) through organ_write, which adds journal, --resume, ranks, reports and publishing. The verb lists
 * units: groups of tensors that are made together, such as the factors of a module. The ranks of factors need not be
 * known in advance. */

typedef struct organ_adapter_writer organ_adapter_writer;

/* An adapter that organ_adapter_make makes. The callbacks get write.context. */
typedef struct organ_adapter_making {
    organ_write write; /* with the members that no comment of organ_adapter_make names */
    /* In the order of the adapter: units of wider elements first, because readers require aligned tensors. The verb
     * sets name, cost and calib of a unit. A copied tensor is a piece of organ_piece_same; `config` may change its name
     * from that in the journal to that in the adapter. Of other units, which `fill` makes, `bytes` is an upper bound.
     */
    organ_piece *units;
    size_t unit_count;
    size_t tensors, name_bytes;    /* upper bounds of the number of tensors, and of the bytes of all their names */
    const char *architecture;      /* general.architecture of a GGUF adapter; NULL: an adapter of peft */
    bool mlx;                      /* an adapter of mlx-lm */
    double alpha;                  /* adapter.lora.alpha of a GGUF adapter; 0: that of scale 1 */
    const char *base_name;         /* general.base_model.0.name of a GGUF adapter; NULL: none */
    const char *repair_pair;       /* digest that the adapter shares with its model; NULL: none */
    const organ_adapter *files_of; /* adapter whose tokenizer and similar files are copied; NULL: none */
    const char *const *left_out;   /* names of those that are not copied; ends with NULL. NULL: all are */
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

/* The two steps of organ_adapter_add for a tensor whose bytes the caller has: declares it, then appends its bytes, in
 * order. Return the errors of organ_adapter_add for sizes and files. */
organ_status organ_adapter_declare(organ_adapter_writer *writer, const char *name, organ_dtype dtype, unsigned rank,
                                   const uint64_t *shape, organ_error *error);
organ_status organ_adapter_put(organ_adapter_writer *writer, const void *bytes, size_t count, organ_error *error);

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

/* ---- the weights of a base by the names that an adapter or transformers has for them ---- */

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

/* ---- translating an adapter for another base ---- */

/* Translates an adapter for a base that names, orders or stacks its weights differently from the adapter. */

/* Sets *made to an adapter whose pairs have the names of the base's weights. organ_lora_factors_read reads the factors
 * of these pairs from `adapter`, which must stay open until *made is freed. The function translates between peft's
 * names and those of llama.cpp, between numbered experts and stacks of experts, and between fused and separate gate and
 * up projections. If the architecture requires it, it also reorders the rows of Q and K. A pair for which the base
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

/* ---- model types whose modules peft 0.21 with transformers 5 does not find, or refuses ---- */

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

/* ---- weights that are stored as in_features x out_features ---- */

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

/* How a base stores the weights that an adapter changes. */
typedef struct organ_lora_form {
    organ_lora_orientation orientation;
    bool turned_stacks;  /* organ_lora_stacks_are_turned */
    bool fan_in_fan_out; /* of the adapter */
} organ_lora_form;

organ_lora_form organ_lora_form_of(const organ_model *base, const organ_weights *weights, const organ_adapter *adapter);

/* Returns whether the factors of a pair fit a weight, and sets *transposed to whether the base stores it as in_features
 * x out_features. The shape decides; for square matrices the form of the base. */
bool organ_lora_fits(const organ_lora_form *form, const organ_adapter_pair *pair, const organ_weight *weight,
                     bool *transposed);

/* Returns whether a weight is square, and its orientation is unknown. */
bool organ_lora_is_ambiguous(const organ_lora_form *form, const organ_adapter_pair *pair, const organ_weight *weight);

/* Returns whether a weight is the transpose of what a pair changes, or square. */
bool organ_lora_has_turned_shape(const organ_adapter_pair *pair, const organ_weight *weight);

/* Sets `d` to rows of B A, or of its transpose for a weight that is stored transposed, without a scale. `first` is
 * counted over the matrices of a stack; all these rows belong to one matrix. `scratch`: ORGAN_PRODUCT_SCRATCH bytes. */
void organ_lora_multiply(const organ_kernels *kernels, const organ_lora_factors *factors, bool transposed,
                         uint64_t first, size_t rows, float *d, void *scratch);

/* ---- models of the form MODEL+ADAPTER ---- */

/* Models of the form MODEL+ADAPTER: rows of a weight W become those of W + scale B A, in FP32, while they are read. */

/* An adapter and the weights of its base that it changes. All zero: no adapter. */
typedef struct organ_adapted {
    organ_adapter *adapter, *translated;
    const organ_model *model;
    const organ_weights *weights;
    organ_lora_names names;
    organ_lora_form form;
    organ_head head; /* of the model without the adapter */
    bool apart;      /* the head of the model is its embedding, and the adapter changes the two apart */
    struct adapted_pair *pairs;
    size_t pair_count;
} organ_adapted;

/* Divides a name of the form MODEL+ADAPTER, unless there is a file of the whole name: sets *model, and *adapter to the
 * path of the adapter. Other names are the model, with *adapter NULL. The model
 * is the longest text before a '+' that is a path of this machine; else the longest one after whose '+' such a path
 * follows; else, if the name is no URL, the text before the first '+'. Returns the errors of organ_name_resolve for the
 * adapter. */
organ_status organ_adapted_split(const char *name, organ_arena *arena, const char **model, const char **adapter,
                                 organ_error *error);

/* Opens the adapter at `path` for the model and its weights, which the caller keeps until organ_adapted_close. Returns
 * the errors of organ_adapter_open, and ORGAN_BAD_INPUT, with advice, for a model that is GGUF, and for an adapter that
 * is not only factors of matrices of the model and copies of its embedding and head. If the head of the model is its
 * embedding, the adapter changes each of them apart, as peft serves it; with `keep_tied` a changed embedding is also
 * the head, and an adapter that changes the head is refused. Warns of the remarks on the adapter. organ_adapted_close
 * accepts what it leaves after an error, and all zero. */
organ_status organ_adapted_open(const char *path, const organ_model *model, const organ_weights *weights,
                                bool keep_tied, const organ_engine *engine, const organ_progress *progress,
                                organ_adapted *adapted, organ_error *error);
void organ_adapted_close(organ_adapted *adapted);

/* Returns how the adapter changes the weight, one of those given to organ_adapted_open, where its values take the place
 * of `like`; NULL: not at all. In the place of a tied head, an embedding gets the head's factors, not its own. */
const organ_merge_change *organ_adapted_change(const organ_adapted *adapted, const organ_weight *weight,
                                               const organ_weight *like);

/* Returns the weight with the values of the output head before the adapter, its embedding or a copy, if the adapter
 * makes the two differ; else NULL. */
const organ_weight *organ_adapted_head(const organ_adapted *adapted);

/* Returns ORGAN_BAD_INPUT, with advice, if the adapter changes a weight whose rows are parts of other weights in
 * `across` (NULL is allowed). */
organ_status organ_adapted_check(const organ_adapted *adapted, const organ_across *across, organ_error *error);

/* Returns the errors of organ_model_unchanged for the files of the adapter. */
organ_status organ_adapted_unchanged(const organ_adapted *adapted, organ_error *error);

#endif
