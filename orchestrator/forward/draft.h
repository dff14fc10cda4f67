/* SPDX-License-Identifier: MIT
 * The block for multi-token prediction, as a part of the forward pass. */
#ifndef ORGAN_FORWARD_DRAFT_H
#define ORGAN_FORWARD_DRAFT_H

#include "formats/tensor/drafts.h"

#include <organ/forward.h>
#include <organ/weights.h>

#define FORWARD_DRAFTS 8 /* most blocks that are run */

/* Block k follows the layers: its layer is plans[config.layers + k] (organ_forward_open_draft). */
typedef struct forward_draft {
    const organ_draft_family *family;
    char layer_prefix[48];       /* beginning of the names of the layer's tensors; "": they continue the layers */
    const organ_weight *project; /* hidden_size x 2 hidden_size, a slot of the plan; NULL: there is no block */
    size_t slot;                 /* number of that slot */
    const organ_weight *head;    /* the block's own output head, of which only the inputs are computed; NULL: none */
    float *embedding_norm, *hidden_norm, *head_norm; /* head_norm NULL: the model's final norm, or none (family) */
    float
        *outputs; /* of the last window, normed unless the family has raw_again: inputs of the next block; NULL: none */
} forward_draft;

/* Frees norms and outputs; the block is then empty. */
void organ_forward_release_draft(forward_draft *draft);

/* Computes the sizes that depend on all plans, after one was added. */
organ_status organ_forward_measure(organ_forward *forward, organ_error *error);

#endif
