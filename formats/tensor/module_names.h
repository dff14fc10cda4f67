/* SPDX-License-Identifier: MIT
 * Names of modules in transformers. Published files of some architectures name their tensors after other modules than
 * those that transformers builds; its loader renames the tensors. Configurations that list modules, such as
 * quantization_config and an adapter's target_modules, must list the names of transformers. */
#ifndef ORGAN_MODULE_NAMES_H
#define ORGAN_MODULE_NAMES_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include <organ/base.h>
#include <organ/models.h>

#include <stdbool.h>
#include <stddef.h>

#define ORGAN_MODULE_NAME_SIZE 4200 /* bytes for a module's name with its NUL */

/* How transformers loads the matrix of a module of a file. */
typedef enum organ_module_form {
    ORGAN_MODULE_WHOLE,  /* into one module */
    ORGAN_MODULE_SPLIT,  /* cut into several modules: "attention.query_key_value" into q_proj, k_proj and v_proj */
    ORGAN_MODULE_JOINED, /* joined with another matrix into one module: gate_proj and up_proj into gate_up_proj */
} organ_module_form;

/* Writes to `out` the name in transformers 5.24 of a tensor or a module of a file. `model_type` is that of config.json,
 * at its top level; `name` is the name in the file, with or without ".weight".
 * "language_model.model.layers.0.mlp.up_proj" of the type gemma3 becomes "model.language_model.layers.0.mlp.up_proj".
 * Names that transformers keeps, and all names of a type that is not in the table, are copied. The numbers of experts
 * stay, although transformers stacks experts. Stores the form in *form unless it is NULL; for ORGAN_MODULE_SPLIT, `out`
 * is the name of the first of the modules. Returns false if the result exceeds `size` bytes. */
bool organ_module_name(const char *model_type, const char *name, char *out, size_t size, organ_module_form *form);

/* Replaces the first occurrence of `from`, a run of whole words between dots, by `to`. Returns false if the result
 * exceeds `size` bytes. */
bool organ_module_replace(char *name, size_t size, const char *from, const char *to);

/* What mlx-lm 0.32 makes of models of a type, and so how organ stores them for it. Without a flag, the output has the
 * names of published models: mlx-lm cuts or changes no quantised matrix, and joins the experts of a layer with their
 * scales. */
typedef struct organ_mlx_type {
    const char *types;   /* model types, separated by blanks */
    bool stacked;        /* mlx-lm joins unquantised experts only, so the output has one tensor for each projection */
    bool finished;       /* mlx-lm changes nothing of a file with stacked experts: the output has norms as mlx-lm */
    bool nearest;        /* the calibration does not know the matrices into which stacks are cut */
    bool split;          /* stacks hold columns of gate and up in turn */
    bool headless;       /* mlx-lm has no output head: the embedding is the head */
    bool moved;          /* the language model is below "language_model" */
    const char *plain;   /* end of the names of matrices that must stay unquantised; NULL: there are none */
    const char *why;     /* the reason */
    const char *experts; /* name of the module of all experts of a layer; NULL: "switch_mlp" */
    /* Names in published files and in files of mlx-lm, runs of whole words; each pair applies in turn. */
    const char *renamed[3][2];
} organ_mlx_type;

/* Returns the row of a model type; NULL if mlx-lm lacks the type, or stores its weights otherwise. */
const organ_mlx_type *organ_mlx_type_of(const char *model_type);

/* Writes to `out` the name in mlx-lm 0.32 of a module of a file, as in "quantization" of config.json:
 * "mlp.switch_mlp.up_proj" for "mlp.experts.3.up_proj" (dots1: "mlp.experts.up_proj"), because the experts of a layer
 * are one module there. Other names are copied, except for the types whose language model has another place (Qwen3.5).
 * Returns false if the result exceeds `size` bytes. */
bool organ_module_name_in_mlx(const char *model_type, const char *name, char *out, size_t size);

/* Writes to `out` the name in a file of mlx-lm of a tensor or a module that is no routed expert's:
 * "feed_forward.gate_proj.weight" for "feed_forward.w1.weight" of lfm2_moe. Other names are copied. Returns false if
 * the result exceeds `size` bytes. */
bool organ_module_file_in_mlx(const char *model_type, const char *name, char *out, size_t size);

/* Writes to `out` the name in a file of mlx-lm of the module in which a numbered expert's projection is a slice: as
 * organ_module_name_in_mlx, but with the prefix of `name`. Returns false if `name` is no such projection, or if the
 * result exceeds `size` bytes. */
bool organ_module_stack_in_mlx(const char *model_type, const char *name, char *out, size_t size);

/* Returns the last words of the modules into which transformers cuts the matrix of module `name` of a file, separated
 * by '|': "q_proj|k_proj|v_proj". NULL unless its form is ORGAN_MODULE_SPLIT. */
const char *organ_module_split_parts(const char *model_type, const char *name);

/* Returns the name in transformers of the module that is the output head of a model of the type. */
const char *organ_module_head(const char *model_type);

/* Returns whether organ's outputs of this type, which has no row in formats/architecture, were compared with the
 * modules of transformers 5.24: names of quantised modules, of an adapter and of layers
 * (tests/surgery/encoding/open_types.py). */
bool organ_module_type_is_checked(const char *model_type);

/* Returns whether transformers stacks the numbered experts of this checked type. */
bool organ_module_stacks_experts(const char *model_type);

/* Tensors of a model by their names in transformers. An index whose members are all zero is empty. */
typedef struct organ_module_index {
    organ_arena arena;      /* memory of the names */
    organ_name_table names; /* name in transformers -> index of the tensor */
} organ_module_index;

/* Builds the index of `count` tensors. If two tensors get the same name, the first keeps it. Returns ORGAN_IO if memory
 * is exhausted; the caller releases the index in any case. */
organ_status organ_module_index_build(const char *model_type, const organ_tensor *tensors, size_t count,
                                      organ_module_index *index, organ_error *error);

/* Returns the address of the number of the tensor that has this name in transformers, or NULL. */
const size_t *organ_module_index_find(const organ_module_index *index, const char *name);

/* Frees the memory of the index, which is then empty. */
void organ_module_index_release(organ_module_index *index);

#endif
