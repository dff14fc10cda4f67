/* SPDX-License-Identifier: MIT
 * Opening of the forward pass, runs of a layer and of the whole model, and estimates of memory. */
#include <organ/forward.h>

#include "formats/config/model_config.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/forward/connections.h"
#include "orchestrator/forward/mixers.h"
#include "orchestrator/forward/token_experts.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- opening ---- */

/* Writes the name of a part at the beginning or the end of the model, and returns it: the first one of its names that
 * the file has, or the first one. */
static const char *end_name(const organ_forward *f, forward_part part, char name[256])
{
    const bool gguf = f->model->gguf != NULL;
    const forward_name *const own = gguf ? f->family->gguf_names : f->family->names;
    const char *of_part = organ_forward_part_name(own, part, gguf, 0), *const first = of_part;
    if (part == PART_OUTPUT && !of_part)
        of_part = organ_text_head(f->weights);
    for (unsigned k = 1; of_part; of_part = organ_forward_part_name(own, part, gguf, k++)) {
        snprintf(name, 256, "%s%s", gguf || part == PART_OUTPUT ? "" : f->prefix, of_part);
        if (organ_weights_named(f->weights, name) || !first)
            return name;
    }
    snprintf(name, 256, "%s%s", gguf || part == PART_OUTPUT ? "" : f->prefix, first);
    return name;
}

static float *read_vector(const organ_forward *f, const char *name, uint64_t count, const organ_weight **weight,
                          organ_error *error)
{
    *weight = organ_forward_weight_named(f, name, 0, count, error);
    return *weight ? organ_forward_vector(f, *weight, error) : NULL;
}

static organ_status find_final_norm(organ_forward *f, organ_error *error)
{
    const organ_weight *bias;
    char name[256], of_bias[256];
    if (f->config.norm_unweighted || f->config.last_norm_missing)
        return ORGAN_OK;
    f->norm_values = read_vector(f, end_name(f, PART_FINAL_NORM, name), f->config.hidden, &f->norm, error);
    if (f->config.norm_biased && !error->status)
        f->norm_biases = read_vector(f, organ_forward_bias_name(name, of_bias), f->config.hidden, &bias, error);
    return error->status;
}

static organ_status find_positions(organ_forward *f, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const organ_weight *weight;
    char name[256], of_bias[256];
    if (c->positions && !c->sinusoidal)
        f->positions = organ_forward_weight_named(f, end_name(f, PART_POSITIONS, name),
                                                  c->positions + c->position_offset, c->hidden, error);
    if (!c->embedding_normed || error->status)
        return error->status;
    f->embedding_norm = read_vector(f, end_name(f, PART_NORM_EMBEDDING, name), c->hidden, &weight, error);
    if (!error->status)
        f->embedding_norm_biases = read_vector(f, organ_forward_bias_name(name, of_bias), c->hidden, &weight, error);
    return error->status;
}

static organ_status find_ends(organ_forward *f, organ_error *error)
{
    organ_forward_config *c = &f->config;
    const organ_weight *bias;
    char name[256], head[256];
    f->prefix = f->model->gguf ? "" : organ_text_prefix(f->family, f->weights);
    if (organ_text_check_embedding(f->model, f->weights, error))
        return error->status;
    f->embedding = organ_forward_weight_named(f, end_name(f, PART_EMBEDDING, name), c->vocabulary, c->hidden, error);
    if (!f->embedding || find_positions(f, error) || find_final_norm(f, error))
        return error->status;
    /* If the file has an output head, transformers uses it, even if tie_word_embeddings is true. */
    if (organ_weights_named(f->weights, end_name(f, PART_OUTPUT, head)))
        c->tied_output = false;
    if (c->head_bias)
        f->head_biases =
            read_vector(f, organ_forward_bias_name(end_name(f, PART_OUTPUT, head), name), c->vocabulary, &bias, error);
    f->output = c->tied_output
                    ? f->embedding
                    : organ_forward_weight_named(f, end_name(f, PART_OUTPUT, head), c->vocabulary, c->hidden, error);
    return error->status;
}

