/* SPDX-License-Identifier: MIT
 * Quantisation settings in a model's config. Types and shapes of tensors take precedence: the config decides only
 * properties that they do not determine. */
#ifndef ORGAN_QUANT_CONFIG_H
#define ORGAN_QUANT_CONFIG_H

#include "formats/base/arena.h"
#include "formats/model/model.h"
#include "formats/weights/quant_rules.h"

#include <jansson.h>

/* Settings of the weights of some modules. */
typedef struct organ_quant_group {
    const char
        *name; /* path in the document, for messages: "config_groups.group_0.weights", "" for the config itself */
    const char
        *format;   /* of compressed-tensors: "pack-quantized"; the mode of MLX: "affine"; "" where nothing is said */
    int bits;      /* 1 to 8; 0: not stated */
    int symmetric; /* 1 or 0; -1: not stated */
    int64_t group_size;              /* above 0; -1: a whole row; 0: not stated */
    uint64_t block_rows, block_cols; /* 0: not stated */
} organ_quant_group;

typedef struct organ_quant_config {
    const char *file;   /* that was read: "config.json", "" if there is none */
    const char *method; /* quant_method, "" if there is none */
    const char *layout; /* in small letters: checkpoint_format (or format) of GPTQ, version (or format) of AWQ; "" where
                           nothing is said */
    const char *pack_dtype; /* of GPTQ: "int32"; "": not stated */
    json_t *root;           /* owns all texts that point into it */
    organ_quant_group all;
    organ_quant_rules targets, skipped; /* values of targets: organ_quant_group, NULL for "as it is" */
    bool grouped;                       /* only what a group means is quantised */
    organ_arena arena;
} organ_quant_config;

/* Reads quantization_config of config.json (at the top or in text_config), or else hf_quant_config.json,
 * quantize_config.json or quant_config.json in the same directory. For a model with weights in U32 words it first reads
 * MLX's `quantization`, or a quantization_config without quant_method, which has the same format; the method is then
 * "mlx". A model without settings gives a config with method "" and ORGAN_OK. ORGAN_BAD_INPUT, naming file, field and
 * value, for wrong types, impossible sizes and bits, and patterns that do not compile. ORGAN_IO. *config is NULL on
 * error. */
organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error);
void organ_quant_config_free(organ_quant_config *config); /* NULL is allowed */

/* Finds the settings of the weight of `module` ("model.layers.0.mlp.up_proj"): those of the group that matches it, else
 * of all modules. *named: a group, or the config as a whole, applies to it. `embedding`: the module is an embedding,
 * which classes of linear layers do not match. ORGAN_BAD_INPUT if patterns take too long. */
organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding,
                                   const organ_quant_group **group, bool *named, organ_error *error);

/* Sets *spared to whether the module is on a list of modules without quantisation. */
organ_status organ_quant_config_is_skipped(organ_quant_config *config, const char *module, bool embedding,
                                           bool *skipped, organ_error *error);

#endif
