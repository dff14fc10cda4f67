/* SPDX-License-Identifier: MIT
 * Settings by layer. When a verb repeats, moves, drops or mixes layers, config.json must say of each layer of the
 * output what it said of the layer that it comes from: by a list with an entry for each layer, a list of layer numbers,
 * a number of leading layers, a period, or a rule that transformers applies if config.json says nothing.
 * docs/definitions/layer_settings.md lists which settings are written and which are refused. */
#ifndef ORGAN_SURGERY_LAYERS_LAYER_SETTINGS_H
#define ORGAN_SURGERY_LAYERS_LAYER_SETTINGS_H

#include "formats/architecture/layer_values.h"
#include "formats/architecture/pairing.h"
#include "orchestrator/surgery/layers/organ_settings.h"

#include <organ/architecture.h>
#include <organ/models.h>
#include <organ/weights.h>

/* The layers of an output, and the settings that describe them. */
typedef struct organ_layer_plan {
    organ_settings s; /* an object of config.json, or the key-values */
    size_t layers;    /* layers that it describes, without draft layers */
    size_t all;       /* layers with draft layers; only for key-values */
    /* for each layer of the output its layer in a donor: first `after` layers of the text model, then draft layers */
    const organ_layer_origin *origins;
    size_t after, count; /* number of layers without and with draft layers */
    /* called if the model of an origin has no element of an array for it; then that of the output's layer stays */
    void (*lacks)(void *context, const char *key, const organ_layer_origin *origin);
} organ_layer_plan;

/* Returns whether an object describes that many layers; `count` becomes its member that does so, "" if the length of a
 * list does. */
bool organ_layers_describes(const json_t *object, uint64_t layers, char count[ORGAN_MEMBER_ROOM]);
/* Reads config.json of a model. *root becomes the document, which the caller releases, and *object the object that
 * describes that many layers; both are NULL if there is none. Returns errors of reading. */
organ_status organ_layers_load(const organ_model *model, uint64_t layers, json_t **root, const json_t **object,
                               organ_error *error);
/* Returns whether two models of one model_type say the same of two layers, by lists, rules, letters and layer numbers.
 * Numbers of the whole model are not compared. */
bool organ_layers_same(const organ_layer_origin *one, const organ_layer_origin *other);

/* Rewrites all members of the object that say something of single layers. Does nothing if each layer of the output is
 * the host's layer of the same number. Members that count all layers, such as num_hidden_layers, are the caller's.
 * Returns ORGAN_BAD_INPUT "config.json: KEY is VALUE: WHY" if the object cannot say it, also for a member that organ
 * does not know and that looks like a setting by layer. */
organ_status organ_layers_edit(organ_layer_plan *plan);

/* Reads config.json of the output and compares each layer's structure with that of its origin. `kinds[n]` is the
 * structure of the layer that layer n of the output comes from, or NULL if it is unknown. With `sizes` the numbers of
 * heads and channels must be equal too. Returns ORGAN_BAD_INPUT, naming the first layer that differs and in what, and
 * errors of reading. */
organ_status organ_layers_check(const organ_json_edit *edit, const char *architecture,
                                const organ_layer_kind *const *kinds, size_t count, bool sizes, organ_error *error);

/* Rewrites the arrays of key-values with an element for each layer. An element of another type becomes one of the
 * array's. */
organ_status organ_layers_edit_arrays(const organ_layer_plan *plan);

/* Returns ORGAN_BAD_INPUT "PATH: key 'KEY' is VALUE: WHY" if the GGUF model has a key-value that organ does not know
 * and that looks like a setting by layer, as organ_layers_edit does for members of config.json. To be called if layers
 * of the model become others. */
organ_status organ_layers_check_keys(const organ_model *model, organ_error *error);

/* Per-layer embeddings (Gemma 3n and 4) are tensors outside of layers that have consecutive entries for each layer. */
typedef enum organ_layer_axis {
    ORGAN_LAYER_AXIS_NONE,   /* no entries by layer */
    ORGAN_LAYER_AXIS_ROWS,   /* per_layer_model_projection */
    ORGAN_LAYER_AXIS_COLUMNS /* embed_tokens_per_layer */
} organ_layer_axis;
/* Returns the axis of a weight that has an entry, or several, for each layer. */
organ_layer_axis organ_layers_axis(const organ_weight *weight);

/* Returns in what two structures differ, a constant string, or NULL if they are equal. Widths of windows and chunks,
 * which are settings of the whole model, are not compared. */
const char *organ_layers_differ(const organ_layer_kind *one, const organ_layer_kind *other, bool sizes);

/* ---- functions of the room ---- */

/* Rewrites lists (layer_lists.c), periods and numbers of leading layers (layer_periods.c). */
void organ_layers_edit_lists(organ_layer_plan *plan);
void organ_layers_edit_rules(organ_layer_plan *plan);
void organ_layers_edit_bounds(organ_layer_plan *plan);
void organ_layers_edit_periods(organ_layer_plan *plan);
/* Refuses members that organ does not know and that look like settings by layer, unless no layer changes its number and
 * all donors have the same value. organ_layers_edit calls it; other verbs may call it alone. Lists: layer_lists.c. */
void organ_layers_refuse_unknown(organ_layer_plan *plan);
/* Returns whether the name of a number suggests a setting by layer (layer_lists.c). */
bool organ_layers_is_suggestive(const char *name);
#define ORGAN_LAYERS_SUGGESTS "its name suggests a setting by layer, and organ does not know how to change it"
#define ORGAN_LAYERS_LISTS                                                                                             \
    "it may have an entry for each layer or name layers, and organ does not know how to change it"

#endif
