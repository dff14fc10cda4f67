/* SPDX-License-Identifier: MIT
 * Scores two models of which the second has some of the tokens of the first, under other ids: both run the tokens of
 * the second, and the distributions of both are those of its tokens alone. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/text.h"

#include <stdlib.h>

/* Only the first of two models has other ids and further tokens. */
static const organ_shared_tokens *renamed_in(const organ_scored_model *m)
{
    return m == m->scoring->models ? m->scoring->shared : NULL;
}

organ_status organ_scoring_carry_shared(organ_scored_model *m, const organ_windows *windows, organ_error *error)
{
    const organ_shared_tokens *const shared = renamed_in(m);
    const size_t tokens = windows->begin[windows->count];
    if (!shared)
        return organ_scoring_carry(m, windows, error);
    ORGAN_OWNED uint32_t *const renamed = malloc((tokens + 1) * sizeof *renamed);
    if (!renamed)
        return organ_fail_memory(error, m->path);
    for (size_t k = 0; k < tokens; k++)
        renamed[k] = shared->ids[windows->tokens[k]];
    return organ_scoring_carry(m, &(organ_windows){renamed, windows->count, windows->begin}, error);
}

size_t organ_scoring_logit_count(const organ_scored_model *m)
{
    const organ_shared_tokens *const shared = m->scoring->shared;
    return shared ? shared->count : (size_t)organ_forward_describe(m->forward)->vocabulary;
}

enum { GATHERED = 1024 }; /* logits that are summed together */

double organ_listed_exp_sum(const organ_kernels *kernels, const uint32_t *ids, size_t count, const float *logits,
                            double top)
{
    double sum = 0;
    float values[GATHERED];
    for (size_t from = 0, n; from < count; from += n) {
        for (n = 0; n < GATHERED && from + n < count; n++)
            values[n] = logits[ids[from + n]];
        sum += kernels->exp_sum(values, n, top);
    }
    return sum;
}

typedef struct shared_receiver {
    const organ_scored_model *model;
    const organ_shared_tokens *shared;
    void *receiver;
    void (*each)(void *receiver, size_t k, float *logits);
} shared_receiver;

/* Ascending ids are not below their index, so that no logit is overwritten before it has moved. */
static void receive_shared(void *context, size_t k, float *logits)
{
    const shared_receiver *const r = context;
    const organ_kernels *const kernels = r->model->scoring->engine.kernels;
    const size_t all = (size_t)organ_forward_describe(r->model->forward)->vocabulary;
    const double top = (double)logits[organ_logits_top(logits, all)];
    const double kept = organ_listed_exp_sum(kernels, r->shared->ids, r->shared->count, logits, top),
                 dropped = r->shared->count == all ? 0 : 1 - kept / kernels->exp_sum(logits, all, top);
    r->model->dropped[r->model->dropped_next + k] = dropped > 0 ? dropped : 0;
    for (size_t n = 0; n < r->shared->count; n++)
        logits[n] = logits[r->shared->ids[n]];
    r->each(r->receiver, k, logits);
}

organ_status organ_scoring_logits(void *model, const size_t *rows, size_t count, void *receiver,
                                  void (*each)(void *receiver, size_t k, float *logits), organ_error *error)
{
    organ_scored_model *const m = model;
    const organ_shared_tokens *const shared = renamed_in(m);
    shared_receiver of_shared = {.model = m, .shared = shared, .receiver = receiver, .each = each};
    if (!shared)
        return organ_forward_logits(m->forward, m->hidden, rows, count, receiver, each, error);
    organ_forward_logits(m->forward, m->hidden, rows, count, &of_shared, receive_shared, error);
    m->dropped_next += count;
    return error->status;
}
