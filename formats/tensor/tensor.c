/* SPDX-License-Identifier: MIT */
#include <organ/models.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

organ_matrices organ_tensor_matrices(const organ_tensor *tensor)
{
    organ_matrices m = {1, 1, 1};
    for (unsigned k = 0; k < tensor->rank; k++) {
        if (k + 2 < tensor->rank)
            m.count *= tensor->shape[k];
        else if (k + 1 < tensor->rank)
            m.rows = tensor->shape[k];
        else
            m.cols = tensor->shape[k];
    }
    return m;
}

/* ---- shapes ---- */

bool organ_shape_equal(unsigned rank, const uint64_t *shape, unsigned other_rank, const uint64_t *other)
{
    return rank == other_rank && (rank == 0 || memcmp(shape, other, rank * sizeof *shape) == 0);
}

/* After 96 bytes the text ends with ", ...]": one size has up to 22 bytes with its comma, and the end needs 7 more,
 * which ORGAN_SHAPE_TEXT has room for. */
const char *organ_shape_text(unsigned rank, const uint64_t *shape, char out[ORGAN_SHAPE_TEXT])
{
    size_t used = (size_t)sprintf(out, "[");
    for (unsigned k = 0; k < rank && used < 96; k++)
        used += (size_t)sprintf(out + used, "%s%" PRIu64, k ? ", " : "", shape[k]);
    strcpy(out + used, used < 96 ? "]" : ", ...]");
    return out;
}
