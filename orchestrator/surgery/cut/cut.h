/* SPDX-License-Identifier: MIT
 * Room surgery/cut: removes parts of a model (routed experts, blocks, channels of feed-forwards, groups of heads)
 * and writes a smaller model. Kept weights keep their bytes, also in packed types: codes, scales and other
 * companions, GGUF blocks. Names, config.json and key-values are changed to match the smaller model. The room
 * builds on surgery/write: new shards, journal, ranks, evaluation. */
#ifndef ORGAN_CUT_H
#define ORGAN_CUT_H

#include "orchestrator/surgery/write/write.h"

/* The kept entries of an axis: experts, channels, heads, rows, ... Zero-initialised: all entries are kept. */
typedef struct organ_cut_keep {
    const uint32_t *numbers; /* indices of the kept entries in the donor, from 0, ascending; NULL: all are kept */
    size_t count;            /* number of kept entries; 0 if `numbers` is NULL */
} organ_cut_keep;

/* The kept parts of a layer of the donor. All zero: the whole layer is kept. */
typedef struct organ_cut_layer {
    bool dropped;            /* the whole block is removed and later blocks are renumbered */
    organ_cut_keep experts;  /* kept routed experts; the router loses the rows of removed ones */
    organ_cut_keep channels; /* channels of a feed-forward without experts: rows of gate and up, columns of down */
    organ_cut_keep kv_heads; /* heads of K and V, each with its query heads: rows of Q, K and V, columns of O */
    /* For each routed expert of the donor its kept channels, the same number in each expert: rows of its gate and up,
     * columns of its down. Entries of removed experts are ignored. NULL: all channels are kept. */
    const organ_cut_keep *expert_channels;
    organ_cut_keep shared_channels; /* channels of the shared expert: rows of its gate and up, columns of its down */
} organ_cut_layer;

typedef struct organ_cut_run organ_cut_run; /* plan and state of a cut while organ_cut_make runs */

/* Input of organ_cut_make. All pointers must stay valid during the call. */
typedef struct organ_cut_out {
    /* The caller sets `model`, `requested`, `definition`, `schema`, `name`, `markdown_name`, `stage`, `progress`,
     * `engine`, `context`, `parameters` and `document`; if needed also `choice`, `identity` (without the kept parts,
     * which are added), `plan` (the memory of a copy is added), `finish_report`, and `fill` if tensors are refitted.
     * organ_cut_make sets the other members. */
    organ_write write;
    const organ_cut_layer *layers; /* one for each layer of the donor */
    size_t layer_count;            /* must equal organ_cut_layers */
    /* A flag for each tensor of the donor: true for a refitted tensor, whose kept part gets new values from
     * `write.fill` (organ_cut_put) instead of the donor's bytes. NULL: no tensor is refitted. */
    const bool *refitted;
    /* `results` returns the object that the journal stores with a complete refitted tensor. `recall` reads it when a
     * run is resumed and returns false if the object is malformed. NULL: the journal stores nothing. Both get
     * write.context. */
    json_t *(*results)(void *context, const organ_tensor *tensor);
    bool (*recall)(void *context, const organ_tensor *tensor, const json_t *results);
} organ_cut_out;

/* Returns one plus the highest layer number in the names of the model's tensors, including layers of multi-token
 * prediction. */
size_t organ_cut_layers(const organ_model *model);

/* Returns the number of routed experts of a layer, from the rows of its router; 0 if it has no router. */
uint64_t organ_cut_experts(const organ_model *model, size_t layer);

/* Writes the smaller model. Errors, and the files that remain after them, are those of organ_write_run. In addition,
 * before anything is written:
 *   - ORGAN_USAGE if indices of kept parts do not ascend or do not exist in the layer, if a layer would keep no
 *     expert, if layers would keep different numbers of experts or of expert channels (config.json and key-values have
 *     one number for all layers), if nothing would be cut, or if `refitted` names a tensor whose type cannot be
 *     rewritten;
 *   - ORGAN_BAD_INPUT, with tensor, key and reason, if the smaller model cannot be described: a tensor of unknown
 *     relation to experts, a cut through a quantised block, or a pattern of layers that the configuration cannot
 *     express. */
