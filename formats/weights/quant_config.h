/* SPDX-License-Identifier: MIT
 * What a model's config says about how its weights were quantised. Types and shapes of tensors take precedence: the
 * config decides only what they leave open. */
#ifndef ORGAN_QUANT_CONFIG_H
#define ORGAN_QUANT_CONFIG_H

#include "formats/base/arena.h"
#include "formats/model/model.h"
#include "formats/weights/quant_rules.h"

#include <jansson.h>

/* What is said of the weights of some modules. */
typedef struct organ_quant_group {
    const char *name; /* where it stands, for messages: "config_groups.group_0.weights", "" for the config itself */
    const char
        *format;   /* of compressed-tensors: "pack-quantized"; the mode of MLX: "affine"; "" where nothing is said */
    int bits;      /* 1 to 8, 0 where nothing is said */
    int symmetric; /* 1, 0; -1 where nothing is said */
    int64_t group_size;              /* above 0; -1: a whole row; 0 where nothing is said */
    uint64_t block_rows, block_cols; /* 0 where nothing is said */
} organ_quant_group;

typedef struct organ_quant_config {
    const char *file;   /* that was read: "config.json", "" if there is none */
    const char *method; /* quant_method, "" if there is none */
    const char *layout; /* in small letters: checkpoint_format (or format) of GPTQ, version (or format) of AWQ; "" where
                           nothing is said */
    const char *pack_dtype; /* of GPTQ: "int32"; "" where nothing is said */
    json_t *root;           /* owns all texts that are used as they are */
    organ_quant_group all;
    organ_quant_rules targets, spared; /* values of targets: organ_quant_group, NULL for "as it is" */
    bool grouped;                      /* only what a group means is quantised */
    organ_arena arena;
} organ_quant_config;

/* Reads quantization_config of config.json, at its top or in its text_config, or else what hf_quant_config.json,
 * quantize_config.json or quant_config.json beside it says. Of a model with weights in U32 words it is MLX's
 * `quantization` first, or a quantization_config without a quant_method, which is the same; the method is then "mlx". A
 * model without any gives a config with method "" and ORGAN_OK. ORGAN_BAD_INPUT, naming file, field and value, for
 * wrong types, sizes and bits that cannot be, and patterns that do not compile. ORGAN_IO. *config is NULL on error. */
organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error);
void organ_quant_config_free(organ_quant_config *config); /* NULL is allowed */

/* What is said of the weight of `module` ("model.layers.0.mlp.up_proj"): of the group that means it, else of all.
 * *named: a group or the config as a whole does mean it. `embedding`: the module is one, which classes of linear layers
 * do not mean. ORGAN_BAD_INPUT if patterns take too long. */
organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding,
                                   const organ_quant_group **group, bool *named, organ_error *error);

/* Whether the module is on a list of those that are left as they are. */
organ_status organ_quant_config_spares(organ_quant_config *config, const char *module, bool embedding, bool *spared,
                                       organ_error *error);

#endif
