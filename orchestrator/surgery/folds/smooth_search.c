/* SPDX-License-Identifier: MIT
 * The search begins with the best alpha of SmoothQuant's rule, and then multiplies the factor of one channel at a time
 * by one step as long as the predicted error falls. */
#include "orchestrator/surgery/folds/smooth_search.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_FACTOR 1e-5
#define ALPHAS       8    /* tried: .3, .4, ... 1 */
#define SWEEPS       30   /* most passes over all channels */
#define LEAST_GAIN   1e-7 /* of a step, as a share of the error */
#define REAL_STEPS   4    /* steps in an octave of factors that need not be powers of two */

/* The two greatest magnitudes of a row of a group, or of a token, after scaling, with their channels. */
typedef struct peak {
    float first, second;
    uint32_t of_first, of_second;
} peak;

#define NO_PEAK ((peak){0, 0, UINT32_MAX, UINT32_MAX})

typedef struct factor_search {
    const organ_smooth_problem *p;
    int steps; /* in an octave */
    size_t groups;
    int *at, *best; /* by channel: factors as steps; the best start */
    float *factors, *inverses;
    peak *of_rows; /* groups x rows */
    peak *of_tokens;
    uint32_t *stale;                /* rows or tokens whose peaks must be found again */
    double *row_squares;            /* by group: sum of the squared peaks of its rows */
    double *ratios;                 /* by group: sum of input_squares / factor^2 */
    double token_squares, products; /* mean of the tokens' squared peaks; sum of weight_squares factor^2 */
    double weights_error;           /* sum of row_squares ratios */
} factor_search;

double organ_smooth_factor(double alpha, double range, double reader)
{
    if (range <= 0)
        return 1;
    if (reader == 0)
        return range;
    const double factor = pow(range, alpha) / pow(2 * reader, 1 - alpha);
    return factor < LEAST_FACTOR ? LEAST_FACTOR : factor;
}

/* ---- steps ---- */

static float factor_of(const factor_search *s, int step)
{
    static const float fourths[REAL_STEPS] = {1, 0x1.306fep+0F, 0x1.6a09e6p+0F, 0x1.ae89fap+0F};
    const int octave = step >= 0 ? step / s->steps : -((s->steps - 1 - step) / s->steps);
    return ldexpf(fourths[step - octave * s->steps], octave);
}

static bool is_allowed(int step, int steps, const uint64_t *allowed)
{
    if (abs(step) > ORGAN_SMOOTH_EXPONENTS * steps)
        return false;
    return !allowed || *allowed >> (step + ORGAN_SMOOTH_EXPONENTS) & 1;
}

static const uint64_t *allowed_of(const factor_search *s, size_t c) { return s->p->allowed ? &s->p->allowed[c] : NULL; }

int organ_smooth_nearest(double wanted, int steps, const uint64_t *allowed)
{
    const double ideal = log2(wanted) * steps;
    const int most = ORGAN_SMOOTH_EXPONENTS * steps;
    int best = 0;
    for (int step = -most; step <= most; step++)
        if (fabs(step - ideal) < fabs(best - ideal) && is_allowed(step, steps, allowed))
            best = step;
    return best;
}

/* ---- peaks ---- */

static void note_peak(peak *at, float value, size_t channel)
{
    if (value > at->first)
        *at = (peak){value, at->first, (uint32_t)channel, at->of_first};
    else if (value > at->second) {
        at->second = value;
        at->of_second = (uint32_t)channel;
    }
}

/* Finds the peaks list[0 .. count) over channels [from, until), or the first `count` ones. */
static void find_peaks(const float *values, size_t stride, const float *by, size_t from, size_t until,
                       const uint32_t *list, size_t count, peak *peaks)
{
    for (size_t k = 0; k < count; k++)
        peaks[list ? list[k] : k] = NO_PEAK;
    for (size_t c = from; c < until; c++)
        for (size_t k = 0; k < count; k++) {
            const size_t at = list ? list[k] : k;
            note_peak(&peaks[at], values[c * stride + at] * by[c], c);
        }
}

static double squares_of(const peak *peaks, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++)
        sum += (double)peaks[k].first * (double)peaks[k].first;
    return sum;
}

