/* SPDX-License-Identifier: MIT
 * The changes that mlx-lm 0.32 makes to the tensors of transformers when it saves a model: other names, stacks of
 * experts, turned matrices, shifted norms. organ reverses them when it reads the model. */
#ifndef ORGAN_TENSOR_MLX_NAMES_H
#define ORGAN_TENSOR_MLX_NAMES_H

#include "formats/tensor/tensor_list.h"

#include <organ/models.h>

#include <stdbool.h>
#include <stddef.h>

/* How transformers' files store the experts of a layer, which mlx-lm stacks by projection: gate, up and down. */
typedef enum organ_mlx_experts {
    ORGAN_MLX_NUMBERED, /* "X.experts.3.gate_proj.weight" */
    ORGAN_MLX_W,        /* "X.experts.3.w1.weight": w1, w3 and w2 */
    ORGAN_MLX_FC,       /* "X.experts.3.up_proj.weight" and down_proj: mlx-lm calls them fc1 and fc2 */
    ORGAN_MLX_JOINED,   /* "X.experts.gate_up_proj", rows of gate, then of up, and "X.experts.down_proj" */
    ORGAN_MLX_GRANITE,  /* the same as "X.input_linear.weight" and "X.output_linear.weight" */
    ORGAN_MLX_TURNED,   /* "X.experts.gate_up_proj", columns of gate, then of up, and "X.experts.down_proj", turned */
    ORGAN_MLX_WOVEN,    /* the same, with columns of gate and up in turn */
    ORGAN_MLX_BELOW     /* "X.experts.mlp.w1", the rows of all experts; mlx-lm numbers the experts and turns w2 */
} organ_mlx_experts;

/* The names and changes of a group of model types. */
typedef struct organ_mlx_layout {
    const char *types;   /* model types, separated by blanks */
    const char *experts; /* name of the module of all experts of a layer; NULL: "switch_mlp" */
    organ_mlx_experts form;
    bool shifted;       /* mlx-lm stores 1 + weight of norms */
    bool multiplied;    /* mlx-lm multiplies weights by the multipliers of Falcon-H1 */
    const char *turned; /* last words of modules whose matrices mlx-lm turns, separated by '|'; NULL: none */
    /* a vector of one value for each expert beside the experts, which mlx-lm leaves out and computes as zeros: its name
     * and the number of its axes (the first ones have one entry) */
    const char *zeros;
    unsigned zeros_rank;
    const char *axis; /* last words of single numbers that transformers stores as a vector, separated by blanks */
    /* A word in names from which weights of transformers cannot be made, and the reason, a clause; NULL: none */
    const char *lost, *why;
    bool shared; /* modules of transformers, too, have names of `renamed`: these mark no model of mlx-lm */
    /* Names in mlx-lm and in files of transformers, runs of whole words; each pair applies in turn. A first word that
     * begins with '^' stands at the beginning of a name. */
    const char *renamed[9][2];
} organ_mlx_layout;

/* Returns the row of a model type, or a row without differences. */
const organ_mlx_layout *organ_mlx_layout_of(const char *model_type);

/* Applies layout->renamed to `name`, a buffer of `size` bytes. Returns false if the result is too long. */
bool organ_mlx_rename(const organ_mlx_layout *layout, char *name, size_t size);

/* The part of a stack of experts that a name of mlx-lm says: "X.switch_mlp.gate_proj.weight". */
typedef struct organ_mlx_stack {
    size_t before;          /* length of "X" */
    const char *projection; /* in transformers: "gate_proj"; of fc1 "up_proj" */
    const char *part;       /* "weight", "scales", "biases" or "bias", in the name */
} organ_mlx_stack;

/* Returns whether `name` is that of a stack, and describes it. */
bool organ_mlx_stack_of(const organ_mlx_layout *layout, const char *name, organ_mlx_stack *stack);

/* A name "X.experts.3.w1.weight" of an expert that mlx-lm numbers and transformers does not; `number` is -1 if it is
 * another name. */
typedef struct organ_mlx_numbered {
    long number;
    size_t before, word; /* offsets of ".3" and of "w1" */
} organ_mlx_numbered;

organ_mlx_numbered organ_mlx_numbered_of(const organ_mlx_layout *layout, const char *name);

/* Returns the last word of the projection of an expert in transformers' files: "w1" for "gate_proj" of Mixtral. */
const char *organ_mlx_projection(const organ_mlx_layout *layout, const char *projection);

/* Returns whether a model has stacks of mlx-lm beside experts with names of transformers. mlx-lm stores experts once:
 * such a model is shown as stored, because composed experts would have names that it has already. */
bool organ_mlx_has_experts_twice(const organ_tensor_list *list);

/* Returns whether mlx-lm stores 1 + weight of this norm. */
bool organ_mlx_is_shifted(const organ_mlx_layout *layout, const char *name);

/* Writes to `out` the name in mlx-lm of a module of transformers' files, as "quantization" of config.json lists it.
 * Names that mlx-lm keeps are copied. Returns false if the result exceeds `size` bytes. */
bool organ_mlx_module_name(const char *model_type, const char *name, char *out, size_t size);

#endif
