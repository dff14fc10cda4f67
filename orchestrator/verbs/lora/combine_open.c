/* SPDX-License-Identifier: MIT
 * Opens the adapters of organ lora combine, checks that their method can combine them, and joins their modules. */
#include "orchestrator/verbs/lora/combine_job.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/output.h"
#include "orchestrator/surgery/adapter/adapter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const organ_combine_method methods[] = {
    {.name = "cat", .cat = true, .text = "the factors of all adapters, one after the other"},
    {.name = "svd", .cat = true, .svd = true, .text = "the best approximation of the sum of the changes"},
    {.name = "linear", .text = "sums of the factors A, and of the factors B"},
    {.name = "ties", .prunes = true, .elects = true, .text = "TIES of the factors A, and of the factors B"},
    {.name = "ties_svd", .svd = true, .prunes = true, .elects = true, .text = "TIES of the changes, decomposed"},
    {.name = "dare_linear", .drops = true, .text = "DARE of the factors A, and of the factors B, summed"},
    {.name = "dare_linear_svd", .svd = true, .drops = true, .text = "DARE of the changes, summed and decomposed"},
    {.name = "dare_ties",
     .drops = true,
     .elects = true,
     .text = "DARE and TIES of the factors A, and of the factors B"},
    {.name = "dare_ties_svd",
     .svd = true,
     .drops = true,
     .elects = true,
     .text = "DARE and TIES of the changes, decomposed"},
    {.name = "magnitude_prune",
     .prunes = true,
     .text = "the largest values of the factors A, and of the factors B, summed"},
    {.name = "magnitude_prune_svd",
     .svd = true,
     .prunes = true,
     .text = "the largest values of the changes, summed and decomposed"}};

const organ_combine_method *organ_combine_method_of(const char *name)
{
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
        if (strcmp(methods[k].name, name) == 0)
            return &methods[k];
    return NULL;
}

/* ---- options ---- */

static organ_status read_weights(organ_combine_job *job, organ_error *error)
{
    const char *at = job->options->weights;
    for (size_t k = 0; k < job->count; k++)
        job->weights[k] = 1;
    for (size_t k = 0; at; k++) {
        char *end;
        const double value = organ_strtod(at, &end);
        if (end == at || (*end && *end != ',') || !isfinite((float)value))
            return organ_fail(error, ORGAN_USAGE, "`weights` \"%s\": expected numbers with commas between them",
                              job->options->weights);
        if (k < job->count)
            job->weights[k] = value;
        at = *end ? end + 1 : NULL;
        if (at ? k + 1 >= job->count : k + 1 != job->count)
            return organ_fail(error, ORGAN_USAGE, "`weights` \"%s\": there must be one for each of the %zu adapters",
                              job->options->weights, job->count);
    }
    return ORGAN_OK;
}

static organ_status check_numbers(const organ_combine_job *job, organ_error *error)
{
    const organ_lora_combine_options *const o = job->options;
    const organ_combine_method *const m = job->method;
    const bool sparse = m->prunes || m->drops;
    if (sparse && o->density == 0)
        return organ_fail(error, ORGAN_USAGE, "`method` %s needs `density`: the share of the values that it keeps",
                          m->name);
    if (!sparse && o->density != 0)
        return organ_fail(error, ORGAN_USAGE, "`method` %s keeps all values: it has no `density`", m->name);
    if (sparse && !(o->density > 0 && o->density <= 1))
        return organ_fail(error, ORGAN_USAGE, "`density` %g is not above 0 and at most 1", o->density);
    if (strcmp(o->majority_sign, "total") != 0 && strcmp(o->majority_sign, "frequency") != 0)
        return organ_fail(error, ORGAN_USAGE, "majority_sign is \"%s\", but must be total or frequency",
                          o->majority_sign);
    if (!m->elects && strcmp(o->majority_sign, "total") != 0)
        return organ_fail(error, ORGAN_USAGE, "`method` %s elects no signs: it has no `majority_sign`", m->name);
    return ORGAN_OK;
}

