/* SPDX-License-Identifier: MIT
 * The scales of a KV cache of E4M3 codes, which a model stores under one of several names. */
#include "orchestrator/forward/mixers.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Whether the tensor has scales of keys, and of values. */
typedef struct scaled {
    bool keys, values;
} scaled;

/* compressed-tensors has self_attn.k_scale, ModelOpt self_attn.k_proj.k_scale, older files k_proj.output_scale, and
 * kv_scale for both. */
static scaled scaled_by(const char *name)
{
    static const struct {
        const char *end;
        scaled of;
    } ends[] = {{".k_scale", {true, false}},
                {".v_scale", {false, true}},
                {".kv_scale", {true, true}},
                {".k_proj.output_scale", {true, false}},
                {".v_proj.output_scale", {false, true}}};
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        if (organ_ends_with(name, ends[k].end))
            return ends[k].of;
    return (scaled){false, false};
}

static organ_status check_scale(const organ_forward *f, const organ_tensor *tensor, unsigned heads, organ_error *error)
{
    const bool real = tensor->dtype == ORGAN_F32 || tensor->dtype == ORGAN_BF16 || tensor->dtype == ORGAN_F16;
    if (real && (tensor->elements == 1 || tensor->elements == heads))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: tensor '%.300s' is %s of %llu values, but scales of the KV cache are F32, BF16 or F16, one "
                      "or one for each of %u heads of keys",
                      f->model->path, tensor->name, organ_dtype_name(tensor->dtype),
                      (unsigned long long)tensor->elements, heads);
}

/* Copies the scale, or those of the heads, of a tensor to `rows`, one number for each head. */
static organ_status read_scales(const organ_forward *f, const organ_tensor *tensor, unsigned heads, float *row,
                                organ_error *error)
{
    const uint64_t shape[1] = {tensor->elements};
    organ_weight flat = organ_weight_plain(tensor);
    flat.rank = 1; /* a file may have heads x 1 x 1 */
    flat.shape = shape;
    if (check_scale(f, tensor, heads, error))
        return error->status;
    float *const values = organ_forward_vector(f, &flat, error);
    for (unsigned h = 0; values && h < heads && !error->status; h++) {
        row[h] = values[tensor->elements == 1 ? 0 : h];
        if (!isfinite(row[h]) || row[h] <= 0)
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: tensor '%.300s' has the scale %g, but scales of the KV cache are numbers above 0",
                       f->model->path, tensor->name, (double)row[h]);
    }
    organ_forward_free(values);
    return error->status;
}

/* Takes over the scales of a tensor. A layer that has only scales of keys uses them for values too, as vLLM does. */
static organ_status take_tensor(organ_forward *f, const organ_tensor *tensor, scaled of, scaled *found,
                                organ_error *error)
{
    const int32_t layer = organ_forward_layer_of(f, tensor);
    if (layer < 0 || (unsigned)layer >= f->config.layers || !organ_forward_attends(&f->config.kinds[layer]))
        return ORGAN_OK;
    const unsigned heads = f->config.kinds[layer].kv_heads;
    float *const keys = f->cache.keys + (size_t)layer * f->cache.heads, *const values = f->cache.values +
                                                                                        (size_t)layer * f->cache.heads;
    if (read_scales(f, tensor, heads, of.keys ? keys : values, error))
        return error->status;
    if (of.keys && (of.values || !found[layer].values))
        memcpy(values, keys, heads * sizeof *keys);
    found[layer].keys = found[layer].keys || of.keys;
    found[layer].values = found[layer].values || of.values;
    f->cache.by_head = f->cache.by_head || (tensor->elements > 1 && tensor->elements == heads);
    return ORGAN_OK;
}

static organ_status find_scales(organ_forward *f, scaled *found, organ_error *error)
{
    for (size_t t = 0; t < f->model->tensor_count && !error->status; t++) {
        const scaled of = scaled_by(f->model->tensors[t].name);
        organ_rows_passed();
        if (of.keys || of.values)
            take_tensor(f, &f->model->tensors[t], of, found, error);
    }
    for (unsigned l = 0; l < f->config.layers; l++) {
        const organ_layer_kind *const kind = &f->config.kinds[l];
        if (organ_forward_attends(kind) && kind->shares_with == l) {
            f->cache.layers++;
            f->cache.unscaled += !found[l].keys && !found[l].values;
        }
    }
    return error->status;
}

organ_cache_kind organ_forward_cache_kind(const organ_forward *f)
{
    organ_cache_kind kind = ORGAN_CACHE_NONE;
    for (unsigned l = 0; l < f->config.layers && kind != ORGAN_CACHE_LATENT; l++)
        if (organ_forward_attends(&f->config.kinds[l]))
            kind = f->config.kinds[l].latent || f->config.compressed.q_rank ? ORGAN_CACHE_LATENT : ORGAN_CACHE_OF_HEADS;
    return kind;
}

const char *organ_forward_cache_fault(const organ_forward *f)
{
    static const char *const faults[] = {
        [ORGAN_CACHE_NONE] = "it has no attention",
        [ORGAN_CACHE_OF_HEADS] = NULL,
        [ORGAN_CACHE_LATENT] = "it has multi-head latent attention (MLA), whose cache keeps latent vectors, without "
                               "keys and values of heads"};
    if (f->config.compressed.q_rank)
        return "it has compressed attention, whose cache keeps one vector of a token, without keys and values of heads";
    return faults[organ_forward_cache_kind(f)];
}

organ_status organ_forward_round_cache(organ_forward *f, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    unsigned heads = 0;
    const char *const fault = organ_forward_cache_fault(f);
    if (fault)
        return organ_fail(error, ORGAN_USAGE, "%s has no KV cache that organ can round: %s", f->model->path, fault);
    for (unsigned l = 0; l < f->config.layers; l++)
        heads = (unsigned)organ_max(heads, f->config.kinds[l].kv_heads);
    const size_t count = (size_t)f->config.layers * heads;
    ORGAN_OWNED scaled *const found = calloc(f->config.layers, sizeof *found);
    float *const scales = found ? malloc(2 * count * sizeof *scales) : NULL;
    if (!scales)
        return organ_fail_memory(error, f->model->path);
    free(f->cache.keys);
    f->cache = (organ_cache_rounding){.heads = heads, .keys = scales, .values = scales + count};
    for (size_t k = 0; k < 2 * count; k++)
        scales[k] = 1;
    return find_scales(f, found, error);
}

const organ_cache_rounding *organ_forward_cache(const organ_forward *f) { return f->cache.keys ? &f->cache : NULL; }
