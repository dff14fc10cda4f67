/* SPDX-License-Identifier: MIT
 * Parses the option --drop: the blocks to drop, or their number. */
#ifndef ORGAN_LAYERS_DROP_H
#define ORGAN_LAYERS_DROP_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct organ_layers_drop {
    size_t count;  /* number of blocks to drop, 1 .. layers - 1 */
    bool named;    /* `dropped` lists them; else they must be searched for */
    bool *dropped; /* a flag for each layer, to be freed */
} organ_layers_drop;

/* Parses block numbers, from 0 on as in tensor names, and ranges of them, separated by commas: "5-8", "3,7,9-11",
 * "8-8", "8,". A number without a comma is the number of blocks to drop. Returns ORGAN_USAGE for any other text, a
 * block that the model lacks or that is named twice, and if no block would be left; drop->dropped may then be NULL.
 * `model` is for the message. */
organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error);

#endif