static organ_status read_options(organ_combine_job *job, organ_error *error)
{
    static const char *const forms[] = {"peft", "mlx", "gguf", NULL};
    const organ_lora_combine_options *const o = job->options;
    job->count = o->adapter_count;
    if (job->count < 2)
        return organ_fail(
            error, ORGAN_USAGE,
            "one adapter alone cannot be combined: organ lora resize changes its rank, organ lora sanitize its "
            "form");
    if (job->count > ORGAN_COMBINE_MOST)
        return organ_fail(error, ORGAN_USAGE, "%zu adapters are more than %d: combine some of them first", job->count,
                          ORGAN_COMBINE_MOST);
    if (!(job->method = organ_combine_method_of(o->method)))
        return organ_fail(error, ORGAN_USAGE,
                          "there is no method \"%s\"; peft's are cat, svd, linear, ties, "
                          "dare_linear, dare_ties, magnitude_prune and the last four with _svd",
                          o->method);
    job->dtype = ORGAN_DTYPE_COUNT;
    if (o->dtype && organ_dtype_requested(o->dtype, &job->dtype, error))
        return error->status;
    if (o->to && !organ_is_one_of(o->to, forms))
        return organ_fail(error, ORGAN_USAGE, "`to` is \"%s\", but must be peft, mlx or gguf", o->to);
    return read_weights(job, error) ? error->status : check_numbers(job, error);
}

/* ---- a single adapter ---- */

static organ_status check_adapter(const organ_adapter *adapter, organ_error *error)
{
    const char *const changed = organ_adapter_changed_base(adapter);
    if (adapter->dora)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: use_dora is set: DoRA scales the rows of W + scale B A, so its change depends on the "
                          "base, and no factors alone can state it; merge it into the base (organ lora merge) and "
                          "extract the difference (organ lora extract)",
                          adapter->path);
    if (changed)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: init_lora_weights is \"%s\": the factors fit only the base as changed by the "
                          "initialisation; save the adapter with peft's path_initial_model_for_weight_conversion",
                          adapter->path, changed);
    if (json_is_true(json_object_get(adapter->config, "lora_bias")))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: lora_bias is set: the biases of B are not combined, and peft would lose them; train "
                          "without lora_bias",
                          adapter->path);
    if (adapter->pair_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: contains no pair of factors", adapter->path);
    return ORGAN_OK;
}

/* The form of the output is that of the inputs. */
static organ_status check_forms(const organ_combine_job *job, organ_error *error)
{
    const organ_adapter *const first = job->adapters[0];
    const char *const to = job->options->to;
    for (size_t k = 1; k < job->count; k++) {
        const organ_adapter *const other = job->adapters[k];
        if (other->gguf != first->gguf)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s is a GGUF adapter and %s is not: convert one of them first (organ lora sanitize "
                              "--base MODEL)",
                              first->gguf ? first->path : other->path, first->gguf ? other->path : first->path);
        if (strcmp(other->architecture, first->architecture) != 0)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s is for the architecture %s, but %s for %s", first->path,
                              first->architecture, other->path, other->architecture);
    }
    if (to && first->gguf != (strcmp(to, "gguf") == 0))
        return organ_fail(error, ORGAN_USAGE,
                          "`to` %s: the adapters have the names of %s; combine them, then convert the result (organ "
                          "lora sanitize --to %s --base MODEL)",
                          to, first->gguf ? "llama.cpp" : "transformers", to);
    return ORGAN_OK;
}

/* peft combines adapters whatever the names of their bases are. */
static void warn_of_bases(const organ_combine_job *job)
{
    const organ_adapter *const first = job->adapters[0];
    for (size_t k = 1; k < job->count; k++)
        if (*first->base && *job->adapters[k]->base && strcmp(first->base, job->adapters[k]->base) != 0)
            organ_progress_warn(job->rewrite.progress,
                                "%s was trained on %s, but %s on %s: the combination is meaningful only if these are "
                                "one model",
                                first->path, first->base, job->adapters[k]->path, job->adapters[k]->base);
}

/* ---- ranks of methods that add factors ---- */

static organ_status check_ranks(organ_combine_job *job, organ_error *error)
{
    uint64_t first = 0;
    for (size_t k = 0; k < job->count; k++) {
        const organ_adapter *const a = job->adapters[k];
        const uint64_t rank = organ_lora_config_rank(a->config, (uint64_t)a->r);
        first = k ? first : rank;
        job->largest = organ_max(job->largest, rank);
        if (rank != first && !job->method->cat && !job->method->svd)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "the largest rank is %" PRIu64 " in %s, but %" PRIu64 " in %s: %s adds the factors "
                              "themselves, so peft requires that \"all adapters must have the same r value\"; `method` "
                              "cat combines adapters of any ranks exactly",
                              first, job->adapters[0]->path, rank, a->path, job->method->name);
    }
    return ORGAN_OK;
}

