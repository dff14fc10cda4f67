/* SPDX-License-Identifier: MIT
 * Figures of scored tokens, with standard errors from the variance between windows. */
#include <organ/forward.h>

#include "formats/base/results.h"
#include "formats/base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- the windows ---- */

static int by_number(const void *a, const void *b)
{
    const size_t x = ((const organ_score_window *)a)->number, y = ((const organ_score_window *)b)->number;
    return (x > y) - (x < y);
}

organ_status organ_score_windows_make(const organ_perplexity_plan *plan, size_t count, const size_t *numbers,
                                      size_t all, organ_score_windows *windows, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    size_t next = 0;
    *windows = (organ_score_windows){.window = malloc((count + 1) * sizeof *windows->window), .count = count};
    if (!windows->window)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu windows", count);
    for (size_t w = 0; w < count; w++) {
        organ_score_window *const window = &windows->window[w];
        *window = (organ_score_window){.first = next, .at = w, .number = numbers ? numbers[w] : w};
        while (next < plan->scored && plan->rows[next] < plan->begin[w + 1])
            next++;
        window->count = next - window->first;
    }
    if (numbers) {
        windows->all = all;
        qsort(windows->window, count, sizeof *windows->window, by_number);
    }
    return ORGAN_OK;
}

void organ_score_windows_release(organ_score_windows *windows)
{
    free(windows->window);
    *windows = (organ_score_windows){0};
}

static organ_score_window window_at(const organ_score_windows *w, size_t k)
{
    return w->window ? w->window[k] : (organ_score_window){.first = k, .count = 1, .at = k, .number = k};
}

/* ---- means ---- */

/* Sum of value - mean over the values of a window. */
static double residual_of(const double *values, double mean, const organ_score_window *window)
{
    double sum = 0;
    for (size_t k = window->first; k < window->first + window->count; k++)
        sum += values[k] - mean;
    return sum;
}

/* Standard error of the sum of all values of independent windows. */
static double error_of_adjacent(const double *values, double mean, const organ_score_windows *windows)
{
    const double n = (double)windows->count;
    double square = 0;
    for (size_t w = 0; w < windows->count; w++) {
        const organ_score_window window = window_at(windows, w);
        const double r = residual_of(values, mean, &window);
        square += r * r;
    }
    return sqrt(n / (n - 1) * square);
}

/* The same if the windows are spread over a text: `steps` sums squares of differences between neighbours, `filled` the
 * interpolated residuals of all windows of the text. */
static double error_of_spread(const double *values, double mean, const organ_score_windows *windows)
{
    const double n = (double)windows->count, all = (double)windows->all;
    organ_score_window before = windows->window[0];
    double last = residual_of(values, mean, &before), steps = 0;
    double filled = last * (double)before.number;
    for (size_t w = 1; w < windows->count; w++) {
        const organ_score_window window = windows->window[w];
        const double r = residual_of(values, mean, &window), gap = (double)(window.number - before.number);
        steps += (r - last) * (r - last);
        filled += last * gap + (r - last) * (gap - 1) / 2;
        last = r;
        before = window;
    }
    filled += last * (all - (double)before.number);
    const double uneven = n * filled / all;
    return sqrt((1 - n / all) * n / (n - 1) * steps / 2 + uneven * uneven);
}

static double sum_of(const double *values, const organ_score_windows *windows, size_t *count)
{
    double sum = 0;
    *count = 0;
    for (size_t w = 0; w < windows->count; w++) {
        const organ_score_window window = window_at(windows, w);
        for (size_t k = window.first; k < window.first + window.count; k++)
            sum += values[k];
        *count += window.count;
    }
    return sum;
}

organ_mean organ_mean_between(const double *values, const organ_score_windows *windows)
{
    size_t count;
    const double mean = sum_of(values, windows, &count) / (double)count;
    const bool spread = windows->window && windows->all > windows->count;
    if (windows->count < 2)
        return (organ_mean){.mean = mean, .error = NAN};
    return (organ_mean){
        .mean = mean,
        .error = (spread ? error_of_spread(values, mean, windows) : error_of_adjacent(values, mean, windows)) /
                 (double)count};
}

organ_mean organ_mean_of(const double *values, size_t count)
{
    return organ_mean_between(values, &(organ_score_windows){.count = count});
}

/* ---- figures of one model ---- */

organ_perplexity_figures organ_perplexity_sum_windows(const double *nll, const organ_score_windows *windows)
{
    size_t count = 0;
    organ_perplexity_figures f = {.nll = organ_mean_between(nll, windows), .total = sum_of(nll, windows, &count)};
    f.perplexity = exp(f.nll.mean);
    f.perplexity_error = f.perplexity * f.nll.error;
    return f;
}

organ_perplexity_figures organ_perplexity_sum(const double *nll, size_t count)
{
    return organ_perplexity_sum_windows(nll, &(organ_score_windows){.count = count});
}

/* ---- comparison of two models ---- */

/* To first order (delta method), with X = exp(mean(x)) and Y = exp(mean(y)), the standard error of Y - X is that of
 * the mean of Y y_k - X x_k. X and Y are the perplexities of the first and of the other model. */
static void compare_values(const organ_token_scores *first, const organ_token_scores *other,
                           const organ_score_windows *windows, double *values, size_t count,
                           organ_perplexity_comparison *c)
{
    const double X = organ_perplexity_sum_windows(first->nll, windows).perplexity,
                 Y = organ_perplexity_sum_windows(other->nll, windows).perplexity;
    c->difference = Y - X;
    for (size_t k = 0; k < count; k++)
        values[k] = Y * other->nll[k] - X * first->nll[k];
    c->difference_error = organ_mean_between(values, windows).error;
    for (size_t k = 0; k < count; k++)
        values[k] = other->nll[k] - first->nll[k];
    c->nll = organ_mean_between(values, windows);
    c->ratio = exp(c->nll.mean);
    c->ratio_error = c->ratio * c->nll.error;
    c->divergence = organ_mean_between(other->divergence, windows);
    for (size_t k = 0; k < count; k++)
        values[k] = other->agrees[k];
    const organ_mean agreement = organ_mean_between(values, windows);
    c->agreement = agreement.mean;
    c->agreement_error = agreement.error;
}

organ_status organ_perplexity_compare_windows(const organ_token_scores *first, const organ_token_scores *other,
                                              const organ_score_windows *windows,
                                              organ_perplexity_comparison *comparison, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    size_t count = 0;
    sum_of(first->nll, windows, &count);
    ORGAN_OWNED double *const values = calloc(count + 1, sizeof *values);
    if (!values)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the comparison of %zu tokens", count);
    *comparison = (organ_perplexity_comparison){0};
    compare_values(first, other, windows, values, count, comparison);
    return ORGAN_OK;
}

organ_status organ_perplexity_compare(const organ_token_scores *first, const organ_token_scores *other, size_t count,
                                      organ_perplexity_comparison *comparison, organ_error *error)
{
    return organ_perplexity_compare_windows(first, other, &(organ_score_windows){.count = count}, comparison, error);
}
