/* SPDX-License-Identifier: MIT
 * --kv-cache: scales of a KV cache in FP8, from the greatest magnitudes of keys (after their rotation) and values on a
 * text, in the unquantised model. Names, shapes and configuration are those of compressed-tensors. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/base/text.h"
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

#define GREATEST_CODE 448.0F /* of E4M3 */

static const char loaders[] =
    "vLLM, which needs FlashAttention 3 for scales of heads; SGLang from August 2026 on, only one scale for a layer; "
    "transformers ignores them";

/* ---- options ---- */

static bool has_word(const organ_quantize_options *o, const char *word) { return strcmp(o->kv_cache, word) == 0; }

organ_status organ_quantize_cache_check(const organ_quantize_options *o, organ_error *error)
{
    if (!o->kv_cache)
        return ORGAN_OK;
    if (!has_word(o, "tensor") && !has_word(o, "head"))
        return organ_fail(error, ORGAN_USAGE, "`kv_cache` '%s' is unknown: tensor or head", o->kv_cache);
    if (!o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`kv_cache` needs `calibration.text` FILE, a text on which keys and values are measured");
    return ORGAN_OK;
}

/* ---- callbacks of the calibration run ---- */

/* Numbers of a row: the greatest magnitudes of the keys of each head, then of the values. */
static size_t width_of(const organ_quantize_cache *c) { return 2 * c->heads; }

static float greater(float greatest, float value) { return value > greatest || !isfinite(value) ? value : greatest; }

static organ_status measure_rows(void *context, unsigned number, size_t tokens, const float *keys, const float *values,
                                 organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_cache *const c = &job->cache;
    const organ_layer_kind *const kind = &c->config->kinds[number];
    float (*const amax)(const float *, size_t) = job->engine->kernels->amax;
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < kind->kv_heads; h++) {
            const size_t at = t * kind->kv_heads + h;
            c->chunk[h] = greater(c->chunk[h], amax(keys + at * kind->head_dim, kind->head_dim));
            c->chunk[c->heads + h] =
                greater(c->chunk[c->heads + h], amax(values + at * kind->value_dim, kind->value_dim));
        }
    return error->status;
}

organ_status organ_quantize_cache_enter(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_quantize_job *const job = context;
    const size_t chunks = organ_calibration_chunks_count(organ_calibration_chunks_of(job->cache.run));
    organ_layer_tap_cache(layer->loaded, &job->cache.tap);
    memset(job->cache.chunk, 0, width_of(&job->cache) * sizeof *job->cache.chunk);
    memset(job->cache.rows, 0, chunks * width_of(&job->cache) * sizeof *job->cache.rows);
    return error->status;
}

/* Keys or values that are all zero have no scale of their own: any serves, and 1 is what servers use without one. */
static float scale_of(organ_quantize_cache *c, float greatest)
{
    const float scale = greatest / GREATEST_CODE;
    c->zero += greatest == 0;
    return scale >= FLT_MIN ? scale : 1;
}

/* `greatest` has the magnitudes of the heads of a layer, of keys or of values. */
static void set_scales(organ_quantize_cache *c, const float *greatest, size_t heads, float *scales)
{
    float all = 0;
    for (size_t h = 0; h < heads; h++)
        all = fmaxf(all, greatest[h]);
    for (size_t h = 0; h < (c->by_head ? heads : 1); h++)
        scales[h] = scale_of(c, c->by_head ? greatest[h] : all);
}

/* The row of a rank's first chunk has the magnitudes of all its chunks, and the rows of the others have zeros. Every
 * rank gets the rows of all chunks, so that all have the same scales. */
