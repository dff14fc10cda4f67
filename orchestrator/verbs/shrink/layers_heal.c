/* SPDX-License-Identifier: MIT
 * Heals the blocks in the order of the model. Two streams of hidden states run through the blocks: the donor's and the
 * smaller model's. The donor's stream is advanced to the beginning of the next kept block, the block is refitted to the
 * difference of the two streams, and the smaller model's stream runs through the refitted block. So each block is
 * fitted on the inputs that it will have, and corrects the errors of the blocks before it. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/transfer.h"

#include <stdlib.h>
#include <string.h>

/* Estimate for the plan of a dry run: the equations of a part need 1 / SWEEPS_WHOLE of the work that ORGAN_RIDGE_SWEEPS
 * estimates for solutions block by block. */
#define SWEEPS_WHOLE 10.0
/* Judging all solutions takes about as long as this many passes of the text through the model: the number of judged
 * tokens is chosen so. Their number has a lower bound, which models of many layers and short texts reach. */
#define JUDGED_PASSES 3.0

/* ---- opening ---- */

static organ_status heal_check_model(const organ_layers_heal *h, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(h->forward);
    const char *const path = h->options.model->path;
    if (c->layers > h->options.layers)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has tensors of %zu blocks, but the forward pass runs %u: `heal` does not support it",
                          path, h->options.layers, c->layers);
    if (c->state != c->hidden)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: its layers pass on %llu numbers per token, not the hidden size %llu: `heal` does not "
                          "support it",
                          path, (unsigned long long)c->state, (unsigned long long)c->hidden);
    if (h->windows.count < HEAL_HELD)
        return organ_fail(error, ORGAN_USAGE, "`heal` holds out one window of %zu: `samples` %u is too few", HEAL_HELD,
                          h->options.walk.calibration.samples);
    return ORGAN_OK;
}

/* Calls `each` for the parts of all blocks that are refitted, and ends after the first error. */
static organ_status for_parts(organ_layers_heal *h, void *context,
                              organ_status (*each)(organ_layers_heal *heal, const heal_part *part, void *context,
                                                   organ_error *error),
                              organ_error *error)
{
    for (size_t l = 0; l < h->options.layers; l++)
        for (unsigned kind = 0; kind < ORGAN_HEAL_KINDS && !error->status; kind++) {
            heal_part part = {0};
            if (!organ_layers_heal_is_refitted(h, (int32_t)l, kind))
                continue;
            if (organ_layers_heal_part_list(h, (int32_t)l, kind, &part, error) == ORGAN_OK)
                each(h, &part, context, error);
            organ_layers_heal_part_release(&part);
        }
    return error->status;
}

static organ_status mark_tensor(const organ_layers_heal *h, const organ_tensor *t, bool *refitted, organ_error *error)
{
    if (!organ_cut_takes(h->options.engine, t->dtype))
        return organ_fail(
            error, ORGAN_USAGE,
            "tensor '%s' is %s: `heal` cannot refit it; drop blocks of the unquantised model and quantise the result",
            t->name, organ_dtype_name(t->dtype));
    refitted[t - h->options.model->tensors] = true;
    return ORGAN_OK;
}

static organ_status mark_part(organ_layers_heal *h, const heal_part *part, void *context, organ_error *error)
{
    for (size_t k = 0; k < part->count && !error->status; k++)
        mark_tensor(h, part->matrices[k].tensor, context, error);
    h->solved_count++;
    return error->status;
}

static organ_status check_norms(const organ_layers_heal *h, organ_error *error)
{
    const organ_final_norm norm = organ_forward_final_norm(h->forward);
    if (organ_forward_describe(h->forward)->parallel)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: attention and feed-forward read the same hidden state: `heal` needs layers in which the "
                          "feed-forward follows the attention",
                          h->options.model->path);
    if (!norm.tensor || norm.biased)
        return organ_fail(error, ORGAN_USAGE, "%s: the final norm has %s: `heal` needs one with weights alone",
                          h->options.model->path, norm.tensor ? "a bias" : "no weights");
    return ORGAN_OK;
}

