/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json, as transformers 4 and 5 write it. Each function reads members of the object
 * and keeps the first fault in `s->error`, with the file's name, the member and its value; values that are read after
 * a fault are not used. A member that is null counts as missing. */
#ifndef ORGAN_CONFIG_JSON_H
#define ORGAN_CONFIG_JSON_H

#include "orchestrator/forward/config/families.h"

#include <jansson.h>

/* The config.json that a configuration is read from. */
typedef struct config_hf_source {
    const char *label;  /* path of the file */
    const json_t *file; /* the whole file */
    const json_t *root; /* the object that configures the text model: the file, or a part of it */
    const forward_family *family;
    organ_error *error;
} config_hf_source;

/* Returns the member, or NULL if it is missing or null; "a.b" names member b of member a. `object` may be NULL. */
const json_t *organ_config_member(const json_t *object, const char *key);

/* Returns the architecture's own name for a member of the root if the file has a member of that name, else `key`. */
const char *organ_config_name(const config_hf_source *s, const char *key);

/* Sets ORGAN_BAD_INPUT with the message "FILE: KEY is VALUE, not EXPECTED". */
void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected);

/* Fails if a member of the object has another value than its row in `fixed` supports; missing members pass. `object`
 * and `fixed` may be NULL. */
void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed);

/* Returns the number, `fallback` if it is missing. Fails if it is not finite in FP32. */
double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback);
/* Fails if the member is there and is not an object. */
void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key);
/* Return a member of the root that is a whole number of at least 0. Numbers beyond 32 bits become UINT32_MAX, which the
 * check of sizes rejects. organ_config_needed fails if the member is missing. */
unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback);
unsigned organ_config_needed(const config_hf_source *s, const char *key);
bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback);
bool organ_config_flag_of(const config_hf_source *s, forward_flag flag);
double organ_config_number(const config_hf_source *s, forward_number number); /* 0 without a key */
/* Returns the member of the root if it is a list of `layers` items; else NULL and an error, in which `item` describes
 * an item ("a number"). */
const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers);
/* Returns a member that is a string, `fallback` if it is missing. */
const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback);

#endif
