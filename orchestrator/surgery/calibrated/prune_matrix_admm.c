/* SPDX-License-Identifier: MIT
 * The two methods that use ADMM (admm.h). physarum-v3 starts with the mask of a flow and takes rho from a table. ALPS
 * (arXiv:2406.07831) starts with the largest weights and raises rho the faster, the more the mask still changes. A
 * small rho lets the mask change freely; a large one fixes it, so that the weights converge. */
#include "orchestrator/surgery/calibrated/prune_matrix_job.h"

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/expand_moments.h"
#include "orchestrator/surgery/calibrated/admm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PHASES     4
#define ITERATIONS 6 /* of a phase, at an effort of 1 */
#define RELAXED    1.6

static const double phases[PHASES] = {0.15, 0.25, 0.45, 0.8}; /* rho of each phase */
_Static_assert(PHASES <= ORGAN_ADMM_FACTORS, "matrices with the same inputs share all inverses");

/* ALPS, with the constants of its authors' program */
#define ALPS_DAMPING     0.01
#define ALPS_RHO         0.1
#define ALPS_ITERATIONS  300
#define ALPS_COMPARE     3    /* iterations between two comparisons of masks */
#define ALPS_ENOUGH      30   /* iterations after which ALPS may end early */
#define ALPS_LITTLE      3e-4 /* ALPS ends early if the mask changes by less, as a share of the kept weights */
#define ALPS_FINAL_STEPS 10
#define ALPS_MIN_RHO     1e-3 /* not from the paper: below this value rho I has no effect in H + rho I in FP32 */

static const double much[2] = {0.1, 0.005}; /* change of the mask, as a share of the kept weights */
/* factors of rho if the change is above much[0], above much[1], or below */
static const double grows[3] = {1.3, 1.2, 1.1};

/* A matrix that ADMM is solving. */
typedef struct solving {
    organ_matrix_job *job;
    float *h, *target; /* H, damped; T of organ_admm_problem */
    organ_admm *admm;
    uint8_t *before; /* ALPS: the mask at the last comparison */
} solving;

/* Computes the target T = W (share C + (1 - share) H), damped by `damping`. If the calibration accumulated drift
 * instead of C, adds share * drift / tokens instead. */
static organ_status find_target(solving *s, double share, double damping, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const organ_input_moments *const m = job->moments;
    float *const mixed = organ_expand_moments(job->engine, m, share, 1 - share, damping);
    if (!mixed)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    organ_block_multiply(job->engine, &(organ_block_matrix){job->cols, m->block, mixed}, job->weights, job->rows,
                         s->target, error);
    free(mixed);
    for (size_t k = 0; m->drift && k < job->rows * job->cols; k++)
        s->target[k] += (float)(share * m->drift[k] / (double)m->tokens);
    return error->status;
}

/* Clears dead inputs, computes T and H, and opens ADMM on them. `factors` may be NULL. */
static organ_status prune_matrix_admm_prepare(solving *s, double share, double damping, size_t killed,
                                              organ_admm_factors *factors, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    s->target = organ_floats(job->rows, job->cols);
    if (!s->target)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    organ_clear_dead_inputs(job);
    if (find_target(s, share, damping, error) != ORGAN_OK)
        return error->status;
    s->h = organ_expand_moments(job->engine, job->moments, 0, 1, damping);
    if (!s->h)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    const organ_admm_problem problem = {.name = job->options->name,
                                        .rows = job->rows,
                                        .h = {job->cols, job->moments->block, s->h},
                                        .values = s->h,
                                        .target = s->target,
                                        .killed = killed,
                                        .pattern = job->options->pattern,
                                        .factors = factors};
    return organ_admm_create(job->engine, &problem, &s->admm, error);
}

static organ_status prune_matrix_admm_finish(solving *s, unsigned steps, organ_error *error)
{
    s->job->report->products += steps + 1;
    return organ_admm_finish(s->admm, s->job->keep, steps, s->job->weights, error);
}

static organ_status prune_matrix_admm_step(solving *s, double rho, double relaxed, organ_error *error)
{
    s->job->report->products++;
    return organ_admm_step(s->admm, rho, relaxed, s->job->keep, error);
}

static void close_solving(solving *s)
{
    organ_admm_destroy(s->admm);
    free(s->target);
    free(s->h);
    free(s->before);
}

/* ---- physarum v3 ---- */

void organ_prune_share_end(organ_prune_shared *shared)
{
    organ_admm_factors_release(&shared->factors);
    shared->of = NULL;
}

/* Decides whether a matrix uses factors that other matrices with the same calibration share, and releases those of
 * another calibration. */
void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare)
{
    const organ_input_moments *const m = calibration ? organ_calibration_moments(calibration) : NULL;
    options->factors = NULL;
    if (shared->of != calibration)
        organ_prune_share_end(shared);
    if (options->method != ORGAN_PRUNE_PHYSARUM_V3 || !m || !(again || shared->of))
        return;
    if (organ_admm_factors_memory(m->features, m->block) > spare)
        return;
    shared->of = calibration;
    options->factors = &shared->factors;
}

