/* SPDX-License-Identifier: MIT
 * Runs a walk: for each layer gathers the inputs of its target matrices, lets the caller change the matrices, and
 * computes the hidden states after the changed layer. A stream is the hidden states of all windows in one model,
 * changed or donor. A chunk is a set of windows that run through a layer together, a unit is a target matrix
 * of the layer. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/forward/drafting.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the streams ---- */

static organ_windows chunk_at(const organ_calibration_run *calib, size_t chunk)
{
    return organ_calibration_chunk_at(&calib->chunks, &calib->facts.windows, chunk);
}

typedef struct pass {
    const organ_calibration_run *calib;
    const organ_calibration_layer *layer; /* the loaded layer; NULL while the first layer's inputs are embedded */
    organ_calibration_states *states;     /* the states that run_chunk_through_layer changes; else NULL */
    organ_calibration_captures *captures; /* NULL: no inputs are gathered */
} pass;

/* The chunks are first, first + step, ... The loop has the same number of rounds on all ranks, so that a rank
 * without a further chunk still takes part in the last exchange of captured inputs. */
static organ_status for_chunks(const pass *p, organ_status (*each)(const pass *p, size_t chunk, organ_error *error),
                               organ_error *error)
{
    const organ_calibration_chunks *const chunks = &p->calib->chunks;
    const size_t count = organ_calibration_chunks_count(chunks);
    for (size_t c = chunks->first; c < count + chunks->first && !error->status; c += chunks->step) {
        if (c < count && !organ_calibration_stopped(p->calib, p->layer ? p->layer->number : 0, error))
            each(p, c, error);
        if (p->captures)
            organ_calibration_capture_exchange(p->captures, error);
    }
    return error->status;
}

/* Blocks for multi-token prediction follow the layers and do not change the states. */
static bool is_draft(const organ_calibration_run *calib, int32_t layer)
{
    return layer >= (int32_t)organ_forward_describe(calib->facts.forward)->layers;
}

/* The outputs are not used: only what the layer taps of its inputs is. */
static organ_status run_block(const pass *p, const organ_windows *windows, const float *hidden, organ_error *error)
{
    organ_forward *const forward = p->calib->facts.forward;
    const size_t tokens = windows->begin[windows->count];
    ORGAN_OWNED float *const states = organ_floats(tokens, (size_t)organ_forward_describe(forward)->hidden);
    return states ? organ_draft_windows(forward, p->layer->loaded, windows, hidden, states, error)
                  : organ_fail_memory(error, "the outputs of a block");
}

static organ_status run_windows(const pass *p, const organ_windows *windows, float *states, const organ_tap *tap,
                                organ_error *error)
{
    organ_forward *const forward = p->calib->facts.forward;
    if (!is_draft(p->calib, p->layer->number))
        return organ_layer_run(forward, p->layer->loaded, windows, states, tap, error);
    if (p->calib->options->drafts)
        return run_block(p, windows, states, error);
    return tap ? organ_draft_tap(forward, p->layer->loaded, windows, states, tap, error) : error->status;
}

/* The states change in place. `tap` receives the inputs of matrices; NULL: none. */
static organ_status run_chunk(const pass *p, organ_calibration_states *states, size_t chunk, const organ_tap *tap,
                              organ_error *error)
{
    const organ_windows windows = chunk_at(p->calib, chunk);
    float *const values = organ_calibration_states_take(states, chunk, error);
    if (!values || run_windows(p, &windows, values, tap, error) != ORGAN_OK)
        return error->status;
    return organ_calibration_states_put_back(states, chunk, error);
}

/* With p->captures, inputs of matrices are gathered; without, work->chunk_done is called afterwards if it is not
 * NULL. */
static organ_status run_chunk_through_layer(const pass *p, size_t chunk, organ_error *error)
{
    const organ_calibration_work *const work = p->calib->work;
    if (!p->captures)
        return run_chunk(p, p->states, chunk, work->tap, error) || !work->chunk_done
                   ? error->status
                   : work->chunk_done(work->context, p->layer, chunk, error);
    const organ_tap tap = organ_calibration_tap(p->captures, /*donor=*/false);
    organ_calibration_capture_next(p->captures);
    return run_chunk(p, p->states, chunk, &tap, error);
}

