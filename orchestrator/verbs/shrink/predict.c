/* SPDX-License-Identifier: MIT
 * organ experts --predict: what each number of kept experts costs, before anything is removed. Held-out windows of the
 * calibration text run through all choices of experts at once: each layer is loaded once and runs the hidden states of
 * every choice, with its kept experts, and those of the whole model. The divergences are those of the model that
 * organ experts would write, because it copies the weights of kept experts.
 *
 * Ranks: each rank runs some of the held-out windows. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/read_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POINTS       ((size_t)8) /* largest number of choices, and of those that --keep may list */
#define LEAST_POINTS ((size_t)3) /* choices that a knee needs */
#define LEAST_BOW    0.1         /* least distance from the chord at a knee */

/* The hidden states of a batch of windows under one choice; number 0 is the whole model. */
typedef struct predict_stream {
    struct prediction *of;
    size_t number;
    float *hidden;
} predict_stream;

typedef struct prediction {
    organ_experts_job *job;
    organ_engine engine; /* engine.memory is the share of the forward pass */
    organ_forward *forward;
    organ_calibration_test_windows rest;
    organ_perplexity_plan plan; /* tokens and begin belong to `rest` */
    uint32_t keep[POINTS];      /* descending */
    size_t points;
    bool *flags; /* [points][layers][experts]: the expert is kept */
    predict_stream streams[POINTS + 1];
    organ_token_scores scores[POINTS + 1];
    organ_perplexity_comparison costs[POINTS]; /* each choice compared with the whole model */
    double bow[POINTS];                        /* distance of the curve from its chord */
    size_t knee;                               /* index of a choice; SIZE_MAX: there is no knee */
    size_t batch_tokens, tile_rows;
} prediction;

/* ---- the choices ---- */

/* A number that the router's groups do not allow is rounded to one that they do. */
static void add_share(prediction *p, double share)
{
    const organ_expert_scores *const s = &p->job->scores;
    const uint32_t keep = s->groups * (uint32_t)(share * s->experts / s->groups + 0.5);
    if (keep >= s->least && keep < s->experts && (p->points == 0 || keep < p->keep[p->points - 1]))
        p->keep[p->points++] = keep;
}

static int by_descending_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return ORGAN_ORDER(y, x);
}

/* --keep lists numbers and shares, such as 75%,8. */
static organ_status read_list(prediction *p, organ_error *error)
{
    const char *at = p->job->options->keep;
    while (*at && !error->status) {
        char word[64];
        const size_t length = strcspn(at, ",");
        if (p->points == POINTS || length >= sizeof word)
            return organ_fail(error, ORGAN_USAGE, "`keep` %s: `predict` compares at most %zu numbers", at, POINTS);
        memcpy(word, at, length);
        word[length] = '\0';
        organ_experts_read_keep(word, &p->job->scores, &p->keep[p->points], error);
        p->points++;
        at += length + (at[length] == ',');
    }
    qsort(p->keep, p->points, sizeof *p->keep, by_descending_number);
    size_t different = 0;
    for (size_t k = 0; k < p->points; k++)
        if (k == 0 || p->keep[k] != p->keep[different - 1])
            p->keep[different++] = p->keep[k];
    p->points = different;
    return error->status;
}

static organ_status choose_points(prediction *p, organ_error *error)
{
    const organ_expert_scores *const s = &p->job->scores;
    if (p->job->options->keep)
        return read_list(p, error);
    for (unsigned eighths = 7; eighths > 0; eighths--)
        add_share(p, eighths / 8.0);
    return p->points ? ORGAN_OK
                     : organ_fail(error, ORGAN_USAGE, "%s: each layer needs all of its %u experts: none can be removed",
                                  p->job->model->path, s->experts);
}

