/* SPDX-License-Identifier: MIT
 * Runs the calibration text through the model, layer by layer (the walk; organ_calibration_run). In each layer the walk
 * captures the router's inputs and logits of a chunk, runs the experts on them, and scores the layer after all chunks
 * have passed through it.
 *
 * Ranks: each rank runs other chunks of the text. All ranks meet before a layer is scored and after its scores are
 * stored. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Estimate for dry runs: work of the greedy removal (organ_plan.products) for each token and pair of experts. */
#define LOSS_WORK 10000.0

/* Least and largest number of tokens that experts run on together. */
#define MIN_BATCH ((uint64_t)16)
#define MAX_BATCH ((uint64_t)1024)

/* ---- memory ---- */

/* Returns the tokens of the chunks of one rank. */
static uint64_t held_tokens(const organ_calibration_chunks *chunks, unsigned context)
{
    uint64_t windows = 0;
    for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks); c += chunks->step)
        windows += organ_calibration_chunk_windows(chunks, c);
    return windows * context;
}

/* Chunks are dealt in turn from rank 0 on, so rank 0 has the most tokens. */
static uint64_t max_tokens(const organ_calibration_run *calib, unsigned context)
{
    organ_calibration_chunks chunks = *organ_calibration_chunks_of(calib);
    chunks.first = 0;
    return held_tokens(&chunks, context);
}

static uint64_t token_product_bytes(const organ_forward_config *c)
{
    return organ_expert_products_count(c->experts) * sizeof(float);
}

static void lay_out_worker(const organ_forward_config *c, organ_expert_worker *w, organ_buffers *b)
{
    w->square = organ_take_floats(b, c->experts, c->experts);
    w->products = organ_take_floats(b, organ_expert_products_count(c->experts), 1);
    w->values = organ_take_floats(b, c->experts, 1);
    w->kept = organ_take(b, c->experts, sizeof *w->kept);
    w->chosen = organ_take(b, c->experts_used, sizeof *w->chosen);
    w->differences = organ_take(b, c->experts_used, 2 * sizeof *w->differences);
    w->scratch = organ_take(b, ORGAN_PRODUCT_SCRATCH, 1);
}

/* The products of all tokens are not included; only if they go to a scratch file, a batch needs a buffer for them. */
static void lay_out(void *context, organ_buffers *b)
{
    organ_expert_measure *const m = context;
    const organ_forward_config *const c = m->config;
    const size_t hidden = (size_t)c->hidden, experts = c->experts, used = c->experts_used,
                 workers = organ_workers_count(m->options.engine->workers);
    const bool loss = m->scores->with_loss;
    m->normed = organ_take_floats(b, m->chunk_tokens, hidden);
    m->logits = organ_take_floats(b, m->tokens, experts);
    m->choices = organ_take_zeros(b, m->tokens, used * sizeof *m->choices);
    m->norms = organ_take_zeros(b, m->chunk_tokens, used * sizeof *m->norms);
    m->powers = organ_take_zeros(b, m->chunk_tokens, sizeof *m->powers);
    m->norm_indices = organ_take_zeros(b, m->batch, sizeof *m->norm_indices);
    m->outputs = organ_take_floats(b, m->batch, (loss ? experts + organ_expert_scaled_rows(c) : 2) * hidden);
    m->factors = c->router.into_inputs ? organ_take_floats(b, m->tokens, experts) : NULL;
    m->products_buffer = organ_take_floats(b, m->spills ? m->batch : 0, organ_expert_products_count(experts));
    m->rows = organ_take_zeros(b, m->chunk_count, organ_expert_row_width(c) * sizeof *m->rows);
    m->sums = organ_take_zeros(b, organ_expert_row_width(c), sizeof *m->sums);
    m->workers = organ_take_zeros(b, workers, sizeof *m->workers);
    for (size_t k = 0; k < workers; k++)
        lay_out_worker(c, m->workers ? &m->workers[k] : &(organ_expert_worker){0}, b);
    organ_take_beside(b, loss ? organ_expert_greedy_memory(c, m->tokens) : 0);
}

static uint64_t bytes_with_batch(const organ_expert_measure *m, size_t batch)
{
    organ_expert_measure counted = *m;
    counted.batch = batch;
    return organ_buffers_count(lay_out, &counted);
}

