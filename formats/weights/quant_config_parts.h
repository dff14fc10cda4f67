/* SPDX-License-Identifier: MIT
 * Functions that the readers of all formats of quantisation settings share. `error` of the scope keeps the first error;
 * values read after it are meaningless. */
#ifndef ORGAN_QUANT_CONFIG_PARTS_H
#define ORGAN_QUANT_CONFIG_PARTS_H

#include "formats/base/json_text.h"
#include "formats/weights/quant_config.h"

/* An object of the config file and its path in it. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    organ_error *error;
    const char *path;     /* keys from the top to the object: "quantization_config", "" for the whole file */
    const json_t *object; /* NULL if the file has no such object */
} organ_quant_scope;

/* Reports ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not EXPECTED". */
void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected);

/* Returns the value of the member `key`; NULL if it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* Returns the scope of the object in the member `key`. The scope's object is NULL if the member is absent, or after an
 * error; a member of another type is an error. */
organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key);

/* ---- single values ---- */

/* Sets *out to the string in the member `key`, which config->root owns. Leaves *out unchanged if the member is absent
 * or null; any other value is an error. */
void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out);
/* Like organ_quant_read_word, but sets *out to a copy of the string in lower case, in the config's arena. */
void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out);

/* ---- members of a group ---- */

/* Returns a new group in the config's arena, a copy of *like with the name `name`; NULL, with an error, if memory is
 * exhausted. */
organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like);

/* The member of organ_quant_group that a field sets, and the form of its value. */
typedef enum organ_quant_kind {
    ORGAN_QUANT_BITS,
    ORGAN_QUANT_GROUP_SIZE,
    ORGAN_QUANT_SYMMETRIC,
    ORGAN_QUANT_ZERO_POINT, /* true means asymmetric */
    ORGAN_QUANT_BLOCK       /* [rows, columns], or the older form "128x128" */
} organ_quant_kind;

/* A member that a quantisation config may have. */
typedef struct organ_quant_field {
    const char *key;
    organ_quant_kind kind; /* the member of organ_quant_group to set, and the form of the value */
} organ_quant_field;

/* Reads the members of the object *at that `fields` lists (ended by a NULL key) into *group. Absent members change
 * nothing. If the object has two members of the same kind, the later one in `fields` is used. */
void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group);

/* ---- quant_config_mlx.c ---- */

/* Reads settings of MLX. Returns true if the model has weights in U32 words, which only MLX writes, and its config
 * has settings for them in `top` (the whole config) or `inner` (its text_config). Skips a quantization_config with
 * quant_method: it describes the model that was converted to MLX. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner);

#endif
