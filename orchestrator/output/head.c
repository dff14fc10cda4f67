/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/head.h"

#include "formats/base/owned.h"
#include "orchestrator/output/stretches.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>
#include <string.h>

/* ---- two tensors of the same bytes ---- */

#define CONFIG   "config.json"
#define COMPARED ((uint64_t)8 << 20) /* bytes of each tensor that a task compares */

typedef struct head_twins {
    const organ_model *model_a, *model_b;
    const organ_tensor *a, *b;
    bool differ; /* atomic */
} head_twins;

static organ_status compare_part(void *context, size_t k, size_t worker, organ_error *error)
{
    enum { STEP = 1 << 16 }; /* bytes that are read at once of each tensor */
    head_twins *const t = context;
    const uint64_t from = k * COMPARED, left = t->a->bytes - from, end = from + (left < COMPARED ? left : COMPARED);
    ORGAN_OWNED unsigned char *const bytes = malloc(2 * STEP);
    (void)worker;
    if (!bytes)
        return organ_fail_memory(error, t->a->name);
    for (uint64_t at = from, n; at < end && !__atomic_load_n(&t->differ, __ATOMIC_RELAXED) && !error->status; at += n) {
        n = end - at < STEP ? end - at : STEP;
        if (organ_model_read(t->model_a, t->a->file, bytes, n, t->a->offset + at, error) == ORGAN_OK &&
            organ_model_read(t->model_b, t->b->file, bytes + STEP, n, t->b->offset + at, error) == ORGAN_OK &&
            memcmp(bytes, bytes + STEP, n) != 0)
            __atomic_store_n(&t->differ, true, __ATOMIC_RELAXED);
    }
    return error->status;
}

organ_status organ_tensors_differ(const organ_model *a, const organ_tensor *of_a, const organ_model *b,
                                  const organ_tensor *of_b, const organ_engine *engine, bool *differ,
                                  organ_error *error)
{
    head_twins twins = {.model_a = a, .model_b = b, .a = of_a, .b = of_b};
    const size_t parts = (size_t)organ_pieces_of(of_a->bytes, COMPARED);
    if (engine)
        organ_share_try(engine, parts, compare_part, &twins, error);
    for (size_t k = 0; k < parts && !engine && !error->status; k++)
        compare_part(&twins, k, 0, error);
    *differ = twins.differ;
    return error->status;
}

/* Matrices of other types or schemes count as different: they then stay apart in the output, with the same values. */
static organ_status compare_values(const organ_model *model, const organ_engine *engine, const organ_weight *a,
                                   const organ_weight *b, bool *differ, organ_error *error)
{
    *differ = a->scheme != ORGAN_SCHEME_PLAIN || b->scheme != ORGAN_SCHEME_PLAIN ||
              a->codes->dtype != b->codes->dtype || !ORGAN_SAME_SHAPE(a, b);
    return *differ ? ORGAN_OK : organ_tensors_differ(model, a->codes, model, b->codes, engine, differ, error);
}

/* ---- the head ---- */

/* Sets head->stored and head->embedding as described in head.h; `first` is the embedding if none has the head's shape.
 */
static void find_both(const organ_weights *weights, organ_head *head)
{
    const organ_weight *first = NULL;
    *head = (organ_head){0};
    for (size_t k = 0; k < weights->count && !head->stored; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.role == ORGAN_ROLE_OUTPUT && w->anatomy.layer < 0 && w->rank == 2)
            head->stored = w;
    }
    for (size_t k = 0; k < weights->count && !head->embedding; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.role != ORGAN_ROLE_EMBED || w->anatomy.layer >= 0 || w->rank != 2)
            continue;
        first = first ? first : w;
        if (!head->stored || ORGAN_SAME_SHAPE(w, head->stored))
            head->embedding = w;
    }
    head->embedding = head->embedding ? head->embedding : first;
}

organ_status organ_head_find(const organ_model *model, const organ_weights *weights, const organ_engine *engine,
                             organ_head *head, organ_error *error)
{
    find_both(weights, head);
    head->own = head->stored != NULL;
    return head->own && head->embedding && !model->gguf && model->config.tie_word_embeddings
               ? compare_values(model, engine, head->stored, head->embedding, &head->own, error)
               : ORGAN_OK;
}

organ_status organ_head_repeats(const organ_model *model, const organ_weights *weights, const organ_engine *engine,
                                bool *same, organ_error *error)
{
    organ_head head;
    bool differ = true;
    find_both(weights, &head);
    if (head.stored && head.embedding)
        compare_values(model, engine, head.stored, head.embedding, &differ, error);
    *same = !differ;
    return error->status;
}

/* ---- config.json ---- */

static bool stores_head(const organ_model *model)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.role == ORGAN_ROLE_OUTPUT && model->tensors[t].anatomy.layer < 0)
            return true;
    return false;
}

organ_status organ_head_untie(const organ_model *model, const organ_engine *engine, organ_json_edit *config,
                              bool *untied, organ_error *error)
{
    organ_weights *weights = NULL;
    organ_head head = {0};
    *untied = false;
    if (organ_weights_find(model, &weights, error) == ORGAN_OK &&
        organ_head_find(model, weights, engine, &head, error) == ORGAN_OK && head.own && head.embedding)
        *untied = organ_config_set(config, "tie_word_embeddings", json_false(), /*both=*/true, error) == ORGAN_OK;
    organ_weights_free(weights);
    return error->status;
}

/* Loaders of a tied model ignore a stored head, so config.json has to say that it is not tied. */
organ_status organ_head_settle(const char *to, const organ_model *model, const organ_engine *engine,
                               const organ_progress *progress, organ_error *error)
{
    bool untied = false;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit config = {0};
    if (!model->manifest && model->config.tie_word_embeddings && stores_head(model) &&
        organ_config_open(model, CONFIG, &config, error) &&
        organ_head_untie(model, engine, &config, &untied, error) == ORGAN_OK && untied &&
        organ_config_replace(to, &config, error) == ORGAN_OK)
        organ_progress_note_once(progress,
                                 "config.json: tie_word_embeddings becomes false, because the output head that the "
                                 "model stores differs from its embedding");
    return error->status;
}