static organ_status mark_refitted(organ_layers_heal *h, bool *refitted, organ_error *error)
{
    if (check_norms(h, error) != ORGAN_OK)
        return error->status;
    h->solved_count = 1; /* the final norm */
    if (for_parts(h, refitted, mark_part, error) != ORGAN_OK)
        return error->status;
    return mark_tensor(h, organ_forward_final_norm(h->forward).tensor, refitted, error);
}

typedef struct needs {
    const organ_layers_heal *heal;
    uint64_t max;    /* for the refit of the part that needs most, and for judging its solutions one at a time */
    uint64_t states; /* for the hidden states of the donor and of the smaller model */
    bool scratch; /* `max` and `states` are for a run whose hidden states and recorded inputs are in a scratch file */
} needs;

static organ_status raise_peak_memory(organ_layers_heal *h, const heal_part *part, void *context, organ_error *error)
{
    needs *const n = context;
    const uint64_t bytes = organ_layers_heal_memory(h, part, n->scratch);
    n->max = bytes > n->max ? bytes : n->max;
    return error->status;
}

static bool heal_fits(void *context, uint64_t memory)
{
    const needs *const n = context;
    return organ_forward_memory_left(n->heal->forward, memory, n->heal->options.walk.calibration.context) >
           n->max + n->states;
}

/* n->states is for two streams of hidden states with a copy of a chunk each. n->max is for the refit of the part
 * that needs most, for a second loaded block in addition to that of the forward pass, and for judging one solution. */
static organ_status sum_memory_needs(organ_layers_heal *h, bool scratch, needs *n, organ_error *error)
{
    *n = (needs){.heal = h,
                 .states = 2 * organ_calibration_states_memory(&h->chunks, /*copied=*/true, scratch),
                 .scratch = scratch};
    if (for_parts(h, n, raise_peak_memory, error) == ORGAN_OK)
        n->max += organ_forward_layer_bytes(h->forward) + organ_layers_heal_judge_memory(h, 1);
    return error->status;
}

/* The number of solutions that are judged together does not change results. */
static void heal_share_memory(organ_layers_heal *h, uint64_t remaining)
{
    const uint64_t each = organ_layers_heal_judge_memory(h, 2) - organ_layers_heal_judge_memory(h, 1);
    const uint64_t more = remaining / each;
    h->together = 1 + (size_t)(more < HEAL_TOGETHER - 1 ? more : HEAL_TOGETHER - 1);
}

/* Without --scratch the message also names the amount that is enough with it. */
static organ_status check_memory(organ_layers_heal *h, organ_error *error)
{
    const organ_calibration_run_options *const o = &h->options.walk;
    const organ_engine *const engine = h->options.engine;
    needs n, with_scratch;
    if (sum_memory_needs(h, o->calibration.scratch != NULL, &n, error) ||
        sum_memory_needs(h, /*scratch=*/true, &with_scratch, error))
        return error->status;
    if (organ_memory_require(engine, heal_fits, &n, error,
                             "the hidden states of %u windows (`samples`) of %u tokens (`context`) twice, three layers "
                             "and the memory of one refit (`heal`)",
                             o->calibration.samples, o->calibration.context) == ORGAN_OK)
        heal_share_memory(h,
                          organ_forward_memory_left(h->forward, organ_engine_memory(engine), o->calibration.context) -
                              n.max - n.states);
    else if (!o->calibration.scratch)
        organ_memory_offer_scratch(error, organ_memory_enough(0, heal_fits, &with_scratch));
    return error->status;
}

typedef struct heal_estimate {
    organ_plan *plan;
    double judged; /* operations to judge one solution */
} heal_estimate;

