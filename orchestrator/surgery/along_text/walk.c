/* SPDX-License-Identifier: MIT
 * Layer by layer: gathers inputs, changes the matrices, and computes the hidden states after the changed layer. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/along_text/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the streams ---- */

/* The windows of a chunk: all are of one length, so that they begin where the first ones do. */
static organ_windows chunk_at(const organ_along_text *along, size_t chunk)
{
    return (organ_windows){along->tokens + chunk * along->chunks.together * along->options->calibration.context,
                           organ_along_chunk_windows(&along->chunks, chunk), along->begin};
}

static organ_status walk_stopped(const organ_along_text *along, int32_t layer, organ_error *error)
{
    return organ_stop_asked(along->engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "stopped in layer %d", (int)layer)
               : ORGAN_OK;
}

/* Work for each chunk of the text. */
typedef struct pass {
    const organ_along_text *along;
    const organ_along_layer *layer;   /* NULL: none is loaded yet */
    organ_along_states *states;       /* of a carry */
    organ_along_gathering *gathering; /* NULL: no inputs are gathered */
} pass;

/* Chunks that follow one another go to ranks that do. */
static organ_status for_chunks(const pass *p, organ_status (*each)(const pass *p, size_t chunk, organ_error *error),
                               organ_error *error)
{
    const organ_along_chunks *const chunks = &p->along->chunks;
    const size_t count = organ_along_chunks_count(chunks);
    for (size_t c = chunks->first; c < count + chunks->first && !error->status; c += chunks->step) {
        if (c < count && !walk_stopped(p->along, p->layer ? p->layer->number : 0, error))
            each(p, c, error);
        if (p->gathering)
            organ_along_hear_all(p->gathering, error);
    }
    return error->status;
}

static organ_status run_chunk(const pass *p, organ_along_states *states, size_t chunk, const organ_tap *tap,
                              organ_error *error)
{
    const organ_windows windows = chunk_at(p->along, chunk);
    float *const values = organ_along_states_take(states, chunk, error);
    if (!values || organ_layer_run(p->along->facts.forward, p->layer->loaded, &windows, values, tap, error) != ORGAN_OK)
        return error->status;
    return organ_along_states_give(states, chunk, error);
}

static organ_status carry_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_along_work *const work = p->along->work;
    if (!p->gathering)
        return run_chunk(p, p->states, chunk, NULL, error) || !work->heard
                   ? error->status
                   : work->heard(work->context, p->layer, chunk, error);
    const organ_tap tap = organ_along_tap(p->gathering, false);
    organ_along_hear_again(p->gathering);
    return run_chunk(p, p->states, chunk, &tap, error);
}

static organ_status walk_carry(const organ_along_text *along, const organ_along_layer *layer,
                               organ_along_states *states, organ_along_gathering *g, organ_error *error)
{
    return for_chunks(&(pass){.along = along, .layer = layer, .states = states, .gathering = g}, carry_chunk, error);
}

/* The changed stream runs through the layer on a copy, because it will run again through the changed layer. The donor's
 * stream runs in place. */
static organ_status gather_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_along_text *const along = p->along;
    const organ_tap changed = organ_along_tap(p->gathering, false), donor = organ_along_tap(p->gathering, true);
    const organ_windows windows = chunk_at(along, chunk);
    float *const copy = organ_along_states_copy(along->states, chunk, error);
    organ_along_hear_again(p->gathering);
    if (!copy || organ_layer_run(along->facts.forward, p->layer->loaded, &windows, copy, &changed, error) != ORGAN_OK)
        return error->status;
    return along->donor_states ? run_chunk(p, along->donor_states, chunk, &donor, error) : ORGAN_OK;
}

static organ_status walk_gather(organ_along_gathering *g, const organ_along_layer *layer, organ_error *error)
{
    return for_chunks(&(pass){.along = g->along, .layer = layer, .gathering = g}, gather_chunk, error);
}