static organ_status run_layer_on_chunks(const organ_calibration_run *calib, const organ_calibration_layer *layer,
                                        organ_calibration_states *states, organ_calibration_captures *captures,
                                        organ_error *error)
{
    return for_chunks(&(pass){.calib = calib, .layer = layer, .states = states, .captures = captures},
                      run_chunk_through_layer, error);
}

/* The weights of the layer are still the donor's. The changed stream runs on a copy, because it runs again through
 * the changed layer; the donor's stream runs in place, once. */
static organ_status gather_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_calibration_run *const calib = p->calib;
    const organ_tap changed = organ_calibration_tap(p->captures, /*donor=*/false),
                    donor = organ_calibration_tap(p->captures, /*donor=*/true);
    const organ_windows windows = chunk_at(calib, chunk);
    float *const copy = organ_calibration_states_copy(calib->states, chunk, error);
    organ_calibration_capture_next(p->captures);
    if (!copy || run_windows(p, &windows, copy, &changed, error) != ORGAN_OK)
        return error->status;
    return calib->donor_states && p->captures->pass == 0 ? run_chunk(p, calib->donor_states, chunk, &donor, error)
                                                         : ORGAN_OK;
}

/* Like gather_chunk, but the donor's stream does not run again. */
static organ_status recapture_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_calibration_run *const calib = p->calib;
    const organ_tap tap = organ_calibration_tap(p->captures, /*donor=*/false);
    const organ_windows windows = chunk_at(calib, chunk);
    float *const copy = organ_calibration_states_copy(calib->states, chunk, error);
    organ_calibration_capture_next(p->captures);
    return copy ? run_windows(p, &windows, copy, &tap, error) : error->status;
}

/* An expert gets the inputs of its routed tokens, with --all-experts those of all tokens. The layer runs again for
 * experts with too few routed tokens, which get the inputs of all. */
static organ_status gather_experts(organ_calibration_captures *g, const organ_calibration_layer *layer,
                                   organ_error *error)
{
    const pass gathering = {.calib = g->calib, .layer = layer, .captures = g};
    ORGAN_OWNED bool *all_tokens = NULL;
    if (g->calib->options->all_experts && organ_calibration_all_experts(g, &all_tokens, error) != ORGAN_OK)
        return error->status;
    organ_layer_set_all_tokens(layer->loaded, all_tokens);
    for_chunks(&gathering, gather_chunk, error);
    organ_clear(&all_tokens);
    organ_layer_set_all_tokens(layer->loaded, /*experts=*/NULL);
    if (!error->status && organ_calibration_find_few_tokens(g, &all_tokens, error) == ORGAN_OK && all_tokens) {
        organ_layer_set_all_tokens(layer->loaded, all_tokens);
        for_chunks(&gathering, recapture_chunk, error);
        organ_layer_set_all_tokens(layer->loaded, /*experts=*/NULL);
    }
    return error->status;
}

/* work->compare gets the chunk's states in the donor, which it changes in place, and a copy of the states in the
 * changed model. If there is no such chunk or the run was stopped, it gets no windows, because it may need all
 * ranks. */
static organ_status compare_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_calibration_run *const calib = p->calib;
    const organ_calibration_work *const work = calib->work;
    const bool there = chunk < organ_calibration_chunks_count(&calib->chunks) &&
                       !organ_calibration_stopped(calib, p->layer->number, error);
    const organ_windows windows = there ? chunk_at(calib, chunk) : (organ_windows){NULL, 0, calib->begin};
    float *const donor = there ? organ_calibration_states_take(calib->donor_states, chunk, error) : NULL;
    float *const changed = donor ? organ_calibration_states_copy(calib->states, chunk, error) : NULL;
    work->compare(work->context, p->layer, &windows, chunk, donor, changed, error);
    return donor && !error->status ? organ_calibration_states_put_back(calib->donor_states, chunk, error)
                                   : error->status;
}

