/* SPDX-License-Identifier: MIT
 * Weights of the model by name and shape. */
#include "orchestrator/forward/forward_job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A GGUF name is "blk.N.PART"; others have the prefix of the text model, the word for its list of layers, the number
 * and the part. LongCat-Flash (`shortcut`): a layer of the file is two layers here, and a '%' in the part is
 * replaced by the number of the half, 0 or 1. */
const char *organ_forward_layer_name(const organ_forward *f, unsigned layer, const char *part, char name[256])
{
    const bool shortcut = f->config.shortcut;
    if (f->model->gguf)
        snprintf(name, 256, "blk.%u.%s", layer, part);
    else
        snprintf(name, 256, "%s%s.%u.%s", f->prefix, f->family->ladder ? f->family->ladder : "layers",
                 shortcut ? layer / 2 : layer, part);
    char *const second = shortcut ? strchr(name, '%') : NULL;
    if (second)
        *second = (char)('0' + layer % 2);
    return name;
}

static organ_status wrong_shape(const organ_forward *forward, const organ_weight *weight, uint64_t matrices,
                                uint64_t rows, uint64_t cols, organ_error *error)
{
    char is[160] = "", must[80];
    for (unsigned k = 0; k < weight->rank && strlen(is) < 120; k++)
        snprintf(is + strlen(is), sizeof is - strlen(is), k ? " x %" PRIu64 : "%" PRIu64, weight->shape[k]);
    if (matrices > 1)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64 " x %" PRIu64, matrices, rows, cols);
    else if (rows)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64, rows, cols);
    else
        snprintf(must, sizeof must, "%" PRIu64, cols);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is %s, but the config requires %s", forward->model->path,
                      weight->name, *is ? is : "a single number", must);
}

static bool is_shaped(const organ_weight *weight, const uint64_t shape[2])
{
    unsigned k = 0;
    for (unsigned d = 0; d < weight->rank; d++) {
        while (k < 2 && shape[k] == 1)
            k++;
        if (weight->shape[d] != 1 && (k == 2 || weight->shape[d] != shape[k++]))
            return false;
    }
    return weight->elements == shape[0] * shape[1];
}

const organ_weight *organ_forward_find_weight(const organ_forward *forward, const char *name, uint64_t matrices,
                                              uint64_t rows, uint64_t cols, organ_error *error)
{
    const organ_weight *weight = organ_weights_named(forward->weights, name);
    if (!weight) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is missing", forward->model->path, name);
        return NULL;
    }
    const uint64_t shape[3] = {matrices, rows, cols};
    const unsigned one = rows ? 2 : 1, rank = matrices > 1 ? 3 : one;
    bool same = weight->rank == rank;
    for (unsigned k = 0; same && k < weight->rank; k++)
        same = weight->shape[k] == shape[3 - rank + k];
    if (rows == 0 || matrices == 0)
        same = is_shaped(weight, (uint64_t[]){rows ? rows : 1, cols});
    if (!same)
        wrong_shape(forward, weight, matrices, rows, cols, error);
    return same ? weight : NULL;
}

const organ_weight *organ_forward_weight_named(const organ_forward *forward, const char *name, uint64_t rows,
                                               uint64_t cols, organ_error *error)
{
    return organ_forward_find_weight(forward, name, 1, rows, cols, error);
}

/* Rows and columns of quantisation blocks are exchanged. Fails also if the weight has two dimensions and is
 * quantised. */
forward_stored_form *organ_forward_stored_form(const organ_weight *weight, const uint64_t shape[3], organ_error *error)
{
    if (weight->rank == 2 && weight->scheme != ORGAN_SCHEME_PLAIN) {
        organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': quantised weights are not supported in its layout",
                   weight->name);
        return NULL;
    }
    forward_stored_form *const made = malloc(sizeof *made);
    if (!made) {
        organ_fail_errno(error, ENOMEM, "cannot allocate the plan of '%s'", weight->name);
        return NULL;
    }
    *made = (forward_stored_form){.weight = *weight, .shape = {shape[0], shape[1], shape[2]}};
    made->weight.rank = 3;
    made->weight.shape = made->shape;
    made->weight.transposed = false;
    made->weight.block_rows = weight->block_cols;
    made->weight.block_cols = weight->block_rows;
    return made;
}
