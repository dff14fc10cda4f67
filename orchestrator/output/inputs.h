/* SPDX-License-Identifier: MIT
 * The inputs of a verb. Models that are read completely and their targets; matrices of linear
 * layers; selections by layer, group or pattern; importance matrices assigned to tensors; texts with their tokens. */
#ifndef ORGAN_OUTPUT_INPUTS_H
#define ORGAN_OUTPUT_INPUTS_H

#include "formats/imatrix/imatrix.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/tokenizer.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stddef.h>

/* The coverage of an operation: the share of a model's matrices that are targets, and the kinds of the other matrices.
 * Works for any architecture, known or not. */

/* Returns whether a weight is a matrix of a linear layer, or a stack of such matrices: its rank is 2 or 3, its last two
 * axes are longer than 1, and its role is not that of an embedding, output head, norm, bias, position table,
 * convolution, scale vector, parameter of a recurrence, mixing of residual streams, or companion of a packed weight. In
 * vision and audio towers, draft layers and unknown modules, the name decides instead of the role. For a packed weight,
 * pass the name and shape that it would have unpacked (organ_weight). docs/definitions/counts.md */
bool organ_is_matrix(const char *name, const organ_anatomy *anatomy, unsigned rank, const uint64_t *shape);

/* Returns {"tensors", "elements", "target_tensors", "target_elements", "percent", "few", "left": [{"name", "tensors",
 * "elements", "percent"}]}: the first two count all matrices of the model, the next two the targets. `chosen`: a flag
 * per tensor of the model, set for targets. "few" is true if there are matrices and "percent", the targets' share of
 * the elements, is below 95. "left" lists the kinds of the matrices that are no targets, most elements first. Matrices
 * whose names differ only in numbers are one kind. The name of a kind lacks ".weight" and has N for each part between
 * dots that is a number. Kinds beyond the first thousand are one kind, "other names". A target of rank 2 or more counts
 * even if it is not a matrix. Returns NULL if memory cannot be allocated. */
json_t *organ_matrices_json(const organ_model *model, const bool *chosen);

/* Returns the object of organ_matrices_json for `count` weights. weight(context, k, &target) returns weight k, or NULL
 * if there is none with this number, and sets *target to whether it is a target. Weights that are no matrices do not
 * count, even targets. */
json_t *organ_matrices_each(size_t count, const organ_weight *(*weight)(const void *context, size_t k, bool *target),
                            const void *context);

/* Returns the object of organ_matrices_json for all weights of a model. The targets are the weights that
 * target(context, k) returns for each k below `count`; it may return NULL. Weights that are no matrices do not count,
 * even targets. */
json_t *organ_matrices_among(const organ_weights *weights, size_t count,
                             const organ_weight *(*target)(const void *context, size_t k), const void *context);

/* ---- entries of an importance matrix ---- */

/* Finds for each matrix of a model its entry in an importance matrix (imatrix), whose values describe the inputs of the
 * matrix. Works for all names that the two files may use, and for experts stored one by one or as a stack. */

/* Cache of organ_experts_of_role: its last result for each role. All zero: empty. */
typedef struct organ_expert_census {
    int32_t layer[ORGAN_ROLE_COUNT];    /* layer of the result */
    uint64_t experts[ORGAN_ROLE_COUNT]; /* the result; 0: none yet */
} organ_expert_census;

/* For a tensor of one expert, returns 1 + the highest number of an expert with a tensor of this role in this layer.
 * Returns 0 for any other tensor. `known` caches the last layer: calls in the order of layers search the model once per
 * layer and role. */
uint64_t organ_experts_of_role(const organ_model *model, const organ_tensor *tensor, organ_expert_census *known);

/* Computes the XXH3 of the imatrix file, as 16 hexadecimal digits. Returns ORGAN_IO if the file cannot be read or
 * memory cannot be allocated. */
organ_status organ_importance_digest(const organ_imatrix *imatrix, char digest[17], organ_error *error);

/* Returns the object "imatrix" of a document; null if `imatrix` is NULL. `digest`: the result of
 * organ_importance_digest. */
json_t *organ_importance_json(const organ_imatrix *imatrix, const char *digest);

/* Returns the errors of organ_imatrix_find for the first matrix of the tensor. */
organ_status organ_importance_check(const organ_imatrix *imatrix, const organ_tensor *tensor, uint64_t experts,
                                    organ_error *error);

