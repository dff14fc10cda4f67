/* SPDX-License-Identifier: MIT
 * The keys that an indexer of sparse attention chooses: sets of bits, and the choice of the highest scores. */
#include "orchestrator/forward/mixers.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

size_t organ_forward_index_words(size_t total) { return (total + 31) / 32; }

/* Returns the least number of tokens that are compressed to one in a layer with an indexer; 0: there is no such layer.
 */
static size_t least_rate(const organ_forward_config *c)
{
    size_t least = 0;
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].indexed && c->kinds[l].compress && (least == 0 || c->kinds[l].compress < least))
            least = c->kinds[l].compress;
    return least;
}

/* Up to FORWARD_QUERIES queries have scores; chosen keys are bits. If no query has more keys than are chosen, all are
 * attended to. */
size_t organ_forward_index_room(const organ_forward_config *c, size_t tokens, size_t total)
{
    const size_t rate = least_rate(c), keys = rate ? total / rate : total,
                 chosen = rate ? c->compressed.keys : c->latent.keys;
    return chosen == 0 || keys <= chosen
               ? 0
               : tokens * organ_forward_index_words(keys) + organ_min(tokens, FORWARD_QUERIES) * keys;
}

/* Inverting the sign bit of positive numbers and all bits of negative numbers orders the bits of floats like
 * integers. A NaN gets 0. */
static uint32_t index_rank(float score)
{
    uint32_t bits;
    score += 0.0F; /* -0 and 0 are equal */
    memcpy(&bits, &score, sizeof bits);
    if (score != score)
        return 0;
    return bits >> 31 ? ~bits : bits | 0x80000000U;
}

/* Returns the rank of the `chosen`-th highest score. *above is the number of scores with a higher rank. Radix
 * selection: for each byte from the highest on, counts the values of the byte among the scores that share the higher
 * bytes found so far, and finds the value that the `chosen`-th score has. */
static uint32_t least_chosen(const float *scores, size_t count, size_t chosen, size_t *above)
{
    uint32_t prefix = 0, mask = 0;
    *above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        size_t counts[256] = {0};
        unsigned digit = 255;
        for (size_t k = 0; k < count; k++) {
            const uint32_t rank = index_rank(scores[k]);
            counts[rank >> shift & 255] += (rank & mask) == prefix;
        }
        for (; *above + counts[digit] < chosen; digit--)
            *above += counts[digit];
        prefix |= (uint32_t)digit << shift;
        mask |= 255U << shift;
    }
    return prefix;
}

void organ_forward_choose(const float *scores, size_t visible, size_t chosen, uint32_t *bits, size_t words)
{
    size_t above = 0;
    memset(bits, 0, words * sizeof *bits);
    const uint32_t least = visible > chosen ? least_chosen(scores, visible, chosen, &above) : 0;
    /* keys with exactly the least rank that are still to be chosen */
    size_t equal = visible > chosen ? chosen - above : visible;
    for (size_t k = 0; k < visible; k++) {
        const uint32_t rank = visible > chosen ? index_rank(scores[k]) : 0;
        const bool is_tie = rank == least && equal > 0;
        equal -= is_tie;
        if (rank > least || is_tie)
            bits[k / 32] |= 1U << k % 32;
    }
}

bool organ_forward_index_mask(const uint32_t *chosen, size_t first, size_t keys, float *scores)
{
    bool any = false;
    for (size_t k = first; k < first + keys; k++)
        if (chosen[k / 32] >> k % 32 & 1)
            any = true;
        else
            scores[k - first] = -INFINITY;
    return any;
}