/* work->compare is called equally often on all ranks, because it may exchange data between ranks: compare_chunk
 * handles missing chunks. */
static organ_status compare_streams(const organ_calibration_run *calib, const organ_calibration_layer *layer,
                                    organ_error *error)
{
    const organ_calibration_chunks *const chunks = &calib->chunks;
    const pass p = {.calib = calib, .layer = layer};
    for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks) + chunks->first && !error->status;
         c += chunks->step)
        compare_chunk(&p, c, error);
    return error->status;
}

static organ_status embed_chunk(const pass *p, size_t chunk, organ_error *error)
{
    const organ_calibration_run *const calib = p->calib;
    const organ_windows windows = chunk_at(calib, chunk);
    float *const values = organ_calibration_states_take(calib->states, chunk, error);
    float *const donor =
        calib->donor_states && values ? organ_calibration_states_take(calib->donor_states, chunk, error) : NULL;
    if (error->status || organ_forward_embed(calib->facts.forward, &windows, values, error) != ORGAN_OK)
        return error->status;
    if (donor)
        memcpy(donor, values, windows.count * calib->chunks.window_bytes);
    return organ_calibration_states_put_back(calib->states, chunk, error) || !donor
               ? error->status
               : organ_calibration_states_put_back(calib->donor_states, chunk, error);
}

/* ---- a layer ---- */

static bool all_units_done(const organ_calibration_captures *g)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->units[k].done && g->units[k].pass == g->pass)
            return false;
    return true;
}

/* The states may pass to the next layer only after gather_experts has checked that each expert has enough tokens. */
static bool has_experts(const organ_calibration_captures *g)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].expert)
            return true;
    return false;
}

/* The donor's hidden states run through the layer in any case, also if an earlier run has finished all targets: those
 * of a second stream in the first pass, those of the only stream in the last. work->compare replaces the gathering. */
static organ_status capture_layer(organ_calibration_captures *g, const organ_calibration_layer *layer,
                                  organ_error *error)
{
    const organ_calibration_run *const calib = g->calib;
    const bool done = all_units_done(g);
    if (calib->work->compare)
        return compare_streams(calib, layer, error);
    if (done && calib->donor_states && g->pass == 0)
        return run_layer_on_chunks(calib, layer, calib->donor_states, /*captures=*/NULL, error);
    if (!done)
        organ_calibration_record_open(g, error);
    /* on_copies: the inputs are gathered on copies of the states, so that the layer can run again; otherwise a single
     * run gathers the inputs and moves the states to the next layer */
    const bool donor = calib->options->streams == ORGAN_INPUTS_DONOR,
               on_copies = !donor || (calib->options->reruns && has_experts(g));
    if (!done && on_copies)
        gather_experts(g, layer, error);
    if (donor && g->pass + 1 == g->passes && !error->status)
        run_layer_on_chunks(calib, layer, calib->states, done || on_copies ? NULL : g, error);
    organ_calibration_record_close(&g->record);
    return done || error->status ? error->status : organ_calibration_gathering_finish(g, error);
}

static bool has_work(const organ_calibration_run *calib, int32_t layer)
{
    if (calib->work->every)
        return true;
    for (size_t k = 0; k < calib->targets->count; k++)
        if (organ_forward_layer_of(calib->facts.forward, calib->targets->tensors[k]) == layer)
            return true;
    return false;
}

/* With work->every, an error of one rank becomes that of all. */
static organ_status walk_meet(const organ_calibration_run *calib, const char *where, organ_error *error)
{
    return calib->work->every ? organ_ranks_agree(calib->engine->ranks, where, error) : error->status;
}

/* In several passes (assign_experts) the inputs of all of them are gathered on a second copy of the layer: those of the
 * later ones must not depend on the changes of the earlier. */
