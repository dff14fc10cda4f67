/* SPDX-License-Identifier: MIT
 * Names the kinds of a model's layers for the report. */
#ifndef ORGAN_LAYERS_KINDS_H
#define ORGAN_LAYERS_KINDS_H

#include <organ/base.h>
#include <organ/models.h>

#include <jansson.h>

/* The kind of each layer: how it mixes tokens, and its feed-forward. */
typedef struct organ_layers_kinds {
    char (*names)[64]; /* name of each layer's kind: "delta net, mixture" */
    size_t layers;
} organ_layers_kinds;

/* Names the kind of each layer: from config.json or, if the forward pass does not support the model, from the roles of
 * the layer's tensors. Returns ORGAN_IO if memory runs out. The caller calls organ_layers_kinds_release in any case. */
organ_status organ_layers_kinds_find(const organ_model *model, size_t layers, organ_layers_kinds *kinds,
                                     organ_error *error);
void organ_layers_kinds_release(organ_layers_kinds *kinds);

/* Returns [{"kind", "layers", "dropped"}] with the numbers of all and of the dropped layers of each kind, in the order
 * in which the kinds first occur. `dropped` has a flag for each layer. NULL if memory runs out. */
json_t *organ_layers_kinds_json(const organ_layers_kinds *kinds, const bool *dropped);

#endif
