/* SPDX-License-Identifier: MIT
 * Generation with a KV cache: only new tokens pass through the layers. The weights of as many layers as fit stay in
 * memory, together with one layer that is read again each time; if all fit, so does the output head. */
#include "orchestrator/forward/drafting.h"
#include "orchestrator/forward/mixers.h"

#include "formats/base/results.h"
#include "orchestrator/stream/memory.h"

#include <stdlib.h>
#include <string.h>

struct organ_decode_cache {
    size_t max, count; /* tokens: capacity, processed so far */
    /* the kinds of rotation (organ_forward_rotation_kind) with which the `count` tokens were processed, in layers
     * without and with a sliding window */
    size_t kind, local_kind;
    float *values;        /* for each layer keys of `max` tokens, their values, the indexer's keys, then the state */
    organ_layer **layers; /* for each layer of the model; NULL: not loaded, or not kept in memory */
    unsigned layer_count, held; /* layers of the model; layers 0 .. held - 1 stay in memory */
    float *room;                /* memory for layers that are read again, one at a time; streamed ones have their own */
    organ_layer *head;          /* the loaded output head; NULL: not loaded yet, or not kept in memory */
    bool holds_head;            /* the output head stays in memory; true only if all layers do */
};

/* A layer without attention, or one that uses the keys and values of an earlier layer, needs none. */
static size_t floats_of(const organ_forward *f, unsigned layer)
{
    const organ_layer_kind *const kind = &f->config.kinds[layer];
    return kind->shares_with == layer && organ_forward_attends(kind)
               ? organ_forward_keys_width(&f->config, kind) + organ_forward_values_width(&f->config, kind) +
                     organ_forward_index_width(&f->config, kind)
               : 0;
}

/* Each layer has keys, values and state. With the number of layers, the result is the size of the whole cache.
 * Returns UINT64_MAX / 4 if the number would be larger. */
static uint64_t floats_before(const organ_forward *f, size_t max, unsigned layer)
{
    uint64_t floats = 0;
    for (unsigned l = 0; l < layer && floats < UINT64_MAX / 4; l++) {
        const uint64_t token = floats_of(f, l), state = organ_forward_mixer_state(&f->config, &f->config.kinds[l]);
        floats = token && max > (UINT64_MAX / 4 - floats) / token ? UINT64_MAX / 4 : floats + max * token + state;
    }
    return floats;
}

static forward_keys keys_of(const organ_forward *f, const organ_decode_cache *cache, unsigned layer)
{
    const organ_layer_kind *const kind = &f->config.kinds[layer];
    float *const keys = cache->values + floats_before(f, cache->max, kind->shares_with),
                 *const values = keys + cache->max * organ_forward_keys_width(&f->config, kind);
    return (forward_keys){.keys = keys,
                          .values = values,
                          .index = values + cache->max * organ_forward_values_width(&f->config, kind),
                          .state = keys + cache->max * floats_of(f, kind->shares_with),
                          .tokens = cache->count};
}

/* A pass has `together` tokens; `kept` bytes stay allocated (the cache for the whole text). */
typedef struct growing {
    const organ_forward *forward;
    size_t together;
    uint64_t kept;
} growing;

static bool fits_text(void *context, uint64_t memory)
{
    const growing *const g = context;
    return organ_forward_fits(g->forward, memory, g->together, g->kept);
}

/* If the rotation changes while a text grows, all tokens are processed again, so a pass needs memory for `max`
 * tokens. */
static bool is_reset(const organ_forward *f, size_t first, size_t max)
{
    return organ_forward_rotation_kind(&f->rotation, first) != organ_forward_rotation_kind(&f->rotation, max) ||
           organ_forward_rotation_kind(&f->rotation_local, first) !=
               organ_forward_rotation_kind(&f->rotation_local, max);
}

static void prefer_resident_model(const organ_forward *f, growing with)
{
    with.kept += f->head.bytes;
    for (unsigned l = 0; l < f->config.layers; l++)
        with.kept += f->plans[l].bytes;
    organ_memory_prefer(f->engine, organ_memory_enough(0, fits_text, &with));
}

/* Layers are counted from the first. `taken` bytes and a pass over `together` tokens need memory too. */
static void choose_resident_layers(const organ_forward *f, organ_decode_cache *cache, size_t together, uint64_t taken)
{
    for (; cache->held < f->config.layers; cache->held++) {
        taken += f->plans[cache->held].bytes;
        if (!organ_forward_fits(f, organ_engine_memory(f->engine), together, taken))
            return;
    }
    cache->holds_head = organ_forward_fits(f, organ_engine_memory(f->engine), together, taken + f->head.bytes);
}

/* Only layers with experts are streamed, because a token needs few of the experts. */
static bool is_streamed(const organ_forward *f, unsigned layer)
{
    return f->may_stream && f->config.kinds[layer].mixture;
}

static size_t largest_reread_layer(const organ_forward *f, unsigned held)
{
    size_t max = 0;
    for (unsigned l = held; l < f->config.layers; l++)
        max = is_streamed(f, l) ? max : organ_max(max, f->plans[l].bytes);
    return max;
}

/* Sparse attention needs its choice among `max` keys for one token: later tokens are processed one by one. The product
 * with sizeof(float) must not overflow; UINT64_MAX / 4 bytes fit in no memory. */