static organ_status find_layers(organ_forward *f, organ_error *error)
{
    f->plans = calloc(f->config.layers, sizeof *f->plans);
    if (!f->plans)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a plan of %u layers", f->config.layers);
    for (unsigned k = 0; k < f->config.layers && !error->status; k++)
        organ_forward_plan_make(f, k, &f->plans[k], error);
    return error->status;
}

static void measure_widths(organ_forward *f)
{
    for (unsigned l = 0; l < f->plan_count; l++) {
        const organ_layer_kind *const kind = &f->config.kinds[l];
        f->mixer_width = organ_max(f->mixer_width, organ_forward_mixer_width(&f->config, kind));
        f->dense_width = organ_max(f->dense_width, (size_t)kind->intermediate);
    }
}

static bool fits_one_token(void *forward, uint64_t memory) { return organ_forward_fits(forward, memory, 1, 0); }

/* worker_bytes is the scratch of a product, plus the largest need of weight panels, mixers, per-layer embeddings and
 * streams, which use it in turn. max_reading is a worker's largest scratch for loading a layer. */
organ_status organ_forward_measure(organ_forward *f, organ_error *error)
{
    size_t max, of_inputs;
    f->max_reading = 0;
    measure_widths(f);
    if (organ_forward_panel_size(f, f->output, &max, error) || organ_forward_per_layer_scratch(f, &of_inputs, error))
        return error->status;
    max = organ_max(max, organ_max(of_inputs, f->streams.panel));
    max = organ_max(max, organ_forward_mixer_scratch(&f->config));
    max = organ_max(max, f->draft_panel);
    for (unsigned k = 0; k < f->plan_count; k++) {
        f->max_reading = organ_max(f->max_reading, f->plans[k].reading);
        max = organ_max(max, f->plans[k].panel);
    }
    f->worker_bytes = organ_to_line(ORGAN_PRODUCT_SCRATCH + max);
    f->min_memory = organ_memory_enough(0, fits_one_token, f);
    return ORGAN_OK;
}

/* The sizes are for the plan of a dry run. */
organ_status organ_forward_estimate(organ_forward *f, organ_type_change as, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    f->hypothetical = true;
    for (unsigned k = 0; k < f->plan_count && !error->status; k++)
        organ_forward_plan_estimate(f, as, &f->plans[k], error);
    return error->status ? error->status : organ_forward_measure(f, error);
}

/* mlx-lm stores 1 + weight of the norms of Qwen3-Next, and convolutions as channels x taps x 1. */
static void recognise_mlx(organ_forward *f)
{
    for (size_t k = 0; f->config.norm_adds_one && k < f->model->tensor_count; k++) {
        const organ_tensor *const t = &f->model->tensors[k];
        organ_rows_passed();
        if (organ_ends_with(t->name, ".linear_attn.conv1d.weight") && t->rank == 3 && t->shape[1] > 1 &&
            t->shape[2] == 1)
            f->config.norm_adds_one = false;
    }
}

static organ_status open_as(const organ_model *model, const organ_engine *engine, bool unpacked,
                            organ_forward **forward, organ_error *error)
{
    *forward = NULL;
    organ_forward *f = calloc(1, sizeof *f);
    if (!f)
        return organ_fail_memory(error, model->path);
    f->model = model;
    f->engine = engine;
    f->unpacked = unpacked;
    if (organ_forward_config_read(model, &f->config, error) == ORGAN_OK) {
        f->family = organ_forward_family_named(f->config.architecture, model->gguf != NULL);
        f->plan_count = f->config.layers;
        recognise_mlx(f);
        measure_widths(f);
    }
    if (error->status || organ_weights_find(model, &f->weights, error) || find_ends(f, error) ||
        organ_forward_per_layer_open(f, error) || organ_forward_streams_open(f, error) ||
        organ_forward_connections_open(f, error) || organ_forward_token_experts_open(f, error) ||
        find_layers(f, error) || organ_forward_plan_head(f, &f->head, error) || organ_forward_measure(f, error) ||
        organ_forward_rotation_open(f, &f->config.rope, &f->rotation, error) ||
        organ_forward_rotation_open(f, &f->config.rope_local, &f->rotation_local, error)) {
        organ_forward_close(f);
        return error->status;
    }
    *forward = f;
    return ORGAN_OK;
}

