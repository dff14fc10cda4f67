/* SPDX-License-Identifier: MIT
 * Computes answers to questions, McNemar's test and the confidence interval of a difference of accuracies. */
#include "orchestrator/surgery/text/task_figures.h"

#include <math.h>

#define NORMAL_975 1.959963984540054 /* 0.975 quantile of the standard normal distribution */

double organ_task_likelihood(const organ_task_choice *choice, const double *nll)
{
    double sum = 0;
    for (size_t k = 0; k < choice->tokens; k++)
        sum += nll[choice->first + k];
    return -sum;
}

organ_task_answer organ_task_answer_of(const organ_task_set *set, size_t question, const double *nll)
{
    const organ_task_question *const q = &set->questions[question];
    const organ_task_choice *const choices = set->choices + q->first;
    organ_task_answer answer = {0};
    double best = -INFINITY, best_normalised = -INFINITY;
    for (size_t k = 0; k < q->choices; k++) {
        const double likelihood = organ_task_likelihood(&choices[k], nll),
                     normalised = likelihood / (double)choices[k].characters;
        if (likelihood > best) {
            best = likelihood;
            answer.choice = k;
        }
        if (normalised > best_normalised) {
            best_normalised = normalised;
            answer.normalised = k;
        }
    }
    answer.right = choices[answer.choice].gold;
    answer.right_normalised = choices[answer.normalised].gold;
    return answer;
}

double organ_task_mcnemar(const organ_task_pairs *pairs)
{
    const size_t n = pairs->only_first + pairs->only_other,
                 less = pairs->only_first < pairs->only_other ? pairs->only_first : pairs->only_other;
    /* Sums the binomial probabilities C(n, k) / 2^n for k = 0 .. less, and doubles the sum because the test is
     * two-sided. Computes them by their logarithms: 2^-n underflows for n above 1074. */
    double sum = 0, log_term = -(double)n * M_LN2;
    for (size_t k = 0; k <= less; k++) {
        sum += exp(log_term);
        log_term += log((double)(n - k)) - log((double)(k + 1));
    }
    return 2 * sum < 1 ? 2 * sum : 1;
}

organ_task_difference organ_task_difference_of(const organ_task_pairs *pairs)
{
    const double n = (double)pairs->count, adjusted = n + 2;
    const double lost = ((double)pairs->only_first + 1) / adjusted, won = ((double)pairs->only_other + 1) / adjusted;
    const double middle = won - lost, half = NORMAL_975 * sqrt((won + lost - middle * middle) / adjusted);
    return (organ_task_difference){.difference = ((double)pairs->only_other - (double)pairs->only_first) / n,
                                   .low = fmax(middle - half, -1),
                                   .high = fmin(middle + half, 1)};
}