/* Reads the size of each input of a matrix from the imatrix: norms[j] becomes the root mean square of the input of
 * column j (organ_imatrix_norms), where `matrix` is the number of the matrix in the tensor. *count becomes the number
 * of tokens (in older files: chunks) from which the values were computed, and *entry the name of the entry in the
 * imatrix. `experts`: the result of organ_experts_of_role.
 *
 * For an expert that got no tokens, *count becomes 0, and the norms are those over the tokens of all experts of the
 * entry. If no expert got tokens, all norms are 1.
 *
 * Returns the errors of organ_imatrix_find, or ORGAN_BAD_INPUT for a stack of square matrices in safetensors, whose
 * input axis is unknown. */
organ_status organ_importance_norms(const organ_imatrix *imatrix, const organ_model *model, const organ_tensor *tensor,
                                    uint64_t matrix, uint64_t experts, float *norms, double *count, const char **entry,
                                    organ_error *error);

/* ---- the options --select (tensors), --map (layers) and --dtype ---- */

/* organ_selection.groups of the word mtp */
#define ORGAN_SELECTION_MTP   (1u << (ORGAN_GROUP_OTHER + 1))
#define ORGAN_SELECTION_SPANS 64   /* most ranges in an option */
#define ORGAN_SELECTION_NAME  1024 /* size of a buffer for the name of a tensor; longer names are cut */

/* A range of layers. */
typedef struct organ_layer_span {
    int32_t from, to; /* both included */
} organ_layer_span;

/* A selection of tensors: the value of --select. The tensors have one of the names, roles or groups, and are in one of
 * the layers; a selection without names, roles and groups is a selection of layers. All zero selects everything. */
typedef struct organ_selection {
    const char *field;                             /* the member of the options that has the list */
    bool words;                                    /* names, roles or groups are given */
    unsigned groups;                               /* bit k: tensors of organ_group k; ORGAN_SELECTION_MTP */
    int32_t trunk;                                 /* layers from this one on are blocks'; 0: none is */
    size_t span_count;                             /* 0: every layer, and tensors outside layers */
    organ_layer_span spans[ORGAN_SELECTION_SPANS]; /* the ranges of layers */
    size_t pattern_count;
    const char **patterns; /* names, roles, and shell patterns on names */
    bool *used;            /* a flag per pattern: organ_selection_has_name has found a name that matches it */
    char *text;            /* copy of the option, into which `patterns` points */
} organ_selection;

/* Parses a list of words separated by commas, each one of
 *   - a group: attention, feed-forward, embed, norm, other, all (skeleton and organ are former words of the first two);
 *   - mtp: the tensors of blocks for multi-token prediction, which are also in the other groups;
 *   - layers, counted from 0: a number or a range, "5-20";
 *   - a role, "down_proj" or "experts.down_proj" (organ_anatomy_role_name);
 *     groups and roles of a tensor in a block for multi-token prediction, such as mtp.layers.0, are those of its layer;
 *   - the name of a tensor, the name without ".weight", ".bias" or the suffix of a packed weight, or the last word of
 *     that name;
 *   - a shell pattern on these names.
 * `select` NULL gives no word. `layers` is a second list, or NULL. `field` is the member of the options that has the
 * list, for messages. Returns ORGAN_USAGE for a malformed range and an
 * empty word. The caller releases the selection. */
organ_status organ_selection_parse(const char *select, const char *layers, const char *field,
                                   organ_selection *selection, organ_error *error);
void organ_selection_release(organ_selection *selection);
/* Sets the layers from which on those of the model are blocks', for the word mtp. */
void organ_selection_set_model(organ_selection *selection, const organ_model *model);

/* Returns whether the name, role or group is selected, in any layer; if the selection has none of these, returns
 * `otherwise`. Marks every pattern that matches as used. */
bool organ_selection_has_name(const organ_selection *selection, const char *name, const organ_anatomy *anatomy,
                              bool otherwise);

/* Returns whether the layer is selected. If there are ranges of layers, layer -1 (embedding, output, final norm) is
 * not. */
bool organ_selection_has_layer(const organ_selection *selection, int32_t layer);

/* Returns whether verbs that change tensors keep this one although a word for a group, such as "feed-forward", selects
 * it. Kept are routers and the projection of a block for multi-token prediction, which programs do not read in another
 * type. The word mtp alone changes only the matrices of the block's layer. */
bool organ_selection_keeps(const organ_selection *selection, const organ_tensor *tensor);

/* Returns whether the tensor is selected, by its name and its layer. */
bool organ_selected(const organ_selection *selection, const organ_tensor *tensor);

/* Returns the layers (`of_layers`) or all other words of the two lists as a JSON text, separated by commas; null if
 * there are none. */
json_t *organ_selection_json(const char *select, const char *layers, bool of_layers);

