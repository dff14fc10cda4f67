/* SPDX-License-Identifier: MIT
 * What --drop says: which blocks go, or how many. */
#ifndef ORGAN_LAYERS_DROP_H
#define ORGAN_LAYERS_DROP_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct organ_layers_drop {
    size_t count;  /* blocks that go, 1 .. layers - 1 */
    bool named;    /* `dropped` says which; else they are to be found */
    bool *dropped; /* a flag for each layer, to be freed */
} organ_layers_drop;

/* Numbers of blocks, from 0 on as in the names of tensors, and ranges of them, with commas between: "5-8", "3,7,9-11",
 * "8-8", "8,". A number alone is how many. ORGAN_USAGE for anything else, a block that the model does not have or that
 * is named twice, and where none would be left; `model` is for the message. drop->dropped may be NULL then. */
organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error);

#endif
