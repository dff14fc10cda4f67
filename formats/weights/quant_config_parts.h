/* SPDX-License-Identifier: MIT
 * Functions that the readers of all formats of quantisation settings share. The first fault is kept in `error` of
 * the scope; values read after it are meaningless. */
#ifndef ORGAN_QUANT_CONFIG_PARTS_H
#define ORGAN_QUANT_CONFIG_PARTS_H

#include "formats/base/json_text.h"
#include "formats/weights/quant_config.h"

/* An object of the config file and its path in it. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    organ_error *error;
    const char *path;     /* "quantization_config", "" at the top */
    const json_t *object; /* NULL if the file has no such object */
} organ_quant_scope;

/* Reports ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not EXPECTED". */
void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected);

/* Returns the value of the member `key`; NULL if it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* Returns the scope of the member `key`. Its object is NULL if the member is absent, or is not an object, which is
 * an error. */
organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key);

/* ---- single values ---- */

/* Set *out to the string in the member `key`: as in the file (word), or in lower case (term). An absent or null member
 * leaves *out unchanged; any other value is an error. */
void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out);
void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out);

/* ---- members of a group ---- */

/* Returns a new group in the config's arena, a copy of *like with another name; NULL if memory is exhausted. */
organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like);

/* The member of organ_quant_group that a field sets, and the form of its value. */
typedef enum organ_quant_kind {
    ORGAN_QUANT_BITS,
    ORGAN_QUANT_GROUP_SIZE,
    ORGAN_QUANT_SYMMETRIC,
    ORGAN_QUANT_ZERO_POINT, /* true means asymmetric */
    ORGAN_QUANT_BLOCK       /* [rows, columns], or the older form "128x128" */
} organ_quant_kind;

/* A member that a quantisation config may have, and the type of its value. */
typedef struct organ_quant_field {
    const char *key;
    organ_quant_kind kind;
} organ_quant_field;

/* Reads the members of *at that `fields` lists (ended by a NULL key) into *group; absent ones leave it unchanged. If
 * two fields of the same kind exist, the later one in the list is used. */
void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group);

/* ---- quant_config_mlx.c ---- */

/* Reads settings of MLX. Returns true if the model has weights in U32 words, which only MLX writes, and its config
 * has settings for them in `top` (the whole config) or `inner` (its text_config). A model that was converted to MLX
 * may still have the quantization_config of the original. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner);

#endif