/* ---- joining ---- */

static bool same_kernel(const organ_adapter_pair *x, const organ_adapter_pair *y)
{
    if (x->layout != ORGAN_FACTORS_CONV || y->layout != ORGAN_FACTORS_CONV)
        return x->layout == y->layout || (x->layout != ORGAN_FACTORS_PARAMETER && x->layout != ORGAN_FACTORS_CONV &&
                                          y->layout != ORGAN_FACTORS_PARAMETER && y->layout != ORGAN_FACTORS_CONV);
    bool same = x->a->rank == y->a->rank;
    for (unsigned k = 1; k < x->a->rank && same; k++)
        same = x->a->shape[k] == y->a->shape[k];
    return same;
}

/* Compares the pair `y` of adapter `k` with that of the first adapter, before `k`, that changes the module. */
static organ_status check_pair(const organ_combine_job *job, size_t k, const organ_adapter_pair *y, organ_error *error)
{
    const organ_adapter_pair *x;
    size_t before = 0;
    while (!(x = organ_adapter_find(job->adapters[before], y->module)))
        before++;
    const char *const first = job->adapters[before]->path, *const other = job->adapters[k]->path;
    if (x->in_features != y->in_features || x->out_features != y->out_features || x->experts != y->experts)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "module '%s' has %" PRIu64 " x %" PRIu64 " x %" PRIu64 " weights (matrices, rows, columns) "
                          "in %s, but %" PRIu64 " x %" PRIu64 " x %" PRIu64 " in %s: these are adapters of other bases",
                          x->module, x->experts, x->out_features, x->in_features, first, y->experts, y->out_features,
                          y->in_features, other);
    if (x->embedding != y->embedding || !same_kernel(x, y))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "module '%s' has factors of another kind in %s than in %s (a linear layer, an embedding, a "
                          "convolution or a stack)",
                          x->module, first, other);
    if (x->rank != y->rank && !job->method->cat && !job->method->svd)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "module '%s' has rank %" PRIu64 " in %s, but %" PRIu64 " in %s: %s adds the factors "
            "themselves, which peft cannot for ranks that differ (\"stack expects each tensor to be equal "
            "size\"); `method` cat combines adapters of any ranks exactly",
            x->module, x->rank, first, y->rank, other, job->method->name);
    return ORGAN_OK;
}

static int by_layer_and_module(const void *left, const void *right)
{
    const organ_adapter_pair *const a = left, *const b = right;
    return ORGAN_ORDERS(ORGAN_ORDER(a->anatomy.layer, b->anatomy.layer), strcmp(a->module, b->module));
}

/* The joined pairs have the members of the first adapter's; their ranks and scales are set later. */
static organ_status list_modules(organ_combine_job *job, organ_error *error)
{
    size_t most = 1;
    organ_name_table names = {0};
    for (size_t k = 0; k < job->count; k++)
        most += job->adapters[k]->pair_count;
    job->pairs = organ_rows_take(most, sizeof *job->pairs);
    if (!job->pairs)
        return organ_fail_memory(error, job->joined.path);
    for (size_t k = 0; k < job->count && !error->status; k++)
        for (size_t p = 0; p < job->adapters[k]->pair_count && !error->status; p++) {
            const organ_adapter_pair *const pair = &job->adapters[k]->pairs[p];
            const size_t *const at = organ_name_table_put(&names, pair->module, job->joined.pair_count);
            if (!at)
                organ_fail_memory(error, job->joined.path);
            else if (*at == job->joined.pair_count)
                job->pairs[job->joined.pair_count++] = *pair;
            else
                check_pair(job, k, pair, error);
        }
    organ_name_table_release(&names);
    qsort(job->pairs, job->joined.pair_count, sizeof *job->pairs, by_layer_and_module);
    job->joined.pairs = job->pairs;
    return error->status;
}

/* peft makes stacks of numbered experts, which would then change the same weights as stored stacks. */
static organ_status check_experts(const organ_combine_job *job, organ_error *error)
{
    const organ_adapter_pair *stack = NULL, *numbered = NULL;
    for (size_t p = 0; p < job->joined.pair_count; p++) {
        const organ_adapter_pair *const pair = &job->pairs[p];
        stack = pair->experts > 1 ? pair : stack;
        numbered = pair->anatomy.expert >= 0 ? pair : numbered;
    }
    return stack && numbered
               ? organ_fail(
                     error, ORGAN_BAD_INPUT,
                     "'%s' are factors of a stack of experts, '%s' of one expert: give all adapters one form with "
                     "organ lora sanitize",
                     stack->module, numbered->module)
               : ORGAN_OK;
}