/* The stream again, on a copy, for the units that had too few tokens. */
static organ_status gather_again(const pass *p, size_t chunk, organ_error *error)
{
    const organ_along_text *const along = p->along;
    const organ_tap tap = organ_along_tap(p->gathering, false);
    const organ_windows windows = chunk_at(along, chunk);
    float *const copy = organ_along_states_copy(along->states, chunk, error);
    organ_along_hear_again(p->gathering);
    return copy ? organ_layer_run(along->facts.forward, p->layer->loaded, &windows, copy, &tap, error) : error->status;
}

/* Gathers the inputs of the routed tokens, or with --all-experts those of all tokens for every expert; then, for
 * experts that too few tokens were routed to, those of all. */
static organ_status gather_experts(organ_along_gathering *g, const organ_along_layer *layer, organ_error *error)
{
    const pass again = {.along = g->along, .layer = layer, .gathering = g};
    bool *listened = NULL;
    if (g->along->options->all_experts && organ_along_every_expert(g, &listened, error) != ORGAN_OK)
        return error->status;
    organ_layer_listen(layer->loaded, listened);
    walk_gather(g, layer, error);
    free(listened);
    listened = NULL;
    organ_layer_listen(layer->loaded, NULL);
    if (!error->status && organ_along_find_unreached(g, &listened, error) == ORGAN_OK && listened) {
        organ_layer_listen(layer->loaded, listened);
        for_chunks(&again, gather_again, error);
        organ_layer_listen(layer->loaded, NULL);
    }
    free(listened);
    return error->status;
}

/* Each rank its chunk of those that follow one another, or none where there are no more. */
static organ_status compare_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_along_text *const along = p->along;
    const organ_along_work *const work = along->work;
    const bool there =
        chunk < organ_along_chunks_count(&along->chunks) && !walk_stopped(along, p->layer->number, error);
    const organ_windows windows = there ? chunk_at(along, chunk) : (organ_windows){NULL, 0, along->begin};
    float *const donor = there ? organ_along_states_take(along->donor_states, chunk, error) : NULL;
    float *const changed = donor ? organ_along_states_copy(along->states, chunk, error) : NULL;
    work->compare(work->context, p->layer, &windows, chunk, donor, changed, error);
    return donor && !error->status ? organ_along_states_give(along->donor_states, chunk, error) : error->status;
}

static organ_status compare(const organ_along_text *along, const organ_along_layer *layer, organ_error *error)
{
    const organ_along_chunks *const chunks = &along->chunks;
    const pass p = {.along = along, .layer = layer};
    for (size_t c = chunks->first; c < organ_along_chunks_count(chunks) + chunks->first && !error->status;
         c += chunks->step)
        compare_chunk(&p, c, error);
    return error->status;
}

/* Computes the inputs of the first layer, for both streams. */
static organ_status embed_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_along_text *const along = p->along;
    const organ_windows windows = chunk_at(along, chunk);
    float *const values = organ_along_states_take(along->states, chunk, error);
    float *const donor =
        along->donor_states && values ? organ_along_states_take(along->donor_states, chunk, error) : NULL;
    if (error->status || organ_forward_embed(along->facts.forward, &windows, values, error) != ORGAN_OK)
        return error->status;
    if (donor)
        memcpy(donor, values, windows.count * along->chunks.window_bytes);
    return organ_along_states_give(along->states, chunk, error) || !donor
               ? error->status
               : organ_along_states_give(along->donor_states, chunk, error);
}

/* ---- a layer ---- */

static bool all_done(const organ_along_gathering *g)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->units[k].done && g->units[k].pass == g->pass)
            return false;
    return true;
}

/* Each rank reads the results of an earlier run from the output. */
static bool walk_is_mine(const organ_along_gathering *g, const organ_along_unit *u)
{
    if (u->pass != g->pass)
        return false;
    return u->done || u->common || u->owner == organ_ranks_rank(g->along->engine->ranks);
}