/* Returns the sum of the squared peaks if the values of `channel` are multiplied by `by`. */
static double squares_with(const peak *peaks, const float *values, size_t count, size_t channel, float by)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
        const float other = peaks[k].of_first == channel ? peaks[k].second : peaks[k].first, own = values[k] * by,
                    most = own > other ? own : other;
        sum += (double)most * (double)most;
    }
    return sum;
}

/* Changes a peak after the values of `channel` have changed. Returns false if others may be greater now. */
static bool renew_peak(peak *at, float value, size_t channel)
{
    if (at->of_first == channel) {
        at->first = value;
        return value >= at->second;
    }
    if (at->of_second == channel) {
        const float second = at->second;
        if (value > at->first)
            *at = (peak){value, at->first, (uint32_t)channel, at->of_first};
        else
            at->second = value;
        return value >= second;
    }
    note_peak(at, value, channel);
    return true;
}

static void renew_peaks(const factor_search *s, const float *values, size_t count, const float *by, size_t channel,
                        size_t from, size_t until, peak *peaks)
{
    size_t stale = 0;
    for (size_t k = 0; k < count; k++)
        if (!renew_peak(&peaks[k], values[channel * count + k] * by[channel], channel))
            s->stale[stale++] = (uint32_t)k;
    find_peaks(values, count, by, from, until, s->stale, stale, peaks);
}

/* ---- the predicted error ---- */

static double share_of(double levels) { return levels > 0 ? 1 / (levels * levels) : 0; }

static double error_of(const factor_search *s, double weights_error, double token_squares, double products)
{
    return share_of(s->p->weight_levels) * weights_error + share_of(s->p->input_levels) * token_squares * products;
}

static double error_now(const factor_search *s) { return error_of(s, s->weights_error, s->token_squares, s->products); }

static void set_factor(factor_search *s, size_t c, int step)
{
    s->at[c] = step;
    s->factors[c] = factor_of(s, step);
    s->inverses[c] = 1 / s->factors[c];
}

static size_t group_end(const factor_search *s, size_t group)
{
    const size_t end = (group + 1) * s->p->group;
    return end < s->p->channels ? end : s->p->channels;
}

/* Computes everything from the factors. */
static void set_factors(factor_search *s, const int *steps)
{
    const organ_smooth_problem *const p = s->p;
    for (size_t c = 0; c < p->channels; c++)
        set_factor(s, c, steps[c]);
    s->weights_error = s->products = 0;
    for (size_t g = 0; g < s->groups; g++) {
        peak *const peaks = s->of_rows + g * p->rows;
        find_peaks(p->weights, p->rows, s->factors, g * p->group, group_end(s, g), NULL, p->rows, peaks);
        s->row_squares[g] = squares_of(peaks, p->rows);
        s->ratios[g] = 0;
        for (size_t c = g * p->group; c < group_end(s, g); c++)
            s->ratios[g] += p->input_squares[c] / ((double)s->factors[c] * (double)s->factors[c]);
        s->weights_error += s->row_squares[g] * s->ratios[g];
    }
    find_peaks(p->inputs, p->tokens, s->inverses, 0, p->channels, NULL, p->tokens, s->of_tokens);
    s->token_squares = squares_of(s->of_tokens, p->tokens) / (double)p->tokens;
    for (size_t c = 0; c < p->channels; c++)
        s->products += p->weight_squares[c] * ((double)s->factors[c] * (double)s->factors[c]);
}

/* ---- the search ---- */

/* Multiplies the factor of channel c by 2^(by / steps) if the error falls. */
static bool try_step(factor_search *s, size_t c, int by)
{
    const organ_smooth_problem *const p = s->p;
    const size_t g = c / p->group;
    const int step = s->at[c] + by;
    if (!is_allowed(step, s->steps, allowed_of(s, c)))
        return false;
    peak *const peaks = s->of_rows + g * p->rows;
    const double now = (double)s->factors[c], then = (double)factor_of(s, step);
    const double rows = squares_with(peaks, p->weights + c * p->rows, p->rows, c, (float)then),
                 tokens = squares_with(s->of_tokens, p->inputs + c * p->tokens, p->tokens, c, 1 / (float)then) /
                          (double)p->tokens,
                 ratios = s->ratios[g] + p->input_squares[c] * (1 / (then * then) - 1 / (now * now)),
                 products = s->products + p->weight_squares[c] * (then * then - now * now),
                 weights = s->weights_error - s->row_squares[g] * s->ratios[g] + rows * ratios;
    if (!(error_of(s, weights, tokens, products) < error_now(s) * (1 - LEAST_GAIN)))
        return false;
    set_factor(s, c, step);
    renew_peaks(s, p->weights, p->rows, s->factors, c, g * p->group, group_end(s, g), peaks);
    renew_peaks(s, p->inputs, p->tokens, s->inverses, c, 0, p->channels, s->of_tokens);
    s->row_squares[g] = rows;
    s->token_squares = tokens;
    s->ratios[g] = ratios;
    s->products = products;
    s->weights_error = weights;
    return true;
}

