/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/adapter/adapter.h"

#include "formats/names/names.h"
#include "formats/remote/remote.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/solve/algebra.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The change of one weight of the model. */
typedef struct adapted_pair {
    const organ_adapter *adapter;
    const organ_adapter_pair *pair;
    const organ_weight *weight;
    bool head;       /* the weight is the embedding or its copy, and the change is that of the output head */
    bool transposed; /* the weight is stored as in_features x out_features */
    const organ_kernels *kernels;
    organ_merge_change change;
} adapted_pair;

/* ---- names ---- */

/* Sets *plus to the last '+' after a path of this machine; else to the last one before such a path, because the model
 * may be a URL or a name; else to the first one, unless the name is a URL. NULL: the name is that of a model. */
static organ_status find_plus(const char *name, const char **plus, organ_error *error)
{
    const char *before_adapter = NULL;
    ORGAN_OWNED char *const path = strdup(name);
    *plus = NULL;
    if (!path)
        return organ_fail_memory(error, name);
    for (size_t k = access(name, F_OK) == 0 ? 0 : strlen(name); k-- > 1 && !*plus;) {
        if (name[k] != '+')
            continue;
        path[k] = '\0';
        if (access(path, F_OK) == 0)
            *plus = name + k;
        else if (!before_adapter && access(name + k + 1, F_OK) == 0)
            before_adapter = name + k;
    }
    if (!*plus && access(name, F_OK))
        *plus = before_adapter || organ_http_is_url(name) || *name == '+' ? before_adapter : strchr(name, '+');
    return ORGAN_OK;
}

organ_status organ_adapted_split(const char *name, organ_arena *arena, const char **model, const char **adapter,
                                 organ_error *error)
{
    const char *plus;
    *model = name;
    *adapter = NULL;
    if (find_plus(name, &plus, error) != ORGAN_OK || !plus)
        return error->status;
    *model = organ_arena_copy(arena, name, (size_t)(plus - name));
    return *model ? organ_name_resolve(plus + 1, arena, adapter, error) : organ_fail_memory(error, name);
}

/* ---- rows ---- */

static void close_pair(void *state)
{
    if (state)
        organ_lora_factors_release(state);
    free(state);
}

static organ_status open_pair(const void *context, void **state, organ_error *error)
{
    const adapted_pair *const p = context;
    organ_lora_factors *const factors = calloc(1, sizeof *factors);
    *state = factors;
    if (!factors)
        return organ_fail_memory(error, p->weight->name);
    return organ_lora_factors_read(p->adapter, p->pair, p->kernels, /*scale=*/1, factors, error);
}

static size_t pair_scratch(const void *context, size_t rows)
{
    const adapted_pair *const p = context;
    const uint64_t cols = p->transposed ? p->pair->out_features : p->pair->in_features;
    return rows * (size_t)cols * sizeof(float) + ORGAN_PRODUCT_SCRATCH;
}

/* The sums of B A and their order are those of organ lora merge. `scratch` (pair_scratch) is first that of the product,
 * then the changes of the rows. */
static organ_status change_rows(const void *context, const void *state, uint64_t first, size_t rows, float *values,
                                void *scratch, organ_error *error)
{
    const adapted_pair *const p = context;
    const organ_lora_factors *const all = state;
    const size_t cols = p->transposed ? all->out : all->in;
    const float scale = (float)p->pair->scale;
    float *const d = (float *)(void *)((unsigned char *)scratch + ORGAN_PRODUCT_SCRATCH);
    (void)error;
    organ_lora_multiply(p->kernels, all, p->transposed, first, rows, d, scratch);
    for (size_t k = 0; k < rows * cols; k++)
        values[k] += d[k] * scale;
    return ORGAN_OK;
}

/* ---- the adapter ---- */

/* The message is ADAPTER: WHAT 'NAME', and advice. */
static organ_status cannot(const organ_adapted *a, const char *what, const char *name, organ_error *error)
{
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: %s '%s': if it is an adapter of this base, make a model of both first: organ lora merge --base "
        "%s --adapter %s -o MERGED",
        a->adapter->path, what, name, a->model->path, a->adapter->path);
}

/* Returns whether a tensor of the adapter is for the output head of a model whose head is its embedding. `w` is the
 * weight of its name, NULL if there is none. */
static bool is_tied_head(const organ_adapted *a, const organ_weight *w, const char *name)
{
    return !a->head.own && (w ? w == a->head.stored : organ_anatomy_of(name).role == ORGAN_ROLE_OUTPUT);
}

/* Refuses tensors that the adapter stores whole, except peft's copies of the base's embedding and head. */
static organ_status check_rest(const organ_adapted *a, const organ_kernels *kernels, organ_error *error)
{
    for (size_t k = 0; k < a->adapter->rest_count && !error->status; k++) {
        const organ_tensor *const t = a->adapter->rest[k];
        const organ_weight *w = NULL;
        const char *why;
        bool repeats = false;
        ORGAN_OWNED char *const name = organ_adapter_plain_name(t->name);
        if (!name)
            return organ_fail_memory(error, t->name);
        if (organ_adapter_place(a->adapter, a->model, &a->names, name, &w, &why, error) ||
            organ_adapter_repeats(a->adapter, t, a->model, is_tied_head(a, w, name) ? a->head.embedding : w, kernels,
                                  &repeats, error))
            return error->status;
        if (!repeats)
            cannot(a, "it has the whole tensor", t->name, error);
    }
    return error->status;
}

