/* SPDX-License-Identifier: MIT
 * Inside of the reader of quantisation settings: what the settings of all owners have in common. The first fault is
 * kept in `error` of the scope; what is read after it is of no use. */
#ifndef ORGAN_QUANT_CONFIG_PARTS_H
#define ORGAN_QUANT_CONFIG_PARTS_H

#include "formats/base/json_text.h"
#include "formats/weights/quant_config.h"

/* An object of the document and where it stands. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    organ_error *error;
    const char *path; /* "quantization_config", "" at the top */
    const json_t *object;
} organ_quant_scope;

/* ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not ..." */
void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected);

/* The member; NULL where it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* A member that is an object, to be read; it has no object where there is none. */
organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key);

/* ---- single values; what is absent or null leaves *out as it is ---- */

void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out);
void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out); /* in small letters */

/* ---- members of a group ---- */

/* A group that begins as *like; NULL where there is no memory. */
organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like);

typedef enum organ_quant_kind {
    ORGAN_QUANT_BITS,
    ORGAN_QUANT_GROUP_SIZE,
    ORGAN_QUANT_SYMMETRIC,
    ORGAN_QUANT_ZERO_POINT, /* true: not symmetric */
    ORGAN_QUANT_BLOCK       /* [rows, columns], or "128x128" as it was written once */
} organ_quant_kind;

typedef struct organ_quant_field {
    const char *key;
    organ_quant_kind kind;
} organ_quant_field;

/* Reads those of the fields that are there, up to one without a key; of two for one kind the later one counts. */
void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group);

/* ---- quant_config_mlx.c ---- */

/* Settings of MLX. True: the model has weights in U32 words, which only MLX writes, and its config has settings for
 * them, at its top or in text_config; then they are read. A model that was converted to MLX may still have the
 * quantization_config of what it was made from. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner);

#endif