static organ_status heal_add_part(organ_layers_heal *h, const heal_part *part, void *context, organ_error *error)
{
    const heal_estimate *const f = context;
    const double tokens = (double)h->windows.count * (double)h->options.walk.calibration.context,
                 width = (double)part->used * (double)part->width;
    const double solved = ORGAN_RIDGE_SWEEPS / SWEEPS_WHOLE * tokens * width * (double)(part->width + part->outputs);
    f->plan->products += solved + (double)HEAL_TRIALS * f->judged;
    return error->status;
}

/* The two streams count as four runs of the text through the model, because they also run to record inputs. On
 * average, solutions are judged from the middle of the model on. */
void organ_layers_heal_estimate(organ_layers_heal *h, organ_plan *plan)
{
    const size_t tokens = h->windows.begin[h->windows.count];
    organ_error ignored = {0};
    needs n;
    plan->products +=
        4 * organ_variants_products(h->forward, h->options.model, 0, tokens, h->options.walk.calibration.context);
    heal_estimate f = {plan, organ_variants_products(
                                 h->forward, h->options.model, (int32_t)organ_forward_describe(h->forward)->layers / 2,
                                 h->judged.begin[h->judged.count], h->options.walk.calibration.context)};
    for_parts(h, &f, heal_add_part, &ignored);
    if (sum_memory_needs(h, h->options.walk.calibration.scratch != NULL, &n, &ignored) == ORGAN_OK)
        organ_plan_memory(plan, organ_memory_enough(0, heal_fits, &n), 0);
}

/* The operations are those on one token. */
static organ_status add_judging(organ_layers_heal *h, const heal_part *part, void *context, organ_error *error)
{
    double *const sum = context;
    *sum += (double)HEAL_TRIALS * organ_variants_products(h->forward, h->options.model,
                                                          part->matrices[0].tensor->anatomy.layer + 1, 1,
                                                          h->options.walk.calibration.context);
    return error->status;
}

/* The number of judged tokens is such that judging takes JUDGED_PASSES passes. */
static organ_status assign_windows(organ_layers_heal *h, organ_error *error)
{
    const size_t context = h->options.walk.calibration.context;
    const double pass = organ_variants_products(h->forward, h->options.model, 0, h->windows.count * context, context);
    double judging = 0;
    if (for_parts(h, &judging, add_judging, error) != ORGAN_OK)
        return error->status;
    return organ_layers_heal_assign(h, judging > 0 ? JUDGED_PASSES * pass / judging : pass, error);
}

organ_status organ_layers_heal_open(const organ_layers_healing *healing, bool *refitted, organ_layers_heal **heal,
                                    organ_error *error)
{
    organ_layers_heal *const h = *heal = calloc(1, sizeof *h);
    if (!h)
        return organ_fail_memory(error, healing->model->path);
    h->options = *healing;
    h->options.walk.min_windows = HEAL_HELD;
    h->options.walk.file_layers = true;
    if (organ_calibration_run_open(&h->options.walk, h->options.model, NULL, NULL, h->options.engine,
                                   h->options.progress, &h->calib, error) != ORGAN_OK)
        return error->status;
    h->forward = organ_calibration_run_facts_of(h->calib)->forward;
    h->windows = organ_calibration_run_facts_of(h->calib)->windows;
    h->chunks = organ_calibration_chunks_make(h->windows.count, h->options.walk.calibration.context,
                                              organ_forward_describe(h->forward)->hidden);
    if (heal_check_model(h, error) != ORGAN_OK)
        return error->status;
    h->options.layers = organ_forward_describe(h->forward)
                            ->layers; /* later blocks are for multi-token prediction and are not changed */
    if (mark_refitted(h, refitted, error) || assign_windows(h, error) || organ_layers_heal_take_judged(h, error) ||
        check_memory(h, error))
        return error->status;
    h->solved = calloc(h->solved_count + 1, sizeof *h->solved);
    h->known = calloc(h->options.layers * ORGAN_HEAL_KINDS + 1, sizeof *h->known);
    h->solved_count = 0;
    return h->solved && h->known ? ORGAN_OK : organ_fail_memory(error, h->options.model->path);
}