/* The loss needs the products of all tokens in memory, unless they may go to a scratch file. */
static uint64_t measure_extra_memory(void *context, const organ_calibration_run *calib, bool scratch)
{
    organ_expert_measure *const m = context;
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(calib);
    m->config = organ_forward_describe(organ_calibration_run_facts_of(calib)->forward);
    m->tokens = (size_t)max_tokens(calib, m->walk.calibration.context);
    m->chunk_tokens = chunks->together * m->walk.calibration.context;
    m->chunk_count = organ_calibration_chunks_count(chunks);
    m->spills = m->scores->with_loss && scratch;
    const bool held = m->scores->with_loss && !scratch;
    return bytes_with_batch(m, MIN_BATCH) + (held ? m->tokens * token_product_bytes(m->config) : 0);
}

/* ---- router inputs ---- */

static organ_status capture_inputs_and_logits(void *context, int32_t layer, size_t first, size_t tokens,
                                              const float *normed, const float *logits, organ_error *error)
{
    organ_expert_measure *const m = context;
    const size_t hidden = (size_t)m->config->hidden, experts = m->config->experts;
    (void)layer;
    memcpy(m->normed + first * hidden, normed, tokens * hidden * sizeof *normed);
    memcpy(m->logits + (m->chunk_begin + first) * experts, logits, tokens * experts * sizeof *logits);
    return error->status;
}

/* In a block the last token of a window has no row: no token follows it. */
static bool is_block(const organ_expert_measure *m, const organ_calibration_layer *layer)
{
    return (size_t)layer->number >= m->scores->trunk;
}

static organ_status enter_measured_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_expert_measure *const m = context;
    const size_t rows = m->walk.calibration.context - is_block(m, layer);
    m->measuring = !m->scores->of[layer->number].known;
    m->chunk_begin = 0;
    m->tokens = m->windows * rows;
    m->chunk_tokens = organ_calibration_chunks_of(m->calib)->together * rows;
    m->router = organ_layer_router(layer->loaded);
    organ_layer_tap_router(layer->loaded, m, m->measuring ? capture_inputs_and_logits : NULL);
    return error->status;
}

/* Closes the gaps that the last rows of the windows leave. */
static void drop_last_rows(organ_expert_measure *m, size_t windows)
{
    const size_t hidden = (size_t)m->config->hidden, experts = m->config->experts;
    const size_t context = m->walk.calibration.context, rows = context - 1;
    float *const logits = m->logits + m->chunk_begin * experts;
    for (size_t w = 1; w < windows; w++) {
        memmove(m->normed + w * rows * hidden, m->normed + w * context * hidden, rows * hidden * sizeof *m->normed);
        memmove(logits + w * rows * experts, logits + w * context * experts, rows * experts * sizeof *logits);
    }
}

static organ_status measure_chunk(void *context, const organ_calibration_layer *layer, size_t chunk, organ_error *error)
{
    organ_expert_measure *const m = context;
    const size_t windows = organ_calibration_chunk_windows(organ_calibration_chunks_of(m->calib), chunk),
                 tokens = windows * m->walk.calibration.context, rows = tokens - (is_block(m, layer) ? windows : 0);
    if (m->measuring && rows < tokens)
        drop_last_rows(m, windows);
    if (m->measuring && organ_expert_outputs_take(m, layer, rows, error) != ORGAN_OK)
        return error->status;
    m->chunk_begin += rows;
    organ_progress_advance(m->options.progress, tokens * m->config->hidden * sizeof(float), NULL, NULL);
    return error->status;
}

/* ---- a layer ---- */

static organ_status measure_finish(organ_expert_measure *m, int32_t number, organ_error *error)
{
    organ_expert_layer *const layer = &m->scores->of[number];
    const size_t experts = m->config->experts;
    double *const sums = m->sums;
    if (organ_calibration_sum_rows(m->calib, "measuring the experts of a layer", m->rows,
                                   organ_expert_row_width(m->config), sums, error) != ORGAN_OK)
        return error->status;
    for (size_t e = 0; e < experts; e++) {
        layer->sum[e] = sums[e];
        layer->frequency[e] = (uint64_t)sums[experts + e];
        layer->reap[e] = layer->frequency[e] ? sums[e] / sums[experts + e] : 0;
    }
    layer->power = sums[2 * experts];
    if (m->scores->with_loss && organ_expert_greedy(m, number, layer, error) != ORGAN_OK)
        return error->status;
    layer->known = true;
    return ORGAN_OK;
}

