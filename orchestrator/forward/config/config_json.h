/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json, as transformers 4 and 5 write it. Each function reads members of the object
 * and keeps the first fault in `s->error`, with the file's name, the member and its value; values that are read after
 * a fault are not used. A member that is null counts as missing. */
#ifndef ORGAN_CONFIG_JSON_H
#define ORGAN_CONFIG_JSON_H

#include "orchestrator/forward/config/families.h"

#include <jansson.h>

typedef struct config_hf_source {
    const char *label;  /* path of the file */
    const json_t *file; /* the whole file, */
    const json_t *root; /* and the object that configures the text model: the file, or a part of it */
    const forward_family *family;
    organ_error *error;
} config_hf_source;

/* Returns the member, or NULL if it is missing; a key with a dot names a member of a member. `object` may be NULL. */
const json_t *organ_config_member(const json_t *object, const char *key);

/* Returns the name that the architecture has for a member of the root and that the file uses, or `key`. */
const char *organ_config_name(const config_hf_source *s, const char *key);

/* Fails with ORGAN_BAD_INPUT and "FILE: KEY is VALUE, not EXPECTED". */
void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected);

/* Fails if a member of the object has another value than its row says. `object` and `fixed` may be NULL. */
void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed);

/* Returns a number that is finite in 32 bits too. */
double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback);
/* Fails if the member is there and is not an object. */
void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key);
/* Read whole numbers from 0 from the root. Numbers beyond 32 bits become UINT32_MAX, which the check of sizes rejects.
 * organ_config_needed fails if the member is missing. */
unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback);
unsigned organ_config_needed(const config_hf_source *s, const char *key); /* fails if the member is missing */
bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback);
bool organ_config_flag_of(const config_hf_source *s, forward_flag flag);
double organ_config_number(const config_hf_source *s, forward_number number); /* 0 without a key */
/* Returns the member of the root if it is a list of `layers` items; else NULL and an error, which calls an item `item`
 * ("a number"). */
const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers);
const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback);

#endif