/* Fails with ORGAN_USAGE if a role, name or pattern has matched nothing of the model at `path`. The message says "no
 * `what` of `path` matches" and suggests a similar word. */
organ_status organ_selection_check_used(const organ_selection *selection, const char *what, const char *path,
                                        organ_error *error);

/* A map from layers of one model to layers of another. All zero maps each layer to the same number. */
typedef struct organ_layer_moves {
    size_t count;
    struct {
        organ_layer_span from;
        int32_t to; /* new number of layer from.from; the next layers of the range get the next numbers */
    } spans[ORGAN_SELECTION_SPANS];
} organ_layer_moves;

/* Parses --map, such as "5-20:6-21,30:31"; NULL gives the map that moves nothing. Returns ORGAN_USAGE for any other
 * text, and for a pair of ranges with different numbers of layers. */
organ_status organ_layer_map_parse(const char *text, organ_layer_moves *map, organ_error *error);

/* Returns the layer to which the map moves `layer`; a layer that the map does not mention stays. */
int32_t organ_layer_mapped(const organ_layer_moves *map, int32_t layer);

/* Returns "bf16", "f16" or "f32" for this name in any case, a static text; `name` for another word. */
const char *organ_dtype_word(const char *name);
/* Sets *dtype to the number type that "bf16", "f16" or "f32" names, in any case; NULL: BF16. Returns ORGAN_USAGE for
 * another word. */
organ_status organ_dtype_requested(const char *name, organ_dtype *dtype, organ_error *error);

/* ---- a model that an operation changes, and the matrices that it works on ---- */

/* Opens a model that a verb reads completely, and prints warnings about it. Returns ORGAN_BAD_INPUT if the model is
 * behind a URL (the message says that it cannot be `done`: "pruned") or is damaged, else the errors of
 * organ_model_open. The caller closes *model also after an error. */
organ_status organ_donor_open(const char *path, const char *done, const organ_progress *progress, organ_model **model,
                              organ_error *error);

/* Warns if organ does not know the modules of the model in transformers. `what` is the thing that depends on them: "the
 * adapter's names". */
void organ_warn_of_type(const organ_progress *progress, const organ_model *model, const char *what);

/* The tensors of a model that a verb changes. */
typedef struct organ_targets {
    size_t count;
    const organ_tensor **tensors; /* pointers into the model, in the order of model->tensors */
    uint64_t elements, bytes;     /* of all targets */
    bool *chosen;                 /* a flag per tensor of the model, set for targets */
} organ_targets;

/* Selects the targets: matrices and stacks of matrices. `select` is a list as for organ_selection_parse. Without names,
 * roles and groups in it, and if it is NULL, the targets are the projections of the anatomy table, in the layers that
 * it names or in all layers except draft layers. Returns ORGAN_USAGE if a pattern matches no matrix or the selection is
 * empty, ORGAN_BAD_INPUT if `select` is NULL and there is no target. The caller releases the targets with
 * organ_targets_release. */
organ_status organ_targets_select(const organ_model *model, const char *select, organ_targets *targets,
                                  organ_error *error);

/* Adds the projections of draft layers, blocks for multi-token prediction of GGUF. Returns ORGAN_IO if memory runs
 * out. */
organ_status organ_targets_add_blocks(const organ_model *model, organ_targets *targets, organ_error *error);

/* Makes the tensors with a flag in `which` (one for each tensor of the model) targets if `chosen`, else no targets.
 * Returns ORGAN_BAD_INPUT if no target is left, ORGAN_IO if memory runs out. */
organ_status organ_targets_set(const organ_model *model, const bool *which, bool chosen, organ_targets *targets,
                               organ_error *error);

/* Returns whether single elements of the tensor can be set to zero: its type is BF16, F16 or F32. */
bool organ_target_is_float(const organ_tensor *tensor);

/* Selects targets with organ_targets_select and returns its errors. Also checks that the elements of the targets can be
 * set to zero one by one: returns ORGAN_BAD_INPUT if a target is stored in another type than BF16, F16 and F32 (the
 * message says that it cannot be `done`), or belongs to a packed weight. */
organ_status organ_targets_select_floats(const organ_model *model, const char *select, const char *done,
                                         organ_targets *targets, organ_error *error);

/* Returns true for a stack of routed experts that is stored as experts x in_features x out_features, the transpose of
 * other models: parameters of gpt-oss, Llama 4 and published Qwen3-VL mixtures in safetensors (transformers:
 * GptOssExperts, Llama4TextExperts). */