static organ_status join_modules(organ_combine_job *job, organ_error *error)
{
    if (list_modules(job, error))
        return error->status;
    const size_t modules = job->joined.pair_count;
    job->compared = job->count * (job->count - 1) / 2;
    job->of = organ_rows_take(modules * job->count + 1, sizeof *job->of);
    job->figures = organ_rows_take(modules * job->compared + 1, sizeof *job->figures);
    job->rewrite.rows = organ_rows_take(modules + 1, sizeof *job->rewrite.rows);
    if (!job->of || !job->figures || !job->rewrite.rows)
        return organ_fail_memory(error, job->joined.path);
    for (size_t p = 0; p < modules; p++) {
        for (size_t k = 0; k < job->count; k++)
            job->of[p * job->count + k] = organ_adapter_find(job->adapters[k], job->pairs[p].module);
        job->rewrite.rows[job->rewrite.count++] = organ_lora_row_of(&job->pairs[p]);
    }
    return check_experts(job, error);
}

/* ---- tensors that are no factors ---- */

organ_status organ_combine_same(const organ_adapter *x, const organ_tensor *s, const organ_adapter *y,
                                const organ_tensor *t, bool *same, organ_error *error)
{
    enum { STEP = 1 << 16 };
    ORGAN_OWNED unsigned char *const bytes = malloc((size_t)2 * STEP);
    if (!bytes)
        return organ_fail_memory(error, s->name);
    *same = s->dtype == t->dtype && ORGAN_SAME_SHAPE(s, t);
    for (uint64_t at = 0; at < s->bytes && *same; at += STEP) {
        const size_t n = s->bytes - at < STEP ? (size_t)(s->bytes - at) : STEP;
        if (organ_model_read(x->model, s->file, bytes, n, s->offset + at, error) ||
            organ_model_read(y->model, t->file, bytes + STEP, n, t->offset + at, error))
            return error->status;
        *same = memcmp(bytes, bytes + STEP, n) == 0;
    }
    return ORGAN_OK;
}

/* `k` is the adapter of `t`, `earlier` the number of the tensor of the same name. */
static organ_status check_again(const organ_combine_job *job, size_t k, const organ_tensor *t, size_t earlier,
                                organ_error *error)
{
    const organ_adapter *const before = job->adapters[job->rest_adapters[earlier]];
    const bool copy = organ_lora_is_base_copy(t->name);
    bool same = copy && job->rest[earlier]->dtype != t->dtype && ORGAN_SAME_SHAPE(job->rest[earlier], t);
    if (copy && !same && organ_combine_same(before, job->rest[earlier], job->adapters[k], t, &same, error) != ORGAN_OK)
        return error->status;
    if (same)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s' is stored whole in %s and in %s: peft does not combine adapters that \"target the "
                      "same module with modules_to_save\", because two whole tensors have no sum without the base",
                      t->name, before->path, job->adapters[k]->path);
}

/* A whole weight has no sum with factors of another adapter without the base; peft would apply one of both alone. */
static organ_status check_factors(const organ_combine_job *job, size_t k, const organ_tensor *t, const char *plain,
                                  organ_error *error)
{
    const char *const tokens = strstr(plain, ".token_adapter");
    size_t length = tokens ? (size_t)(tokens - plain) : strlen(plain);
    if (organ_lora_is_base_copy(t->name) || (!tokens && !organ_cut_end(plain, &length, ".weight")))
        return ORGAN_OK;
    ORGAN_OWNED char *const module = organ_format("%.*s", (int)length, plain);
    if (!module)
        return organ_fail_memory(error, plain);
    for (size_t j = 0; j < job->count; j++)
        if (j != k && organ_adapter_find(job->adapters[j], module))
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "'%s' is stored whole in %s and has factors in %s: they have no sum without the base: merge "
                "one of them first",
                module, job->adapters[k]->path, job->adapters[j]->path);
    return ORGAN_OK;
}