organ_status organ_quantize_cache_leave(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_cache *const c = &job->cache;
    const organ_calibration_chunks *const division = organ_calibration_chunks_of(c->run);
    const size_t width = width_of(c), chunks = organ_calibration_chunks_count(division);
    const organ_layer_kind *const kind = &c->config->kinds[layer->number];
    for (size_t k = 0; k < width && division->first < chunks; k++)
        c->rows[division->first * width + k] = c->chunk[k];
    if (organ_calibration_sum_rows(c->run, "measuring the keys and values of a layer", c->rows, width, c->sums, error))
        return error->status;
    for (size_t k = 0; k < width; k++) {
        c->chunk[k] = 0;
        for (size_t row = 0; row < chunks; row++)
            c->chunk[k] = greater(c->chunk[k], (float)c->rows[row * width + k]);
        if (!isfinite(c->chunk[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: layer %d computes %s that are not finite",
                              job->options->model, (int)layer->number, k < c->heads ? "keys" : "values");
    }
    if (!c->name[layer->number] || kind->shares_with != (unsigned)layer->number)
        return ORGAN_OK;
    float *const scales = c->scales + (size_t)layer->number * width;
    set_scales(c, c->chunk, kind->kv_heads, scales);
    set_scales(c, c->chunk + c->heads, kind->kv_heads, scales + c->heads);
    return ORGAN_OK;
}

/* ---- the tensors ---- */

/* Returns the name of the layer's attention, "model.layers.0.self_attn", which is that of its queries without the last
 * word. NULL: the layer has no attention. The job's arena owns the name. */
static const char *attention_name(organ_quantize_job *job, unsigned layer, organ_error *error)
{
    static const char weight[] = ".weight";
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        const bool queries = w->anatomy.role == ORGAN_ROLE_Q || w->anatomy.role == ORGAN_ROLE_QKV;
        size_t length = strlen(w->name);
        organ_rows_passed();
        if (!queries || w->anatomy.layer != (int32_t)layer || !organ_cut_end(w->name, &length, weight))
            continue;
        while (length && w->name[length - 1] != '.')
            length--;
        const char *const copy = length ? organ_arena_copy(&job->list.arena, w->name, length - strlen(".")) : NULL;
        if (!copy)
            organ_fail_memory(error, w->name);
        return copy;
    }
    return NULL;
}

static organ_status add_piece(organ_quantize_job *job, const char *attention, const char *leaf, const uint64_t *shape,
                              organ_error *error)
{
    ORGAN_OWNED char *const text = organ_format("%s.%s", attention, leaf);
    const char *const name = text ? organ_arena_copy(&job->list.arena, text, strlen(text)) : NULL;
    if (!name)
        return organ_fail_memory(error, job->options->model);
    if (organ_model_find(job->model, name))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has scales of a KV cache already: tensor '%s'", job->model->path,
                          name);
    job->list.pieces[job->list.piece_count++] =
        (organ_piece){.name = name, .dtype = ORGAN_BF16, .rank = job->cache.by_head ? 3 : 1, .shape = shape};
    return ORGAN_OK;
}

/* A layer with the keys of an earlier one gets its scales, too: vLLM multiplies the codes by the scales of the layer
 * that reads them. */
static organ_status add_pieces(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_cache *const c = &job->cache;
    uint64_t bytes = 0;
    c->unit = job->list.piece_count;
    for (unsigned l = 0; l < c->config->layers && !error->status; l++) {
        const organ_layer_kind *const kind = &c->config->kinds[l];
        uint64_t *const shape = organ_arena_take(&job->list.arena, 3 * sizeof *shape);
        if (!shape)
            return organ_fail_memory(error, job->options->model);
        c->name[l] = organ_forward_attends(kind) ? attention_name(job, l, error) : NULL;
        shape[0] = c->by_head ? kind->kv_heads : 1;
        shape[1] = shape[2] = 1;
        if (!c->name[l] || error->status || add_piece(job, c->name[l], "k_scale", shape, error) != ORGAN_OK)
            continue;
        add_piece(job, c->name[l], "v_scale", shape, error);
        bytes += 2 * shape[0] * sizeof(uint16_t);
    }
    organ_piece *const unit = &job->list.pieces[c->unit];
    unit->more = job->list.piece_count - c->unit - 1;
    unit->item = SIZE_MAX; /* no part */
    unit->cost = bytes;
    if (!error->status && job->list.piece_count == c->unit)
        organ_fail(error, ORGAN_USAGE, "%s: `kv_cache` knows no names of its layers' attention", job->model->path);
    return error->status;
}

/* ---- the run ---- */

static organ_status check_kind(const organ_quantize_job *job, const organ_forward *forward, organ_error *error)
{
    const char *const fault = organ_forward_cache_fault(forward);
    return fault ? organ_fail(error, ORGAN_USAGE, "`kv_cache` has no meaning for %s: %s", job->model->path, fault)
                 : ORGAN_OK;
}

static size_t most_heads(const organ_forward_config *config)
{
    size_t heads = 0;
    for (unsigned l = 0; l < config->layers; l++)
        heads = organ_max(heads, config->kinds[l].kv_heads);
    return heads;
}

uint64_t organ_quantize_cache_memory(void *context, const organ_calibration_run *calib, bool scratch)
{
    const organ_forward_config *const config = organ_forward_describe(organ_calibration_run_facts_of(calib)->forward);
    const organ_quantize_cache *const c = &((const organ_quantize_job *)context)->cache;
    const uint64_t chunks = organ_calibration_chunks_count(organ_calibration_chunks_of(calib)),
                   width = 2 * most_heads(config);
    (void)scratch;
    return config->layers * (sizeof *c->name + width * sizeof *c->scales) +
           width * (chunks * sizeof *c->rows + sizeof *c->sums + sizeof *c->chunk);
}

static organ_status allocate(organ_quantize_cache *c, organ_error *error)
{
    const size_t chunks = organ_calibration_chunks_count(organ_calibration_chunks_of(c->run));
    c->heads = most_heads(c->config);
    c->name = calloc(c->config->layers, sizeof *c->name);
    c->scales = calloc(c->config->layers * width_of(c), sizeof *c->scales);
    c->rows = calloc(chunks * width_of(c), sizeof *c->rows);
    c->sums = calloc(width_of(c), sizeof *c->sums);
    c->chunk = calloc(width_of(c), sizeof *c->chunk);
    return c->name && c->scales && c->rows && c->sums && c->chunk
               ? ORGAN_OK
               : organ_fail_memory(error, "the greatest magnitudes of keys and values");
}

