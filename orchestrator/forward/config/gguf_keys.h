/* SPDX-License-Identifier: MIT
 * Internals of the reader of GGUF key-values. Each function reads "ARCHITECTURE.key" and keeps the first fault in
 * `s->error`, with the names of file and key; values that are read after a fault are not used. */
#ifndef ORGAN_GGUF_KEYS_H
#define ORGAN_GGUF_KEYS_H

#include "orchestrator/forward/config/families.h"

/* The GGUF file that a configuration is read from. */
typedef struct config_gguf_source {
    const char *label, *architecture; /* path of the file; general.architecture, with which keys begin */
    const organ_model *model;
    const forward_family *family;
    organ_error *error;
} config_gguf_source;

/* Bytes of a key with its architecture, and of a tensor name. */
#define CONFIG_KEY_LIMIT 128

/* Returns the key-value, or NULL if it is missing. `full` gets the whole name of the key. */
const organ_gguf_kv *organ_key_find(const config_gguf_source *s, const char *key, char full[CONFIG_KEY_LIMIT]);

void organ_key_require(const config_gguf_source *s, const char *key); /* fails if the key is missing */

/* Return a key that is a whole number of at least 0. Numbers beyond 32 bits become UINT32_MAX, which the check of sizes
 * rejects. */
unsigned organ_key_size(const config_gguf_source *s, const char *key, unsigned fallback);
unsigned organ_key_needed(const config_gguf_source *s, const char *key); /* requires the key */
/* Returns the number of a layer: element `layer` of an array, or a single number that is for all layers. */
unsigned organ_key_of_layer(const config_gguf_source *s, const char *key, unsigned layer, unsigned fallback);

double organ_key_real(const config_gguf_source *s, const char *key, double fallback);
bool organ_key_flag(const config_gguf_source *s, const char *key, bool fallback);
/* Returns true if the key is the text `word`; `otherwise` if the key is missing. */
bool organ_key_equals(const config_gguf_source *s, const char *key, const char *word, bool otherwise);

/* Returns element `layer` of an array of numbers. Unlike above, `key` is the whole name of the key. Fails if the key is
 * missing or not an array with a number for each layer. */
double organ_key_real_of_layer(const config_gguf_source *s, const char *key, unsigned layer);

bool organ_key_tensor(const config_gguf_source *s, const char *name); /* whether the file has the tensor */

#endif
