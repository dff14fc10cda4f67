/* SPDX-License-Identifier: MIT
 * Reads the norms of inputs from an imatrix for the matrices of a model. */
#include "orchestrator/surgery/inputs/importance.h"

#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define DIGEST_CHUNK ((size_t)1 << 20) /* bytes that organ_importance_digest reads at once */

uint64_t organ_experts_of_role(const organ_model *model, const organ_tensor *tensor, organ_expert_census *known)
{
    const organ_anatomy *const a = &tensor->anatomy;
    if (a->expert < 0)
        return 0;
    if (known->experts[a->role] == 0 || known->layer[a->role] != a->layer) {
        known->layer[a->role] = a->layer;
        known->experts[a->role] = 0;
        for (size_t k = 0; k < model->tensor_count; k++) {
            const organ_anatomy *const other = &model->tensors[k].anatomy;
            if (other->layer == a->layer && other->role == a->role && other->expert >= 0 &&
                (uint64_t)other->expert >= known->experts[a->role])
                known->experts[a->role] = (uint64_t)other->expert + 1;
        }
    }
    return known->experts[a->role];
}

organ_status organ_importance_digest(const organ_imatrix *imatrix, char digest[17], organ_error *error)
{
    XXH3_state_t *const hash = XXH3_createState();
    void *const bytes = malloc(DIGEST_CHUNK);
    if (!hash || !bytes)
        organ_fail_memory(error, imatrix->path);
    else
        XXH3_64bits_reset(hash);
    for (uint64_t at = 0; at < imatrix->bytes && !error->status;) {
        const size_t some = imatrix->bytes - at < DIGEST_CHUNK ? (size_t)(imatrix->bytes - at) : DIGEST_CHUNK;
        if (organ_imatrix_read(imatrix, bytes, some, at, error) == ORGAN_OK)
            XXH3_64bits_update(hash, bytes, some);
        at += some;
    }
    if (!error->status)
        snprintf(digest, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(hash));
    free(bytes);
    XXH3_freeState(hash);
    return error->status;
}

/* Some architectures store experts as (inputs, outputs), and only different numbers of inputs and outputs show which
 * axis the values of an imatrix belong to. So stacks of square matrices of safetensors are rejected. */
static organ_status check_axes(const organ_model *model, const organ_tensor *tensor, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    if (model->gguf || m.count == 1 || m.rows != m.cols)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s': is a stack of %llu matrices of %llu x %llu: its input axis is ambiguous, so no "
                      "imatrix can be applied",
                      tensor->name, (unsigned long long)m.count, (unsigned long long)m.rows,
                      (unsigned long long)m.cols);
}

/* Gate and up have the same inputs in all experts of a layer. `norms` stays unchanged if no expert has tokens. */
static organ_status average_norms(const organ_imatrix *imatrix, organ_imatrix_place place, const char *tensor,
                                  uint64_t cols, float *norms, organ_error *error)
{
    float *const own = malloc((size_t)cols * sizeof *own);
    double *const sums = calloc((size_t)cols, sizeof *sums), count, all = 0;
    bool reached;
    if (!own || !sums)
        organ_fail_memory(error, tensor);
    for (place.matrix = 0; place.matrix < place.matrices && !error->status; place.matrix++) {
        if (organ_imatrix_reached(imatrix, &place, tensor, cols, &reached, error) || !reached ||
            organ_imatrix_norms(imatrix, &place, tensor, cols, own, &count, error))
            continue;
        for (uint64_t j = 0; j < cols; j++)
            sums[j] += (double)own[j] * (double)own[j] * count;
        all += count;
    }
    for (uint64_t j = 0; j < cols && all > 0 && !error->status; j++)
        norms[j] = (float)sqrt(sums[j] / all);
    free(own);
    free(sums);
    return error->status;
}

json_t *organ_importance_json(const organ_imatrix *m, const char *digest)
{
    if (!m)
        return json_null();
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(m->path)), SET_TEXT("format", m->format),
                        SET_COUNT("bytes", m->bytes), SET_TEXT("xxh3", digest), SET_COUNT("entries", m->entry_count),
                        SET("datasets", organ_json_texts(m->dataset_count, (const char *const *)m->datasets)),
                        SET_INDEX("chunks", m->chunks), SET_INDEX("chunk_size", m->chunk_size));
}

/* If an expert got no tokens, its gate and up get the values over all experts, because all experts of a layer have
 * the same inputs there, and its down gets 1. */
organ_status organ_importance_norms(const organ_imatrix *imatrix, const organ_model *model, const organ_tensor *tensor,
                                    uint64_t matrix, uint64_t experts, float *norms, double *count, const char **entry,
                                    organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const bool single = tensor->anatomy.expert >= 0;
    const int64_t expert = !single && m.count > 1 ? (int64_t)matrix : tensor->anatomy.expert;
    organ_imatrix_place place;
    if (check_axes(model, tensor, error) ||
        organ_imatrix_find(imatrix, tensor->name, &tensor->anatomy, expert, single ? experts : m.count, &place, error))
        return error->status;
    *entry = place.entry->name;
    bool reached;
    if (organ_imatrix_reached(imatrix, &place, tensor->name, m.cols, &reached, error))
        return error->status;
    if (reached)
        return organ_imatrix_norms(imatrix, &place, tensor->name, m.cols, norms, count, error);
    *count = 0;
    for (uint64_t j = 0; j < m.cols; j++)
        norms[j] = 1;
    return tensor->anatomy.role == ORGAN_ROLE_DOWN ? ORGAN_OK
                                                   : average_norms(imatrix, place, tensor->name, m.cols, norms, error);
}