bool organ_tensor_is_crossed(const organ_model *model, const organ_tensor *tensor);
/* Returns true if the tensor has gate and up in alternating outputs: gate 0, up 0, gate 1, ... (gpt-oss). */
bool organ_tensor_has_pairs(const organ_model *model, const organ_tensor *tensor);

/* Fails with ORGAN_USAGE if a target is stored as in_features x out_features: the projections of GPT-2 (Conv1D) and, if
 * `stacks` is set, stacks for which organ_tensor_is_crossed holds. `option`, which the message names, needs the weights
 * of one output in one row, but such a matrix has them in a column. */
organ_status organ_targets_need_rows(const organ_model *model, const organ_targets *targets, bool stacks,
                                     const char *option, organ_error *error);

/* Removes the targets whose flag in `left_out` (one per tensor of the model) is set. Returns ORGAN_USAGE if none
 * remains: the message says that no matrix has inputs for `method`. */
organ_status organ_targets_remove(const organ_model *model, const bool *left_out, const char *method,
                                  organ_targets *targets, organ_error *error);

void organ_targets_release(organ_targets *targets);

/* ---- packed weights ---- */

/* Rejects packed weights in verbs that change weights: codes and scales are not the weights, and are never changed as
 * if they were. */

/* Returns ORGAN_BAD_INPUT if a tensor that the verb changes is part of a packed weight: its codes, a scale or another
 * part. `changed`: a flag per tensor of the model. The message names tensor and scheme, and explains how to dequantize
 * the model. Also returns the errors of organ_weights_find. */
organ_status organ_require_plain(const organ_model *model, const bool *changed, organ_error *error);

/* Sets *hint to the command with which the user dequantizes the model, for messages; the caller frees it. Returns
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_dequantize_hint(const organ_model *model, char **hint, organ_error *error);
/* Fails with ORGAN_BAD_INPUT "<what>: dequantize it first: organ dequantize MODEL -o OUT", with MODEL quoted for the
 * shell. */
organ_status organ_dequantize_first(const organ_model *model, organ_error *error, const char *what, ...)
    __attribute__((format(printf, 3, 4)));

/* Fails so if a weight is rotated at run time (organ_weight.rotation), for verbs that copy codes instead of values. */
organ_status organ_refuse_rotated(const organ_model *model, const organ_weights *weights, organ_error *error);

/* Returns whether the type is a block type of GGUF: such a tensor contains its scales, so `dequantize` converts it
 * without any other tensor. */
bool organ_dtype_is_blocks(organ_dtype dtype);

/* ---- the tokens of a text ---- */

/* Reads a text and computes the ids of its tokens within the limit of --memory. Text and ids are in memory at the same
 * time, before any other large allocation. */

#define ORGAN_TEXT_LIMIT ((size_t)1 << 30) /* bytes of the longest text that is read */

/* Returns ORGAN_BAD_INPUT, with advice in the message, for a regular file above ORGAN_TEXT_LIMIT. Returns ORGAN_OK for
 * a file that cannot be examined: the call that opens it reports the error. */
organ_status organ_text_check_size(const char *path, organ_error *error);

/* A text and the ids of its tokens, both in memory. */
typedef struct organ_text_input {
    const char *path;
    const organ_engine *engine; /* its memory limits the bytes that the text and its ids take together */
    char *bytes;                /* the text */
    size_t size;                /* bytes of the text */
    uint32_t *ids;
    size_t tokens; /* number of ids */
} organ_text_input;

/* Reads the file at `path`, a string that must outlive *text. Returns the errors of organ_text_check_size and
 * organ_input_load, or ORGAN_USAGE if the text alone exceeds the engine's memory; the message of organ_memory_claim
 * then names an amount that is enough for any text of this size, because each token has at least one byte. The caller
 * releases the text also after an error. */
organ_status organ_text_load(organ_text_input *text, const char *path, const organ_engine *engine, organ_error *error);

/* Returns ORGAN_BAD_INPUT, naming the byte, for an empty text, a byte 0, and bytes that are not UTF-8. */
organ_status organ_text_check(const organ_text_input *text, organ_error *error);

/* Computes the ids of the text with organ_tokenizer_encode_some and returns its errors. `special`: names of special
 * tokens in the text become their ids. Returns ORGAN_USAGE if text and ids exceed the engine's memory; the message
 * of organ_memory_claim names the amount for the exact number of tokens. */
organ_status organ_text_encode(organ_text_input *text, organ_tokenizer *tokenizer, bool special, organ_error *error);

/* Returns the bytes that a text and its ids take. */
uint64_t organ_text_memory(const organ_text_input *text);

void organ_text_release(organ_text_input *text);

#endif
