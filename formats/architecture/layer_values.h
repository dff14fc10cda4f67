/* SPDX-License-Identifier: MIT
 * Values that config.json states for a single layer: by a list with an entry for each layer, or, if config.json has no
 * such list, by the rule from which transformers derives it: periods, numbers of leading layers, lists of layer
 * numbers.
 */
#ifndef ORGAN_ARCHITECTURE_LAYER_VALUES_H
#define ORGAN_ARCHITECTURE_LAYER_VALUES_H

#include "formats/architecture/families.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A layer of a model: the object of config.json that describes its text model, the number of layers of that model
 * without draft layers, and the layer's number, which for a draft layer is `layers` or above. In a GGUF file key-values
 * take the place of the object. */
typedef struct organ_layer_origin {
    const json_t *object;
    size_t layers, layer;
    const organ_gguf *gguf;
} organ_layer_origin;

/* What a member of config.json with this name says of layers. A name may have two kinds: a list in one architecture, a
 * number in another. */
typedef enum layer_member {
    LAYER_MEMBER_ENTRIES,    /* a list with an entry for each layer, with or without draft layers */
    LAYER_MEMBER_NUMBERS,    /* a list of layer numbers */
    LAYER_MEMBER_OTHER_LIST, /* a list of other things */
    LAYER_MEMBER_KNOWN,      /* a number that a rule reads, or one that has a word such as "layer" for another reason */
    LAYER_MEMBER_KINDS
} layer_member;
bool organ_layer_member_is(const char *name, layer_member kind);

/* A rule from which transformers derives a list with an entry for each layer. */
typedef struct layer_rule layer_rule;

/* Returns rule number `k` that models of the object's model_type have, or NULL after the last one. `list` becomes the
 * name of the list. A rule for another list comes before the rules that depend on it. */
const layer_rule *organ_layer_rule(const json_t *object, size_t k, const char **list);

/* Returns whether the object's model_type has a rule for the list, so that its class reads the list. */
bool organ_layer_has_rule(const json_t *object, const char *list);

/* Returns the entry of `list` for the layer: that of the list itself if the object has one that is not empty, else that
 * of the rule. Returns NULL if neither exists; and if memory runs out. The caller releases it. */
json_t *organ_layer_value(const organ_layer_origin *origin, const char *list);

/* Returns the object's list, without an entry for draft layers if it has them; NULL if the list is absent or empty. */
const json_t *organ_layer_list(const json_t *object, const char *list);

/* Returns a member that is a whole number of at least 0, or `otherwise` if there is none. */
uint64_t organ_layer_number(const json_t *object, const char *key, uint64_t otherwise);

/* Returns whether a list of layer numbers, which count from `first`, has the layer. NULL is an empty list. */
bool organ_layer_among(const json_t *list, size_t first, size_t layer);

/* Returns whether a text of layer numbers with commas between them has the layer. */
bool organ_layer_in_text(const char *text, size_t layer);

/* The first layers, as many as the member says, have no experts. Of the models that are named an absent member has a
 * default value in transformers. */
typedef struct layer_lead {
    const char *key, *models;
    uint64_t otherwise;
} layer_lead;
extern const layer_lead organ_leading_layers[]; /* the last row has no key */

/* Layer l has the kind if l % step is the offset, which is 0 without a member for it. */
typedef struct layer_step {
    const char *key;    /* member of config.json with the step */
    const char *offset; /* member with the offset; NULL: none */
    const char *from;   /* the setting is for layers from this member's number on; NULL: for all layers */
    const char *model;  /* model types for which loaders have default values; NULL: none */
    uint64_t otherwise, offset_otherwise; /* the default values of step and offset in these models */
} layer_step;
extern const layer_step organ_layer_steps[]; /* the last row has no key */

/* Returns the row of the architecture that the object's model_type names, or NULL. */
const forward_family *organ_layer_family(const json_t *object);

/* Returns whether model_type is one of the words, which are separated by blanks. */
bool organ_layer_is_model(const json_t *object, const char *words);

#endif