static organ_status run_passes(const organ_calibration_layer *layer, organ_calibration_captures *g, organ_error *error)
{
    const organ_calibration_run *const calib = layer->calib;
    const organ_calibration_work *const work = calib->work;
    organ_calibration_layer unchanged = *layer;
    if (g->passes > 1 && !work->mixtures)
        organ_layer_load_by_ranks(calib->facts.forward, layer->number, &unchanged.loaded, error);
    for (; g->pass < g->passes && !error->status; organ_calibration_gathering_next(g)) {
        if (capture_layer(g, &unchanged, error) == ORGAN_OK)
            organ_calibration_change_units(g, layer, error);
        if (g->passes > 1 && work->forget)
            work->forget(work->context);
    }
    if (unchanged.loaded != layer->loaded)
        organ_layer_free(unchanged.loaded);
    return error->status;
}

/* work->enter and work->leave are called only if the layer has targets. */
static organ_status change_layer(const organ_calibration_run *calib, const organ_calibration_layer *layer,
                                 organ_error *error)
{
    const organ_calibration_work *const work = calib->work;
    const bool has_targets = has_work(calib, layer->number);
    organ_calibration_captures g = {0};
    organ_rows_rest(); /* has_work compared the layer of every target */
    if (has_targets && work->enter)
        work->enter(work->context, layer, error);
    if (walk_meet(calib, "beginning a layer", error) != ORGAN_OK)
        return error->status;
    organ_layer_tap_weighted(layer->loaded, work->mixtures);
    if (organ_calibration_gathering_open(calib, layer->loaded, layer->number, &g, error) == ORGAN_OK)
        run_passes(layer, &g, error);
    organ_calibration_gathering_close(&g);
    if (walk_meet(calib, "running the text through a layer", error) != ORGAN_OK)
        return error->status;
    if (has_targets && work->leave)
        work->leave(work->context, layer, error);
    return walk_meet(calib, "finishing a layer", error);
}

/* ---- all layers ---- */

/* At least layer 0 runs, even if no layer has a target. */
static int32_t walk_last_layer(const organ_calibration_run *calib)
{
    const int32_t last = organ_calibration_last_layer(calib);
    return last < 0 ? 0 : last;
}

/* After each change, unless the inputs are the donor's, the states run through the changed layer, so that the next
 * layer's inputs include the changes. Layers after the last target need not be run. */
static organ_status walk_run_layers(const organ_calibration_run *calib, organ_error *error)
{
    const int32_t last = walk_last_layer(calib);
    const bool changes = calib->options->streams != ORGAN_INPUTS_DONOR;
    for (int32_t l = 0; l <= last && !organ_calibration_stopped(calib, l, error); l++) {
        organ_calibration_layer layer = {calib, l, NULL};
        if (organ_layer_load_by_ranks(calib->facts.forward, l, &layer.loaded, error) == ORGAN_OK)
            change_layer(calib, &layer, error);
        if (!error->status && changes && l < last && !is_draft(calib, l))
            run_layer_on_chunks(calib, &layer, calib->states, /*captures=*/NULL, error);
        organ_layer_free(layer.loaded);
        if (error->status)
            return error->status;
    }
    return error->status;
}

void organ_calibration_free_states(organ_calibration_run *calib)
{
    organ_calibration_states_close(calib->donor_states);
    organ_calibration_states_close(calib->states);
    calib->donor_states = calib->states = NULL;
}

organ_status organ_calibration_run_layers(organ_calibration_run *calib, organ_error *error)
{
    if (walk_meet(calib, "starting the walk", error) == ORGAN_OK &&
        for_chunks(&(pass){.calib = calib}, embed_chunk, error) == ORGAN_OK) {
        if (!calib->options->moments_only && !(calib->levels = organ_normal_levels()))
            organ_fail_memory(error, calib->model->path);
        else
            walk_run_layers(calib, error);
    }
    organ_calibration_free_states(calib);
    return error->status;
}

/* ---- experts that were calibrated on all tokens of their layer, for documents ---- */

