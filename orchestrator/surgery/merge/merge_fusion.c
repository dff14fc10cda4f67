/* SPDX-License-Identifier: MIT
 * arcee_fusion: elements of the other model that matter are taken, the rest is the base's. The importance of an element
 * is |x - b| D, where D is the Kullback-Leibler divergence of the softmaxes of its row in both models, each probability
 * increased by 1e-8. Elements are taken from the threshold median + 1.5 (third - first quartile) on. Importances are in
 * FP64, quartiles are elements floor(q (n - 1)) of the sorted importances, found exactly by passes over their bits. */
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>

/* A quartile: the element of this rank. */
typedef struct fusion_rank {
    uint64_t left;   /* its rank among the importances with the leading digits `prefix` */
    uint64_t prefix; /* the leading digits of its key, fusion_state.known bits */
} fusion_rank;

typedef struct fusion_state {
    fusion_rank ranks[3];
    unsigned known; /* bits of the prefixes */
    bool divergences_known;
    double threshold;
    double divergences[]; /* of each row */
} fusion_state;

/* Importances in the order of their keys: the bits of a number, inverted for a negative one. */
static uint64_t fusion_key(double importance)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &importance, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static double fusion_value(uint64_t key)
{
    const uint64_t bits = key >> 63 ? key & ~((uint64_t)1 << 63) : ~key;
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t fusion_state_bytes(const organ_merge_task *task)
{
    return sizeof(fusion_state) + (size_t)(task->shape.count * task->shape.rows) * sizeof(double);
}

/* The number of the first row, the number of rows, the divergences of the rows. */
static size_t fusion_sums(const organ_merge_task *task) { return 2 + organ_merge_strip_rows(&task->shape); }

/* Bits of the keys that one pass over the values finds. A small tensor needs fewer counters than values. */
static unsigned digit_bits(const organ_merge_task *task)
{
    return organ_merge_elements(task) < (uint64_t)1 << 16 ? 8 : 16;
}

static size_t fusion_counters(const organ_merge_task *task) { return 3 * ((size_t)1 << digit_bits(task)); }

static void fusion_begin(const organ_merge_task *task, void *state)
{
    fusion_state *const s = state;
    for (unsigned q = 0; q < 3; q++)
        s->ranks[q].left = (uint64_t)((double)(q + 1) / 4 * (double)(organ_merge_elements(task) - 1));
}

static double row_divergence(const organ_kernels *k, const float *x, const float *base, size_t n)
{
    float tops[2] = {x[0], base[0]};
    for (size_t i = 1; i < n; i++) {
        tops[0] = fmaxf(tops[0], x[i]);
        tops[1] = fmaxf(tops[1], base[i]);
    }
    const double first[2] = {(double)tops[0], k->exp_sum(x, n, (double)tops[0])},
                 other[2] = {(double)tops[1], k->exp_sum(base, n, (double)tops[1])};
    return k->raised_divergence(x, first, base, other, n);
}

static double importance_of(const organ_merge_strip *strip, const fusion_state *s, size_t row, size_t i)
{
    const double delta = (double)strip->input[0][row * strip->cols + i] - (double)strip->base[row * strip->cols + i];
    return fabs(delta) * s->divergences[strip->first + row];
}

static void count_importances(const organ_merge_task *task, const fusion_state *s, const organ_merge_strip *strip,
                              uint64_t *counters)
{
    const unsigned bits = digit_bits(task), shift = 64 - s->known - bits;
    const uint64_t digit = ((uint64_t)1 << bits) - 1;
    for (size_t row = 0; row < strip->rows; row++)
        for (size_t i = 0; i < strip->cols; i++) {
            const uint64_t key = fusion_key(importance_of(strip, s, row, i));
            for (unsigned q = 0; q < 3; q++)
                if (!s->known || key >> (64 - s->known) == s->ranks[q].prefix)
                    counters[(size_t)q << bits | (key >> shift & digit)]++;
        }
}

static void fusion_scan(const organ_merge_task *task, const void *state, unsigned pass, const organ_merge_strip *strip,
                        double *sums, uint64_t *counters)
{
    (void)pass;
    const fusion_state *const s = state;
    if (s->divergences_known) {
        count_importances(task, s, strip, counters);
        return;
    }
    sums[0] = (double)strip->first;
    sums[1] = (double)strip->rows;
    for (size_t row = 0; row < strip->rows; row++)
        sums[2 + row] = row_divergence(task->kernels, strip->input[0] + row * strip->cols,
                                       strip->base + row * strip->cols, strip->cols);
}

static void fusion_fold(const organ_merge_task *task, void *state, unsigned pass, const double *sums)
{
    (void)task, (void)pass;
    fusion_state *const s = state;
    for (size_t row = 0; row < (size_t)sums[1] && !s->divergences_known; row++)
        s->divergences[(size_t)sums[0] + row] = sums[2 + row];
}

static organ_status fusion_next(const organ_merge_task *task, void *state, unsigned pass, uint64_t *counters,
                                bool *again, organ_error *error)
{
    (void)pass, (void)error;
    fusion_state *const s = state;
    const unsigned bits = digit_bits(task);
    *again = true;
    if (!s->divergences_known) {
        s->divergences_known = true;
        return ORGAN_OK;
    }
    for (unsigned q = 0; q < 3; q++) {
        const uint64_t *const counted = counters + ((size_t)q << bits);
        uint64_t digit = 0;
        while (counted[digit] <= s->ranks[q].left)
            s->ranks[q].left -= counted[digit++];
        s->ranks[q].prefix = s->ranks[q].prefix << bits | digit;
    }
    s->known += bits;
    *again = s->known < 64;
    if (!*again)
        s->threshold = fusion_value(s->ranks[1].prefix) +
                       1.5 * (fusion_value(s->ranks[2].prefix) - fusion_value(s->ranks[0].prefix));
    return ORGAN_OK;
}

static void fusion_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    (void)task;
    const fusion_state *const s = state;
    for (size_t row = 0; row < strip->rows; row++)
        for (size_t i = 0; i < strip->cols; i++) {
            const size_t at = row * strip->cols + i;
            out[at] = importance_of(strip, s, row, i) >= s->threshold ? strip->input[0][at] : strip->base[at];
        }
}

const organ_merge_method organ_merge_arcee_fusion = {
    .name = "arcee_fusion",
    .about = "the base, with the other model's elements that matter most",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .most = 1,
    .state = fusion_state_bytes,
    .sums = fusion_sums,
    .counters = fusion_counters,
    .begin = fusion_begin,
    .scan = fusion_scan,
    .fold = fusion_fold,
    .next = fusion_next,
    .apply = fusion_apply,
};
