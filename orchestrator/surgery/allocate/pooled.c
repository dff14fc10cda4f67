/* SPDX-License-Identifier: MIT
 * Stores matrices of a layer at several levels. */
#include "orchestrator/surgery/allocate/pooled.h"

#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/machine/extent.h"

#include <stdlib.h>
#include <string.h>

typedef struct kept {
    char *name;
    size_t weights;
    organ_dtype dtype;
    void *values[ORGAN_ALLOCATION_LEVELS + 1];
} kept;

typedef struct pool {
    int32_t layer;
    uint64_t matrices, bytes; /* number of matrices; their bytes in the file */
    kept *kept;               /* the stored matrices; NULL: none */
    size_t count;             /* number of matrices that are stored at all levels */
} pool;

struct organ_pooled_tensors {
    size_t tensors, levels; /* number of tensors; the last level, counted from 0 */
    const organ_kernels *kernels;
    pool *pools; /* one per tensor of the allocation */
};

organ_pooled_tensors *organ_pooled_create(size_t count, size_t levels, const organ_targets *targets, const size_t *of,
                                          const organ_kernels *kernels)
{
    organ_pooled_tensors *const made = calloc(1, sizeof *made);
    if (!made || !(made->pools = calloc(count + 1, sizeof *made->pools))) {
        free(made);
        return NULL;
    }
    made->tensors = count;
    made->levels = levels;
    made->kernels = kernels;
    for (size_t k = 0; k < targets->count; k++) {
        pool *const p = &made->pools[of[k]];
        p->layer = targets->tensors[k]->anatomy.layer;
        p->matrices += organ_tensor_matrices(targets->tensors[k]).count;
        p->bytes += targets->tensors[k]->bytes;
    }
    return made;
}

void organ_pooled_give_back(organ_pooled_tensors *pooled, size_t tensor)
{
    pool *const p = &pooled->pools[tensor];
    for (uint64_t k = 0; p->kept && k < p->matrices; k++) {
        free(p->kept[k].name);
        for (size_t l = 0; l <= pooled->levels; l++)
            free(p->kept[k].values[l]);
    }
    free(p->kept);
    p->kept = NULL;
    p->count = 0;
}

void organ_pooled_destroy(organ_pooled_tensors *pooled)
{
    if (!pooled)
        return;
    for (size_t k = 0; k < pooled->tensors; k++)
        organ_pooled_give_back(pooled, k);
    free(pooled->pools);
    free(pooled);
}

uint64_t organ_pooled_matrices(const organ_pooled_tensors *pooled, size_t tensor)
{
    return pooled->pools[tensor].matrices;
}

bool organ_pooled_has_several(const organ_pooled_tensors *pooled, size_t tensor)
{
    return pooled->pools[tensor].matrices > 1;
}

/* Without `all`, only tensors with several matrices are stored, one at a time. */
uint64_t organ_pooled_memory(const organ_pooled_tensors *pooled, int32_t layer, bool all)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < pooled->tensors; k++)
        if (pooled->pools[k].layer == layer && (all || organ_pooled_has_several(pooled, k))) {
            const uint64_t own = (pooled->levels + 1) * pooled->pools[k].bytes;
            bytes = all ? bytes + own : organ_max(own, bytes);
        }
    return bytes;
}

/* The type of the file halves the memory of BF16 models; the last level ends the matrix. */
organ_status organ_pooled_keep(organ_pooled_tensors *pooled, size_t tensor, const char *name,
                               const organ_tensor *stored, size_t level, const float *weights, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(stored);
    pool *const p = &pooled->pools[tensor];
    if (!p->kept && !(p->kept = calloc((size_t)p->matrices, sizeof *p->kept)))
        return organ_fail_memory(error, name);
    kept *const own = &p->kept[p->count];
    own->weights = (size_t)(m.rows * m.cols);
    own->dtype = stored->dtype;
    if (!own->name && !(own->name = strdup(name)))
        return organ_fail_memory(error, name);
    if (!(own->values[level] = malloc(own->weights * organ_dtype_describe(stored->dtype)->bytes)))
        return organ_fail_memory(error, name);
    organ_narrow(pooled->kernels, stored->dtype, weights, own->values[level], own->weights);
    p->count += level == pooled->levels;
    return ORGAN_OK;
}

organ_status organ_pooled_write(const organ_pooled_tensors *pooled, size_t tensor, size_t level, organ_layer *layer,
                                organ_error *error)
{
    const pool *const p = &pooled->pools[tensor];
    for (size_t k = 0; k < p->count; k++) {
        const kept *const own = &p->kept[k];
        float *const values = malloc(own->weights * sizeof *values);
        if (!values)
            return organ_fail_memory(error, own->name);
        organ_widen(pooled->kernels, own->dtype, own->values[level], values, own->weights);
        organ_layer_write(layer, own->name, values);
        free(values);
    }
    return ORGAN_OK;
}