/* The number is the one in the tensor's name or, for a stack, `matrix`. */
void organ_calibration_note_expert(json_t **experts, const organ_tensor *tensor, uint64_t matrix)
{
    const json_int_t expert = tensor->anatomy.expert >= 0 ? tensor->anatomy.expert : (json_int_t)matrix;
    size_t at = 0;
    if (!*experts)
        *experts = json_array();
    while (at < json_array_size(*experts) && json_integer_value(json_array_get(*experts, at)) < expert)
        at++;
    if (at == json_array_size(*experts) || json_integer_value(json_array_get(*experts, at)) != expert)
        json_array_insert_new(*experts, at, json_integer(expert));
}

void organ_calibration_note_fallback(json_t **experts, const organ_calibration_matrix *matrix)
{
    if (matrix->fallback)
        organ_calibration_note_expert(experts, matrix->layer->calib->targets->tensors[matrix->target], matrix->matrix);
}

typedef struct fallback_place {
    int32_t layer, expert;
} fallback_place;

static int fallback_by_place(const void *a, const void *b)
{
    const fallback_place *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->layer, y->layer), ORGAN_ORDER(x->expert, y->expert));
}

/* organ_json_spool_visit must be called before JSON memory in the spool is read. Returns `experts`. */
static const json_t *spool_visited(const json_t *experts)
{
    organ_json_spool_visit(experts);
    return experts;
}

/* The places are sorted and without duplicates: gate, up and down of an expert are rows of their own. The caller
 * frees *places. If memory cannot be allocated, the result is 0 and organ_memory_refusals counts the failure. */
static size_t list_places(organ_calibration_fallback_row *row, const void *context, size_t count,
                          fallback_place **places)
{
    size_t all = 0, used = 0;
    const organ_tensor *tensor;
    for (size_t k = 0; k < count; k++)
        all += json_array_size(spool_visited(row(context, k, &tensor)));
    fallback_place *const list = *places = all ? malloc(all * sizeof *list) : NULL;
    if (all && !list)
        organ_memory_count_refusal();
    for (size_t k = 0; list && k < count; k++) {
        const json_t *const experts = spool_visited(row(context, k, &tensor));
        for (size_t e = 0; e < json_array_size(experts); e++)
            list[used++] =
                (fallback_place){tensor->anatomy.layer, (int32_t)json_integer_value(json_array_get(experts, e))};
    }
    if (used)
        qsort(list, used, sizeof *list, fallback_by_place);
    size_t once = 0;
    for (size_t k = 0; k < used; k++)
        if (k == 0 || fallback_by_place(&list[k], &list[k - 1]) != 0)
            list[once++] = list[k];
    return once;
}

/* `places` has the `count` listed experts of one layer. The text in `names`, such as "layer 2: 5, 7", ends with
 * "..." if it becomes too long. */
static void add_layer(const fallback_place *places, size_t count, json_t *layers, json_t *names)
{
    char text[200];
    json_t *const experts = json_array();
    size_t used = (size_t)snprintf(text, sizeof text, "layer %d:", (int)places->layer);
    for (size_t k = 0; k < count; k++) {
        json_array_append_new(experts, json_integer(places[k].expert));
        if (used + 24 < sizeof text) /* room for ", ", a number and ", ..." */
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %d", k ? "," : "", (int)places[k].expert);
        else if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, ", ...") + sizeof text; /* nothing more fits */
    }
    json_array_append_new(layers, ORGAN_OBJECT(SET_COUNT("layer", places->layer), SET("experts", experts)));
    json_array_append_new(names, json_string(text));
}

json_t *organ_calibration_fallback_json(organ_calibration_fallback_row *row, const void *context, size_t count)
{
    ORGAN_OWNED fallback_place *places = NULL;
    const size_t experts = list_places(row, context, count, &places);
    json_t *const layers = json_array(), *const names = json_array();
    for (size_t from = 0, to; from < experts; from = to) {
        for (to = from; to < experts && places[to].layer == places[from].layer; to++)
            ;
        add_layer(places + from, to - from, layers, names);
    }
    json_t *const object = ORGAN_OBJECT(SET_COUNT("experts", experts), SET("layers", layers), SET("names", names));
    if (experts)
        return object;
    json_decref(object);
    return NULL;
}