/* Sets s->best to the best start: no scaling, or an alpha. Returns the error without scaling. */
static double find_start(factor_search *s)
{
    const organ_smooth_problem *const p = s->p;
    memset(s->best, 0, p->channels * sizeof *s->best);
    set_factors(s, s->best);
    const double before = error_now(s);
    double least = before;
    for (unsigned k = 0; k < ALPHAS; k++) {
        for (size_t c = 0; c < p->channels; c++) {
            const double wanted = organ_smooth_factor((3 + k) / 10.0, (double)p->ranges[c], (double)p->greatest[c]);
            s->at[c] = organ_smooth_nearest(wanted, s->steps, allowed_of(s, c));
        }
        set_factors(s, s->at);
        if (error_now(s) < least) {
            least = error_now(s);
            memcpy(s->best, s->at, p->channels * sizeof *s->best);
        }
    }
    set_factors(s, s->best);
    return before;
}

static void improve(factor_search *s)
{
    bool changed = true;
    for (unsigned sweep = 0; changed && sweep < SWEEPS; sweep++) {
        changed = false;
        for (size_t c = 0; c < s->p->channels; c++)
            for (int by = -1; s->p->ranges[c] > 0 && by <= 1; by += 2)
                while (try_step(s, c, by))
                    changed = true;
    }
}

static bool allocate(factor_search *s)
{
    const organ_smooth_problem *const p = s->p;
    const size_t channels = p->channels, most = p->rows > p->tokens ? p->rows : p->tokens;
    s->groups = (channels + p->group - 1) / p->group;
    s->at = malloc(channels * sizeof *s->at);
    s->best = malloc(channels * sizeof *s->best);
    s->factors = malloc(channels * sizeof *s->factors);
    s->inverses = malloc(channels * sizeof *s->inverses);
    s->of_rows = malloc(s->groups * p->rows * sizeof *s->of_rows);
    s->of_tokens = malloc(p->tokens * sizeof *s->of_tokens);
    s->stale = malloc(most * sizeof *s->stale);
    s->row_squares = malloc(s->groups * sizeof *s->row_squares);
    s->ratios = malloc(s->groups * sizeof *s->ratios);
    return s->at && s->best && s->factors && s->inverses && s->of_rows && s->of_tokens && s->stale && s->row_squares &&
           s->ratios;
}

uint64_t organ_smooth_search_memory(uint64_t channels, uint64_t rows, uint64_t tokens, uint64_t group)
{
    const uint64_t groups = (channels + group - 1) / group;
    return channels * 4 * sizeof(float) + (groups * rows + tokens) * sizeof(peak) +
           (rows > tokens ? rows : tokens) * sizeof(uint32_t) + groups * 2 * sizeof(double);
}

organ_status organ_smooth_search(const organ_smooth_problem *p, float *factors, double *error_share, organ_error *error)
{
    factor_search s = {.p = p, .steps = p->allowed ? 1 : REAL_STEPS};
    *error_share = 1;
    if (!allocate(&s))
        organ_fail_memory(error, "smoothing");
    else {
        const double before = find_start(&s);
        if (!p->alphas_only)
            improve(&s);
        memcpy(factors, s.factors, p->channels * sizeof *factors);
        *error_share = before > 0 ? error_now(&s) / before : 1;
    }
    ORGAN_FREE_ARRAYS(s.at, s.best, s.factors, s.inverses, s.of_rows, s.of_tokens, s.stale, s.row_squares, s.ratios);
    return error->status;
}
