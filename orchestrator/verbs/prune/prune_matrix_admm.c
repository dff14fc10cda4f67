/* SPDX-License-Identifier: MIT
 * The two methods that use ADMM. physarum-v3 starts with the mask of a flow and takes rho from a table. ALPS
 * (arXiv:2406.07831) starts with the mask of the largest weights and multiplies rho by a factor that is larger, the
 * more the mask still changes. A small rho lets the mask change freely; a large one fixes it, so that the weights
 * converge. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "formats/base/owned.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- physarum v2 ---- */

/* Physarum v2 (docs/definitions/pruning.md). The flow removes weights in stages, and after each stage
 * the kept weights are refitted by least squares. With a pattern, the pattern itself decides the mask of the last
 * stage. Without compensation there is one flow, after which a pattern is applied. */

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
    organ_buffers buffers;
    double percent; /* percentage of zeros after the last stage; 0: not known yet */
} staged;

/* The importance is act_norm * stability * contribution (organ_input_moments), divided by the greatest such product:
 * the flow depends only on ratios, and importances stay in the range of FP32. Returns
 * NULL if memory cannot be allocated. */
static float *input_importance(const organ_input_moments *m, organ_buffers *b)
{
    float *const food = organ_take_floats(b, m->features, 1);
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
    s->h = organ_expand_moments(job->engine, job->moments, /*c=*/0, /*h=*/1, ORGAN_SQUARES_DAMPING * m->mean_diagonal,
                                &s->buffers);
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
    ORGAN_OWNED_BUFFERS buffers = {0};
    const float *const drift =
        organ_expand_moments(job->engine, job->moments, ORGAN_DONOR_SHARE, -ORGAN_DONOR_SHARE, /*damping=*/0, &buffers);
    if (!drift)
        return organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows,
                                job->cols);
    return organ_block_multiply(job->engine, &(organ_block_matrix){job->cols, m->block, drift}, job->weights, job->rows,
                                residual, error);
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
    const organ_flow flow = flow_of(s->job, s->food, /*last=*/true);
    organ_flow_gain found = {.gain = DEFINED_GAIN};
    if (s->percent == 0 && find_natural(s->job, &flow, &s->percent, error) != ORGAN_OK)
        return error->status;
    for (unsigned k = 0; k < ORGAN_PRUNE_STAGES && !error->status; k++)
        run_stage(s, pattern->of && k == ORGAN_PRUNE_STAGES - 1 ? -1 : shares[k] * s->percent, &found, error);
    return error->status;
}

organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error)
{
    staged s = {.job = job, .percent = requested_percent(job->options)};
    s.food = input_importance(job->moments, &s.buffers);
    s.kept = organ_take(&s.buffers, job->rows, job->cols);
    if (s.buffers.lacking)
        organ_fail_errno(error, ENOMEM, "%s: physarum v2 of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (prepare_squares(&s, error) == ORGAN_OK)
        run_stages(&s, error);
    organ_masked_squares_destroy(s.squares);
    organ_buffers_release(&s.buffers);
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
    ORGAN_OWNED_BUFFERS buffers = {0};
    const float *const importance = input_importance(job->moments, &buffers);
    const organ_flow flow = flow_of(job, importance, job->options->method == ORGAN_PRUNE_PHYSARUM_V2);
    if (!importance)
        return organ_fail_errno(error, ENOMEM, "%s: flow through %zu x %zu", job->options->name, job->rows, job->cols);
    return flow_through(job, &flow, error);
}

/* ---- physarum v3 ---- */

#define PHASES     4   /* consecutive iterations with the same rho are a phase */
#define ITERATIONS 6   /* iterations of a phase, at an effort of 1 */
#define RELAXED    1.6 /* over-relaxation */

/* The rho of each phase. They gave the least error on six matrices of tiny-qwen2 and tiny-llama. */
static const double phase_rho[PHASES] = {0.15, 0.25, 0.45, 0.8};
_Static_assert(PHASES <= ORGAN_ADMM_FACTORS, "matrices with the same inputs share all factors");

/* ALPS, with the constants of its authors' program */
#define ALPS_DAMPING     0.01 /* added to H's diagonal, times the mean of the diagonal */
#define ALPS_RHO         0.1  /* first rho */
#define ALPS_ITERATIONS  300  /* greatest number of iterations */
#define ALPS_COMPARE     3    /* iterations between two comparisons of masks */
#define ALPS_ENOUGH      30   /* iterations after which ALPS may end early */
#define ALPS_LITTLE      3e-4 /* ALPS ends early if the mask changes by less, as a share of the kept weights */
#define ALPS_FINAL_STEPS 10   /* conjugate gradient steps after the last iteration */
#define ALPS_MIN_RHO     1e-3 /* not from the paper: below this value rho I has no effect in H + rho I in FP32 */

/* Limits of the change of the mask between two comparisons, as a share of the kept weights. */
static const double change_limits[2] = {0.1, 0.005};
/* Factors of rho if the change is above change_limits[0], only above change_limits[1], or above neither. */
static const double rho_growth[3] = {1.3, 1.2, 1.1};

typedef struct solving {
    organ_matrix_job *job;
    float *h;      /* H per token, damped; organ_admm scales it in place */
    float *target; /* T of organ_admm_problem, rows x cols */
    organ_admm *admm;
    uint8_t *before; /* ALPS: the mask at the last comparison, rows x cols; v3: NULL */
    organ_buffers buffers;
} solving;

typedef struct drift_adding {
    const solving *s;
    double share;
} drift_adding;

static void add_drift_row(void *context, size_t row, size_t worker)
{
    const drift_adding *const d = context;
    const organ_input_moments *const m = d->s->job->moments;
    const size_t cols = d->s->job->cols;
    const double *const drift = m->drift + row * cols;
    (void)worker;
    for (size_t k = 0; k < cols; k++)
        d->s->target[row * cols + k] += (float)(d->share * drift[k] / (double)m->tokens);
}

/* The target is T = W (share C + (1 - share) H + damping I), with H and C per token. If the calibration has no C,
 * organ_expand_moments uses H in its place; share * W (C - H) is then added from moments->drift, if there is one. */
static organ_status find_target(solving *s, double share, double damping, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const organ_input_moments *const m = job->moments;
    ORGAN_OWNED_BUFFERS buffers = {0};
    const float *const mixed = organ_expand_moments(job->engine, m, share, 1 - share, damping, &buffers);
    if (!mixed)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    organ_block_multiply(job->engine, &(organ_block_matrix){job->cols, m->block, mixed}, job->weights, job->rows,
                         s->target, error);
    if (m->drift)
        organ_share_work(job->engine, NULL, job->rows, ORGAN_SHARE_NUMBER * (double)job->rows * (double)job->cols,
                         add_drift_row, &(drift_adding){s, share});
    return error->status;
}

static organ_status prepare(solving *s, double share, double damping, size_t killed, organ_admm_factors *factors,
                            organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    s->target = organ_take_floats(&s->buffers, job->rows, job->cols);
    if (!s->target)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    organ_clear_dead_inputs(job);
    if (find_target(s, share, damping, error) != ORGAN_OK)
        return error->status;
    s->h = organ_expand_moments(job->engine, job->moments, /*c=*/0, /*h=*/1, damping, &s->buffers);
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

static organ_status finish_weights(solving *s, unsigned steps, organ_error *error)
{
    s->job->report->products += steps + 1;
    return organ_admm_finish(s->admm, s->job->keep, steps, s->job->weights, error);
}

static organ_status run_step(solving *s, double rho, double relaxed, organ_error *error)
{
    s->job->report->products++;
    return organ_admm_step(s->admm, rho, relaxed, s->job->keep, error);
}

static void close_solving(solving *s)
{
    organ_admm_destroy(s->admm);
    organ_buffers_release(&s->buffers);
}

/* ---- physarum v3 ---- */

/* The mask of the flow is only the start of ADMM, so no weight is removed yet. */
static organ_status ignore_band(void *context, size_t first, organ_error *error)
{
    (void)context;
    (void)first;
    return error->status;
}

/* *killed is the requested percentage of the matrix, or as many weights as the flow removes if no sparsity was
 * requested. With a pattern, ADMM ignores this number. */
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

organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error)
{
    const unsigned iterations = (unsigned)fmax(1, floor(ITERATIONS * job->options->effort + 0.5));
    solving s = {.job = job};
    size_t killed = 0;
    if (initial_mask_by_flow(job, &killed, error) != ORGAN_OK)
        return error->status;
    if (prepare(&s, ORGAN_DONOR_SHARE, ORGAN_SQUARES_DAMPING * job->moments->mean_diagonal, killed,
                job->options->factors, error) == ORGAN_OK) {
        organ_admm_begin(s.admm, job->weights, /*given=*/true, job->keep);
        for (unsigned k = 0; k < PHASES * iterations && !error->status; k++)
            run_step(&s, phase_rho[k / iterations], RELAXED, error);
        if (!error->status)
            organ_admm_write_result(s.admm, job->keep, job->weights);
    }
    close_solving(&s);
    return error->status;
}

/* ---- ALPS ---- */

/* The change is a share of `kept`, the number of kept weights. The mask is copied for the next comparison. */
static double mask_change(const solving *s, double kept)
{
    const size_t n = s->job->rows * s->job->cols;
    size_t count = 0;
    for (size_t k = 0; k < n; k++)
        count += s->job->keep[k] != s->before[k];
    memcpy(s->before, s->job->keep, n);
    return (double)count / kept;
}

/* *rho is divided by 5, but not below ALPS_MIN_RHO, and ADMM starts again if the mask has changed at all. The caller
 * does this as long as the mask has hardly changed since the start: then rho is too large. Returns false, and does
 * nothing, if *rho is ALPS_MIN_RHO already. */
static bool restart_with_lower_rho(solving *s, double change, double *rho)
{
    if (*rho <= ALPS_MIN_RHO)
        return false;
    *rho = fmax(*rho / 5, ALPS_MIN_RHO);
    if (change > 0)
        organ_admm_begin(s->admm, s->job->weights, /*given=*/false, s->job->keep);
    return true;
}

/* The schedule of rho is that of ALPS (Meng et al. 2024, arXiv:2406.07831). Every ALPS_COMPARE steps, the mask is
 * compared with that of the last comparison and rho multiplied by a factor of rho_growth. As long as no change was
 * above change_limits[1], rho is lowered instead. The iteration ends when the mask no longer changes, when it
 * changes little after ALPS_ENOUGH steps, or after ALPS_ITERATIONS. `kept`: number of kept weights. */
static organ_status iterate(solving *s, double kept, organ_error *error)
{
    double rho = ALPS_RHO;
    bool moved = false;
    organ_admm_begin(s->admm, s->job->weights, /*given=*/false, s->job->keep);
    memcpy(s->before, s->job->keep, s->job->rows * s->job->cols);
    for (unsigned k = 1; k <= ALPS_ITERATIONS && run_step(s, rho, 1, error) == ORGAN_OK; k++) {
        if (k % ALPS_COMPARE)
            continue;
        const double change = mask_change(s, kept);
        moved |= change > change_limits[1];
        if (!moved && restart_with_lower_rho(s, change, &rho))
            continue;
        if (change == 0 || (k > ALPS_ENOUGH && change < ALPS_LITTLE))
            break;
        size_t step = 0;
        while (step < sizeof change_limits / sizeof *change_limits && !(change > change_limits[step]))
            step++;
        rho *= rho_growth[step];
    }
    return error->status;
}

organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error)
{
    const organ_pattern *const pattern = &job->options->pattern;
    const size_t n = job->rows * job->cols, killed = pattern->of
                                                         ? n / pattern->of * (pattern->of - pattern->keep)
                                                         : (size_t)llround(job->options->sparsity / 100 * (double)n);
    solving s = {.job = job};
    s.before = organ_take(&s.buffers, n, 1);
    if (!s.before)
        organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (prepare(&s, 0, ALPS_DAMPING * job->moments->mean_diagonal, killed, /*factors=*/NULL, error) == ORGAN_OK &&
             iterate(&s, (double)(n - killed), error) == ORGAN_OK)
        finish_weights(&s, ALPS_FINAL_STEPS, error);
    close_solving(&s);
    return error->status;
}