/* Does nothing: `take` for a flow whose mask is only the start of ADMM. */
static organ_status ignore_band(void *context, size_t first, organ_error *error)
{
    (void)context;
    (void)first;
    return error->status;
}

/* Computes the initial mask by one flow. *killed is the number of weights to remove: --sparsity percent of the matrix,
 * or as many as the flow removes if no sparsity was given. */
static organ_status initial_mask_by_flow(const organ_matrix_job *job, size_t *killed, organ_error *error)
{
    const size_t n = job->rows * job->cols;
    organ_matrix_job flow = *job;
    flow.take = ignore_band;
    if (organ_prune_by_flow(&flow, error) != ORGAN_OK)
        return error->status;
    *killed = (size_t)llround(job->options->sparsity / 100 * (double)n);
    for (size_t k = 0; job->options->sparsity == 0 && k < n; k++)
        *killed += !job->keep[k];
    return ORGAN_OK;
}

/* Runs physarum-v3: the flow gives the first mask, then ADMM with the rho of each phase in turn improves mask and
 * weights. */
organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error)
{
    const unsigned iterations = (unsigned)fmax(1, floor(ITERATIONS * job->options->effort + 0.5));
    solving s = {.job = job};
    size_t killed = 0;
    if (initial_mask_by_flow(job, &killed, error) != ORGAN_OK)
        return error->status;
    if (prune_matrix_admm_prepare(&s, ORGAN_DONOR_SHARE, ORGAN_SQUARES_DAMPING * job->moments->mean_diagonal, killed,
                                  job->options->factors, error) == ORGAN_OK) {
        organ_admm_begin(s.admm, job->weights, true, job->keep);
        for (unsigned k = 0; k < PHASES * iterations && !error->status; k++)
            prune_matrix_admm_step(&s, phases[k / iterations], RELAXED, error);
        if (!error->status)
            organ_admm_write_result(s.admm, job->keep, job->weights);
    }
    close_solving(&s);
    return error->status;
}

/* ---- ALPS ---- */

/* Returns the change of the mask since the last comparison, as a share of the kept weights. */
static double mask_change(const solving *s, double kept)
{
    const size_t n = s->job->rows * s->job->cols;
    size_t count = 0;
    for (size_t k = 0; k < n; k++)
        count += s->job->keep[k] != s->before[k];
    memcpy(s->before, s->job->keep, n);
    return (double)count / kept;
}

/* Reduces rho to a fifth, at least ALPS_MIN_RHO, and restarts ADMM if the mask has changed at all. The caller does so
 * while the mask has hardly changed since the start, which shows that the initial rho is too large. Returns false if
 * rho is already the least. */
static bool begin_lower(solving *s, double change, double *rho)
{
    if (*rho <= ALPS_MIN_RHO)
        return false;
    *rho = fmax(*rho / 5, ALPS_MIN_RHO);
    if (change > 0)
        organ_admm_begin(s->admm, s->job->weights, false, s->job->keep);
    return true;
}

/* Runs ADMM with the penalty schedule of ALPS (Meng et al. 2024, arXiv:2406.07831): every ALPS_COMPARE steps rho grows,
 * the more the mask has changed the faster, until the mask no longer changes. */
static organ_status prune_matrix_admm_iterate(solving *s, double kept, organ_error *error)
{
    double rho = ALPS_RHO;
    bool moved = false;
    organ_admm_begin(s->admm, s->job->weights, false, s->job->keep);
    memcpy(s->before, s->job->keep, s->job->rows * s->job->cols);
    for (unsigned k = 1; k <= ALPS_ITERATIONS && prune_matrix_admm_step(s, rho, 1, error) == ORGAN_OK; k++) {
        if (k % ALPS_COMPARE)
            continue;
        const double change = mask_change(s, kept);
        moved |= change > much[1];
        if (!moved && begin_lower(s, change, &rho))
            continue;
        if (change == 0 || (k > ALPS_ENOUGH && change < ALPS_LITTLE))
            break;
        size_t step = 0;
        while (step < sizeof much / sizeof *much && !(change > much[step]))
            step++;
        rho *= grows[step];
    }
    return error->status;
}

/* Runs ALPS: ADMM from the mask of the largest weights, then conjugate gradients on the kept weights
 * (organ_admm_finish). */
organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error)
{
    const organ_pattern *const pattern = &job->options->pattern;
    const size_t n = job->rows * job->cols, killed = pattern->of
                                                         ? n / pattern->of * (pattern->of - pattern->keep)
                                                         : (size_t)llround(job->options->sparsity / 100 * (double)n);
    solving s = {.job = job, .before = malloc(n)};
    if (!s.before)
        organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (prune_matrix_admm_prepare(&s, 0, ALPS_DAMPING * job->moments->mean_diagonal, killed, NULL, error) ==
                 ORGAN_OK &&
             prune_matrix_admm_iterate(&s, (double)(n - killed), error) == ORGAN_OK)
        prune_matrix_admm_finish(&s, ALPS_FINAL_STEPS, error);
    close_solving(&s);
    return error->status;
}