organ_status organ_forward_open(const organ_model *model, const organ_engine *engine, organ_forward **forward,
                                organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return open_as(model, engine, /*unpacked=*/false, forward, error);
}

organ_status organ_forward_open_unpacked(const organ_model *model, const organ_engine *engine, organ_forward **forward,
                                         organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return open_as(model, engine, /*unpacked=*/true, forward, error);
}

void organ_forward_release_draft(forward_draft *d)
{
    organ_forward_free(d->embedding_norm);
    organ_forward_free(d->hidden_norm);
    organ_forward_free(d->head_norm);
    organ_forward_free(d->outputs);
    *d = (forward_draft){0};
}

/* Loaded layers are freed by organ_layer_free. */
void organ_forward_close(organ_forward *f)
{
    if (!f)
        return;
    for (unsigned k = 0; f->plans && k < f->plan_count; k++)
        organ_forward_plan_release(&f->plans[k]);
    free(f->plans);
    organ_forward_plan_release(&f->head);
    for (unsigned k = 0; k < FORWARD_DRAFTS; k++)
        organ_forward_release_draft(&f->drafts[k]);
    organ_forward_per_layer_close(&f->per_layer);
    organ_forward_streams_close(f);
    organ_forward_connections_close(f);
    organ_forward_token_experts_close(f);
    free(f->cache.keys);
    organ_forward_free(f->scratch);
    organ_forward_rounded_release(f->rounded);
    organ_forward_free(f->embedding_norm);
    organ_forward_free(f->embedding_norm_biases);
    organ_forward_free(f->norm_values);
    organ_forward_free(f->norm_biases);
    organ_forward_free(f->head_biases);
    organ_forward_rotation_close(&f->rotation);
    organ_forward_rotation_close(&f->rotation_local);
    organ_weights_free(f->weights);
    organ_forward_config_release(&f->config);
    free(f);
}

const organ_forward_config *organ_forward_describe(const organ_forward *forward) { return &forward->config; }
const organ_weights *organ_forward_weights(const organ_forward *forward) { return forward->weights; }

organ_forward_unstored organ_forward_get_unstored(const organ_forward *forward)
{
    const organ_forward_config *const c = &forward->config;
    return (organ_forward_unstored){c->gate_limit, c->recurrent.step_min, c->recurrent.step_max, c->recurrent.norm_eps};
}

void organ_forward_set_unstored(organ_forward *forward, const organ_forward_unstored *unstored)
{
    organ_forward_config *const c = &forward->config;
    c->gate_limit = unstored->gate_limit;
    c->recurrent.step_min = unstored->step_min;
    c->recurrent.step_max = unstored->step_max;
    c->recurrent.norm_eps = unstored->norm_eps;
}

/* ---- a layer ---- */

/* Returns the end of the group of windows that begins with `window`. */
static size_t group_end(const organ_windows *windows, size_t window)
{
    size_t until = window + 1;
    while (until < windows->count && windows->begin[until + 1] - windows->begin[window] <= FORWARD_GROUP)
        until++;
    return until;
}

/* Makes windows [first, until) of the batch the group. */
static void choose_windows(forward_group *g, float *states, size_t first, size_t until)
{
    g->window = first;
    g->until = until;
    g->first = g->windows->begin[first];
    g->tokens = g->windows->begin[until] - g->first;
    g->states = g->hidden = states + g->first * g->forward->config.state;
}

/* If the layer is streamed, runs only the mixers of each group, and then the feed-forward once for the tokens of all
 * groups, so that each expert is read as few times as possible. */
static organ_status run_groups(forward_group *g, float *states, organ_error *error)
{
    const size_t count = g->windows->count;
    for (size_t w = 0; w < count && !error->status; w = g->until) {
        choose_windows(g, states, w, group_end(g->windows, w));
        if (g->tokens && g->layer->reserved)
            organ_forward_block_mix(g, error);
        else if (g->tokens)
            organ_forward_block(g, error);
    }
    choose_windows(g, states, 0, count);
    return g->layer->reserved && !error->status ? organ_forward_ffn(g, error) : error->status;
}