static organ_status flag_kept(prediction *p, organ_error *error)
{
    const organ_expert_scores *const s = &p->job->scores;
    ORGAN_OWNED uint32_t *const kept = calloc(s->experts, sizeof *kept);
    p->flags = calloc(p->points * s->layers * s->experts, sizeof *p->flags);
    if (!kept || !p->flags)
        organ_fail_memory(error, p->job->model->path);
    for (size_t k = 0; k < p->points && !error->status; k++)
        for (size_t l = 0; l < s->layers; l++) {
            if (s->of[l].dense)
                continue;
            organ_expert_scores_choose(s, l, p->job->score, p->keep[k], kept);
            for (uint32_t e = 0; e < p->keep[k]; e++)
                p->flags[(k * s->layers + l) * s->experts + kept[e]] = true;
        }
    return error->status;
}

/* ---- scores of experts, and held-out windows ---- */

/* The measurement is closed before the choices run, because it has the memory of the hidden states. */
static organ_status measure_and_cut(prediction *p, organ_error *error)
{
    organ_experts_job *const job = p->job;
    const organ_experts_options *const o = job->options;
    const size_t tokens = o->predict_tokens ? o->predict_tokens : ORGAN_EXPERTS_PREDICT_TOKENS;
    const organ_expert_measure_options options = {.model = job->model,
                                                  .calibration = o->calibration,
                                                  .engine = job->engine,
                                                  .progress = job->progress,
                                                  .reserve = tokens};
    organ_expert_measure *measure = NULL;
    if (organ_expert_measure_open(&options, &job->scores, &measure, error) == ORGAN_OK &&
        organ_calibration_cut_test_windows(measure->calib, tokens, "`predict_tokens`", &p->rest, error) == ORGAN_OK &&
        !(job->identity = json_deep_copy(measure->identity)))
        organ_fail_memory(error, job->model->path);
    if (!error->status && o->scores)
        organ_expert_scores_read(&job->scores, job->identity, o->scores,
                                 "to measure again, give another file with `scores`", &job->known, error);
    if (!error->status && !job->known)
        organ_expert_measure_run(measure, NULL, o->scores, error);
    job->known = !error->status;
    organ_expert_measure_close(measure);
    return error->status;
}

/* Every token of a window but the first is predicted. */
static organ_status plan_predictions(prediction *p, organ_error *error)
{
    const organ_windows *const windows = &p->rest.windows;
    const size_t scored = windows->count * (p->rest.length - 1);
    p->plan = (organ_perplexity_plan){
        .tokens = p->rest.tokens, .begin = p->rest.begin, .windows = windows->count, .scored = scored};
    p->plan.rows = calloc(scored, sizeof *p->plan.rows);
    p->plan.targets = calloc(scored, sizeof *p->plan.targets);
    for (size_t k = 0; k <= p->points; k++) {
        p->scores[k].nll = calloc(scored, sizeof *p->scores[k].nll);
        p->scores[k].divergence = k ? calloc(scored, sizeof *p->scores[k].divergence) : NULL;
        p->scores[k].agrees = k ? calloc(scored, 1) : NULL;
        if (!p->scores[k].nll || (k && (!p->scores[k].divergence || !p->scores[k].agrees)))
            organ_fail_memory(error, p->job->model->path);
    }
    if (!p->plan.rows || !p->plan.targets)
        return organ_fail_memory(error, p->job->model->path);
    for (size_t w = 0, at = 0; w < windows->count; w++)
        for (size_t t = 0; t + 1 < p->rest.length; t++) {
            p->plan.rows[at] = w * p->rest.length + t;
            p->plan.targets[at++] = p->rest.tokens[w * p->rest.length + t + 1];
        }
    return error->status;
}

/* ---- memory ---- */

/* Also divides the memory: sets p->engine.memory, batch_tokens and tile_rows. Without what is kept during the run, the
 * scores of all tokens and the flags, the forward pass gets half of the memory, the hidden states of all choices a
 * quarter, the logits of the whole model a quarter. */
