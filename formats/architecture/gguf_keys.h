/* SPDX-License-Identifier: MIT
 * Internals of the reader of GGUF key-values. Each function reads the key "ARCHITECTURE.KEY" and reports a fault in
 * `s->error`, with the names of file and key; only the first fault is kept, and callers do not use values after a
 * fault. `fallback` is the value of a missing key. */
#ifndef ORGAN_GGUF_KEYS_H
#define ORGAN_GGUF_KEYS_H

#include "formats/architecture/families.h"

/* The GGUF file that a configuration is read from. */
typedef struct config_gguf_source {
    const char *label, *architecture; /* path of the file; general.architecture, with which keys begin */
    const organ_model *model;
    const forward_family *family;
    organ_error *error;
} config_gguf_source;

/* Bytes of a key with its architecture or of a tensor name, final 0 included; longer names are cut. */
#define CONFIG_KEY_LIMIT 128

/* Returns the key-value, or NULL if it is missing. Writes the key's whole name, "ARCHITECTURE.KEY", to `full` in any
 * case. */
const organ_gguf_kv *organ_key_find(const config_gguf_source *s, const char *key, char full[CONFIG_KEY_LIMIT]);

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
/* Returns true if the key is the text `word`; `otherwise` if the key is missing. */
bool organ_key_equals(const config_gguf_source *s, const char *key, const char *word, bool otherwise);

/* Returns element `layer` of an array of numbers. `key` is the whole name of the key, with its architecture if it has
 * one. Reports an error if the key is missing or not an array with a number for each layer. */
double organ_key_real_of_layer(const config_gguf_source *s, const char *key, unsigned layer);

/* Returns true if the file has the tensor. */
bool organ_key_tensor(const config_gguf_source *s, const char *name);

#endif