/* Number of later units with the same calibration that this rank changes. */
static size_t count_after(const organ_along_gathering *g, const organ_along_unit *u)
{
    size_t count = 0;
    for (const organ_along_unit *other = u + 1; other < g->units + g->unit_count; other++)
        count += other->group == u->group && walk_is_mine(g, other) && !other->done;
    return count;
}

/* Changes a matrix. The layer keeps weights in the type of the file, and changed values are rounded to this type, so
 * the copy back is exact. */
static organ_status change_unit(const organ_along_gathering *g, const organ_along_unit *u,
                                const organ_along_layer *layer, organ_error *error)
{
    const organ_along_work *const work = g->along->work;
    const bool done = u->done, heard = !done && u->group != SIZE_MAX;
    const organ_calibration *const calibration = !heard ? NULL : g->groups[u->group].calibration;
    const organ_along_matrix matrix = {.layer = layer,
                                       .target = u->target,
                                       .matrix = u->matrix,
                                       .rows = u->rows,
                                       .cols = u->cols,
                                       .name = u->name,
                                       .calibration = calibration,
                                       .after = heard ? count_after(g, u) : 0,
                                       .spare = g->spare,
                                       .ranks = u->common ? g->along->engine->ranks : NULL,
                                       .fallback = u->fallback,
                                       .own = u->owner == organ_ranks_rank(g->along->engine->ranks)};
    uint64_t rows = 0, cols = 0;
    organ_factor held;
    if (!organ_layer_matrix(layer->loaded, u->name, &rows, &cols, &held) || rows != u->rows || cols != u->cols)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' is %llu x %llu in the file and %llu x %llu in the forward pass", u->name,
                          (unsigned long long)u->rows, (unsigned long long)u->cols, (unsigned long long)rows,
                          (unsigned long long)cols);
    float *const weights = aligned_alloc(64, organ_to_line((size_t)(rows * cols * sizeof *weights)));
    if (!weights)
        return organ_fail_memory(error, u->name);
    organ_layer_read(layer->loaded, u->name, weights);
    if ((done ? work->restore : work->change)(work->context, &matrix, weights, error) == ORGAN_OK &&
        g->along->options->streams != ORGAN_ALONG_DONOR)
        organ_layer_write(layer->loaded, u->name, weights);
    free(weights);
    return error->status;
}

/* The stream must not go on before it is known that every expert has tokens. */
static bool has_experts(const organ_along_gathering *g)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].expert)
            return true;
    return false;
}

/* Targets whose results exist need no inputs, only their weights: these are read back. With one donor stream the hidden
 * states continue in any case. */
static organ_status hear_layer(organ_along_gathering *g, const organ_along_layer *layer, organ_error *error)
{
    const organ_along_text *const along = g->along;
    const bool done = all_done(g);
    if (along->work->compare)
        return compare(along, layer, error);
    if (done && along->donor_states)
        return walk_carry(along, layer, along->donor_states, NULL, error);
    if (!done)
        organ_along_record_open(g, error);
    const bool donor = along->options->streams == ORGAN_ALONG_DONOR,
               apart = !donor || (along->options->reruns && has_experts(g));
    if (!done && apart)
        gather_experts(g, layer, error);
    if (donor && !error->status)
        walk_carry(along, layer, along->states, done || apart ? NULL : g, error);
    organ_along_record_close(&g->record);
    return done || error->status ? error->status : organ_along_gathering_finish(g, error);
}

/* Changes unit k and, if matrices with the same inputs are changed consecutively, all units with its inputs. */
static organ_status change_from(const organ_along_gathering *g, size_t k, bool *changed, const organ_along_layer *layer,
                                organ_error *error)
{
    const size_t group = g->units[k].group;
    for (size_t l = k; l < g->unit_count && !walk_stopped(g->along, layer->number, error); l++) {
        if (changed[l] || (l > k && (!g->along->work->grouped || group == SIZE_MAX || g->units[l].group != group)))
            continue;
        changed[l] = true;
        change_unit(g, &g->units[l], layer, error);
        if (error->status || !g->along->work->grouped)
            return error->status;
    }
    return error->status;
}