static size_t floats_of_largest_group(const organ_forward *forward, const organ_windows *windows)
{
    size_t max = 0;
    for (size_t w = 0; w < windows->count; w = group_end(windows, w)) {
        const size_t tokens = windows->begin[group_end(windows, w)] - windows->begin[w];
        max = tokens > max ? tokens : max;
    }
    return organ_forward_block_room(forward, organ_engine_memory(forward->engine), max, windows->begin[windows->count]);
}

/* `g` has the layer, the windows and their room. Does nothing if `error` is set already, because the caller could
 * not allocate g.room. */
static organ_status run_layer_on_batch(forward_group g, float *hidden, organ_error *error)
{
    g.scratch = organ_forward_scratch(g.forward, error);
    g.routed = calloc((size_t)g.forward->config.experts + 1, sizeof *g.routed);
    if (!error->status && !g.routed)
        organ_fail_errno(error, ENOMEM, "cannot allocate the counts of %u experts", g.forward->config.experts);
    if (!error->status)
        run_groups(&g, hidden, error);
    free(g.routed);
    organ_forward_products_release(&g.products);
    return error->status;
}

/* Allocates its memory for this call. */
organ_status organ_forward_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                                     const forward_keys *before, float *hidden, const organ_tap *tap,
                                     organ_error *error)
{
    const size_t tokens = windows->begin[windows->count];
    const size_t choice = before ? organ_forward_choice_room(&forward->config, tokens, before->tokens + tokens) : 0;
    float *const scratch = organ_forward_floats(floats_of_largest_group(forward, windows) + choice, error);
    run_layer_on_batch(
        (forward_group){
            .forward = forward, .layer = layer, .windows = windows, .tap = tap, .before = before, .room = scratch},
        hidden, error);
    organ_forward_free(scratch);
    return error->status;
}

/* Uses memory that the layer keeps between runs. */
organ_status organ_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                             float *hidden, const organ_tap *tap, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    float *const scratch = organ_forward_layer_room(layer, floats_of_largest_group(forward, windows), error);
    return run_layer_on_batch(
        (forward_group){.forward = forward, .layer = layer, .windows = windows, .tap = tap, .room = scratch}, hidden,
        error);
}

/* ---- the whole pass ---- */

/* Of two needs the larger counts: `logits` bytes; or the largest layer with the larger of `loading` bytes and the
 * activations of a group of `group` tokens. Returns 0 if nothing remains. */
static uint64_t memory_left_after(const organ_forward *f, uint64_t memory, size_t group, uint64_t scratch,
                                  uint64_t loading, uint64_t logits)
{
    /* a smaller group is one window, which is the whole batch */
    const size_t batch = group < FORWARD_GROUP ? group : SIZE_MAX;
    const uint64_t activations = organ_forward_block_room(f, memory, group, batch) * (uint64_t)sizeof(float);
    const uint64_t layer = organ_forward_largest_layer(f, memory) + (activations > loading ? activations : loading);
    const uint64_t taken = scratch + organ_forward_rounded_bytes(f, group) + (layer > logits ? layer : logits);
    return taken >= memory ? 0 : memory - taken;
}

static uint64_t memory_left_of_layer(const organ_forward *f, uint64_t memory, size_t group, size_t rows)
{
    const uint64_t loading = organ_workers_count(f->engine->workers) * (uint64_t)f->max_reading;
    return memory_left_after(f, memory, group, organ_forward_scratch_bytes(f), loading,
                             organ_forward_head_bytes(f, rows));
}

static size_t group_of(size_t context) { return organ_max(context, FORWARD_GROUP); }

/* Returns 0 also if `context` is 0. */
size_t organ_forward_batch(const organ_forward *f, size_t context)
{
    const uint64_t token = f->config.state * sizeof(float), memory = organ_engine_memory(f->engine);
    const uint64_t tokens =
        memory_left_of_layer(f, memory, group_of(context), organ_forward_head_rows(f, memory)) / token;
    if (context == 0 || tokens < context)
        return 0;
    return tokens < SIZE_MAX / token ? (size_t)tokens : SIZE_MAX / (size_t)token;
}