static bool fits_window(void *context, uint64_t memory)
{
    prediction *const p = context;
    const organ_forward_config *const c = organ_forward_describe(p->forward);
    const organ_token_scores *const s = NULL; /* only for sizeof */
    const uint64_t kept =
        p->plan.scored * (2 * sizeof(size_t) + (p->points + 1) * (sizeof *s->nll + sizeof *s->divergence + 1)) +
        p->points * p->job->scores.layers * p->job->scores.experts;
    const uint64_t shared = memory > kept ? memory - kept : 0;
    p->engine.memory = shared / 2;
    const size_t batch = organ_forward_batch(p->forward, p->rest.length),
                 states = (size_t)(shared / 4 / ((p->points + 1) * c->state * sizeof(float)));
    const size_t tokens = p->plan.begin[p->plan.windows];
    p->batch_tokens = organ_min(organ_min(batch, states), tokens);
    p->tile_rows = (size_t)(shared / 4 / (c->vocabulary * sizeof(float)));
    return p->batch_tokens >= p->rest.length && p->tile_rows > 0;
}

static organ_status allocate_streams(prediction *p, organ_error *error)
{
    const size_t state = (size_t)organ_forward_describe(p->forward)->state;
    if (organ_memory_require(p->job->engine, fits_window, p, error,
                             "a window of %zu tokens, one layer and %zu numbers of experts", p->rest.length, p->points))
        return error->status;
    for (size_t k = 0; k <= p->points; k++) {
        p->streams[k] = (predict_stream){p, k, malloc(p->batch_tokens * state * sizeof(float))};
        if (!p->streams[k].hidden)
            return organ_fail_memory(error, p->job->model->path);
    }
    return ORGAN_OK;
}

/* ---- the run ---- */

static organ_status run_choices(prediction *p, organ_layer *layer, size_t number, const organ_windows *windows,
                                organ_error *error)
{
    const organ_expert_scores *const s = &p->job->scores;
    for (size_t k = 0; k <= p->points && !error->status; k++) {
        const bool *const kept =
            k && !s->of[number].dense ? p->flags + ((k - 1) * s->layers + number) * s->experts : NULL;
        if (s->of[number].dense || organ_layer_keep(layer, kept, error) == ORGAN_OK)
            organ_layer_run(p->forward, layer, windows, p->streams[k].hidden, NULL, error);
    }
    return error->status;
}

