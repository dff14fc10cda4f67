/* SPDX-License-Identifier: MIT
 * The baselines that rank weights and cut: magnitude over the matrix, wanda within each row. */
#include "orchestrator/surgery/prune_matrix_job.h"

#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/low_rank_job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGIT 2048 /* 11 bits */

static uint32_t bits_of(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x7fffffff;
}

/* The bits of the score of that rank (0 is the least), digit by digit from above; *before: how many scores are less. */
static uint32_t score_of_rank(const float *scores, size_t n, size_t rank, size_t *before)
{
    static const unsigned shifts[] = {22, 11, 0};
    uint32_t found = 0, mask = 0;
    *before = 0;
    for (unsigned d = 0; d < 3; d++) {
        uint32_t counts[DIGIT] = {0}, digit = 0;
        for (size_t k = 0; k < n; k++) {
            const uint32_t bits = bits_of(scores[k]);
            counts[bits >> shifts[d] & (DIGIT - 1)] += (bits & mask) == found;
        }
        while (*before + counts[digit] <= rank)
            *before += counts[digit++];
        found |= digit << shifts[d];
        mask |= (uint32_t)(DIGIT - 1) << shifts[d];
    }
    return found;
}

void organ_mask_least(const float *scores, size_t n, size_t count, uint8_t *keep)
{
    memset(keep, count < n, n);
    if (count == 0 || count >= n)
        return;
    size_t less;
    const uint32_t edge = score_of_rank(scores, n, count - 1, &less);
    size_t equals = count - less;
    for (size_t k = 0; k < n; k++) {
        const uint32_t bits = bits_of(scores[k]);
        if (bits < edge)
            keep[k] = 0;
        else if (bits == edge && equals > 0) {
            keep[k] = 0;
            equals--;
        }
    }
}

static void cut_row(void *context, size_t row, size_t worker)
{
    const organ_matrix_job *const job = context;
    const organ_pattern *const pattern = &job->options->pattern;
    float *const weights = job->weights + row * job->cols;
    uint8_t *const keep = job->keep + row * job->cols;
    float *const scores = organ_floats(job->cols, 1);
    (void)worker;
    if (!scores) { /* seen by the caller, who counts zeros */
        keep[0] = 2;
        return;
    }
    for (size_t j = 0; j < job->cols; j++)
        scores[j] = fabsf(weights[j]) * (job->options->method == ORGAN_PRUNE_WANDA ? job->moments->act_norm[j] : 1.0f);
    if (pattern->of)
        for (size_t j = 0; j < job->cols; j += pattern->of)
            organ_pattern_group(pattern, scores + j, keep + j);
    else
        organ_mask_least(scores, job->cols, (size_t)llround(job->options->sparsity / 100 * (double)job->cols), keep);
    free(scores);
}

organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error)
{
    const size_t n = job->rows * job->cols;
    if (job->options->method == ORGAN_PRUNE_MAGNITUDE && !job->options->pattern.of)
        organ_mask_least(job->weights, n, (size_t)llround(job->options->sparsity / 100 * (double)n), job->keep);
    else {
        organ_share(job->engine, NULL, job->rows, cut_row, job);
        for (size_t row = 0; row < job->rows; row++)
            if (job->keep[row * job->cols] == 2)
                return organ_fail_errno(error, ENOMEM, "%s", job->options->name);
    }
    for (size_t k = 0; k < n; k++)
        if (!job->keep[k])
            job->weights[k] = 0;
    return ORGAN_OK;
}
