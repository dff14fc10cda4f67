/* SPDX-License-Identifier: MIT
 * Parses the options --type and --layers, which select tensors, --map, which maps layers, and --dtype. */
#ifndef ORGAN_SELECTION_H
#define ORGAN_SELECTION_H

#include <organ/models.h>

#define ORGAN_SELECTION_SPANS 64 /* most ranges in an option */

/* A range of layers. */
typedef struct organ_layer_span {
    int32_t from, to; /* both included */
} organ_layer_span;

/* The values of --type and --layers. */
typedef struct organ_selection {
    unsigned groups;                               /* bit k: tensors of organ_group k */
    size_t span_count;                             /* 0: every layer, and tensors outside layers */
    organ_layer_span spans[ORGAN_SELECTION_SPANS]; /* the ranges of --layers */
} organ_selection;

/* Parses the two options. `types` is a comma-separated list of skeleton, organ, embed, norm, other, all; NULL means
 * all. `layers` is a comma-separated list of numbers and ranges ("5-20", "3", "0-3,8"), counted from 0; NULL means
 * every layer and all tensors outside layers. Returns ORGAN_USAGE for any other text; the message names the option and
 * the word. */
organ_status organ_selection_parse(const char *types, const char *layers, organ_selection *selection,
                                   organ_error *error);

/* Returns whether the tensor is selected. If --layers was given, tensors outside of layers (embedding, output, final
 * norm) are not. */
bool organ_selected(const organ_selection *selection, const organ_tensor *tensor);

/* A map from layers of one model to layers of another. All zero maps each layer to the same number. */
typedef struct organ_layer_moves {
    size_t count;
    struct {
        organ_layer_span from;
        int32_t to; /* new number of layer from.from; the next layers of the range get the next numbers */
    } spans[ORGAN_SELECTION_SPANS];
} organ_layer_moves;

/* Parses --map, such as "5-20:6-21,30:31"; NULL gives the map that moves nothing. Returns ORGAN_USAGE for any other
 * text, and for a pair of ranges with different numbers of layers. */
organ_status organ_layer_map_parse(const char *text, organ_layer_moves *map, organ_error *error);

/* Returns the layer to which the map moves `layer`; a layer that the map does not mention stays. */
int32_t organ_layer_mapped(const organ_layer_moves *map, int32_t layer);

/* Sets *dtype to the number type that "bf16", "f16" or "f32" names; NULL: BF16. Returns ORGAN_USAGE for another
 * word. */
organ_status organ_dtype_requested(const char *name, organ_dtype *dtype, organ_error *error);

#endif