static organ_status change_units(const organ_along_gathering *g, const organ_along_layer *layer, organ_error *error)
{
    bool *const changed = calloc(g->unit_count + 1, sizeof *changed);
    if (!changed)
        organ_fail_memory(error, g->along->model->path);
    else
        organ_along_deal(g, error);
    /* Matrices that ranks share come first, so that no rank waits while another changes its own matrices. */
    for (unsigned turn = 0; turn < 2 && !error->status; turn++) {
        for (size_t k = 0; k < g->unit_count; k++)
            changed[k] = !walk_is_mine(g, &g->units[k]) || g->units[k].common != (turn == 0);
        for (size_t k = 0; k < g->unit_count && !error->status; k++)
            if (!changed[k])
                change_from(g, k, changed, layer, error);
    }
    free(changed);
    return organ_along_exchange(g, layer, error);
}

static bool has_work(const organ_along_text *along, int32_t layer)
{
    if (along->work->every)
        return true;
    for (size_t k = 0; k < along->targets->count; k++)
        if (along->targets->tensors[k]->anatomy.layer == layer)
            return true;
    return false;
}

static organ_status change_layer(const organ_along_text *along, const organ_along_layer *layer, organ_error *error)
{
    const organ_along_work *const work = along->work;
    const bool told = has_work(along, layer->number);
    organ_along_gathering g = {0};
    if (told && work->enter && work->enter(work->context, layer, error) != ORGAN_OK)
        return error->status;
    organ_layer_weigh(layer->loaded, work->mixtures);
    if (organ_along_gathering_open(along, layer->loaded, layer->number, &g, error) == ORGAN_OK)
        for (; g.pass < g.passes && !error->status; organ_along_gathering_next(&g))
            if (hear_layer(&g, layer, error) == ORGAN_OK)
                change_units(&g, layer, error);
    organ_along_gathering_close(&g);
    if (work->every && organ_ranks_agree(along->engine->ranks, "the text went through a layer", error) != ORGAN_OK)
        return error->status;
    return told && work->leave && !error->status ? work->leave(work->context, layer, error) : error->status;
}

/* ---- all layers ---- */

/* Layers after the last target need not be run. */
static int32_t walk_last_layer(const organ_along_text *along)
{
    int32_t last = along->work->every ? (int32_t)organ_forward_describe(along->facts.forward)->layers - 1 : 0;
    for (size_t k = 0; k < along->targets->count; k++)
        last = along->targets->tensors[k]->anatomy.layer > last ? along->targets->tensors[k]->anatomy.layer : last;
    return last;
}

static organ_status walk_run_layers(const organ_along_text *along, organ_error *error)
{
    const int32_t last = walk_last_layer(along);
    const bool changes = along->options->streams != ORGAN_ALONG_DONOR;
    for (int32_t l = 0; l <= last && !walk_stopped(along, l, error); l++) {
        organ_along_layer layer = {along, l, NULL};
        if (organ_layer_load_together(along->facts.forward, l, &layer.loaded, error) == ORGAN_OK)
            change_layer(along, &layer, error);
        if (!error->status && changes && l < last)
            walk_carry(along, &layer, along->states, NULL, error);
        organ_layer_free(layer.loaded);
        if (error->status)
            return error->status;
    }
    return error->status;
}

void organ_along_free_states(organ_along_text *along)
{
    organ_along_states_close(along->donor_states);
    organ_along_states_close(along->states);
    along->donor_states = along->states = NULL;
}

organ_status organ_along_run(organ_along_text *along, organ_error *error)
{
    if (for_chunks(&(pass){.along = along}, embed_chunk, error) == ORGAN_OK) {
        if (!along->options->moments_only && !(along->levels = organ_normal_levels()))
            organ_fail_memory(error, along->model->path);
        else
            walk_run_layers(along, error);
    }
    organ_along_free_states(along);
    return error->status;
}
