/* SPDX-License-Identifier: MIT
 * The kinds of a model's layers, in words. */
#ifndef ORGAN_LAYERS_KINDS_H
#define ORGAN_LAYERS_KINDS_H

#include "formats/base/status.h"
#include "formats/model/model.h"

#include <jansson.h>

/* The kinds of a model's layers: how a layer mixes tokens, and its feed-forward. */
typedef struct organ_layers_kinds {
    char (*names)[64]; /* of each layer: "delta net, mixture" */
    size_t layers;
} organ_layers_kinds;

/* Names the kind of each layer: by the configuration of the forward pass, or by the roles of the layer's tensors if the
 * forward pass does not support the model. ORGAN_IO without memory. The caller calls organ_layers_kinds_free. */
organ_status organ_layers_kinds_find(const organ_model *model, size_t layers, organ_layers_kinds *kinds,
                                     organ_error *error);
void organ_layers_kinds_free(organ_layers_kinds *kinds);

/* Returns [{"kind", "layers", "dropped"}] with the numbers of layers of each kind, in the order in which the kinds
 * first occur. NULL without memory. */
json_t *organ_layers_kinds_json(const organ_layers_kinds *kinds, const bool *dropped);

#endif
