/* SPDX-License-Identifier: MIT
 * Finds the tensors with a row for each token. */
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

const char *organ_token_use_name(organ_token_use use)
{
    static const char *const names[] = {"embedding", "per-layer embedding", "head", "head bias"};
    return names[use];
}

/* Names of weights in blocks for multi-token prediction, which have other roles. */
#define DRAFT_EMBEDDINGS "embed_tokens.weight tok_embeddings.weight embeddings.weight"
#define DRAFT_HEADS      "shared_head.head.weight shared_head_head.weight lm_head.weight"

static bool is_named(const organ_weight *w, const char *words)
{
    char end[64];
    for (size_t length; *words; words += length + strspn(words + length, " ")) {
        length = strcspn(words, " ");
        memcpy(end, words, length);
        end[length] = 0;
        if (organ_ends_with(w->name, end))
            return true;
    }
    return false;
}

static bool is_per_layer(const organ_weight *w)
{
    return organ_ends_with(w->name, "embed_tokens_per_layer.weight") ||
           organ_ends_with(w->name, "per_layer_token_embd.weight");
}

static bool is_embedding(const organ_weight *w)
{
    return w->rank == 2 && w->anatomy.role == ORGAN_ROLE_EMBED && w->anatomy.layer < 0 && !is_per_layer(w) &&
           !organ_ends_with(w->name, "token_types.weight");
}

bool organ_token_use_of(const organ_weight *w, uint64_t rows, organ_token_use *use)
{
    const bool whole = w->rank > 0 && w->shape[0] == rows;
    if (w->elements == 0)
        return false;
    if (w->rank == 2 && is_per_layer(w))
        *use = ORGAN_TOKENS_PER_LAYER;
    else if (whole && w->rank == 2 && (w->anatomy.role == ORGAN_ROLE_EMBED || is_named(w, DRAFT_EMBEDDINGS)))
        *use = ORGAN_TOKENS_EMBEDDING;
    else if (whole && w->rank == 2 && (w->anatomy.role == ORGAN_ROLE_OUTPUT || is_named(w, DRAFT_HEADS)))
        *use = ORGAN_TOKENS_HEAD;
    else if (whole && w->rank == 1 && w->anatomy.role == ORGAN_ROLE_BIAS && w->anatomy.layer < 0)
        *use = ORGAN_TOKENS_BIAS;
    else
        return false;
    return true;
}

organ_status organ_token_tables_find(const organ_model *model, const organ_weights *weights, organ_token_tables *tables,
                                     organ_error *error)
{
    *tables = (organ_token_tables){.list = calloc(weights->count + 1, sizeof *tables->list)};
    if (!tables->list)
        return organ_fail_memory(error, model->path);
    for (size_t k = 0; k < weights->count && !tables->rows; k++)
        if (is_embedding(&weights->weights[k]))
            tables->rows = weights->weights[k].shape[0];
    if (!tables->rows)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no embedding matrix, whose rows are its tokens",
                          model->path);
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        organ_token_use use;
        if (organ_token_use_of(w, tables->rows, &use))
            tables->list[tables->count++] =
                (organ_token_table){.weight = w, .use = use, .rows = w->shape[0], .bytes = organ_weight_bytes(w)};
    }
    return ORGAN_OK;
}

void organ_token_tables_release(organ_token_tables *tables) { free(tables->list); }

uint64_t organ_token_table_bytes(const organ_token_table *table, uint64_t rows)
{
    return table->bytes / table->rows * rows + table->bytes % table->rows * rows / table->rows;
}

/* ---- tensors ---- */

organ_status organ_token_tables_tensors(const organ_model *model, const organ_token_tables *tables,
                                        organ_row_layout *layouts, organ_error *error)
{
    for (size_t k = 0; k < tables->count && !error->status; k++)
        for (size_t part = 0; part < ORGAN_WEIGHT_TENSORS && !error->status; part++) {
            const organ_tensor *const tensor = organ_weight_tensor(tables->list[k].weight, part);
            if (tensor)
                organ_row_layout_find(tables->list[k].weight, tensor, &layouts[tensor - model->tensors], error);
        }
    return error->status;
}

/* ---- lists of kept ids ---- */

enum { REPORT_BYTES = 256 << 20 }; /* of the longest report */

organ_status organ_kept_report_load(const char *path, json_t **report, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    json_error_t fault;
    bool no_memory;
    if (organ_input_load(path, path, REPORT_BYTES, &bytes, &length, error))
        return error->status;
    *report = organ_json_load(bytes, length, 0, &fault, &no_memory);
    if (no_memory)
        return organ_fail_memory(error, path);
    return *report ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, "%s: line %d: %s", path, fault.line, fault.text);
}

organ_status organ_kept_list_read(const json_t *list, uint64_t below, const char *label, uint32_t **ids, size_t *count,
                                  organ_error *error)
{
    *count = json_array_size(list);
    if (!(*ids = malloc((*count + 1) * sizeof **ids)))
        return organ_fail_memory(error, label);
    for (size_t k = 0; k < *count; k++) {
        const json_t *const value = json_array_get(list, k);
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (uint64_t)id >= below || (k && id <= (json_int_t)(*ids)[k - 1]))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: kept[%zu] is %lld: ids ascend, and are below %llu", label, k,
                              (long long)id, (unsigned long long)below);
        (*ids)[k] = (uint32_t)id;
    }
    return ORGAN_OK;
}
