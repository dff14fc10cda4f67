/* SPDX-License-Identifier: MIT
 * Reads and makes the lists that map rows of an EAGLE-3 draft to ids of its target. */
#include "orchestrator/surgery/vocabulary/draft_head.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <stdlib.h>

bool organ_draft_is_eagle3(const organ_model *model)
{
    if (model->gguf)
        return organ_gguf_text_equals(model->gguf, "general.architecture", "eagle3");
    const bool layer = organ_model_find(model, "midlayer.hidden_norm.weight") ||
                       organ_model_find(model, "layers.0.hidden_norm.weight");
    return layer && organ_model_find(model, "fc.weight");
}

/* ---- the lists ---- */

static organ_status read_d2t(const organ_model *model, organ_draft_head *h, organ_error *error)
{
    const organ_tensor *const t = h->d2t;
    if (t->rank != 1 || t->dtype != ORGAN_I64 || t->elements != h->rows)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'd2t' is no list of %llu I64 numbers, one for each row of '%s'",
                          model->path, (unsigned long long)h->rows, h->head->name);
    ORGAN_OWNED int64_t *const list = malloc(t->bytes + 1);
    ORGAN_OWNED bool *const seen = calloc(h->vocabulary + 1, sizeof *seen);
    if (!list || !seen)
        return organ_fail_memory(error, model->path);
    if (organ_model_read(model, t->file, list, t->bytes, t->offset, error))
        return error->status;
    for (uint64_t k = 0; k < h->rows; k++) {
        const int64_t id = h->gguf ? list[k] : (int64_t)((uint64_t)list[k] + k);
        if (id < 0 || (uint64_t)id >= h->vocabulary || seen[id])
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'd2t' maps row %llu to token %lld, which %s", model->path,
                              (unsigned long long)k, (long long)id,
                              id >= 0 && (uint64_t)id < h->vocabulary ? "another row has" : "the target lacks");
        seen[id] = true;
        h->ids[k] = (uint32_t)id;
    }
    return ORGAN_OK;
}

static organ_status check_head(const organ_model *model, const organ_draft_head *h, organ_error *error)
{
    if (!h->head)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the draft uses the head of its target: it has none of its own",
                          model->path);
    if (!h->head->bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' has no values", model->path, h->head->name);
    if (h->head->rank != 2 || !h->head->shape[0] || h->head->bytes % h->head->shape[0] ||
        (!h->gguf && h->head->dtype != ORGAN_F32 && h->head->dtype != ORGAN_BF16 && h->head->dtype != ORGAN_F16))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' is packed: dequantize the draft first", model->path,
                          h->head->name);
    return ORGAN_OK;
}

static organ_status find_vocabulary(const organ_model *model, organ_draft_head *h, organ_error *error)
{
    const organ_gguf_kv *const tokens = h->gguf ? organ_gguf_find(model->gguf, "tokenizer.ggml.tokens") : NULL;
    const int64_t stated = model->config.vocab_size;
    if (h->t2d && (h->t2d->rank != 1 || h->t2d->dtype != ORGAN_BOOL))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 't2d' is no list of BOOL values", model->path);
    h->vocabulary = stated > 0 ? (uint64_t)stated : 0;
    h->stated = !tokens && !h->t2d && h->d2t;
    if (tokens)
        h->vocabulary = tokens->count;
    else if (h->t2d)
        h->vocabulary = h->t2d->elements;
    if (!h->vocabulary || h->vocabulary > UINT32_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: does not state the number of tokens of its target: vocab_size",
                          model->path);
    if (h->rows > h->vocabulary || (!h->d2t && h->rows != h->vocabulary))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' has %llu rows and no 'd2t', but the target has %llu tokens",
                          model->path, h->head->name, (unsigned long long)h->rows, (unsigned long long)h->vocabulary);
    return ORGAN_OK;
}

organ_status organ_draft_head_find(const organ_model *model, organ_draft_head *h, organ_error *error)
{
    *h = (organ_draft_head){.gguf = model->gguf != NULL, .d2t = organ_model_find(model, "d2t")};
    h->head = organ_model_find(model, h->gguf ? "output.weight" : "lm_head.weight");
    h->t2d = h->gguf ? NULL : organ_model_find(model, "t2d");
    if (check_head(model, h, error))
        return error->status;
    h->rows = h->head->shape[0];
    return find_vocabulary(model, h, error);
}

uint64_t organ_draft_head_memory(const organ_draft_head *h)
{
    return h->rows * (sizeof *h->ids + 2 * sizeof(int64_t)) + 2 * h->vocabulary;
}

organ_status organ_draft_head_read(const organ_model *model, organ_draft_head *h, organ_error *error)
{
    if (!(h->ids = malloc((h->rows + 1) * sizeof *h->ids)))
        return organ_fail_memory(error, model->path);
    for (uint64_t k = 0; k < h->rows; k++)
        h->ids[k] = (uint32_t)k;
    return h->d2t ? read_d2t(model, h, error) : ORGAN_OK;
}

void organ_draft_head_release(organ_draft_head *h) { free(h->ids); }

int64_t *organ_draft_d2t(const organ_draft_head *h, const uint32_t *ids, size_t count)
{
    int64_t *const list = malloc((count + 1) * sizeof *list);
    for (size_t k = 0; list && k < count; k++)
        list[k] = h->gguf ? (int64_t)ids[k] : (int64_t)ids[k] - (int64_t)k;
    return list;
}

unsigned char *organ_draft_t2d(const organ_draft_head *h, const uint32_t *ids, size_t count)
{
    unsigned char *const list = calloc(h->vocabulary + 1, 1);
    for (size_t k = 0; list && k < count; k++)
        list[ids[k]] = 1;
    return list;
}