static organ_status finish_measured_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_expert_measure *const m = context;
    if (!m->measuring)
        return ORGAN_OK;
    if (measure_finish(m, layer->number, error) == ORGAN_OK && m->writing)
        organ_write_note_once(m->writing, organ_expert_scores_line(m->scores, (size_t)layer->number), error);
    if (!error->status && m->file)
        organ_expert_scores_write(m->scores, m->identity, m->file, m->options.engine->ranks, error);
    return error->status;
}

/* ---- creation ---- */

static json_t *measure_identity_of(const organ_expert_measure *m, organ_error *error)
{
    char model[17];
    if (organ_model_fingerprint(m->options.model, model, error) != ORGAN_OK)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("definition", ORGAN_EXPERT_SCORES_DEFINITION), SET_TEXT("model", model),
                        SET_TEXT("text", organ_calibration_run_facts_of(m->calib)->digest),
                        SET_COUNT("samples", m->walk.calibration.samples),
                        SET_COUNT("context", m->options.calibration.context),
                        SET_REDUCED_COMPUTE(m->options.engine, m->options.calibration.compute));
}

/* With --scratch, the products of all tokens stay in memory if they fit, else they go to the scratch file. The rest
 * is used for a batch larger than MIN_BATCH. */
static organ_status measure_share_memory(organ_expert_measure *m, organ_error *error)
{
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(m->calib);
    uint64_t spare = organ_calibration_run_spare_memory(m->calib);
    m->tokens = (size_t)held_tokens(chunks, m->walk.calibration.context);
    m->windows = m->tokens / m->walk.calibration.context;
    m->chunk_tokens = chunks->together * m->walk.calibration.context;
    const uint64_t products = m->tokens * token_product_bytes(m->config);
    const bool spills = m->spills = m->options.calibration.scratch && m->scores->with_loss && products > spare;
    /* Without --scratch, `spare` already excludes the products: measure_extra_memory has counted them. */
    spare -= m->options.calibration.scratch && m->scores->with_loss && !spills ? products : 0;
    const uint64_t more = spare / (bytes_with_batch(m, 1) - bytes_with_batch(m, 0)), room = MAX_BATCH - MIN_BATCH;
    m->batch = organ_min((size_t)(MIN_BATCH + (more < room ? more : room)), m->chunk_tokens);
    if (m->scores->with_loss &&
        organ_expert_products_open(m->config->experts, m->tokens + 1, spills ? m->options.calibration.scratch : NULL,
                                   &m->products, error) != ORGAN_OK)
        return error->status;
    return organ_buffers_take(&m->buffers, lay_out, m)
               ? ORGAN_OK
               : organ_fail_errno(error, ENOMEM, "the scores of %u experts on %zu tokens", m->config->experts,
                                  m->tokens);
}

/* Buffers are allocated later, by organ_expert_measure_run. */
organ_status organ_expert_measure_open(const organ_expert_measure_options *o, organ_expert_scores *scores,
                                       organ_expert_measure **measure, organ_error *error)
{
    organ_expert_measure *const m = *measure = calloc(1, sizeof *m);
    if (!m)
        return organ_fail_memory(error, o->calibration.text);
    m->options = *o;
    m->scores = scores;
    m->walk = (organ_calibration_run_options){.calibration = o->calibration,
                                              .file_layers = true,
                                              .method = "experts",
                                              .verb = "measure",
                                              .doing = "measuring",
                                              .streams = ORGAN_INPUTS_DONOR,
                                              .moments_only = true,
                                              .drafts = scores->layers > scores->trunk,
                                              .reserve = o->reserve};
    m->work = (organ_calibration_work){.context = m,
                                       .enter = enter_measured_layer,
                                       .leave = finish_measured_layer,
                                       .every = true,
                                       .chunk_done = measure_chunk,
                                       .extra = measure_extra_memory};
    if (m->walk.drafts && o->calibration.context < 2)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: its block for multi-token prediction has no input in windows of one token: `context` "
                          "must be at least 2",
                          o->model->path);
    if (organ_calibration_run_check(o->calibration.samples, o->calibration.context, error) ||
        organ_calibration_run_open(&m->walk, o->model, &m->targets, &m->work, o->engine, o->progress, &m->calib, error))
        return error->status;
    scores->tokens = (uint64_t)m->walk.calibration.samples * o->calibration.context;
    m->identity = measure_identity_of(m, error);
    scores->calibration =
        organ_calibration_run_json(m->calib, "the donor's: nothing is removed during the measurement");
    return error->status || (m->identity && scores->calibration) ? error->status
                                                                 : organ_fail_memory(error, o->calibration.text);
}

