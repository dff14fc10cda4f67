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
static const unsigned iterations[ORGAN_PRUNE_STAGES] = {6, 6, 6, 6, 16};

typedef struct staged {
    organ_matrix_job *job;
    float *food;
    float *h, *target; /* NULL: weights keep their bits */
    double percent;    /* in the end */
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

static bool prepare_squares(staged *s)
{
    const organ_matrix_job *const job = s->job;
    const double damping = ORGAN_SQUARES_DAMPING * job->moments->mean_diagonal;
    float *const cross = organ_expand_moments(job, DONOR_SHARE, damping);
    s->target = organ_floats(job->rows, job->cols);
    if (cross && s->target) {
        const organ_block_matrix c = {job->cols, job->moments->block, cross};
        organ_block_multiply(job->engine, &c, job->weights, job->rows, s->target);
    }
    free(cross);
    s->h = cross ? organ_expand_moments(job, 0, damping) : NULL;
    return s->h && s->target;
}

static organ_status compensate(const staged *s, unsigned count, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const organ_masked_squares problem = {job->rows, {job->cols, job->moments->block, s->h}, s->target, job->keep};
    const unsigned scaled = (unsigned)fmax(1, floor(count * job->options->effort + 0.5));
    job->report->iterations += scaled;
    return organ_masked_squares_solve(job->engine, &problem, scaled, job->weights, job->options->name, error);
}

static organ_flow flow_of(const staged *s)
{
    const organ_matrix_job *const job = s->job;
    return (organ_flow){job->weights, s->food, job->rows, job->cols, job->options->pattern, job->options->name};
}

/* `percent` < 0: the pattern itself. */
static organ_status stage(const staged *s, double percent, unsigned count, double *gain, organ_error *error)
{
    organ_matrix_job *const job = s->job;
    const organ_flow flow = flow_of(s);
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
    for (size_t k = 0; k < job->rows * job->cols; k++)
        if (!job->keep[k])
            job->weights[k] = 0;
    return s->h ? compensate(s, count, error) : ORGAN_OK;
}

/* What the flow decides by itself, which is the goal where none was given. */
static organ_status find_natural(staged *s, organ_error *error)
{
    organ_matrix_job *const job = s->job;
    const organ_flow flow = flow_of(s);
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
    const unsigned first = s->h ? 0 : options->pattern.of ? ORGAN_PRUNE_STAGES - 2 : ORGAN_PRUNE_STAGES - 1;
    for (unsigned k = first; k < ORGAN_PRUNE_STAGES && !error->status; k++)
        stage(s, options->pattern.of && k == ORGAN_PRUNE_STAGES - 1 ? -1 : shares[k] * s->percent, iterations[k], &gain, error);
    return error->status;
}

organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error)
{
    const organ_prune_matrix_options *const options = job->options;
    staged s = {.job = job, .food = make_food(job->moments), .percent = options->sparsity};
    if (options->pattern.of)
        s.percent = 100.0 * (options->pattern.of - options->pattern.keep) / options->pattern.of;
    if (!s.food || (!options->no_compensate && !prepare_squares(&s)))
        organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", options->name, job->rows, job->cols);
    else if (s.percent > 0 || find_natural(&s, error) == ORGAN_OK)
        run_stages(&s, error);
    free(s.food);
    free(s.h);
    free(s.target);
    return error->status;
}