static organ_status place_pair(organ_adapted *a, const organ_adapter *adapter, const organ_adapter_pair *pair,
                               const organ_kernels *kernels, organ_error *error)
{
    const organ_weight *w = organ_lora_names_find(&a->names, pair->weight);
    const bool head = is_tied_head(a, w, pair->weight);
    bool transposed;
    if (head && !a->apart)
        return cannot(a, "it changes the output head, which `keep_tied` leaves to the embedding:", pair->weight, error);
    w = head && !w ? a->head.embedding : w;
    if (!w || !organ_weight_has_numbers(w))
        return cannot(a, "its base lacks the weight", pair->weight, error);
    if (!organ_lora_fits(&a->form, pair, w, &transposed) || organ_lora_is_ambiguous(&a->form, pair, w) ||
        pair->in_features > INT_MAX || pair->out_features > INT_MAX)
        return cannot(a, "its factors have another layout than the weight", w->name, error);
    adapted_pair *const p = &a->pairs[a->pair_count++];
    *p = (adapted_pair){
        .adapter = adapter, .pair = pair, .weight = w, .head = head, .transposed = transposed, .kernels = kernels};
    p->change = (organ_merge_change){
        .context = p,
        .open = open_pair,
        .close = close_pair,
        .memory = (size_t)(pair->experts * pair->rank * (pair->in_features + pair->out_features) * sizeof(float)),
        .scratch = pair_scratch,
        .change = change_rows};
    return ORGAN_OK;
}

organ_status organ_adapted_open(const char *path, const organ_model *model, const organ_weights *weights,
                                bool keep_tied, const organ_engine *engine, const organ_progress *progress,
                                organ_adapted *a, organ_error *error)
{
    a->model = model;
    a->weights = weights;
    if (model->gguf)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is GGUF: add the adapter to it first: organ lora merge",
                          model->path);
    if (organ_adapter_open(path, &a->adapter, error) || organ_lora_names_build(model, weights, &a->names, error))
        return error->status;
    organ_adapter_warn(progress, a->adapter, /*lost=*/true);
    if (organ_repair_pair_check(a->adapter, model, error))
        return error->status;
    if (a->adapter->dora)
        return cannot(a, "use_dora is set for", a->adapter->pairs[0].module, error);
    if (organ_adapter_changed_base(a->adapter))
        return cannot(a, "init_lora_weights changed the base:", organ_adapter_changed_base(a->adapter), error);
    if (organ_adapter_translate(a->adapter, model, &a->names, &a->translated, error))
        return error->status;
    const organ_adapter *const adapter = a->translated ? a->translated : a->adapter;
    a->form = organ_lora_form_of(model, weights, adapter);
    if (organ_head_find(model, weights, engine, &a->head, error) || check_rest(a, engine->kernels, error))
        return error->status;
    a->apart = !a->head.own && !keep_tied;
    if (!(a->pairs = calloc(adapter->pair_count + 1, sizeof *a->pairs)))
        return organ_fail_memory(error, path);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++)
        place_pair(a, adapter, &adapter->pairs[k], engine->kernels, error);
    return error->status;
}

void organ_adapted_close(organ_adapted *a)
{
    free(a->pairs);
    organ_adapter_translated_free(a->translated);
    organ_lora_names_release(&a->names);
    organ_adapter_close(a->adapter);
}

const organ_merge_change *organ_adapted_change(const organ_adapted *a, const organ_weight *weight,
                                               const organ_weight *like)
{
    const bool head = a->apart && like->anatomy.role == ORGAN_ROLE_OUTPUT && like->anatomy.layer < 0;
    for (size_t k = 0; k < a->pair_count; k++)
        if (a->pairs[k].weight == weight && a->pairs[k].head == head)
            return &a->pairs[k].change;
    return NULL;
}

const organ_weight *organ_adapted_head(const organ_adapted *a)
{
    for (size_t k = 0; k < a->pair_count && a->apart; k++)
        if (a->pairs[k].head || a->pairs[k].weight == a->head.embedding)
            return a->head.stored ? a->head.stored : a->head.embedding;
    return NULL;
}

organ_status organ_adapted_check(const organ_adapted *a, const organ_across *across, organ_error *error)
{
    for (size_t k = 0; across && k < a->pair_count; k++)
        if (organ_across_kind_of(across, a->pairs[k].weight->name) == ORGAN_ACROSS_PAIRED)
            return cannot(a, "another model stores in another layout the weight", a->pairs[k].weight->name, error);
    return ORGAN_OK;
}

organ_status organ_adapted_unchanged(const organ_adapted *a, organ_error *error)
{
    return a->adapter ? organ_model_unchanged(a->adapter->model, error) : ORGAN_OK;
}