void organ_expert_measure_close(organ_expert_measure *m)
{
    if (!m)
        return;
    organ_buffers_release(&m->buffers);
    organ_expert_products_close(&m->products);
    organ_calibration_run_close(m->calib);
    json_decref(m->identity);
    free(m);
}

/* For each token and mixture layer, the measurement runs the experts of the token again after the walk has run them.
 * For the loss it runs all experts instead, computes the inner products of their outputs, and removes experts. An
 * expert has three matrices of hidden x expert_intermediate, with two operations per weight: hence the factor 6. */
static void expert_measure_estimate(const organ_expert_measure *m, organ_plan *plan)
{
    const organ_forward_config *const c = m->config;
    const double tokens = (double)max_tokens(m->calib, m->walk.calibration.context),
                 expert = 6 * (double)c->hidden * (double)c->expert_intermediate;
    const double outputs = (double)c->experts * (double)c->experts * (double)c->hidden;
    for (size_t l = 0; l < m->scores->layers; l++)
        if (!m->scores->of[l].dense)
            plan->products +=
                tokens * (m->scores->with_loss ? c->experts * expert + outputs + LOSS_WORK * c->experts * c->experts
                                               : c->experts_used * expert);
    organ_calibration_run_estimate(m->calib, &(organ_plan_solve){0}, plan);
}

/* Returns {"memory_enough", "states_bytes", "products_bytes", "products_in_scratch"}: the smallest --memory that
 * suffices, the bytes of hidden states, the bytes of experts' inner products (0 without the loss), and whether these
 * products go to the scratch file. NULL if an allocation failed. */
static json_t *expert_measure_needs(const organ_expert_measure *m)
{
    const uint64_t tokens = max_tokens(m->calib, m->walk.calibration.context),
                   products = m->scores->with_loss ? tokens * token_product_bytes(m->config) : 0;
    return ORGAN_OBJECT(
        SET_COUNT("memory_enough", organ_calibration_run_min_memory(m->calib)),
        SET_COUNT("states_bytes", organ_calibration_states_bytes(organ_calibration_chunks_of(m->calib))),
        SET_COUNT("products_bytes", products),
        SET_FLAG("products_in_scratch",
                 m->options.calibration.scratch && products > organ_calibration_run_spare_memory(m->calib)));
}

/* ---- the run ---- */

organ_status organ_expert_measure_run(organ_expert_measure *m, organ_writing *writing, const char *file,
                                      organ_error *error)
{
    size_t known = 0, mixtures = 0;
    m->file = file;
    m->writing = writing;
    for (size_t l = 0; l < m->scores->layers; l++) {
        known += m->scores->of[l].known && !m->scores->of[l].dense;
        mixtures += !m->scores->of[l].dense;
    }
    if (known == mixtures || measure_share_memory(m, error) != ORGAN_OK)
        return error->status;
    if (known)
        organ_progress_note(m->options.progress, "the experts of %zu of %zu layers are already measured", known,
                            mixtures);
    organ_progress_begin(m->options.progress, "Measuring experts",
                         m->scores->layers * (uint64_t)m->tokens * m->config->hidden * sizeof(float), 0);
    organ_calibration_run_layers(m->calib, error);
    organ_progress_end(m->options.progress);
    return error->status;
}

/* ---- scores from the journal, the file of --scores or a measurement; all ranks read both ---- */