void organ_layers_heal_close(organ_layers_heal *h)
{
    if (!h)
        return;
    organ_calibration_states_close(h->donor);
    organ_calibration_states_close(h->cut);
    organ_calibration_run_close(h->calib);
    organ_variants_close(h->variants);
    ORGAN_FREE_ARRAYS(h->judged_tokens, h->judged_begin, h->uses, h->solved, h->known, h);
}

/* ---- the journal ---- */

/* The members of organ_layers_solved that the journal stores. */
#define SOLVED(member) ORGAN_STRUCT_FIELD(organ_layers_solved, member, EXACT)
static const organ_struct_field heal_results[] = {SOLVED(lambda), SOLVED(step), SOLVED(times), SOLVED(before),
                                                  SOLVED(after)};

json_t *organ_layers_heal_results(void *heal, const organ_tensor *tensor)
{
    const organ_layers_heal *const h = heal;
    return ORGAN_STRUCT_ADD(json_object(), heal_results, &h->known[organ_layers_heal_number(h, tensor)]);
}

bool organ_layers_heal_recall(void *heal, const organ_tensor *tensor, const json_t *results)
{
    organ_layers_heal *const h = heal;
    const size_t number = organ_layers_heal_number(h, tensor);
    organ_layers_solved *const s = &h->known[number];
    s->layer = tensor->anatomy.layer;
    s->kind = s->layer < 0 ? ORGAN_HEAL_FINAL : (organ_layers_kind)(number % ORGAN_HEAL_KINDS);
    return ORGAN_STRUCT_READ(results, heal_results, s);
}

/* ---- streams ---- */

#define HEAL_DOING "refitting blocks" /* in the message of a run that was stopped */

static organ_status heal_stopped(const organ_layers_heal *h, organ_error *error)
{
    return organ_stop_is_requested(h->options.engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "stopped while " HEAL_DOING)
               : ORGAN_OK;
}

static organ_status run_states(organ_layers_heal *h, organ_calibration_states *states, const organ_layer *layer,
                               organ_error *error)
{
    const organ_states_run run = {h->forward, &h->windows, h->options.engine->stop, HEAL_DOING};
    return organ_calibration_states_advance(states, &run, layer, error);
}

/* From block `layer` on the two streams differ. h->before and h->divergence become the divergence of the smaller
 * model before the heal. */
static organ_status begin_cut_stream(organ_layers_heal *h, size_t layer, organ_error *error)
{
    if (organ_calibration_states_open(&h->chunks, /*copied=*/true, h->options.walk.calibration.scratch, &h->cut,
                                      error) != ORGAN_OK)
        return error->status;
    for (size_t c = 0; c < organ_calibration_chunks_count(&h->chunks) && !error->status; c++) {
        const float *const donor = organ_calibration_states_copy(h->donor, c, error);
        float *const cut = donor ? organ_calibration_states_take(h->cut, c, error) : NULL;
        if (cut) {
            memcpy(cut, donor, organ_calibration_chunk_windows(&h->chunks, c) * h->chunks.window_bytes);
            organ_calibration_states_put_back(h->cut, c, error);
        }
    }
    if (!error->status && organ_layers_heal_judge_rest(h, layer, &h->before, error) == ORGAN_OK)
        h->divergence = h->idle_from = h->before;
    return error->status;
}

/* Runs the donor's states through blocks [first, end). `loaded` is block `first`. */
static organ_status run_donor_blocks(organ_layers_heal *h, size_t first, size_t end, const organ_layer *loaded,
                                     organ_error *error)
{
    run_states(h, h->donor, loaded, error);
    for (size_t l = first + 1; l < end && !error->status; l++) {
        organ_layer *layer = NULL;
        if (organ_layer_load_by_ranks(h->forward, (int32_t)l, &layer, error) == ORGAN_OK)
            run_states(h, h->donor, layer, error);
        organ_layer_free(layer);
    }
    return error->status;
}