static organ_status take_tensor(organ_combine_job *job, size_t k, const organ_tensor *t, organ_name_table *names,
                                organ_error *error)
{
    ORGAN_OWNED char *const plain = organ_adapter_plain_name(t->name);
    const char *const name = plain ? organ_arena_copy(&job->arena, plain, strlen(plain)) : NULL;
    const size_t *const at = name ? organ_name_table_put(names, name, job->rest_count) : NULL;
    if (!at)
        return organ_fail_memory(error, t->name);
    if (check_factors(job, k, t, name, error))
        return error->status;
    if (*at != job->rest_count)
        return check_again(job, k, t, *at, error);
    if (job->weights[k] != 1 && !organ_lora_is_base_copy(t->name))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' of %s is stored whole, and the weight of the adapter is %g: only the base could "
                          "tell a part of its change; give the adapter the weight 1",
                          t->name, job->adapters[k]->path, job->weights[k]);
    if (job->rewrite.mlx && organ_lora_is_base_copy(t->name))
        return ORGAN_OK;
    if (job->rewrite.mlx)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' of %s is stored whole: mlx-lm loads factors alone",
                          t->name, job->adapters[k]->path);
    job->rest[job->rest_count] = t;
    job->rest_models[job->rest_count] = job->adapters[k]->model;
    job->rest_adapters[job->rest_count++] = k;
    return ORGAN_OK;
}

static organ_status list_rest(organ_combine_job *job, organ_error *error)
{
    size_t most = 1;
    organ_name_table names = {0};
    for (size_t k = 0; k < job->count; k++)
        most += job->adapters[k]->rest_count;
    job->rest = organ_rows_take(most, sizeof *job->rest);
    job->rest_models = organ_rows_take(most, sizeof *job->rest_models);
    job->rest_adapters = organ_rows_take(most, sizeof *job->rest_adapters);
    if (!job->rest || !job->rest_models || !job->rest_adapters)
        return organ_fail_memory(error, job->joined.path);
    for (size_t k = 0; k < job->count && !error->status; k++)
        for (size_t t = 0; t < job->adapters[k]->rest_count && !error->status; t++)
            take_tensor(job, k, job->adapters[k]->rest[t], &names, error);
    organ_name_table_release(&names);
    return error->status;
}

static organ_status check_mlx(const organ_combine_job *job, organ_error *error)
{
    for (size_t p = 0; p < job->joined.pair_count && job->rewrite.mlx; p++) {
        const organ_adapter_pair *const pair = &job->pairs[p];
        if (pair->experts > 1 || pair->anatomy.expert >= 0 || pair->layout == ORGAN_FACTORS_CONV)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "module '%s' is %s, whose factors organ does not write for mlx-lm", pair->module,
                              pair->layout == ORGAN_FACTORS_CONV ? "a convolution" : "one of experts");
    }
    return ORGAN_OK;
}

organ_status organ_combine_open(organ_combine_job *job, organ_error *error)
{
    const organ_lora_combine_options *const o = job->options;
    if (read_options(job, error))
        return error->status;
    for (size_t k = 0; k < job->count; k++) {
        if (organ_adapter_open_with_conv(o->adapters[k], &job->adapters[k], error) ||
            (o->write.output && organ_output_check_not_adapter(o->write.output, job->adapters[k], error)) ||
            (o->write.output && k == 0 &&
             organ_output_check(o->write.output, job->adapters[k]->path, o->write.force, error)))
            return error->status;
        organ_adapter_warn(job->rewrite.progress, job->adapters[k], /*lost=*/false);
        if (check_adapter(job->adapters[k], error))
            return error->status;
    }
    job->rewrite.mlx = o->to && strcmp(o->to, "mlx") == 0;
    job->joined = *job->adapters[0];
    job->joined.pair_count = 0;
    job->rewrite.adapter = &job->joined;
    if (check_forms(job, error) || check_ranks(job, error) || join_modules(job, error) || check_mlx(job, error) ||
        list_rest(job, error))
        return error->status;
    job->joined.rest = job->rest;
    job->joined.rest_count = job->rest_count;
    warn_of_bases(job);
    return ORGAN_OK;
}

void organ_combine_close(organ_combine_job *job)
{
    organ_lora_rewrite_release(&job->rewrite);
    organ_rows_free(job->pairs);
    organ_rows_free(job->of);
    organ_rows_free(job->figures);
    organ_rows_free(job->rest);
    organ_rows_free(job->rest_models);
    organ_rows_free(job->rest_adapters);
    json_decref(job->config);
    organ_arena_release(&job->arena);
    for (size_t k = 0; k < ORGAN_COMBINE_MOST; k++)
        organ_adapter_close(job->adapters[k]);
}