/* The message names the --samples and --context of the file, because only the same windows can complete the file. */
static organ_status fail_incomplete_scores(const organ_experts_job *job, organ_error *error)
{
    const json_t *const of = job->scores.calibration;
    const json_t *const samples = json_object_get(of, "samples"), *const context = json_object_get(of, "context");
    char windows[80] = "";
    if (json_is_integer(samples) && json_is_integer(context))
        snprintf(windows, sizeof windows, " `samples` %lld `context` %lld", (long long)json_integer_value(samples),
                 (long long)json_integer_value(context));
    return organ_fail(error, ORGAN_USAGE,
                      "%s: does not have the scores of all layers: `calibration.text` TEXT%s measures the others",
                      job->options->scores, windows);
}

/* Scores of any text are accepted, but they must be complete and of this model. */
static organ_status read_stored_scores(organ_experts_job *job, organ_error *error)
{
    if (organ_expert_scores_read(&job->scores, job->identity, job->options->scores,
                                 "to measure it, give `calibration.text` TEXT and another file for `scores`",
                                 &job->known, error) == ORGAN_OK &&
        !job->known)
        fail_incomplete_scores(job, error);
    return error->status;
}

/* Journal and file get the scores of each other, so that a continued run does not depend on the file. */
static organ_status recall_scores(organ_experts_job *job, organ_writing *writing, organ_error *error)
{
    const char *const file = job->options->scores;
    organ_expert_scores *const s = &job->scores;
    size_t noted = 0, k;
    const json_t *line;
    json_array_foreach(organ_write_lines(writing), k, line) noted += organ_expert_scores_recall(s, line);
    job->known = true;
    for (size_t l = 0; l < s->layers; l++)
        job->known &= s->of[l].known;
    if (job->known && file)
        organ_expert_scores_write(s, job->identity, file, job->engine->ranks, error);
    if (job->known || !file)
        return error->status;
    if (organ_expert_scores_read(s, job->identity, file, "to measure again, give another file with `scores`",
                                 &job->known, error) != ORGAN_OK)
        return error->status;
    for (size_t l = 0; l < s->layers && !noted && !job->options->write.dry_run && !error->status; l++)
        if (s->of[l].known && !s->of[l].dense)
            organ_write_note_once(writing, organ_expert_scores_line(s, l), error);
    return error->status;
}

static organ_status measure_scores(organ_experts_job *job, organ_writing *writing, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (recall_scores(job, writing, error) != ORGAN_OK || job->known)
        return error->status;
    if (!o->write.dry_run) {
        job->known = organ_expert_measure_run(job->measure, writing, o->scores, error) == ORGAN_OK;
        return error->status;
    }
    expert_measure_estimate(job->measure, &job->plan);
    job->needs = expert_measure_needs(job->measure);
    return job->needs ? ORGAN_OK : organ_fail_memory(error, o->model);
}

/* The caller closes *walk even after an error. */
static organ_status open_measure(organ_experts_job *job, organ_expert_measure **walk, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_expert_measure_options options = {
        .model = job->model, .calibration = o->calibration, .engine = job->engine, .progress = job->progress};
    return organ_expert_measure_open(&options, &job->scores, walk, error);
}

/* Opening the measurement sets job->scores.calibration, which is released here because organ_experts_open_scores
 * sets it again. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error)
{
    organ_expert_measure *walk = NULL;
    open_measure(job, &walk, error);
    organ_expert_measure_close(walk);
    organ_clear_json(&job->scores.calibration);
    return error->status;
}

organ_status organ_experts_open_scores(organ_experts_job *job, organ_error *error)
{
    char model[17];
    if (job->options->calibration.text) {
        if (open_measure(job, &job->measure, error) == ORGAN_OK)
            job->identity = json_deep_copy(job->measure->identity);
    } else if (organ_model_fingerprint(job->model, model, error) == ORGAN_OK)
        job->identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_EXPERT_SCORES_DEFINITION), SET_TEXT("model", model));
    return error->status || job->identity ? error->status : organ_fail_memory(error, job->model->path);
}

organ_status organ_experts_load_scores(organ_experts_job *job, organ_writing *writing, organ_error *error)
{
    if (job->measure)
        measure_scores(job, writing, error);
    else
        read_stored_scores(job, error);
    organ_expert_measure_close(job->measure);
    job->measure = NULL;
    return error->status;
}
