/* SPDX-License-Identifier: MIT
 * Properties of one weight that can be computed without a search. */
#include <organ/weights.h>

organ_weight organ_weight_plain(const organ_tensor *tensor)
{
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    return (organ_weight){.name = tensor->name,
                          .scheme = ORGAN_SCHEME_PLAIN,
                          .rank = tensor->rank,
                          .shape = tensor->shape,
                          .elements = tensor->elements,
                          .anatomy = tensor->anatomy,
                          .codes = tensor,
                          .bits = type->in_safetensors ? type->bytes * 8 / type->elements : 0};
}

/* The order is codes (0), scale, zero, g_idx, global, shape_tensor, bias (6). */
const organ_tensor *organ_weight_tensor(const organ_weight *weight, size_t k)
{
    const organ_tensor *const all[ORGAN_WEIGHT_TENSORS] = {
        weight->codes, weight->scale, weight->zero, weight->g_idx, weight->global, weight->shape_tensor, weight->bias};
    return all[k];
}

uint64_t organ_weight_bytes(const organ_weight *weight)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const tensor = organ_weight_tensor(weight, k);
        bytes += tensor ? tensor->bytes : 0;
    }
    return bytes;
}

organ_matrices organ_weight_matrices(const organ_weight *weight)
{
    const organ_tensor plain = {.rank = weight->rank, .shape = weight->shape};
    return organ_tensor_matrices(&plain);
}
