/* SPDX-License-Identifier: MIT
 * Internals of the reader of quantisation settings, shared by all formats of them. The first fault is kept in `error`
 * of the scope; values read after it are meaningless. */
#ifndef ORGAN_QUANT_CONFIG_PARTS_H
#define ORGAN_QUANT_CONFIG_PARTS_H

#include "formats/base/json_text.h"
#include "formats/weights/quant_config.h"

/* An object of the document and its path. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    organ_error *error;
    const char *path; /* "quantization_config", "" at the top */
    const json_t *object;
} organ_quant_scope;

/* Fails with ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not ..." */
void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected);

/* Returns the member; NULL if it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* Returns the scope of a member that is an object; a scope without an object if it is absent. */
organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key);

/* ---- single values; absent and null values do not change *out ---- */

void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out);
void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out); /* in small letters */

/* ---- members of a group ---- */

/* Adds a group that begins as a copy of *like; NULL without memory. */
organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like);

typedef enum organ_quant_kind {
    ORGAN_QUANT_BITS,
    ORGAN_QUANT_GROUP_SIZE,
    ORGAN_QUANT_SYMMETRIC,
    ORGAN_QUANT_ZERO_POINT, /* true: not symmetric */
    ORGAN_QUANT_BLOCK       /* [rows, columns], or the older form "128x128" */
} organ_quant_kind;

typedef struct organ_quant_field {
    const char *key;
    organ_quant_kind kind;
} organ_quant_field;

/* Reads the fields that exist, up to one without a key; of two of the same kind the later one applies. */
void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group);

/* ---- quant_config_mlx.c ---- */

/* Reads settings of MLX. Returns true if the model has weights in U32 words, which only MLX writes, and its config has
 * settings for them, at its top or in text_config. A model that was converted to MLX may still have the
 * quantization_config of the original. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner);

#endif
