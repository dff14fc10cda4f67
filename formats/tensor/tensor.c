/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor.h"

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