/* ---- a block ---- */

/* Puts the matrices of a part that an earlier run has healed into the loaded layer. */
static organ_status heal_restore(organ_layers_heal *h, organ_error *error)
{
    for (size_t k = 0; k < h->part.count && !error->status; k++) {
        const heal_matrix *const m = &h->part.matrices[k];
        ORGAN_OWNED float *const weights = organ_floats((size_t)m->rows, (size_t)m->cols);
        if (!weights)
            return organ_fail_memory(error, m->name);
        if (organ_cut_get(h->run, m->tensor, m->matrix, /*transposed=*/false, weights, error) == ORGAN_OK &&
            organ_calibration_reorder_rows(h->calib, m->tensor, weights, m->rows, /*to_file=*/false, error) == ORGAN_OK)
            organ_layer_write(h->loaded, m->name, weights);
    }
    organ_layers_solved *const known = &h->known[organ_layers_heal_number(h, h->part.matrices[0].tensor)];
    organ_output_norm norm;
    known->skipped = !organ_layers_heal_has_equations(h, &norm);
    h->solved[h->solved_count++] = *known;
    h->divergence = h->solved[h->solved_count - 1].after;
    return error->status;
}

/* Matrices in GGUF blocks are refitted again, because decoding and encoding them would give other blocks. */
static bool all_matrices_done(const organ_layers_heal *h)
{
    bool done = true;
    for (size_t k = 0; k < h->part.count; k++) {
        const organ_tensor *const tensor = h->part.matrices[k].tensor;
        done = done && !organ_dtype_is_blocks(tensor->dtype) && organ_cut_done(h->run, tensor);
    }
    return done;
}

/* h->settled becomes true if HEAL_IDLE blocks behind a gap have lowered the divergence by less than HEAL_EFFECT
 * together. A gap that follows the block begins a new count. */
static void note_effect(organ_layers_heal *h)
{
    const bool gap = organ_layers_heal_before_gap(h, h->layer);
    if (gap || h->divergence < (1 - HEAL_EFFECT) * h->idle_from) {
        h->idle = 0;
        h->idle_from = h->divergence;
    } else
        h->idle++;
    h->settled = h->idle >= HEAL_IDLE;
}

static organ_status leave_part(organ_layers_heal *h, organ_error *error)
{
    h->untried++;
    return all_matrices_done(h) ? error->status : organ_layers_heal_leave(h, error);
}

/* If h->settled, the donor's matrices are kept, except before a gap. */
static organ_status heal_or_restore_part(organ_layers_heal *h, organ_layers_kind kind, organ_error *error)
{
    h->kind = kind;
    if (!organ_layers_heal_is_refitted(h, h->layer, kind))
        return error->status;
    const bool left = h->settled && !organ_layers_heal_before_gap(h, h->layer);
    if (organ_layers_heal_part_list(h, h->layer, kind, &h->part, error) == ORGAN_OK && !heal_stopped(h, error)) {
        if (left)
            leave_part(h, error);
        else
            all_matrices_done(h) ? heal_restore(h, error) : organ_layers_heal_solve(h, error);
    }
    organ_layers_heal_part_release(&h->part);
    organ_progress_advance(h->options.progress, 0, organ_layers_kind_name(kind), NULL);
    return error->status;
}

/* Heals kept block `layer`; `next` is the next kept block, or the number of blocks. First refits the parts whose
 * targets come from the same block of the donor. Then passes the donor's stream through blocks [layer, next), and
 * refits the output projection of the feed-forward to the donor's hidden states before `next`. If a gap follows, the
 * output projection of the attention is refitted to the hidden states before `next` too, so that the two output
 * projections also replace the dropped blocks. At last passes the smaller model's stream through the refitted block. */
