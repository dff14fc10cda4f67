/* SPDX-License-Identifier: MIT
 * Computes the answers of models to questions with several choices, and compares the accuracies of two models on the
 * same questions. */
#ifndef ORGAN_TASK_FIGURES_H
#define ORGAN_TASK_FIGURES_H

#include <organ/forward.h>
#include "orchestrator/surgery/text/task_file.h"

/* The answer of a model to a question. Choices are numbered within the question; the first of equally likely choices is
 * the answer. */
typedef struct organ_task_answer {
    size_t choice;                /* choice with the largest log-likelihood (acc) */
    size_t normalised;            /* choice with the largest log-likelihood divided by its characters (acc_norm) */
    bool right, right_normalised; /* whether `choice`, and `normalised`, is a right one */
} organ_task_answer;

/* Returns the log-likelihood of a choice in nats: minus the sum of `nll` over the tokens of the choice. `nll` has the
 * negative log-likelihood of every scored token of the plan, in the plan's order. */
double organ_task_likelihood(const organ_task_choice *choice, const double *nll);

/* Returns the answer to question number `question` from a model's `nll`. Source: lm-evaluation-harness 0.4.13,
 * ConfigurableTask.process_results. */
organ_task_answer organ_task_answer_of(const organ_task_set *set, size_t question, const double *nll);

/* Paired comparison of the right answers of a first and another model to the same questions. */
typedef struct organ_task_pairs {
    size_t count;                  /* questions */
    size_t only_first, only_other; /* questions that only the first, or only the other model answers right */
} organ_task_pairs;

/* Returns the p-value of the exact two-sided test of McNemar (1947): the probability, if both models are equally good,
 * of a split of only_first + only_other questions at least as uneven as this one. In (0, 1]. */
double organ_task_mcnemar(const organ_task_pairs *pairs);

/* Difference of accuracies (other - first) with a 95 % confidence interval: the adjusted Wald interval of Bonett and
 * Price (2012), which adds one question to each of only_first and only_other. The interval is limited to [-1, 1]. */
typedef struct organ_task_difference {
    double difference, low, high;
} organ_task_difference;
organ_task_difference organ_task_difference_of(const organ_task_pairs *pairs);

#endif