organ_status organ_cut_make(organ_cut_out *cut, json_t **report, organ_error *error);

/* Checks whether config.json can describe the model with these kept layers. Returns ORGAN_BAD_INPUT, naming the
 * setting, if it cannot. Returns ORGAN_OK for a GGUF file, whose keys organ_cut_make checks. Writes nothing. */
organ_status organ_cut_describes(const organ_model *model, const organ_cut_layer *layers, size_t layer_count,
                                 organ_error *error);

/* ---- functions for `write.fill` ---- */

/* The `fill` of a verb with refitted tensors calls organ_cut_begin first, stores each kept matrix of refitted tensors
 * with organ_cut_put, and calls organ_cut_copy last. */

/* Returns the state of the cut, never NULL. `inner` and `writing` are the first two arguments of `fill`. */
organ_cut_run *organ_cut_begin(void *inner, organ_writing *writing);
/* Returns write.context, the verb's own context. */
void *organ_cut_context(const organ_cut_run *run);
/* Copies the kept bytes of all cut tensors that are not refitted. Returns ORGAN_INTERRUPTED if the engine is stopped,
 * and errors of reading and writing. */
organ_status organ_cut_copy(organ_cut_run *run, organ_error *error);

/* Returns whether organ_cut_put can store new values in this type: BF16, F16, F32, and the GGUF block types for which
 * the engine has a kernel that fits scales. */
bool organ_cut_takes(const organ_engine *engine, organ_dtype type);

/* Returns whether no matrix of the refitted tensor must be stored: an interrupted run has written the tensor, or the
 * output has no part of it. */
bool organ_cut_done(const organ_cut_run *run, const organ_tensor *tensor);

/* Stores new FP32 values of a matrix of a refitted tensor: kept rows x kept columns, rows in the order of the file. The
 * function rounds them to the type of the donor (BF16, F16, F32; GGUF blocks with best-fit scales) and overwrites
 * `weights` with the rounded values. `matrix` is the index of a kept matrix in the donor's stack, or 0. After the last
 * kept matrix of a tensor, the function writes the tensor's line to the journal. `own` false: another rank writes the
 * tensor, and this rank only rounds the values. `weights` NULL: copies the bytes of the donor; all rows and columns of
 * the matrix must be kept. Returns ORGAN_BAD_INPUT for a value that is not finite before or after rounding. */
organ_status organ_cut_put(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own, float *weights,
                           organ_error *error);

/* Like organ_cut_put for a matrix whose values all ranks have: rank 0 writes them. `weights` are out_features x
 * in_features, also if the file stores the transpose (organ_tensor_is_crossed). */
organ_status organ_cut_put_once(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                                organ_error *error);

/* Reads back into `weights`, as FP32, the matrix that organ_cut_put stored in the interrupted run that this one
 * continues. Shape and order of rows are those of organ_cut_put. */
organ_status organ_cut_get(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                           organ_error *error);

/* Like organ_cut_put and organ_cut_get for a tensor that the file stores as in_features x out_features: `weights` are
 * out_features x in_features. */
organ_status organ_cut_put_transposed(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own,
                                      float *weights, organ_error *error);
organ_status organ_cut_get_transposed(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix,
                                      float *weights, organ_error *error);

/* ---- functions for `document` ---- */

/* Returns the common part of the documents: {"bytes_before", "bytes_after", "elements_before", "elements_after",
 * "layers_after", "experts_before", "experts_after", "layers": [{"layer", "becomes", "experts", "kept_experts",
 * "channels", "kept_channels", "kv_heads", "kept_kv_heads"}], "settings": [{"where", "key", "before", "after"}]}. A
 * layer whose experts lose channels also has "expert_channels" and "expert_channels_after", the numbers per expert; a
 * layer whose shared expert loses channels has "shared_channels" and "kept_shared_channels". Members that do not apply
 * to a layer are null, and so are lists of axes that are kept whole; "becomes" is null for a removed block, "before"
 * for a new setting, "after" for a removed one. "refitted" has {"tensor", "xxh3"} for each refitted tensor of the
 * output, by which an audit recognises its bytes; null if there is none, and in a dry run. NULL if out of memory. */
json_t *organ_cut_json(const organ_writing *made);

#endif
