/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/graft/graft_refit.h"

#include "formats/base/owned.h"
#include "formats/base/text.h"
#include "orchestrator/forward/drafting.h"
#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/read_rows.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <stdlib.h>
#include <string.h>

#define EVERY ((size_t)4)   /* one of so many windows is held out */
#define ROWS  ((size_t)256) /* rows that are added to the regression at once */

#define FILE_NAME "refit.safetensors" /* of the temporary model */

typedef struct refit_result {
    const organ_weight *project; /* of the source */
    organ_ridge_choice choice;
} refit_result;

struct organ_graft_refit {
    organ_graft_job *job;
    const organ_engine *engine;
    organ_calibration_run_options walk;
    organ_calibration_run *calib; /* of the source */
    organ_forward *forwards[2];   /* of source and target; the first belongs to `calib` */
    organ_windows windows;
    organ_calibration_chunks chunks;
    organ_calibration_states *states[2];
    unsigned count; /* projections */
    refit_result results[FORWARD_DRAFTS];
    organ_hidden_folder folder;
    uint64_t shape[2];
    organ_piece pieces[FORWARD_DRAFTS];
    organ_layout plan_of_file;
    organ_model *values; /* the temporary model with the new projections */
    organ_plan plan;
};

enum { SOURCE, TARGET, SIDES };

/* ---- options ---- */

ORGAN_REQUIREMENTS(graft, NULL, ORGAN_REQUIREMENT(organ_graft_options, refit),
                   ORGAN_REQUIREMENT(organ_graft_options, calibration.text, .with = "refit"))

organ_status organ_graft_refit_check(const organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    const organ_graft_options defaults = organ_graft_defaults();
    if (organ_requirements_check(&organ_graft_requirements, o, &defaults, error) || !o->refit)
        return error->status;
    if (!(job->selection.groups & ORGAN_SELECTION_MTP))
        return organ_fail(error, ORGAN_USAGE, "`refit` fits blocks for multi-token prediction: it needs `types` mtp");
    if (!o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "`refit` needs a text: `calibration.text` FILE");
    if (!o->engine)
        return organ_fail(error, ORGAN_USAGE, "`refit` needs `engine`");
    if (strcmp(job->source_path, o->source) != 0) /* it has only the block, in the target's format */
        return organ_fail(error, ORGAN_USAGE,
                          "%s: `refit` runs both models, which must have one format: organ convert makes the source's",
                          o->source);
    return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
}

/* ---- opening ---- */

static size_t width_of(const organ_graft_refit *r)
{
    return (size_t)organ_forward_describe(r->forwards[SOURCE])->hidden;
}

static size_t rows_of_window(const organ_graft_refit *r) { return r->walk.calibration.context - 1; }

static organ_ridge_shape shape_of(const organ_graft_refit *r)
{
    const size_t held = r->windows.count / EVERY, width = width_of(r);
    return (organ_ridge_shape){.name = r->job->source->path,
                               .tokens = {(r->windows.count - held) * rows_of_window(r), held * rows_of_window(r)},
                               .blocks = 1,
                               .width = 2 * width,
                               .used = 1,
                               .outputs = width,
                               .scratch = r->walk.calibration.scratch};
}

typedef struct refit_needs {
    const organ_graft_refit *refit;
    uint64_t bytes;
} refit_needs;

static bool refit_fits(void *context, uint64_t memory)
{
    const refit_needs *const n = context;
    const size_t window = n->refit->walk.calibration.context;
    bool fits = true;
    for (unsigned s = 0; s < SIDES; s++)
        fits = fits && organ_forward_memory_left(n->refit->forwards[s], memory, window) > n->bytes;
    return fits;
}

