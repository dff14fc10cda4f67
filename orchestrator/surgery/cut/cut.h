/* SPDX-License-Identifier: MIT
 * Room surgery/cut: in goes a model and what is cut out of it (routed experts, blocks, channels of feed-forwards,
 * groups of heads), out comes a smaller one. What stays keeps its bytes, packed types too: codes, scales and other
 * companions, blocks of GGUF; names, config.json and key-values become those of the smaller model. Built over
 * surgery/write: new shards, journal, ranks, evaluation. */
#ifndef ORGAN_CUT_H
#define ORGAN_CUT_H

#include "orchestrator/surgery/write/write.h"

/* What stays of a row of things, ascending, as the donor counts them. All zero: all of it. */
typedef struct organ_cut_keep {
    const uint32_t *numbers; /* NULL: all */
    size_t count;
} organ_cut_keep;

/* What stays of a layer of the donor. All zero: all of it. */
typedef struct organ_cut_layer {
    bool dropped;            /* the whole block goes, the others close up */
    organ_cut_keep experts;  /* the routed ones; the router loses their rows */
    organ_cut_keep channels; /* of a feed-forward without experts: rows of gate and up, columns of down */
    organ_cut_keep kv_heads; /* heads of K and V, each with its query heads: rows of Q, K and V, columns of O */
    /* The channels of each routed expert of the donor, as many of one as of the other: rows of its gate and up, columns
     * of its down. Of an expert that is cut out it says nothing. NULL: all stay. */
    const organ_cut_keep *expert_channels;
    organ_cut_keep
        shared_channels; /* of the expert that every token goes through beside the routed ones: as `channels` */
} organ_cut_layer;

typedef struct organ_cut_run organ_cut_run;

/* Everything must outlive the call. */
typedef struct organ_cut_out {
    /* Set by the caller: model, asked, definition, schema, name, markdown_name, stage, progress, engine, context,
     * parameters, document; if needed choice, identity (without the kept numbers, which are part of it), plan (the
     * memory of a copy is added), settle. The rest is set by organ_cut_make. */
    organ_write write;
    const organ_cut_layer *layers; /* of each layer of the donor, */
    size_t layer_count;            /* which are as many as organ_cut_layers says */
    /* A flag for each tensor of the donor whose kept part gets other values, put by `resolve`; NULL: none does. */
    const bool *resolved;
    /* The object that the journal keeps with a whole resolved tensor, and the function that takes it over when a run is
     * continued; it returns false if the object is malformed. NULL: nothing. Both get write.context. */
    json_t *(*results)(void *context, const organ_tensor *tensor);
    bool (*recall)(void *context, const organ_tensor *tensor, const json_t *results);
    /* Puts the matrices of `resolved`, before unchanged parts are copied. */
    organ_status (*resolve)(void *context, organ_cut_run *run, organ_error *error);
} organ_cut_out;

/* One past the highest number of a layer in the names of the model's tensors: those of next-token prediction count too.
 */
size_t organ_cut_layers(const organ_model *model);

/* The routed experts of a layer, by the rows of its router; 0: it has none. */
uint64_t organ_cut_experts(const organ_model *model, size_t layer);

/* Makes the smaller model. Errors and what is left after them are those of organ_write_run; besides, all before
 * anything is written: ORGAN_USAGE for numbers that the layer does not have or that do not ascend, where a layer would
 * have no expert left, another number of experts or of their channels than the others (config.json and key-values have
 * one for all), or nothing would be cut, and where `resolved` names a tensor whose type cannot take other values;
 * ORGAN_BAD_INPUT, naming tensor, key and reason, where the smaller model could not be told: a tensor that is not known
 * to belong to one expert or all, a cut through a block of quantisation, a pattern of layers that the configuration
 * could not say any more. */
organ_status organ_cut_make(organ_cut_out *cut, json_t **report, organ_error *error);

/* ---- for `resolve` ---- */

/* Whether a tensor of this type can get other values: floats, and blocks of GGUF that have a search for their scales.
 */
bool organ_cut_takes(const organ_engine *engine, organ_dtype type);

/* An earlier run put all of it, or it is cut out. */
bool organ_cut_done(const organ_cut_run *run, const organ_tensor *tensor);

/* FP32 values of a matrix of a resolved tensor as the output will have it: kept rows x kept columns, rows in the order
 * of the file. They are rounded to the type of the donor (BF16, F16, F32; blocks of GGUF with the scales that fit best)
 * and become what is stored. `matrix`: its number in a stack of the donor, else 0; it stays. With the last matrix of a
 * tensor its unit is finished. Where the tensor is that of another rank (`own` false, as organ_along_matrix has it) the
 * values are only rounded. ORGAN_BAD_INPUT for a value that is not finite. NULL: the matrix, all rows and columns of
 * which stay, keeps its bytes. */
organ_status organ_cut_put(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own, float *weights,
                           organ_error *error);

/* What an earlier run stored of it. */
organ_status organ_cut_get(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                           organ_error *error);

/* The same for a matrix that the file has as in_features x out_features: `weights` are out_features x in_features. */
organ_status organ_cut_put_crossed(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own,
                                   float *weights, organ_error *error);
organ_status organ_cut_get_crossed(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix,
                                   float *weights, organ_error *error);

/* ---- for `document` ---- */

/* {"bytes_before", "bytes_after", "elements_before", "elements_after", "layers_after", "experts_before",
 * "experts_after", "layers":
 * [{"layer", "becomes", "experts", "kept_experts", "channels", "kept_channels", "kv_heads", "kept_kv_heads"}],
 * "settings": [{"where", "key", "before", "after"}]}: what every such document has. A layer whose experts lose channels
 * has "expert_channels" and "expert_channels_after", how many of each; one whose shared expert loses some has
 * "shared_channels" and "kept_shared_channels". Layers that have no experts, or keep all channels, have null there;
 * "becomes" is null where a block was dropped, "before" where a setting is new, "after" where it is gone. NULL without
 * memory. */
json_t *organ_cut_json(const organ_writing *made);

#endif
