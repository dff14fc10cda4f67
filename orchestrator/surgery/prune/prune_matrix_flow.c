/* SPDX-License-Identifier: MIT
 * Physarum v2 (docs/definitions/pruning.md). The flow (staged_flow.h) removes weights in stages, and after each stage
 * the kept weights are refitted by least squares. With a pattern, the pattern itself decides the mask of the last
 * stage. Without compensation there is one flow, after which a pattern is applied. */
#include "orchestrator/surgery/prune/prune_matrix_job.h"

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/expand_moments.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFINED_GAIN  6.0  /* the sparsity at this gain is the natural one; also the first finite gain of a search */
#define PATTERN_SHARE 0.92 /* share of a pattern's zeros that the flow removes first, without compensation */

/* Each stage ends at its share of the final zeros. */
static const double shares[ORGAN_PRUNE_STAGES] = {0.45, 0.62, 0.76, 0.87, 0.94, 0.98, 1.0};
/* Each stage computes its number of products with H, at an effort of 1. */
static const double products[ORGAN_PRUNE_STAGES] = {0.25, 0.25, 1, 1, 1, 1, 3};

typedef struct staged {
    organ_matrix_job *job;
    float *food;                   /* importance of each input (input_importance) */
    float *h;                      /* second moments per token, damped; in blocks like organ_block_matrix */
    organ_masked_squares *squares; /* solver that refits the kept weights */
    uint8_t *kept;                 /* mask that the last flow computed, rows x cols */
    double percent;                /* percentage of zeros after the last stage; 0: not known yet */
} staged;

/* The importance is act_norm * stability * contribution (organ_input_moments), divided by the greatest such product:
 * the flow depends only on ratios, and importances stay in the range of FP32. The caller frees the array. Returns
 * NULL if memory cannot be allocated. */
static float *input_importance(const organ_input_moments *m)
{
    float *food = organ_floats(m->features, 1);
    double max = 0;
    for (size_t j = 0; j < m->features; j++)
        max = fmax(max, (double)m->act_norm[j] * (double)m->stability[j] * (double)m->contribution[j]);
    for (size_t j = 0; food && j < m->features; j++)
        food[j] = (float)((double)m->act_norm[j] * (double)m->stability[j] * (double)m->contribution[j] / max);
    return food;
}

/* The residual starts with V = W, the donor's weights. The target is T = W (a C + (1 - a) H) with a =
 * ORGAN_DONOR_SHARE, so the residual T - W H is a W (C - H). H and C are per token here. m->drift, if the
 * calibration summed it, is tokens * W (C - H). Without drift and C, the residual is 0. */
static organ_status prepare_squares(staged *s, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const organ_input_moments *const m = job->moments;
    s->h = organ_expand_moments(job->engine, job->moments, 0, 1, ORGAN_SQUARES_DAMPING * m->mean_diagonal);
    if (!s->h)
        return organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows,
                                job->cols);
    const organ_block_matrix h = {job->cols, m->block, s->h};
    if (organ_masked_squares_create(job->engine, &h, job->rows, job->options->name, &s->squares, error) != ORGAN_OK)
        return error->status;
    float *const residual = organ_masked_squares_residual(s->squares);
    if (m->drift) {
        for (size_t k = 0; k < job->rows * job->cols; k++)
            residual[k] = (float)(ORGAN_DONOR_SHARE * m->drift[k] / (double)m->tokens);
        return ORGAN_OK;
    }
    if (!m->c) {
        memset(residual, 0, job->rows * job->cols * sizeof *residual);
        return ORGAN_OK;
    }
    float *const drift = organ_expand_moments(job->engine, job->moments, ORGAN_DONOR_SHARE, -ORGAN_DONOR_SHARE, 0);
    if (!drift)
        return organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows,
                                job->cols);
    organ_block_multiply(job->engine, &(organ_block_matrix){job->cols, m->block, drift}, job->weights, job->rows,
                         residual, error);
    free(drift);
    return error->status;
}

/* The number of products with H is round(products[stage] * effort), but at least one if products[stage] is at least
 * 1. The first two stages remove weights of little importance; their entry of 0.25 gives no product below an effort
 * of 2. */
static organ_status refit_kept(const staged *s, unsigned stage, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const unsigned scaled = (unsigned)fmax(products[stage] >= 1, floor(products[stage] * job->options->effort + 0.5));
    job->report->products += scaled;
    return organ_masked_squares_solve(s->squares, job->keep, scaled, job->weights, error);
}

static organ_flow flow_of(const organ_matrix_job *job, const float *food, bool last)
{
    return (organ_flow){job->bands, food, job->options->pattern,
                        last ? ORGAN_FLOW_TOLERANCE : ORGAN_FLOW_STAGE_TOLERANCE};
}

/* The matrix is one band. The flow runs again only if the search has not written the mask of the found gain to
 * s->kept. */
static organ_status finish_mask(const staged *s, const organ_flow *flow, const organ_flow_gain *found,
                                organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    if (!found->mask_written &&
        organ_flow_mask(job->engine, flow, found->gain, 0, job->keep, s->kept, error) != ORGAN_OK)
        return error->status;
    memcpy(job->keep, s->kept, job->rows * job->cols);
    return ORGAN_OK;
}

