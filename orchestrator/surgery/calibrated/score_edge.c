/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/calibrated/score_edge.h"

#include <stdbool.h>
#include <string.h>

static uint32_t bits_of(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x7fffffff;
}

static const unsigned shifts[ORGAN_EDGE_DIGITS] = {22, 11, 0};

void organ_edge_count(const organ_score_edge *e, unsigned digit, const float *scores, size_t n, uint64_t counts[ORGAN_EDGE_DIGIT])
{
    for (size_t k = 0; k < n; k++) {
        const uint32_t bits = bits_of(scores[k]);
        counts[bits >> shifts[digit] & (ORGAN_EDGE_DIGIT - 1)] += (bits & e->known) == e->bits;
    }
}

void organ_edge_settle(organ_score_edge *e, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT], uint64_t rank)
{
    uint32_t found = 0;
    while (e->less + counts[found] <= rank)
        e->less += counts[found++];
    e->bits |= found << shifts[digit];
    e->known |= (uint32_t)(ORGAN_EDGE_DIGIT - 1) << shifts[digit];
}

uint64_t organ_edge_cut(const organ_score_edge *e, const float *scores, size_t n, uint64_t equals, uint8_t *keep)
{
    uint64_t met = 0;
    for (size_t k = 0; k < n; k++) {
        const uint32_t bits = bits_of(scores[k]);
        const bool at = bits == e->bits;
        keep[k] = !(bits < e->bits || (at && met < equals));
        met += at;
    }
    return met;
}

void organ_mask_least(const float *scores, size_t n, size_t count, uint8_t *keep)
{
    organ_score_edge e = {0};
    memset(keep, count < n, n);
    if (count == 0 || count >= n)
        return;
    for (unsigned d = 0; d < ORGAN_EDGE_DIGITS; d++) {
        uint64_t counts[ORGAN_EDGE_DIGIT] = {0};
        organ_edge_count(&e, d, scores, n, counts);
        organ_edge_settle(&e, d, counts, count - 1);
    }
    organ_edge_cut(&e, scores, n, count - e.less, keep);
}