/* Of two needs the larger counts: a layer with its activations, or a layer with the logits of one token, because a
 * layer stays in memory while logits are computed. `here` and `there` are the bytes that the scratch and the first or
 * the second need leave. */
bool organ_forward_fits(const organ_forward *f, uint64_t memory, size_t together, uint64_t bytes)
{
    const uint64_t here = memory_left_of_layer(f, memory, together, 0),
                   logits = organ_forward_largest_layer(f, memory) + organ_forward_head_bytes(f, 1);
    const uint64_t scratch = organ_forward_scratch_bytes(f) + organ_forward_rounded_bytes(f, together),
                   there = logits + scratch < memory ? memory - logits - scratch : 0;
    const uint64_t remaining = here < there ? here : there, states = together * f->config.state * sizeof(float);
    return remaining > bytes && remaining - bytes >= states;
}

uint64_t organ_forward_spare_memory(const organ_forward *f, size_t context)
{
    const uint64_t memory = organ_engine_memory(f->engine);
    return memory_left_after(f, memory, group_of(context), memory / 16, 0, 0);
}

/* The result is the smaller one of two counts of the workers' scratch: that of this engine and a sixteenth of the
 * memory. */
uint64_t organ_forward_memory_left(const organ_forward *f, uint64_t memory, size_t context)
{
    const uint64_t here = memory_left_of_layer(f, memory, group_of(context), 0);
    const uint64_t anywhere = memory_left_after(f, memory, group_of(context), memory / 16, 0, 0);
    return here < anywhere ? here : anywhere;
}

/* With unlimited memory no layer is streamed. Read buffers of threads are not included; callers reserve a sixteenth
 * of the memory for threads, so that results do not depend on their number. */
uint64_t organ_forward_layer_bytes(const organ_forward *f) { return organ_forward_largest_layer(f, UINT64_MAX); }

/* Layers that are parallel or have dual_ffn are never streamed. Streaming may lower min_memory. */
void organ_forward_allow_streaming(organ_forward *f)
{
    /* A streamed layer runs its feed-forward after the mixers of all groups have replaced the hidden states; the
     * feed-forward of a parallel layer reads the hidden states before the mixer. */
    f->may_stream = f->config.experts > 0 && !f->config.parallel && !f->config.dual_ffn;
    f->min_memory = organ_memory_enough(0, fits_one_token, f);
}

static organ_status run_layers(organ_forward *f, const organ_windows *windows, float *hidden,
                               const organ_progress *progress, organ_error *error)
{
    organ_layer *layer = NULL;
    for (unsigned k = 0; k < f->config.layers && !error->status; k++)
        if (organ_layer_load_to_run(f, (int32_t)k, &layer, error) == ORGAN_OK &&
            organ_layer_run(f, layer, windows, hidden, /*tap=*/NULL, error) == ORGAN_OK)
            organ_progress_advance(progress, f->plans[k].bytes, NULL, NULL);
    organ_layer_free(layer);
    return error->status;
}

organ_status organ_forward_run(organ_forward *forward, const organ_windows *windows, const size_t *rows, size_t count,
                               void *context, void (*each)(void *context, size_t k, float *logits),
                               const organ_progress *progress, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const size_t tokens = windows->begin[windows->count];
    uint64_t bytes = 0;
    for (unsigned k = 0; k < forward->config.layers; k++)
        bytes += forward->plans[k].bytes;
    float *hidden = organ_forward_floats(tokens * (size_t)forward->config.state, error);
    if (!hidden)
        return error->status;
    organ_progress_begin(progress, "Forward pass", bytes, 0);
    if (organ_forward_embed(forward, windows, hidden, error) == ORGAN_OK &&
        run_layers(forward, windows, hidden, progress, error) == ORGAN_OK)
        organ_forward_logits(forward, hidden, rows, count, context, each, error);
    organ_progress_end(progress);
    organ_forward_free(hidden);
    return error->status;
}