/* The states of both models, the regression, rows of both models, and a projection. */
static refit_needs needs_of(const organ_graft_refit *r, bool scratch)
{
    const organ_ridge_shape shape = shape_of(r);
    const uint64_t width = width_of(r), rows = organ_min(ROWS, rows_of_window(r));
    return (refit_needs){r, 2 * organ_calibration_states_memory(&r->chunks, /*copied=*/false, scratch) +
                                organ_ridge_memory(r->engine, &shape) + organ_draft_project_bytes(r->forwards[SOURCE]) +
                                (4 * rows + 4 * width) * width * sizeof(float)};
}

/* The operations are those of both forward passes and of the normal matrix. */
static organ_status refit_memory(organ_graft_refit *r, organ_error *error)
{
    const organ_calibration_text *const text = &r->walk.calibration;
    const size_t tokens = (size_t)text->samples * text->context;
    const double width = (double)width_of(r);
    refit_needs here = needs_of(r, text->scratch != NULL), scratch = needs_of(r, /*scratch=*/true);
    if (organ_memory_require(r->engine, refit_fits, &here, error,
                             "the hidden states of %u windows (`samples`) of %u tokens (`context`) in both models, one "
                             "layer and the fit of a projection (`refit`)",
                             text->samples, text->context) != ORGAN_OK) {
        if (!text->scratch)
            organ_memory_offer_scratch(error, organ_memory_enough(0, refit_fits, &scratch));
        return error->status;
    }
    for (unsigned s = 0; s < SIDES; s++)
        r->plan.products += organ_variants_products(r->forwards[s], s == SOURCE ? r->job->source : r->job->target, 0,
                                                    tokens, text->context);
    r->plan.products += (double)r->count * (double)tokens * 2 * (4 * width * width + 2 * width * width);
    organ_plan_memory(&r->plan, organ_memory_enough(0, refit_fits, &here), 0);
    return ORGAN_OK;
}

static organ_status list_projections(organ_graft_refit *r, organ_error *error)
{
    const organ_forward *const f = r->forwards[SOURCE];
    if (!organ_forward_has_draft(f))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: organ does not run its block: `refit` cannot fit it",
                          r->job->source->path);
    for (unsigned b = 0; b < organ_forward_drafts(f); b++) {
        const organ_weight *const project = f->drafts[b].project;
        if (project->scheme != ORGAN_SCHEME_PLAIN || !organ_can_narrow(project->codes->dtype))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: tensor '%s' is packed: `refit` needs a projection of BF16, F16 or F32",
                              r->job->source->path, project->name);
        if (b == 0 || project != r->results[0].project)
            r->results[r->count++].project = project;
    }
    return ORGAN_OK;
}

static organ_status check_states(const organ_graft_refit *r, organ_error *error)
{
    const organ_forward_config *const a = organ_forward_describe(r->forwards[SOURCE]), *const b =
                                                                                           organ_forward_describe(
                                                                                               r->forwards[TARGET]);
    if (a->state == a->hidden && b->state == b->hidden && a->hidden == b->hidden)
        return organ_forward_check_tokens(r->forwards[TARGET], r->windows.tokens, r->windows.begin[r->windows.count],
                                          error);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: its layers pass on %llu numbers per token, not the hidden size %llu: `refit` does not "
                      "support it",
                      r->job->target->path, (unsigned long long)b->state, (unsigned long long)a->hidden);
}

organ_status organ_graft_refit_open(organ_graft_job *job, organ_graft_refit **refit, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    *refit = NULL;
    if (!o->refit)
        return ORGAN_OK;
    organ_graft_refit *const r = *refit = calloc(1, sizeof *r);
    if (!r)
        return organ_fail_memory(error, o->source);
    r->job = job;
    r->engine = o->engine;
    r->walk = (organ_calibration_run_options){.calibration = o->calibration,
                                              .method = "`refit`",
                                              .verb = "graft",
                                              .doing = "refitting",
                                              .min_windows = EVERY};
    if (organ_calibration_run_open(&r->walk, job->source, NULL, NULL, r->engine, job->progress, &r->calib, error) ||
        organ_forward_open(job->target, organ_calibration_engine(r->calib), &r->forwards[TARGET], error))
        return error->status;
    r->forwards[SOURCE] = organ_calibration_run_facts_of(r->calib)->forward;
    r->windows = organ_calibration_run_facts_of(r->calib)->windows;
    r->chunks = organ_calibration_chunks_make(r->windows.count, r->walk.calibration.context,
                                              organ_forward_describe(r->forwards[SOURCE])->hidden);
    return organ_forward_open_draft(r->forwards[SOURCE], error) || list_projections(r, error) || check_states(r, error)
               ? error->status
               : refit_memory(r, error);
}

