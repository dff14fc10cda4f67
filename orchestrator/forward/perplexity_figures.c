/* SPDX-License-Identifier: MIT
 * Figures computed from the scores of all tokens. */
#include <organ/forward.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

organ_mean organ_mean_of(const double *values, size_t count)
{
    double sum = 0, square = 0;
    for (size_t k = 0; k < count; k++)
        sum += values[k];
    const double n = (double)count, mean = sum / n;
    for (size_t k = 0; k < count; k++)
        square += (values[k] - mean) * (values[k] - mean);
    return (organ_mean){.mean = mean, .error = count < 2 ? NAN : sqrt(square / (n - 1) / n)};
}

organ_perplexity_figures organ_perplexity_sum(const double *nll, size_t count)
{
    organ_perplexity_figures f = {.nll = organ_mean_of(nll, count)};
    for (size_t k = 0; k < count; k++)
        f.total += nll[k];
    f.perplexity = exp(f.nll.mean);
    f.perplexity_error = f.perplexity * f.nll.error;
    return f;
}

/* To first order (delta method), with X = exp(mean(x)) and Y = exp(mean(y)), the standard error of Y - X is that of
 * the mean of Y y_k - X x_k. `weighed` is scratch for `count` numbers. */
static double difference_error(const double *x, const double *y, double X, double Y, size_t count, double *weighed)
{
    for (size_t k = 0; k < count; k++)
        weighed[k] = Y * y[k] - X * x[k];
    return organ_mean_of(weighed, count).error;
}

/* X and Y are the perplexities of the first and of the other model. Standard errors are those of the differences on
 * each token. */
organ_status organ_perplexity_compare(const organ_token_scores *first, const organ_token_scores *other, size_t count,
                                      organ_perplexity_comparison *comparison, organ_error *error)
{
    double *const values = calloc(count + 1, sizeof *values);
    if (!values)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the comparison of %zu tokens", count);
    const double X = organ_perplexity_sum(first->nll, count).perplexity,
                 Y = organ_perplexity_sum(other->nll, count).perplexity;
    organ_perplexity_comparison c = {.difference = Y - X};
    c.difference_error = difference_error(first->nll, other->nll, X, Y, count, values);
    for (size_t k = 0; k < count; k++)
        values[k] = other->nll[k] - first->nll[k];
    c.nll = organ_mean_of(values, count);
    c.ratio = exp(c.nll.mean);
    c.ratio_error = c.ratio * c.nll.error;
    c.divergence = organ_mean_of(other->divergence, count);
    for (size_t k = 0; k < count; k++)
        values[k] = other->agrees[k];
    const organ_mean agreement = organ_mean_of(values, count);
    c.agreement = agreement.mean;
    c.agreement_error = agreement.error;
    *comparison = c;
    free(values);
    return ORGAN_OK;
}