/* The walk that measures inputs also measures keys and values. Without it, there is one of its own. */
static organ_status open_walk(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_cache *const c = &job->cache;
    c->run = job->measured.run;
    if (c->run)
        return ORGAN_OK;
    c->options = (organ_calibration_run_options){.calibration = job->options->calibration,
                                                 .method = "`kv_cache`",
                                                 .verb = "measure",
                                                 .doing = "measuring",
                                                 .streams = ORGAN_INPUTS_DONOR,
                                                 .moments_only = true};
    c->work = (organ_calibration_work){.context = job,
                                       .enter = organ_quantize_cache_enter,
                                       .leave = organ_quantize_cache_leave,
                                       .extra = organ_quantize_cache_memory,
                                       .every = true};
    return organ_calibration_run_open(&c->options, job->model, &c->targets, &c->work, job->engine, job->progress,
                                      &c->run, error);
}

organ_status organ_quantize_cache_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    organ_quantize_cache *const c = &job->cache;
    if (!o->kv_cache)
        return ORGAN_OK;
    c->by_head = has_word(o, "head");
    c->tap = (organ_cache_tap){job, measure_rows};
    if (open_walk(job, error))
        return error->status;
    const organ_forward *const forward = organ_calibration_run_facts_of(c->run)->forward;
    c->config = organ_forward_describe(forward);
    return check_kind(job, forward, error) || allocate(c, error) ? error->status : add_pieces(job, error);
}

static organ_status put_scales(organ_quantize_job *job, size_t piece, const float *scales, size_t count,
                               organ_error *error)
{
    for (size_t h = 0; h < count && !error->status; h++) {
        uint16_t stored;
        job->engine->kernels->f32_to_bf16(scales + h, &stored, 1);
        organ_write_put(job->run, piece, &stored, sizeof stored, h * sizeof stored, NULL, error);
    }
    return error->status;
}

/* All ranks measure, and one writes. */
organ_status organ_quantize_cache_run(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_cache *const c = &job->cache;
    if (!c->run || (c->run != job->measured.run && organ_calibration_run_layers(c->run, error) != ORGAN_OK))
        return error->status;
    size_t piece = c->unit;
    if (job->list.pieces[piece].done)
        return ORGAN_OK;
    for (unsigned l = 0; l < c->config->layers && !error->status; l++) {
        const organ_layer_kind *const kind = &c->config->kinds[l];
        const float *const scales = c->scales + kind->shares_with * width_of(c);
        const size_t count = c->by_head ? kind->kv_heads : 1;
        if (!c->name[l])
            continue;
        put_scales(job, piece++, scales, count, error);
        put_scales(job, piece++, scales + c->heads, count, error);
    }
    return error->status ? error->status : organ_write_finish(job->run, c->unit, json_object(), error);
}

void organ_quantize_cache_close(organ_quantize_job *job)
{
    organ_quantize_cache *const c = &job->cache;
    if (c->run != job->measured.run)
        organ_calibration_run_close(c->run);
    ORGAN_FREE_ARRAYS(c->name, c->scales, c->rows, c->sums, c->chunk);
}

/* ---- configuration and report ---- */

json_t *organ_quantize_cache_config(const organ_quantize_job *job)
{
    if (!job->cache.run)
        return json_null();
    json_t *const made = organ_compressed_arguments(8, "float", job->cache.by_head ? "attn_head" : "tensor",
                                                    json_null(), /*dynamic=*/false);
    return organ_json_joined(made, ORGAN_OBJECT(SET_TEXT("observer", "static_minmax")));
}

/* A layer with the keys of an earlier one has its scales. */
json_t *organ_quantize_cache_document(const organ_quantize_job *job)
{
    const organ_quantize_cache *const c = &job->cache;
    if (!c->run)
        return NULL;
    json_t *const rows = json_array();
    for (unsigned l = 0; l < c->config->layers && !job->options->write.dry_run; l++) {
        const organ_layer_kind *const kind = &c->config->kinds[l];
        const float *const scales = c->scales + kind->shares_with * width_of(c);
        const size_t count = c->by_head ? kind->kv_heads : 1;
        if (c->name[l])
            json_array_append_new(rows,
                                  ORGAN_OBJECT(SET_COUNT("layer", l), SET("keys", organ_json_reals(count, scales)),
                                               SET("values", organ_json_reals(count, scales + c->heads))));
    }
    return ORGAN_OBJECT(SET_TEXT("scales_of", c->by_head ? "head" : "layer"),
                        SET_COUNT("tensors", 1 + job->list.pieces[c->unit].more), SET_COUNT("zero", c->zero),
                        SET_TEXT("loaders", loaders), SET("layers", rows),
                        SET("calibration", organ_calibration_run_json(c->run, "keys and values of the unquantised "
                                                                              "layers")));
}

void organ_quantize_cache_note(const organ_quantize_job *job)
{
    if (job->cache.run)
        organ_progress_note(job->progress, "scales of a KV cache in FP8; loaders: %s", loaders);
}
