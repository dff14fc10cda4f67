/* SPDX-License-Identifier: MIT
 * Finds the tensors of an adapter with rows of tokens. */
#include "orchestrator/surgery/adapter/adapter_rows.h"

#include "formats/base/results.h"
#include "orchestrator/surgery/adapter/adapter.h"

#include <stdlib.h>
#include <string.h>

typedef struct rows_search {
    const organ_adapter *adapter;
    uint64_t rows; /* of the embedding of the base */
    const char *source;
    organ_adapter_rows *found;
} rows_search;

/* Returns whether the weight `name` of the base, [out][in], has a row for each token. */
static bool is_table(const rows_search *s, const char *name, const organ_anatomy *anatomy, unsigned rank, uint64_t rows,
                     organ_token_use *use)
{
    const uint64_t shape[2] = {rows, 1};
    const organ_weight weight = {.name = name, .rank = rank, .shape = shape, .elements = 1, .anatomy = *anatomy};
    return organ_token_use_of(&weight, s->rows, use);
}

static bool is_column(const organ_adapter_pair *pair, bool of_a)
{
    const bool turned = pair->layout == ORGAN_FACTORS_MLX || (of_a && pair->layout == ORGAN_FACTORS_TURNED);
    return of_a != turned;
}

/* An embedding is a matrix of one column for each token: its A has the tokens. */
static void add_factor(rows_search *s, const organ_adapter_pair *pair, bool of_a, organ_token_use use, uint64_t rows)
{
    organ_adapter_tensor *const t = &s->found->list[s->found->count++];
    *t = (organ_adapter_tensor){.tensor = of_a ? pair->a : pair->b, .use = use};
    if (rows)
        t->layout =
            (organ_row_layout){.form = is_column(pair, of_a) ? ORGAN_ROWS_COLUMNS : ORGAN_ROWS_WHOLE, .rows = rows};
}

static organ_status add_pair(rows_search *s, const organ_adapter_pair *pair, organ_error *error)
{
    const bool columns = pair->embedding || pair->layout == ORGAN_FACTORS_MLX;
    organ_token_use use = ORGAN_TOKENS_EMBEDDING;
    uint64_t in = 0, out = 0;
    if (pair->experts == 1 && columns && is_table(s, pair->weight, &pair->anatomy, 2, pair->in_features, &use))
        in = pair->in_features;
    else if (pair->experts == 1 && is_table(s, pair->weight, &pair->anatomy, 2, pair->out_features, &use))
        out = pair->out_features;
    else if (pair->anatomy.layer < 0 &&
             (pair->anatomy.role == ORGAN_ROLE_EMBED || pair->anatomy.role == ORGAN_ROLE_OUTPUT))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: '%s' is a matrix of %llu x %llu, but the model of %s has %llu tokens", s->adapter->path,
                          pair->module, (unsigned long long)pair->out_features, (unsigned long long)pair->in_features,
                          s->source, (unsigned long long)s->rows);
    add_factor(s, pair, /*of_a=*/true, use, in);
    add_factor(s, pair, /*of_a=*/false, use, out);
    return ORGAN_OK;
}

static bool has_axis(const organ_tensor *t, uint64_t size)
{
    bool has = false;
    for (unsigned k = 0; k < t->rank; k++)
        has |= t->shape[k] == size;
    return has;
}

/* A tensor that is stored whole has the name that it has in the base, or it is the magnitudes of a head's rows. */
static organ_status add_whole(rows_search *s, const organ_tensor *tensor, organ_error *error)
{
    static const char magnitudes[] = ".lora_magnitude_vector";
    organ_adapter_tensor *const t = &s->found->list[s->found->count++];
    ORGAN_OWNED char *name = organ_adapter_plain_name(tensor->name);
    if (!name)
        return organ_fail_memory(error, tensor->name);
    char *const end = strstr(name, magnitudes);
    *t = (organ_adapter_tensor){.tensor = tensor};
    if (end)
        strcpy(end, ".weight");
    const organ_anatomy anatomy = organ_anatomy_of(name);
    if (end && anatomy.role == ORGAN_ROLE_EMBED)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': DoRA of an embedding has norms over all tokens, which fewer tokens change",
                          s->adapter->path, tensor->name);
    const bool rows = tensor->rank && is_table(s, name, &anatomy, end ? 2 : tensor->rank, tensor->shape[0], &t->use);
    if (rows && tensor->rank <= 2)
        t->layout = (organ_row_layout){.form = ORGAN_ROWS_WHOLE, .rows = tensor->shape[0]};
    else if (has_axis(tensor, s->rows))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' may have a row for each of the %llu tokens, but is not known",
                          s->adapter->path, tensor->name, (unsigned long long)s->rows);
    return ORGAN_OK;
}

/* Tensors of one width keep their order. */
static int by_width(const void *one, const void *other)
{
    const organ_adapter_tensor *const a = one, *const b = other;
    const unsigned wide = organ_dtype_describe(a->tensor->dtype)->bytes;
    const unsigned narrow = organ_dtype_describe(b->tensor->dtype)->bytes;
    if (wide != narrow)
        return wide > narrow ? -1 : 1;
    return a->tensor < b->tensor ? -1 : a->tensor > b->tensor;
}

organ_status organ_adapter_rows_find(const organ_adapter *adapter, uint64_t rows, const char *source,
                                     organ_adapter_rows *tensors, organ_error *error)
{
    rows_search s = {adapter, rows, source, tensors};
    const json_t *const trained = json_object_get(adapter->config, "trainable_token_indices");
    *tensors =
        (organ_adapter_rows){.list = calloc(2 * adapter->pair_count + adapter->rest_count + 1, sizeof *tensors->list)};
    if (!tensors->list)
        return organ_fail_memory(error, adapter->path);
    if (trained && !json_is_null(trained))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: trainable_token_indices names tokens by ids, which organ does not renumber: merge the "
                          "adapter first",
                          adapter->path);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++)
        add_pair(&s, &adapter->pairs[k], error);
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        add_whole(&s, adapter->rest[k], error);
    qsort(tensors->list, tensors->count, sizeof *tensors->list, by_width);
    for (size_t k = 0; k < tensors->count; k++)
        tensors->tables += tensors->list[k].layout.form != ORGAN_ROWS_NONE;
    if (!error->status && !tensors->tables)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: changes neither embedding nor head: it fits the smaller model as it is",
                   adapter->path);
    return error->status;
}

void organ_adapter_rows_release(organ_adapter_rows *tensors) { free(tensors->list); }
