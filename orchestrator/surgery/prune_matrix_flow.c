/* SPDX-License-Identifier: MIT
 * Physarum v2: flow takes away in stages, and after each the weights that are left are solved for anew. */
#include "orchestrator/surgery/prune_matrix_job.h"

#include "orchestrator/surgery/low_rank_job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFINED_GAIN 6.0
#define DONOR_SHARE  0.5 /* alpha */

static const double shares[ORGAN_PRUNE_STAGES] = {0.45, 0.65, 0.80, 0.92, 1.0};
static const unsigned products[ORGAN_PRUNE_STAGES] = {1, 1, 2, 4, 3};

typedef struct staged {
    organ_matrix_job *job;
    float *food;
    float *h;                      /* NULL: weights keep their bits */
    organ_masked_squares *squares; /* the same */
    double percent;                /* in the end */
} staged;

/* act_norm stability contribution, with 1 for the greatest: only their ratios matter, and products with weights stay in the range of FP32.
 */
static float *make_food(const organ_input_moments *m)
{
    float *food = organ_floats(m->features, 1);
    double most = 0;
    for (size_t j = 0; j < m->features; j++)
        most = fmax(most, (double)m->act_norm[j] * (double)m->stability[j] * (double)m->contribution[j]);
    for (size_t j = 0; food && j < m->features; j++)
        food[j] = (float)((double)m->act_norm[j] * (double)m->stability[j] * (double)m->contribution[j] / most);
    return food;
}

/* The solution without a mask would be W (alpha C + (1 - alpha) H) H^-1, and what W itself misses of it alpha W (C - H). */
static organ_status prepare_squares(staged *s, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const organ_input_moments *const m = job->moments;
    s->h = organ_expand_moments(job, 0, 1, ORGAN_SQUARES_DAMPING * m->mean_diagonal);
    if (!s->h)
        return organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows, job->cols);
    const organ_block_matrix h = {job->cols, m->block, s->h};
    if (organ_masked_squares_create(job->engine, &h, job->rows, job->options->name, &s->squares, error) != ORGAN_OK)
        return error->status;
    float *const residual = organ_masked_squares_residual(s->squares);
    if (m->bent) {
        for (size_t k = 0; k < job->rows * job->cols; k++)
            residual[k] = (float)(DONOR_SHARE * m->bent[k] / (double)m->tokens);
        return ORGAN_OK;
    }
    if (!m->c) {
        memset(residual, 0, job->rows * job->cols * sizeof *residual);
        return ORGAN_OK;
    }
    float *const bent = organ_expand_moments(job, DONOR_SHARE, -DONOR_SHARE, 0);
    if (!bent)
        return organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows, job->cols);
    organ_block_multiply(job->engine, &(organ_block_matrix){job->cols, m->block, bent}, job->weights, job->rows, residual);
    free(bent);
    return ORGAN_OK;
}

static organ_status compensate(const staged *s, unsigned count, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const unsigned scaled = (unsigned)fmax(1, floor(count * job->options->effort + 0.5));
    job->report->products += scaled;
    return organ_masked_squares_solve(s->squares, job->keep, scaled, job->weights, error);
}

static organ_flow flow_of(const staged *s, double tolerance)
{
    const organ_matrix_job *const job = s->job;
    return (organ_flow){job->weights, s->food, job->rows, job->cols, job->options->pattern, tolerance, job->options->name};
}

/* `percent` < 0: the pattern itself. */
static organ_status stage(const staged *s, double percent, unsigned count, double *gain, organ_error *error)
{
    organ_matrix_job *const job = s->job;
    const bool last = job->report->stages == ORGAN_PRUNE_STAGES - 1 || !s->squares;
    const organ_flow flow = flow_of(s, last ? ORGAN_FLOW_TOLERANCE : ORGAN_FLOW_STAGE_TOLERANCE);
    double killed;
    double *const taken = &job->report->gains[job->report->stages++];
    if (percent < 0)
        organ_flow_pattern(job->engine, &flow, job->keep);
    else if (organ_flow_run(job->engine, &flow, percent, gain, job->keep, &killed, error))
        return error->status;
    else {
        *taken = *gain;
        *gain = isfinite(*gain) ? *gain : DEFINED_GAIN;
    }
    if (s->squares)
        return compensate(s, count, error);
    for (size_t k = 0; k < job->rows * job->cols; k++)
        if (!job->keep[k])
            job->weights[k] = 0;
    return ORGAN_OK;
}

/* What the flow decides by itself, which is the goal where none was given. */
static organ_status find_natural(staged *s, organ_error *error)
{
    organ_matrix_job *const job = s->job;
    const organ_flow flow = flow_of(s, ORGAN_FLOW_TOLERANCE);
    double gain = DEFINED_GAIN;
    uint8_t *keep = malloc(job->rows * job->cols);
    if (!keep)
        return organ_fail_errno(error, ENOMEM, "%s", job->options->name);
    memset(keep, 1, job->rows * job->cols);
    if (organ_flow_run(job->engine, &flow, 0, &gain, keep, &s->percent, error) == ORGAN_OK)
        job->report->natural_sparsity = s->percent;
    free(keep);
    return error->status;
}

static organ_status run_stages(staged *s, organ_error *error)
{
    const organ_prune_matrix_options *const options = s->job->options;
    double gain = DEFINED_GAIN;
    const unsigned first = s->squares ? 0 : options->pattern.of ? ORGAN_PRUNE_STAGES - 2 : ORGAN_PRUNE_STAGES - 1;
    for (unsigned k = first; k < ORGAN_PRUNE_STAGES && !error->status; k++)
        stage(s, options->pattern.of && k == ORGAN_PRUNE_STAGES - 1 ? -1 : shares[k] * s->percent, products[k], &gain, error);
    return error->status;
}

organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error)
{
    const organ_prune_matrix_options *const options = job->options;
    staged s = {.job = job, .food = make_food(job->moments), .percent = options->sparsity};
    if (options->pattern.of)
        s.percent = 100.0 * (options->pattern.of - options->pattern.keep) / options->pattern.of;
    if (!s.food)
        organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", options->name, job->rows, job->cols);
    else if ((options->no_compensate || prepare_squares(&s, error) == ORGAN_OK) && (s.percent > 0 || find_natural(&s, error) == ORGAN_OK))
        run_stages(&s, error);
    organ_masked_squares_destroy(s.squares);
    free(s.food);
    free(s.h);
    return error->status;
}
