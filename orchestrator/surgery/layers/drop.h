/* SPDX-License-Identifier: MIT
 * Parses the option --drop: the numbers of the blocks to drop, or how many. */
#ifndef ORGAN_LAYERS_DROP_H
#define ORGAN_LAYERS_DROP_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

/* The parsed option --drop. */
typedef struct organ_layers_drop {
    size_t count;  /* number of blocks to drop, 1 .. layers - 1 */
    bool named;    /* --drop gives the numbers of the blocks; false: only how many, so they must be searched */
    bool *dropped; /* a flag for each block, true for the named blocks; the caller frees it, also after an error */
} organ_layers_drop;

/* Parses block numbers, from 0 on as in tensor names, and ranges of them, separated by commas: "5-8", "3,7,9-11",
 * "8-8", "8,". A number without a comma is the number of blocks to drop. `layers` is the number of blocks of the model,
 * and `model` its path for messages. Returns ORGAN_USAGE for any other text, for a block past the last one or named
 * twice, and if no block would be dropped or none would be left; ORGAN_IO if memory runs out. */
organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error);

#endif
