/* SPDX-License-Identifier: MIT
 * Reads adapter_config.json of peft, and computes rank and scale of the pair of each module from it. */
#ifndef ORGAN_ADAPTER_ADAPTER_CONFIG_H
#define ORGAN_ADAPTER_ADAPTER_CONFIG_H

#include "formats/base/arena.h"
#include "formats/base/json.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct organ_adapter_patterns;

/* Ranks and alphas of single modules. Rules whose members are all zero are empty. */
typedef struct organ_adapter_rules {
    struct organ_adapter_patterns *ranks, *alphas; /* rank_pattern and alpha_pattern; NULL: none */
} organ_adapter_rules;

/* Sentences about fields and keys of an adapter that users should know; further ones than this number are left out. */
enum { ORGAN_ADAPTER_REMARKS = 24 };

typedef struct organ_adapter_remarks {
    const char *label;  /* name of the file in messages */
    organ_arena *arena; /* memory of the texts, the caller's */
    const char *texts[ORGAN_ADAPTER_REMARKS];
    size_t count;
} organ_adapter_remarks;

/* Returns the remarks on an adapter that organ_adapter_open opened; they are valid until it is closed. */
const organ_adapter_remarks *organ_adapter_remarks_of(const organ_adapter *adapter);

#define ORGAN_ADAPTER_CONFIG_LIMIT ((size_t)16 << 20) /* bytes of adapter_config.json */

/* Reads and checks adapter_config.json at `path`. Sets *rules, and config, r, alpha, rslora, dora, fan_in_fan_out and
 * base of *adapter. Remarks on fields that are unknown and set. Returns ORGAN_BAD_INPUT if peft_type is not "LORA", if
 * a required member is missing, if a member has a wrong type or value, or if an unsupported option is set; ORGAN_IO if
 * the file cannot be read. remarks->label names the file in messages. The caller releases *rules and adapter->config,
 * also after an error. */
organ_status organ_adapter_config_read(const char *path, organ_adapter *adapter, organ_adapter_rules *rules,
                                       organ_adapter_remarks *remarks, organ_error *error);

/* The same for the adapter_config.json of mlx-lm: sets *scale, and r, alpha and base of *adapter; config has only the
 * base, as peft names it. Returns ORGAN_BAD_INPUT if fine_tune_type is not "lora". */
organ_status organ_adapter_config_read_mlx(const char *path, organ_adapter *adapter, double *scale,
                                           organ_adapter_remarks *remarks, organ_error *error);

/* Remarks on fields of adapter_config.json that are unknown and set. Returns ORGAN_BAD_INPUT if a field is set with
 * which a weight does not become W + scale B A. */
organ_status organ_adapter_fields_check(const organ_json_object *config, organ_adapter_remarks *remarks,
                                        organ_error *error);

/* The same for the keys "adapter.*" of a GGUF file. */
organ_status organ_adapter_keys_check(const organ_gguf *gguf, organ_adapter_remarks *remarks, organ_error *error);

/* Returns whether a rewritten adapter keeps this key of a GGUF file as it is. */
bool organ_adapter_key_is_carried(const char *key);

/* Remarks on pairs that target_modules, exclude_modules or layers_to_transform leave out: peft does not read their
 * factors. */
organ_status organ_adapter_selection_check(const json_t *config, const organ_adapter_pair *pairs, size_t count,
                                           organ_adapter_remarks *remarks, organ_error *error);

/* Upper bound of the number of modules times the number of patterns that are regular expressions. */
#define ORGAN_ADAPTER_MATCHES ((size_t)1 << 20)

/* Returns ORGAN_BAD_INPUT if there are too many patterns to match the names of `modules` modules in reasonable time. */
organ_status organ_adapter_rules_check_limit(const organ_adapter_rules *rules, size_t modules, organ_error *error);

/* Sets *rank and *scale to rank and scale of the factors of `module` according to the config. Returns ORGAN_BAD_INPUT
 * if a pattern takes too long to match. */
organ_status organ_adapter_rules_of(const organ_adapter_rules *rules, const organ_adapter *adapter, const char *module,
                                    int64_t *rank, double *scale, organ_error *error);

void organ_adapter_rules_release(organ_adapter_rules *rules);

/* ---- names of factors in adapters of peft and of llama.cpp ---- */

/* The parts of a name: "base_model.model.[module].lora_A.default.weight", or "[module].weight.lora_a" in GGUF. */
typedef struct organ_adapter_name {
    const char *module; /* points into the name; `length` bytes, no NUL */
    size_t length;
    bool is_b;      /* factor B, else A */
    bool embedding; /* lora_embedding_A or _B */
} organ_adapter_name;

/* Splits a tensor's name into `parts`; the name is that of a GGUF file if `gguf` is true, else of peft. Returns false
 * if the tensor is no factor. */
bool organ_adapter_name_read(const char *name, bool gguf, organ_adapter_name *parts);
/* The same for a name of mlx-lm, "[module].lora_a". */
bool organ_adapter_name_read_mlx(const char *name, organ_adapter_name *parts);

/* Returns the name of the parameter that the factors of `module` change; `config` is adapter_config.json. If its
 * target_parameters name a parameter of the module, such as "mlp.experts.down_proj" of "mlp.experts", returns the
 * parameter's name, in the arena and without ".base_layer", and sets *is_parameter to true. Otherwise returns `module`,
 * whose weight the factors change, and sets *is_parameter to false. peft wraps a module once for each of its parameters
 * in target_parameters; the number of ".base_layer" at the end of `module` selects the wrapper (0: the outermost) and
 * so the parameter. Returns NULL, with an error, if it is unknown which parameter this wrapper changes, or if memory
 * runs out. */
const char *organ_adapter_parameter(const json_t *config, const char *module, organ_arena *arena, bool *is_parameter,
                                    organ_error *error);

#endif