static growing growing_to(const organ_forward *f, size_t first, size_t max)
{
    const uint64_t floats = floats_before(f, max, f->config.layers),
                   choice = organ_forward_choice_room(&f->config, 1, max) * (uint64_t)sizeof(float);
    return (growing){f, is_reset(f, first, max) ? max : first,
                     floats < UINT64_MAX / 16 ? floats * sizeof(float) + choice : UINT64_MAX / 4};
}

bool organ_decode_cache_fits(const organ_forward *f, size_t first, size_t max, uint64_t memory)
{
    growing g = growing_to(f, first, max);
    return fits_text(&g, memory);
}

organ_status organ_decode_cache_open(organ_forward *f, size_t first, size_t max, organ_decode_cache **cache,
                                     organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    growing g = growing_to(f, first, max);
    *cache = NULL;
    if (organ_forward_check_window(f, max, error))
        return error->status;
    if (organ_memory_require(f->engine, fits_text, &g, error, "a layer of %s and the keys and values of %zu tokens",
                             f->model->path, max) != ORGAN_OK)
        return error->status;
    prefer_resident_model(f, g);
    organ_decode_cache *const made = calloc(1, sizeof *made);
    if (!made)
        return organ_fail_memory(error, f->model->path);
    made->max = max;
    made->layer_count = f->config.layers;
    choose_resident_layers(f, made, g.together, g.kept);
    if (!(made->layers = calloc(made->layer_count, sizeof *made->layers)))
        organ_fail_memory(error, f->model->path);
    if (largest_reread_layer(f, made->held))
        made->room = organ_forward_floats(largest_reread_layer(f, made->held) / sizeof(float), error);
    if (!error->status)
        made->values = organ_forward_floats((size_t)floats_before(f, max, made->layer_count), error);
    if (error->status) {
        organ_decode_cache_close(made);
        return error->status;
    }
    *cache = made;
    return ORGAN_OK;
}

void organ_decode_cache_close(organ_decode_cache *cache)
{
    if (!cache)
        return;
    for (unsigned k = 0; cache->layers && k < cache->layer_count; k++)
        organ_layer_free(cache->layers[k]);
    organ_layer_free(cache->head);
    free(cache->layers);
    organ_forward_free(cache->values);
    organ_forward_free(cache->room);
    free(cache);
}

/* The first cache->held layers stay loaded between tokens; the others are loaded into cache->room one by one, or
 * streamed expert by expert. */
static organ_status run_layers(organ_forward *f, organ_decode_cache *cache, const organ_windows *windows, float *hidden,
                               organ_error *error)
{
    for (unsigned k = 0; k < f->config.layers; k++) {
        const forward_keys before = keys_of(f, cache, k);
        organ_layer *layer = cache->layers[k];
        if (!layer && k >= cache->held && is_streamed(f, k))
            organ_forward_load_streamed(f, (int32_t)k, &layer, error);
        else if (!layer)
            organ_forward_load_to(f, (int32_t)k, k < cache->held ? NULL : cache->room, &layer, error);
        if (error->status)
            return error->status;
        organ_forward_layer_run(f, layer, windows, &before, hidden, NULL, error);
        if (k < cache->held)
            cache->layers[k] = layer;
        else
            organ_layer_free(layer);
        if (error->status)
            return error->status;
    }
    return cache->holds_head && !cache->head ? organ_forward_load_head(f, &cache->head, error) : ORGAN_OK;
}

/* Returns ORGAN_USAGE if there is no new token or not enough room. An error empties the cache. */
organ_status organ_forward_continue_into(organ_forward *f, organ_decode_cache *cache, const uint32_t *tokens,
                                         size_t count, float *states, void *context,
                                         void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    const size_t kind = organ_forward_rotation_kind(&f->rotation, count),
                 local_kind = organ_forward_rotation_kind(&f->rotation_local, count), width = (size_t)f->config.state;
    if (kind != cache->kind || local_kind != cache->local_kind)
        cache->count = 0;
    if (count <= cache->count || count > cache->max)
        return organ_fail(error, ORGAN_USAGE,
                          "a text of %zu tokens cannot be continued to %zu: the cache has room for %zu", cache->count,
                          count, cache->max);
    cache->kind = kind;
    cache->local_kind = local_kind;
    const size_t before = cache->count, begin[2] = {0, count - before}, last = begin[1] - 1;
    const organ_windows windows = {.tokens = tokens + before, .count = 1, .begin = begin};
    float *const hidden = organ_forward_floats(begin[1] * width, error);
    if (hidden && organ_forward_embed_after(f, &windows, before, hidden, error) == ORGAN_OK &&
        run_layers(f, cache, &windows, hidden, error) == ORGAN_OK)
        organ_forward_logits_by(f, cache->head, hidden, &last, 1, context, each, error);
    if (states && !error->status)
        memcpy(states + before * width, hidden, begin[1] * width * sizeof *hidden);
    organ_forward_free(hidden);
    cache->count = error->status ? 0 : count;
    return error->status;
}

organ_status organ_forward_continue(organ_forward *f, organ_decode_cache *cache, const uint32_t *tokens, size_t count,
                                    void *context, void (*each)(void *context, size_t k, float *logits),
                                    organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_forward_continue_into(f, cache, tokens, count, NULL, context, each, error);
}
