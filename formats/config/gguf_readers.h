/* SPDX-License-Identifier: MIT
 * The steps by which organ_forward_config_read reads the files of a model. */
#ifndef ORGAN_CONFIG_GGUF_READERS_H
#define ORGAN_CONFIG_GGUF_READERS_H

#include "formats/architecture/config_readers.h"
#include "formats/config/model_config.h"

/* Reads the configuration from config.json; organ_forward_config_read describes the result. */
organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error);
/* The same from the key-values of a GGUF file. */
organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error);

/* ---- single keys of a GGUF file ---- */

/* Each function reads the key "ARCHITECTURE.KEY" and reports a fault in `s->error`, with the names of file and key;
 * only the first fault is kept, and callers do not use values after a fault. `fallback` is the value of a missing key.
 */

/* The GGUF file that a configuration is read from. */
typedef struct config_gguf_source {
    const char *label, *architecture; /* path of the file; general.architecture, with which keys begin */
    const organ_model *model;
    const forward_family *family;
    organ_error *error;
    /* of a file mtp-NAME.gguf: the layer of its block, whose tensors stand for those of the layers that it lacks; 0 of
     * other files */
    unsigned block;
} config_gguf_source;

/* Bytes of a key with its architecture or of a tensor name, final 0 included; longer names are cut. */
#define CONFIG_KEY_LIMIT 128

/* Writes the key's whole name, "ARCHITECTURE.KEY", to `full` and returns it. */
const char *organ_key_name(const config_gguf_source *s, const char *key, char full[CONFIG_KEY_LIMIT]);
/* Returns the key-value, or its default (organ_gguf_find_or_default); NULL if it is missing. */
const organ_gguf_kv *organ_key_find(const config_gguf_source *s, const char *key);
/* Sets ORGAN_BAD_INPUT with the message "FILE: key 'ARCHITECTURE.KEY' ..." and the rest by `format`. */
void organ_key_refuse(const config_gguf_source *s, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reports an error if the key is missing. */
void organ_key_require(const config_gguf_source *s, const char *key);

/* Returns a key that is a whole number of at least 0. Numbers beyond 32 bits become UINT32_MAX, which
 * organ_forward_config_check rejects. */
unsigned organ_key_size(const config_gguf_source *s, const char *key, unsigned fallback);
/* Like organ_key_size, but reports an error if the key is missing. */
unsigned organ_key_needed(const config_gguf_source *s, const char *key);
/* Returns the whole number of a layer: element `layer` of the key's array, or a single number for all layers. */
unsigned organ_key_of_layer(const config_gguf_source *s, const char *key, unsigned layer, unsigned fallback);

/* Returns a key that is a number. */
double organ_key_real(const config_gguf_source *s, const char *key, double fallback);
/* Returns a key that is true or false. */
bool organ_key_flag(const config_gguf_source *s, const char *key, bool fallback);

/* Returns element `layer` of an array of numbers. `key` is the whole name of the key, with its architecture if it has
 * one. Reports an error if the key is missing or not an array with a number for each layer. */
double organ_key_real_of_layer(const config_gguf_source *s, const char *key, unsigned layer);

/* Returns true if the file has the tensor. */
bool organ_key_tensor(const config_gguf_source *s, const char *name);
/* Returns whether the file has the tensor "blk.LAYER.NAME". */
bool organ_key_layer_tensor(const config_gguf_source *s, unsigned layer, const char *name);

/* ---- parts of a configuration in a GGUF file ---- */

/* Each function reads some members of the configuration and reports the first fault in s->error. s->family, called the
 * family, is the row of the architecture in families.h. Defaults of missing keys are those of llama.cpp. */

/* If the message in s->error names no key or tensor, appends the names of the GGUF keys whose values were rejected: the
 * checks of config_check.c name members of config.json for both formats. */
void organ_key_name_fault(const config_gguf_source *s);
/* Reads the rotations of q and k; after organ_key_latent. */
void organ_key_ropes(const config_gguf_source *s, organ_forward_config *config);
/* Reads the sizes of latent attention into the configuration and all kinds of layers; after organ_key_heads. */
void organ_key_latent(const config_gguf_source *s, organ_forward_config *config);
/* Reads the layers with block-sparse attention, and their sizes; after organ_key_heads. */
void organ_key_blocks(const config_gguf_source *s, organ_forward_config *config);
/* In models with latent attention and YaRN, multiplies the scale of attention scores by YaRN's factor; after
 * organ_key_ropes. */
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *config);
/* Reads the members that only Gemma 3n and Gemma 4 have; after organ_key_windows. */
void organ_key_gemma(const config_gguf_source *s, organ_forward_config *config);
/* Reads the scale of queries (organ_query_scale). */
void organ_key_query(const config_gguf_source *s, organ_forward_config *config);
/* Reads heads and dense widths of each layer; needs config->kinds. */
void organ_key_heads(const config_gguf_source *s, organ_forward_config *config);
/* Reads which layers have a sliding window; needs config->kinds. */
void organ_key_windows(const config_gguf_source *s, organ_forward_config *config);
/* Sets which layers have sinks, rotate q and k, and attend within chunks; after organ_key_windows and
 * organ_key_experts. */
void organ_key_positions(const config_gguf_source *s, organ_forward_config *config);
/* Reads the mixture of experts and which layers have one; after organ_key_heads. */
void organ_key_experts(const config_gguf_source *s, organ_forward_config *config);
/* Reads the mixers of layers and the sizes of recurrent ones; after organ_key_latent; needs the epsilon of norms. */
void organ_key_mixers(const config_gguf_source *s, organ_forward_config *config);

#endif
