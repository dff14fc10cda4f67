/* SPDX-License-Identifier: MIT
 * Keys and values as servers keep them that store the KV cache as E4M3 codes: vLLM's reshape_and_cache_flash divides
 * by the scale of the layer, or of the head of keys, and its attention multiplies by it. */
#include "orchestrator/forward/mixers.h"

#include "orchestrator/machine/quantity.h"

/* ---- rounding ---- */

static void round_head(const organ_kernels *kernels, float scale, float *values, size_t n)
{
    uint8_t codes[256];
    for (size_t at = 0, count; at < n; at += count) {
        count = organ_min(n - at, sizeof codes);
        kernels->encode[ORGAN_CODE_E4M3](values + at, &scale, count, codes, count);
        kernels->decode[ORGAN_CODE_E4M3][ORGAN_REAL_F32](codes, &scale, NULL, count, values + at, count);
    }
}

void organ_forward_round_cached(const organ_forward *f, const organ_layer_kind *kind, float *keys, float *values)
{
    const size_t layer = (size_t)(kind - f->config.kinds), heads = f->cache.heads;
    if (!f->cache.keys || layer >= f->config.layers)
        return;
    for (size_t h = 0; h < kind->kv_heads; h++) {
        round_head(f->engine->kernels, f->cache.keys[layer * heads + h], keys + h * kind->head_dim, kind->head_dim);
        round_head(f->engine->kernels, f->cache.values[layer * heads + h], values + h * kind->value_dim,
                   kind->value_dim);
    }
}

/* ---- the tap ---- */

organ_status organ_forward_tap_cache(const forward_group *g, const float *keys, const float *values, organ_error *error)
{
    const organ_cache_tap *const tap = g->layer->cache;
    const organ_layer_kind *const kind = g->layer->kind;
    if (!tap)
        return ORGAN_OK;
    return tap->rows(tap->context, (unsigned)(kind - g->forward->config.kinds), g->tokens, keys, values, error);
}

void organ_layer_tap_cache(organ_layer *layer, const organ_cache_tap *tap) { layer->cache = tap; }