/* Stream 0 comes first and runs the windows for all streams. */
static organ_status carry_streams(void *context, const organ_windows *windows, organ_error *error)
{
    const predict_stream *const stream = context;
    prediction *const p = stream->of;
    const organ_forward_config *const c = organ_forward_describe(p->forward);
    const size_t bytes = windows->begin[windows->count] * (size_t)c->state * sizeof(float);
    if (stream->number)
        return ORGAN_OK;
    if (organ_forward_embed(p->forward, windows, stream->hidden, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 1; k <= p->points; k++)
        memcpy(p->streams[k].hidden, stream->hidden, bytes);
    for (unsigned l = 0; l < c->layers && !error->status; l++) {
        organ_layer *layer = NULL;
        if (organ_stop_is_requested(p->engine.stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped before layer %u", l);
        else if (organ_layer_load(p->forward, (int32_t)l, &layer, error) == ORGAN_OK)
            run_choices(p, layer, l, windows, error);
        organ_layer_free(layer);
        organ_progress_advance(p->job->progress, bytes, NULL, NULL);
    }
    return error->status;
}

static organ_status stream_logits(void *context, const size_t *rows, size_t count, void *receiver,
                                  void (*each)(void *receiver, size_t k, float *logits), organ_error *error)
{
    const predict_stream *const stream = context;
    return organ_forward_logits(stream->of->forward, stream->hidden, rows, count, receiver, each, error);
}

static organ_status score_share_of_rank(prediction *p, const organ_scoring_share *share, organ_error *error)
{
    organ_logit_source sources[POINTS + 1];
    organ_token_scores scores[POINTS + 1];
    for (size_t k = 0; k <= p->points; k++) {
        sources[k] = (organ_logit_source){&p->streams[k], organ_forward_describe(p->forward)->vocabulary,
                                          p->job->model->path, carry_streams, stream_logits};
        scores[k] = (organ_token_scores){.nll = p->scores[k].nll + share->first,
                                         .divergence = k ? p->scores[k].divergence + share->first : NULL,
                                         .agrees = k ? p->scores[k].agrees + share->first : NULL};
    }
    if (share->plan.windows)
        organ_perplexity_score(p->engine.kernels, &share->plan, sources, p->points + 1, p->batch_tokens, p->tile_rows,
                               scores, p->engine.stop, p->job->progress, error);
    return error->status;
}

static organ_status run_prediction(prediction *p, organ_error *error)
{
    organ_ranks *const ranks = p->engine.ranks;
    const organ_forward_config *const c = organ_forward_describe(p->forward);
    organ_scoring_share share = {0};
    organ_progress_begin(p->job->progress, ORGAN_STAGE_PREDICTING,
                         p->plan.begin[p->plan.windows] * c->state * sizeof(float) * c->layers, p->plan.windows);
    if (organ_scoring_share_cut(&p->plan, organ_ranks_rank(ranks), organ_ranks_count(ranks), &share, error) == ORGAN_OK)
        score_share_of_rank(p, &share, error);
    for (size_t k = 0; k <= p->points; k++) /* also after an error: all ranks meet in this call */
        organ_scoring_share_scores(ranks, &p->plan, &p->scores[k], error);
    organ_progress_end(p->job->progress);
    organ_scoring_share_release(&share);
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (!error->status)
        organ_score_windows_make(&p->plan, p->plan.windows, NULL, 0, &windows, error);
    for (size_t k = 0; k < p->points && !error->status; k++)
        organ_perplexity_compare_windows(&p->scores[0], &p->scores[k + 1], &windows, &p->costs[k], error);
    return error->status ? error->status : organ_model_unchanged(p->job->model, error);
}

/* ---- the knee ---- */

static double removed_share(const prediction *p, size_t k) { return 1 - (double)p->keep[k] / p->job->scores.experts; }

/* Satopaa and others (2011): the curve of the divergence over the removed share, from (0, 0) to the last choice, is
 * scaled to the unit square; its knee is where it is farthest below the chord. */
static void find_knee(prediction *p)
{
    const size_t last = p->points - 1;
    const double share = removed_share(p, last), divergence = p->costs[last].divergence.mean;
    p->knee = SIZE_MAX;
    for (size_t k = 0; k < p->points && p->points >= LEAST_POINTS && divergence > 0; k++) {
        p->bow[k] = removed_share(p, k) / share - p->costs[k].divergence.mean / divergence;
        if (p->bow[k] >= LEAST_BOW && (p->knee == SIZE_MAX || p->bow[k] > p->bow[p->knee]))
            p->knee = k;
    }
}

/* ---- the report ---- */

/* Returns the mean over layers with experts; *rigid becomes the number of those that lose at least the removed share of
 * their output. */
static double layers_error(const prediction *p, size_t k, size_t *rigid)
{
    const organ_expert_scores *const s = &p->job->scores;
    double sum = 0;
    size_t count = 0;
    *rigid = 0;
    for (size_t l = 0; l < s->trunk; l++)
        if (!s->of[l].dense) {
            const double missed = organ_expert_scores_missed(s, l, p->keep[k]);
            sum += missed;
            *rigid += missed >= removed_share(p, k);
            count++;
        }
    return count ? sum / (double)count : 0;
}

static json_t *point_json(const void *context, size_t k)
{
    const prediction *const p = context;
    const organ_perplexity_comparison *const c = &p->costs[k];
    const bool loss = p->job->scores.with_loss;
    size_t rigid = 0;
    const double error = loss ? layers_error(p, k, &rigid) : 0;
    return ORGAN_OBJECT(SET_COUNT("keep", p->keep[k]), SET_REAL("removed", organ_millionth(removed_share(p, k))),
                        SET_REAL("kl_divergence", c->divergence.mean),
                        SET_REAL_OF("kl_divergence_error", isfinite(c->divergence.error), c->divergence.error),
                        SET_REAL("ratio", c->ratio),
                        SET_REAL_OF("ratio_error", isfinite(c->ratio_error), c->ratio_error),
                        SET_REAL("top1_agreement", c->agreement),
                        SET_REAL_OF("top1_agreement_error", isfinite(c->agreement_error), c->agreement_error),
                        SET_REAL_OF("layer_error", loss, organ_millionth(error)),
                        SET_COUNT_OF("rigid_layers", loss, rigid), SET_FLAG("knee", k == p->knee));
}

static json_t *layer_errors_json(const prediction *p, size_t l)
{
    json_t *const errors = json_array();
    for (size_t k = 0; k < p->points; k++)
        json_array_append_new(errors,
                              json_real(organ_millionth(organ_expert_scores_missed(&p->job->scores, l, p->keep[k]))));
    return errors;
}

static json_t *prediction_layer_json(const void *context, size_t l)
{
    const prediction *const p = context;
    const organ_expert_scores *const s = &p->job->scores;
    if (s->of[l].dense || !s->with_loss)
        return NULL;
    return ORGAN_OBJECT(SET_COUNT("layer", l), SET("errors", layer_errors_json(p, l)),
                        SET_FLAG("rigid", organ_expert_scores_missed(s, l, p->keep[0]) >= removed_share(p, 0)));
}

static json_t *prediction_document(const prediction *p, double started)
{
    const organ_experts_job *const job = p->job;
    const organ_perplexity_figures whole = organ_perplexity_sum(p->scores[0].nll, p->plan.scored);
    size_t rigid = 0;
    if (job->scores.with_loss)
        layers_error(p, 0, &rigid);
    return ORGAN_OBJECT(
        SET_HEAD("organ.experts_prediction/1", "experts-prediction/1"),
        SET("model", organ_run_model_json(job->model, job->scores.layers > job->scores.trunk)),
        SET_COUNT("experts", job->scores.experts), SET_COUNT("experts_used", job->scores.used),
        SET_TEXT("score", organ_expert_score_name(job->score)), SET_HELD("calibration", job->scores.calibration),
        SET("held_out",
            ORGAN_OBJECT(SET_COUNT("windows", p->plan.windows), SET_COUNT("length", p->rest.length),
                         SET_COUNT("tokens_scored", p->plan.scored), SET_REAL("perplexity", whole.perplexity))),
        SET("points", organ_json_rows(p->points, point_json, p)),
        SET_COUNT_OF("knee", p->knee != SIZE_MAX, p->keep[p->knee == SIZE_MAX ? 0 : p->knee]),
        SET_COUNT_OF("rigid_layers", job->scores.with_loss, rigid),
        SET("layers", organ_json_rows(job->scores.layers, prediction_layer_json, p)),
        SET("scores", organ_expert_scores_json(&job->scores, job->identity)),
        SET_SENTENCES("organ.experts_prediction/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("model", job->options->model),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - started)),
                                SET_ENGINE(job->engine))));
}

static void prediction_release(prediction *p)
{
    for (size_t k = 0; k <= POINTS; k++)
        ORGAN_FREE_ARRAYS(p->streams[k].hidden, p->scores[k].nll, p->scores[k].divergence, p->scores[k].agrees);
    ORGAN_FREE_ARRAYS(p->flags, p->plan.rows, p->plan.targets);
    organ_calibration_test_windows_release(&p->rest);
    organ_forward_close(p->forward);
}

organ_status organ_experts_predict(organ_experts_job *job, json_t **report, organ_error *error)
{
    const double started = organ_seconds_now();
    ORGAN_RELEASED_BY(prediction_release) prediction p = {.job = job, .engine = *job->engine};
    p.engine.share = NULL;
    if (choose_points(&p, error) == ORGAN_OK && measure_and_cut(&p, error) == ORGAN_OK &&
        flag_kept(&p, error) == ORGAN_OK && plan_predictions(&p, error) == ORGAN_OK &&
        organ_forward_open(job->model, &p.engine, &p.forward, error) == ORGAN_OK)
        allocate_streams(&p, error);
    if (organ_ranks_agree(job->engine->ranks, "preparing the prediction", error) == ORGAN_OK &&
        run_prediction(&p, error) == ORGAN_OK) {
        find_knee(&p);
        if (!(*report = prediction_document(&p, started)))
            organ_fail_memory(error, job->model->path);
    }
    return error->status;
}
