/* SPDX-License-Identifier: MIT
 * The sizes of a model in organ_hf_config: where config.json and GGUF files have them. */
#ifndef ORGAN_ARCHITECTURE_SIZES_H
#define ORGAN_ARCHITECTURE_SIZES_H

#include "formats/tensor/tensor_list.h"

#include <jansson.h>
#include <organ/architecture.h>
#include <organ/models.h>

/* A size of a model. */
typedef struct organ_size {
    const char *member; /* of config.json and of organ_hf_config; pairing_keys.c has the key of GGUF files */
    const char *others; /* members of config.json that replace it, separated by blanks; NULL: none */
    const char *what;   /* in words: "KV heads"; NULL: parts of models that differ in it fit together */
    organ_group group;  /* of the tensors that have this size; ORGAN_GROUP_OTHER: of all groups */
    size_t at;          /* offset in organ_hf_config */
} organ_size;

enum { ORGAN_SIZES = 8 };
extern const organ_size organ_sizes[ORGAN_SIZES];

/* Returns the value of a size, -1 if it is absent or differs between layers. */
int64_t organ_size_value(const organ_size *size, const organ_hf_config *config);

/* Returns the heads of K and V of a layer with attention: as many as query heads if the model does not state them; 0 if
 * it states neither. */
uint64_t organ_kv_heads(const organ_hf_config *config);

/* Returns a new object with the members of config.json for sizes and constants whose default differs between classes:
 * heads of K and V, head_dim, epsilon of norms, base of the rotation, context, a tied head. NULL if memory runs out. */
json_t *organ_sizes_stated(const organ_forward_config *config);

/* Fills in *config, the fields of a config.json, from the key-values. `label` is the name of the file in messages;
 * `list` has the model's tensors. Returns ORGAN_BAD_INPUT if a known key has the wrong type or is negative. A key whose
 * value is an array (one number for each layer) sets the field to -1. */
organ_status organ_gguf_config_read(const char *label, const organ_gguf *gguf, const organ_tensor_list *list,
                                    organ_hf_config *config, organ_error *error);

#endif
