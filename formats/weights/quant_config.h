/* SPDX-License-Identifier: MIT
 * Reads the quantisation settings in a model's config. Types and shapes of tensors take precedence: the config decides
 * only properties that they do not determine. */
#ifndef ORGAN_QUANT_CONFIG_H
#define ORGAN_QUANT_CONFIG_H

#include "formats/base/arena.h"
#include <organ/models.h>
#include "formats/weights/quant_rules.h"

#include <jansson.h>

/* Settings of the quantised weights of a group of modules. */
typedef struct organ_quant_group {
    /* Path of the group in the config, for messages: "config_groups.group_0.weights"; "" for the config itself. */
    const char *name;
    const char *format; /* format of compressed-tensors ("pack-quantized") or mode of MLX ("affine"); "": not stated */
    int bits;           /* bits of a code, 1 to 8; 0: not stated */
    int symmetric;      /* codes have no zero point: 1 or 0; -1: not stated */
    int64_t group_size; /* columns that share a scale, above 0; -1: a whole row; 0: not stated */
    uint64_t block_rows, block_cols; /* shape of a block of values that share a scale; 0: not stated */
} organ_quant_group;

/* The quantisation settings of a model, read from quantization_config of config.json or from a file of its own. All
 * texts are valid until organ_quant_config_free. */
typedef struct organ_quant_config {
    const char *file;       /* name of the file that was read: "config.json"; "" if there is none */
    const char *model_type; /* that of the model, which must outlive the settings */
    const char *method;     /* quant_method ("gptq"); "" if there is none */
    /* In lower case: checkpoint_format (or format) of GPTQ, version (or format) of AWQ; "": not stated. */
    const char *layout;     /* "gptq_v2", "gemm", ... */
    const char *pack_dtype; /* pack_dtype of GPTQ: "int32"; "": not stated */
    json_t *root;           /* the parsed file; owns the strings above and the strings of the rules */
    organ_quant_group all;  /* settings of modules that no rule of `targets` selects */
    /* `targets`: modules with settings of their own (values: organ_quant_group); `skipped`: modules that are not
     * quantised (values NULL). */
    organ_quant_rules targets, skipped;
    bool grouped; /* the config has groups: modules that no group selects are not quantised */
    organ_arena arena;
} organ_quant_config;

/* Reads the quantisation settings of a model: quantization_config of config.json (at the top or in text_config), or
 * else hf_quant_config.json, quantize_config.json or quant_config.json in the same directory. For a model with
 * weights in U32 words it first reads MLX's `quantization`, or a quantization_config without quant_method, which has
 * the same format; the method is then "mlx". A model without settings gets a config with method "" and ORGAN_OK.
 * Returns ORGAN_BAD_INPUT, naming file, field and value, for wrong types, impossible sizes and bits, and patterns
 * that do not compile; ORGAN_IO if a file cannot be read or memory fails. *config is NULL on error. */
organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error);
void organ_quant_config_free(organ_quant_config *config); /* NULL is allowed */

/* Sets *group to the settings of the weight of `module` ("model.layers.0.mlp.up_proj"): those of the rule in
 * config->targets that selects the module under its name in the file or in
 * transformers (module_names.h), else config->all. Sets *named to true if the config states that the module
 * is quantised: a rule selects it, or the config has a method and no groups. `embedding` is true for an embedding,
 * which rules for classes of linear layers do not select. Returns ORGAN_BAD_INPUT if matching patterns takes too
 * long. */
organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding,
                                   const organ_quant_group **group, bool *named, organ_error *error);

/* Sets *skipped to true if a rule in config->skipped selects the module. Parameters and errors are those of
 * organ_quant_config_of. */
organ_status organ_quant_config_is_skipped(organ_quant_config *config, const char *module, bool embedding,
                                           bool *skipped, organ_error *error);

#endif