void organ_graft_refit_close(organ_graft_refit *r, organ_error *error)
{
    if (!r)
        return;
    for (unsigned s = 0; s < SIDES; s++)
        organ_calibration_states_close(r->states[s]);
    organ_forward_close(r->forwards[TARGET]);
    organ_calibration_run_close(r->calib);
    organ_model_close(r->values);
    organ_layout_release(&r->plan_of_file);
    if (r->folder.path)
        organ_hidden_folder_remove(&r->folder, error);
    free(r);
}

/* ---- states ---- */

static organ_status run_side(organ_graft_refit *r, unsigned side, organ_error *error)
{
    const int32_t layers = (int32_t)organ_forward_describe(r->forwards[side])->layers;
    const organ_states_run run = {r->forwards[side], &r->windows, r->engine->stop, "running both models"};
    organ_layer *layer = NULL;
    if (organ_calibration_states_open(&r->chunks, /*copied=*/false, r->walk.calibration.scratch, &r->states[side],
                                      error) == ORGAN_OK)
        organ_calibration_states_advance(r->states[side], &run, NULL, error);
    for (int32_t l = 0; l < layers && !error->status; l++) {
        if (organ_layer_load_to_run(r->forwards[side], l, &layer, error) == ORGAN_OK)
            organ_calibration_states_advance(r->states[side], &run, layer, error);
        organ_progress_advance(r->job->progress, 0, side == SOURCE ? "source" : "target", NULL);
    }
    organ_layer_free(layer);
    return error->status;
}

static organ_status run_sides(organ_graft_refit *r, organ_error *error)
{
    size_t layers = 0;
    for (unsigned s = 0; s < SIDES; s++)
        layers += organ_forward_describe(r->forwards[s])->layers;
    organ_progress_begin(r->job->progress, ORGAN_STAGE_LAYERS, 0, layers);
    for (unsigned s = 0; s < SIDES && !error->status; s++)
        run_side(r, s, error);
    organ_progress_end(r->job->progress);
    return error->status;
}

/* ---- the regression of one projection ---- */

typedef struct refit_rows {
    organ_graft_refit *refit;
    organ_ridge *ridge;
    unsigned block;
    const organ_layer *layer; /* that of the block, loaded */
    float *outputs[SIDES];    /* M x and M y of ROWS rows */
    float *inputs;            /* y */
} refit_rows;

static organ_status keep_inputs(void *context, const char *name, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    const refit_rows *const rows = context;
    (void)name;
    memcpy(rows->inputs + first * features, inputs, tokens * features * sizeof *inputs);
    return error->status;
}

/* Rows of a window from row `first` on; `states` are those of the window in both models. */
static organ_status add_rows(const refit_rows *rows, organ_ridge_part part, const uint32_t *tokens,
                             const float *const states[SIDES], size_t first, size_t count, organ_error *error)
{
    const organ_graft_refit *const r = rows->refit;
    const size_t width = width_of(r);
    const organ_tap tap = {.context = (void *)(uintptr_t)rows, .inputs = keep_inputs};
    for (unsigned s = 0; s < SIDES && !error->status; s++)
        organ_draft_project(&(forward_drafting){.forward = r->forwards[SOURCE],
                                                .trunk = r->forwards[s],
                                                .block = rows->block,
                                                .layer = rows->layer,
                                                .next = tokens + first + 1,
                                                .hidden = states[s] + first * width,
                                                .of_trunk = true,
                                                .tap = s == TARGET ? &tap : NULL,
                                                .states = rows->outputs[s]},
                            count, error);
    for (size_t k = 0; k < count * width; k++)
        rows->outputs[SOURCE][k] -= rows->outputs[TARGET][k];
    return error->status ? error->status
                         : organ_ridge_add(rows->ridge, part, count, NULL, rows->inputs, rows->outputs[SOURCE], error);
}