static organ_status heal_block(organ_layers_heal *h, size_t layer, size_t next, organ_error *error)
{
    h->layer = (int32_t)layer;
    if (organ_layer_load_by_ranks(h->forward, h->layer, &h->loaded, error) ||
        organ_layer_load_by_ranks(h->forward, h->layer, &h->loaded_donor, error))
        return error->status;
    const bool gap = organ_layers_heal_before_gap(h, h->layer);
    h->donor_at_next = false;
    for (unsigned kind = 0; kind < ORGAN_HEAL_FFN_OUTPUT && !error->status; kind++)
        if (!gap || kind != ORGAN_HEAL_ATTENTION_OUTPUT)
            heal_or_restore_part(h, kind, error);
    if (error->status || run_donor_blocks(h, layer, next, h->loaded_donor, error) != ORGAN_OK)
        return error->status;
    h->donor_at_next = true;
    if ((gap && heal_or_restore_part(h, ORGAN_HEAL_ATTENTION_OUTPUT, error) != ORGAN_OK) ||
        heal_or_restore_part(h, ORGAN_HEAL_FFN_OUTPUT, error) != ORGAN_OK)
        return error->status;
    note_effect(h);
    return run_states(h, h->cut, h->loaded, error);
}

static size_t next_kept(const organ_layers_heal *h, size_t layer)
{
    size_t next = layer + 1;
    while (next < h->options.layers && h->options.dropped[next])
        next++;
    return next;
}

/* The two streams differ from the first such block on. */
static bool has_refitted_part(const organ_layers_heal *h, size_t layer)
{
    for (unsigned kind = 0; kind < ORGAN_HEAL_KINDS; kind++)
        if (organ_layers_heal_is_refitted(h, (int32_t)layer, kind))
            return true;
    return false;
}

/* Up to the first dropped or refitted block the two streams are equal, so only the donor's stream is run. */
static organ_status run_blocks(organ_layers_heal *h, organ_error *error)
{
    size_t layer = 0;
    if (h->options.dropped[0] && begin_cut_stream(h, 0, error) == ORGAN_OK) { /* the model begins with a gap */
        layer = next_kept(h, 0);
        organ_layer *first = NULL;
        if (organ_layer_load_by_ranks(h->forward, 0, &first, error) == ORGAN_OK)
            run_donor_blocks(h, 0, layer, first, error);
        organ_layer_free(first);
    }
    for (; layer < h->options.layers && !error->status; layer = next_kept(h, layer)) {
        if (!h->cut && has_refitted_part(h, layer) && begin_cut_stream(h, layer, error) != ORGAN_OK)
            break;
        if (h->cut)
            heal_block(h, layer, next_kept(h, layer), error);
        else if (organ_layer_load_by_ranks(h->forward, (int32_t)layer, &h->loaded, error) == ORGAN_OK)
            run_states(h, h->donor, h->loaded, error);
        organ_layer_free(h->loaded);
        organ_layer_free(h->loaded_donor);
        h->loaded = h->loaded_donor = NULL;
    }
    return error->status;
}

organ_status organ_layers_heal_run(void *heal, organ_cut_run *run, organ_error *error)
{
    organ_layers_heal *const h = heal;
    const char *const scratch = h->options.walk.calibration.scratch;
    h->run = run;
    if (organ_calibration_states_open(&h->chunks, /*copied=*/true, scratch, &h->donor, error) != ORGAN_OK ||
        (scratch && organ_transfer_room(scratch, scratch, "the hidden states (`scratch`) need",
                                        2 * organ_calibration_states_bytes(&h->chunks), error) != ORGAN_OK))
        return error->status;
    if (organ_variants_open(h->forward, h->options.engine, &h->judged, h->together, &h->variants, error) == ORGAN_OK &&
        run_states(h, h->donor, NULL, error) == ORGAN_OK && run_blocks(h, error) == ORGAN_OK)
        organ_layers_heal_final(h, error);
    organ_calibration_states_close(h->donor);
    organ_calibration_states_close(h->cut);
    h->donor = h->cut = NULL;
    organ_variants_close(h->variants);
    h->variants = NULL;
    return error->status;
}
