/* SPDX-License-Identifier: MIT
 * Inside of the reader of quantisation settings: what the settings of all owners have in common. */
#ifndef ORGAN_QUANT_CONFIG_PARTS_H
#define ORGAN_QUANT_CONFIG_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/json_text.h"
#include "formats/weights/quant_config.h"
#include "formats/weights/quant_rules.h"

struct organ_quant_config {
    const char *file, *method, *layout, *pack_dtype;
    json_t *root; /* owns all texts that are used as they are */
    organ_quant_group all;
    organ_quant_rules targets, spared; /* values of targets: organ_quant_group, NULL for "as it is" */
    bool grouped;                      /* only what a group means is quantised */
    organ_arena arena;
};

/* An object of the document and where it stands. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    const char *path; /* "quantization_config", "" at the top */
    const json_t *object;
} organ_quant_scope;

organ_status organ_quant_no_memory(const organ_quant_scope *at, organ_error *error);

/* ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not ..." */
organ_status organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected,
                                    organ_error *error);

/* The member; NULL where it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* A member that is an object, to be read; *inner has no object where there is none. */
organ_status organ_quant_enter(const organ_quant_scope *at, const char *key, organ_quant_scope *inner, organ_error *error);

/* ---- single values; what is absent or null leaves *out as it is ---- */

organ_status organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out, organ_error *error);
organ_status organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out,
                                   organ_error *error); /* in small letters */
/* ---- members of a group ---- */

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
organ_status organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group,
                                     organ_error *error);

/* ---- quant_config_mlx.c ---- */

/* Settings of MLX. *found: the model has weights in U32 words, which only MLX writes, and its config has settings for them, at its top or
 * in text_config; then they are read. A model that was converted to MLX may still have the quantization_config of what it was made from. */
organ_status organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner, bool *found,
                                  organ_error *error);

#endif