static organ_status add_chunk(const refit_rows *rows, size_t chunk, organ_error *error)
{
    organ_graft_refit *const r = rows->refit;
    const size_t context = r->walk.calibration.context, width = width_of(r);
    const float *const source = organ_calibration_states_take(r->states[SOURCE], chunk, error),
                       *const target = source ? organ_calibration_states_take(r->states[TARGET], chunk, error) : NULL;
    for (size_t w = 0; target && w < organ_calibration_chunk_windows(&r->chunks, chunk); w++) {
        const size_t window = chunk * r->chunks.together + w, at = w * context * width;
        const organ_ridge_part part = window % EVERY == EVERY - 1 ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT;
        const float *const states[SIDES] = {source + at, target + at};
        for (size_t first = 0; first < rows_of_window(r) && !error->status; first += ROWS)
            add_rows(rows, part, r->windows.tokens + window * context, states, first,
                     organ_min(ROWS, rows_of_window(r) - first), error);
    }
    return error->status;
}

static organ_status add_chunks(const refit_rows *rows, organ_error *error)
{
    for (size_t c = 0; c < organ_calibration_chunks_count(&rows->refit->chunks) && !error->status; c++)
        if (organ_stop_is_requested(rows->refit->engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped while fitting a projection");
        else
            add_chunk(rows, c, error);
    return error->status;
}

/* Sets `values` to M + D, [width][2 width]. */
static organ_status solve(const refit_rows *rows, refit_result *result, float *values, organ_error *error)
{
    const size_t width = width_of(rows->refit), count = 2 * width * width;
    float *const change = organ_forward_floats(count, error);
    if (change && organ_ridge_choose(rows->ridge, &result->choice, error) == ORGAN_OK) {
        organ_ridge_block(rows->ridge, 0, change);
        organ_layer_read(rows->layer, result->project->name, values);
        for (size_t k = 0; k < count && result->choice.lambda > 0; k++)
            values[k] += change[k];
    }
    organ_forward_free(change);
    return error->status;
}

/* ---- the temporary model: a safetensors file with the new projections in FP32 ---- */

/* Creates the file with room for the values. */
static organ_status begin_file(organ_graft_refit *r, organ_error *error)
{
    r->shape[0] = width_of(r);
    r->shape[1] = 2 * r->shape[0];
    for (unsigned k = 0; k < r->count; k++)
        r->pieces[k] =
            (organ_piece){.name = r->results[k].project->name, .dtype = ORGAN_F32, .rank = 2, .shape = r->shape};
    return organ_layout_plan(r->job->source, r->pieces, r->count, UINT64_MAX, FILE_NAME, /*single_only=*/true,
                             &r->plan_of_file, error)
               ? error->status
               : organ_layout_begin(&r->plan_of_file, r->folder.path, ORGAN_CREATED, error);
}

/* The pieces of the output keep their types. */
static void place_values(const organ_graft_refit *r)
{
    organ_layout *const layout = &r->job->layout;
    for (size_t p = 0; p < layout->piece_count; p++)
        for (unsigned k = 0; k < r->count; k++)
            if (layout->pieces[p].same == r->results[k].project->codes) {
                layout->pieces[p].values_model = r->values;
                layout->pieces[p].known = NULL;
                layout->pieces[p].values = organ_model_find(r->values, r->results[k].project->name);
            }
}

/* ---- all projections ---- */

static organ_status fit_block(organ_graft_refit *r, unsigned number, unsigned block, float *values, organ_error *error)
{
    const size_t width = width_of(r), rows = organ_min(ROWS, rows_of_window(r));
    const int32_t layer = (int32_t)(organ_forward_describe(r->forwards[SOURCE])->layers + block);
    const organ_ridge_shape shape = shape_of(r);
    organ_layer *loaded = NULL;
    refit_rows fit = {.refit = r, .block = block};
    for (unsigned s = 0; s < SIDES && !error->status; s++)
        fit.outputs[s] = organ_forward_floats(rows * width, error);
    fit.inputs = error->status ? NULL : organ_forward_floats(2 * rows * width, error);
    if (!error->status && organ_layer_load(r->forwards[SOURCE], layer, &loaded, error) == ORGAN_OK &&
        organ_ridge_open(&shape, r->engine, &fit.ridge, error) == ORGAN_OK) {
        fit.layer = loaded;
        if (add_chunks(&fit, error) == ORGAN_OK)
            solve(&fit, &r->results[number], values, error);
    }
    organ_ridge_close(fit.ridge);
    organ_layer_free(loaded);
    for (unsigned s = 0; s < SIDES; s++)
        organ_forward_free(fit.outputs[s]);
    organ_forward_free(fit.inputs);
    return error->status;
}

static organ_status fit_all(organ_graft_refit *r, organ_error *error)
{
    const size_t count = 2 * width_of(r) * width_of(r);
    float *const values = organ_forward_floats(count, error);
    if (values && begin_file(r, error) == ORGAN_OK)
        for (unsigned b = 0, k = 0; k < r->count && !error->status; b++) {
            if (r->forwards[SOURCE]->drafts[b].project != r->results[k].project)
                continue;
            if (fit_block(r, k, b, values, error) == ORGAN_OK)
                organ_layout_put(&r->plan_of_file, k, values, count * sizeof *values, 0, NULL, error);
            k++;
        }
    organ_forward_free(values);
    return error->status;
}

organ_status organ_graft_refit_run(organ_graft_refit *r, organ_error *error)
{
    const organ_graft_options *const o = r ? r->job->options : NULL;
    if (!r || o->write.dry_run)
        return error->status;
    if (run_sides(r, error) || organ_outline_folder_open(o->write.output, "organ-refit", o->ranks, &r->folder, error))
        return error->status;
    ORGAN_OWNED char *const path = organ_format("%s/" FILE_NAME, r->folder.path);
    if (!path)
        return organ_fail_memory(error, r->folder.path);
    if (fit_all(r, error) == ORGAN_OK && organ_model_open(path, &r->values, error) == ORGAN_OK)
        place_values(r);
    for (unsigned s = 0; s < SIDES; s++) {
        organ_calibration_states_close(r->states[s]);
        r->states[s] = NULL;
    }
    return error->status;
}

/* ---- the report ---- */

static json_t *projection_json(const void *context, size_t k)
{
    const organ_graft_refit *const r = context;
    const refit_result *const result = &r->results[k];
    const double held = (double)(r->windows.count / EVERY * rows_of_window(r));
    const bool fitted = r->values != NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", result->project->name), SET_REAL_OF("lambda", fitted, result->choice.lambda),
                        SET_REAL_OF("before", fitted, result->choice.before / held),
                        SET_REAL_OF("after", fitted,
                                    (result->choice.lambda > 0 ? result->choice.after : result->choice.before) / held));
}

json_t *organ_graft_refit_json(const organ_graft_refit *r)
{
    if (!r)
        return json_null();
    return ORGAN_OBJECT(SET("calibration", organ_calibration_run_json(r->calib, "hidden states of source and target")),
                        SET_COUNT("held_windows", r->windows.count / EVERY),
                        SET("projections", organ_json_rows(r->count, projection_json, r)));
}

const organ_plan *organ_graft_refit_plan(const organ_graft_refit *r) { return r ? &r->plan : NULL; }

const char *organ_graft_refit_text(const organ_graft_refit *r)
{
    return r ? organ_calibration_run_facts_of(r->calib)->digest : NULL;
}
