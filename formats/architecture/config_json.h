/* SPDX-License-Identifier: MIT
 * Internals of the reader of config.json, as transformers 4 and 5 write it. Functions that return a value report a
 * fault in `s->error`, with the file's name, the member and its value; only the first fault is kept, and callers do not
 * use values after a fault. A member that is null counts as missing. `fallback` is the value of a missing member. */
#ifndef ORGAN_CONFIG_JSON_H
#define ORGAN_CONFIG_JSON_H

#include "formats/architecture/families.h"

#include <jansson.h>

/* The config.json that a configuration is read from. */
typedef struct config_hf_source {
    const char *label;  /* path of the file */
    const json_t *file; /* the whole file */
    const json_t *root; /* the object that configures the text model: the file, or a part of it */
    const forward_family *family;
    organ_error *error;
} config_hf_source;

/* Returns the member `key` of an object, or NULL if it is missing or null; "a.b" is member b of member a. `object` may
 * be NULL. */
const json_t *organ_config_member(const json_t *object, const char *key);

/* Returns the name under which the file has the member `key` of the root: the architecture's alias
 * (forward_family.aliases) if the file has a member of that name, else `key`. */
const char *organ_config_name(const config_hf_source *s, const char *key);

/* Sets ORGAN_BAD_INPUT with the message "FILE: KEY is VALUE, not EXPECTED". */
void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected);

/* Reports an error if a member of the object has another value than its row in `fixed`, a list that ends with a NULL
 * key. Missing members pass. `object` and `fixed` may be NULL. */
void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed);

/* Returns a member that is a number. Reports an error if it is not a number or not finite in FP32. */
double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback);
/* Reports an error if the member is there and is not an object. */
void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key);
/* Returns a member of the root that is a whole number of at least 0. Numbers beyond 32 bits become UINT32_MAX, which
 * organ_forward_config_check rejects. */
unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback);
/* Like organ_config_size, but reports an error if the member is missing. */
unsigned organ_config_needed(const config_hf_source *s, const char *key);
/* Returns a member of the root that is true or false. */
bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback);
/* Returns the member that `flag` names; flag.otherwise if the member is missing or flag.key is NULL. */
bool organ_config_flag_of(const config_hf_source *s, forward_flag flag);
/* Returns the member that `number` names; number.otherwise if the member is missing, 0 if number.key is NULL. */
double organ_config_number(const config_hf_source *s, forward_number number);
/* Returns the member of the root if it is a list of `layers` items; else NULL, and reports an error, in which `item`
 * describes an item ("a number"). */
const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers);
/* Returns a member of the object that is a string; `fallback`, which may be NULL, if it is missing. */
const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback);

#endif