/* The mask removes `percent` of all weights, or follows the pattern if `percent` < 0. *found is the result of the
 * previous stage's search on entry, and that of this stage's search on return. */
static organ_status run_stage(staged *s, double percent, organ_flow_gain *found, organ_error *error)
{
    organ_matrix_job *const job = s->job;
    const unsigned number = job->report->stages++;
    const organ_flow flow = flow_of(job, s->food, number == ORGAN_PRUNE_STAGES - 1);
    if (percent < 0)
        organ_flow_pattern(job->engine, &flow, 0, job->keep, error);
    else if (organ_flow_search(job->engine, &flow, percent, job->keep, s->kept, found, error) == ORGAN_OK &&
             finish_mask(s, &flow, found, error) == ORGAN_OK) {
        job->report->gains[number] = found->gain;
        found->gain = isfinite(found->gain) ? found->gain : DEFINED_GAIN;
    }
    return error->status ? error->status : refit_kept(s, number, error);
}

/* The percentage of zeros that the flow leaves at DEFINED_GAIN is the goal if no sparsity was requested. */
static organ_status find_natural(const organ_matrix_job *job, const organ_flow *flow, double *percent,
                                 organ_error *error)
{
    organ_flow_gain found = {.gain = DEFINED_GAIN};
    if (organ_flow_search(job->engine, flow, 0, NULL, NULL, &found, error) == ORGAN_OK)
        job->report->natural_sparsity = *percent = found.killed;
    return error->status;
}

/* The percentage is 0 if the flow at gain 6 decides. */
static double requested_percent(const organ_prune_matrix_options *o)
{
    return o->pattern.of ? 100.0 * (o->pattern.of - o->pattern.keep) / o->pattern.of : o->sparsity;
}

/* If no sparsity was requested, one flow before all stages finds the final sparsity (find_natural). */
static organ_status run_stages(staged *s, organ_error *error)
{
    const organ_pattern *const pattern = &s->job->options->pattern;
    const organ_flow flow = flow_of(s->job, s->food, true);
    organ_flow_gain found = {.gain = DEFINED_GAIN};
    if (s->percent == 0 && find_natural(s->job, &flow, &s->percent, error) != ORGAN_OK)
        return error->status;
    for (unsigned k = 0; k < ORGAN_PRUNE_STAGES && !error->status; k++)
        run_stage(s, pattern->of && k == ORGAN_PRUNE_STAGES - 1 ? -1 : shares[k] * s->percent, &found, error);
    return error->status;
}

organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error)
{
    staged s = {.job = job, .food = input_importance(job->moments), .percent = requested_percent(job->options)};
    s.kept = malloc(job->rows * job->cols);
    if (!s.food || !s.kept)
        organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (prepare_squares(&s, error) == ORGAN_OK)
        run_stages(&s, error);
    organ_masked_squares_destroy(s.squares);
    free(s.food);
    free(s.kept);
    free(s.h);
    return error->status;
}

/* ---- without compensation, and where ADMM follows ---- */

/* The search may have written the mask to job->keep (found->mask_written, possible for a matrix of one band). */
static organ_status mask_band(const organ_matrix_job *job, const organ_flow *flow, const organ_flow_gain *found,
                              size_t first, organ_error *error)
{
    if (!found->mask_written &&
        organ_flow_mask(job->engine, flow, found->gain, first, NULL, job->keep, error) != ORGAN_OK)
        return error->status;
    return flow->pattern.of ? organ_flow_pattern(job->engine, flow, first, job->keep, error) : ORGAN_OK;
}

static organ_status flow_through(organ_matrix_job *job, const organ_flow *flow, organ_error *error)
{
    organ_matrix_bands *const bands = job->bands;
    organ_flow_gain found = {.gain = DEFINED_GAIN};
    double percent = requested_percent(job->options);
    if (percent == 0 && find_natural(job, flow, &percent, error) != ORGAN_OK)
        return error->status;
    percent *= flow->pattern.of ? PATTERN_SHARE : 1; /* mask_band applies the pattern for the rest */
    uint8_t *const kept = bands->band_rows >= bands->rows ? job->keep : NULL;
    if (organ_flow_search(job->engine, flow, percent, NULL, kept, &found, error) != ORGAN_OK)
        return error->status;
    job->report->gains[0] = found.gain;
    job->report->stages = flow->pattern.of ? 2 : 1;
    for (size_t first = 0; first < bands->rows && !error->status; first += bands->band_rows)
        if (mask_band(job, flow, &found, first, error) == ORGAN_OK)
            job->take(job->context, first, error);
    return error->status;
}

/* Kept weights keep their bits. For v3 the mask is only the start of ADMM, so the tolerance of a stage suffices. */
organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error)
{
    float *const importance = input_importance(job->moments);
    const organ_flow flow = flow_of(job, importance, job->options->method == ORGAN_PRUNE_PHYSARUM_V2);
    if (!importance)
        return organ_fail_errno(error, ENOMEM, "%s: flow through %zu x %zu", job->options->name, job->rows, job->cols);
    flow_through(job, &flow, error);
    free(importance);
    return error->status;
}
