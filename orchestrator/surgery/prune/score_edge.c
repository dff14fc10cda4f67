/* SPDX-License-Identifier: MIT
 * Radix selection of the edge, the score of a given rank, and masks by comparison of scores with it; on all workers:
 * one pass over the scores for each digit of the edge, then one pass that compares all scores with the edge. */
#include "orchestrator/surgery/prune/score_edge.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"

#include <stdlib.h>
#include <string.h>

#define TOGETHER ((size_t)32)      /* scores that are compared at once, without a branch */
#define TABLES   ((size_t)4)       /* histograms of count_first */
#define MANY     ((size_t)1 << 14) /* scores for which the tables of count_first pay off; a multiple of TABLES */

/* The bits without the sign have the order of the scores for values of at least 0. */
static uint32_t score_edge_bits_of(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x7fffffff;
}

/* Number of the lowest bit of each digit. All digits have 11 bits, so each overlaps the one before by a bit. The first
 * digit is that large so that few scores share it with the edge: the passes for later digits skip all others. */
static const unsigned shifts[ORGAN_EDGE_DIGITS] = {20, 10, 0};

/* n is a multiple of TABLES. The tables are used in turn: neighbouring scores often have the same digit, and an
 * increment of a counter waits for the previous increment of the same counter. */
static void count_first(const float *scores, size_t n, uint64_t counts[ORGAN_EDGE_DIGIT])
{
    uint32_t some[TABLES][ORGAN_EDGE_DIGIT] = {{0}};
    for (size_t k = 0; k < n; k += TABLES)
        for (size_t t = 0; t < TABLES; t++)
            some[t][score_edge_bits_of(scores[k + t]) >> shifts[0]]++;
    for (size_t t = 0; t < TABLES; t++)
        for (size_t b = 0; b < ORGAN_EDGE_DIGIT; b++)
            counts[b] += some[t][b];
}

static void find_alike(uint32_t known, uint32_t requested, const float *restrict scores, uint8_t *restrict alike)
{
    for (size_t k = 0; k < TOGETHER; k++)
        alike[k] = (score_edge_bits_of(scores[k]) & known) == requested;
}

static void count_one(const organ_score_edge *e, unsigned digit, float score, uint64_t counts[ORGAN_EDGE_DIGIT])
{
    const uint32_t bits = score_edge_bits_of(score);
    counts[bits >> shifts[digit] & (ORGAN_EDGE_DIGIT - 1)] += (bits & e->known) == e->bits;
}

/* Digit 0 of many scores is counted by count_first. For later digits few scores agree with the edge: find_alike
 * compares TOGETHER at once, and only those that agree are counted. count_one counts the remaining scores. */
void organ_edge_count(const organ_score_edge *e, unsigned digit, const float *scores, size_t n,
                      uint64_t counts[ORGAN_EDGE_DIGIT])
{
    size_t k = 0;
    for (; digit == 0 && n - k >= MANY; k += MANY)
        count_first(scores + k, MANY, counts);
    for (; digit > 0 && k + TOGETHER <= n; k += TOGETHER) {
        uint8_t alike[TOGETHER];
        uint64_t words[TOGETHER / sizeof(uint64_t)];
        find_alike(e->known, e->bits, scores + k, alike);
        memcpy(words, alike, sizeof words); /* bytes of 0 or 1: the lowest set bit of a word is in the next byte of 1 */
        for (size_t w = 0; w < TOGETHER / sizeof *words; w++)
            for (; words[w]; words[w] &= words[w] - 1)
                count_one(e, digit, scores[k + w * sizeof *words + (size_t)__builtin_ctzll(words[w]) / 8], counts);
    }
    for (; k < n; k++)
        count_one(e, digit, scores[k], counts);
}

/* e->less grows by the counts of the digit values 0, 1, ... while it is at most `rank`. The next value is that
 * of the edge, since the score of rank `rank` is among the scores with this value. */
void organ_edge_select_digit(organ_score_edge *e, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT],
                             uint64_t rank)
{
    uint32_t found = 0;
    while (e->less + counts[found] <= rank)
        e->less += counts[found++];
    e->bits |= found << shifts[digit];
    e->known |= (uint32_t)(ORGAN_EDGE_DIGIT - 1) << shifts[digit];
}

/* Returns the number of scores equal to the edge. The loop has no branch, so that the compiler vectorises it. The
 * bits of magnitudes are below 2^31, so signed comparisons, which every ISA has, order them. */
static uint32_t cut_batch(int32_t edge, const float *restrict scores, uint8_t *restrict keep)
{
    uint32_t at = 0;
    for (size_t k = 0; k < TOGETHER; k++) {
        const int32_t bits = (int32_t)score_edge_bits_of(scores[k]);
        keep[k] = bits >= edge;
        at += bits == edge;
    }
    return at;
}

uint64_t organ_edge_cut(const organ_score_edge *e, const float *scores, size_t n, uint64_t equals, uint8_t *keep)
{
    uint64_t at_edge = 0;
    size_t k = 0;
    for (; k + TOGETHER <= n; k += TOGETHER)
        at_edge += cut_batch((int32_t)e->bits, scores + k, keep + k);
    for (; k < n; k++) {
        keep[k] = score_edge_bits_of(scores[k]) >= e->bits;
        at_edge += score_edge_bits_of(scores[k]) == e->bits;
    }
    for (k = 0; equals > 0 && k < n; k++)
        if (score_edge_bits_of(scores[k]) == e->bits) {
            keep[k] = 0;
            equals--;
        }
    return at_edge;
}

void organ_mask_lowest(const float *scores, size_t n, size_t count, uint8_t *keep)
{
    organ_score_edge e = {0};
    memset(keep, count < n, n); /* final if none or all are removed; else overwritten below */
    if (count == 0 || count >= n)
        return;
    for (unsigned d = 0; d < ORGAN_EDGE_DIGITS; d++) {
        uint64_t counts[ORGAN_EDGE_DIGIT] = {0};
        organ_edge_count(&e, d, scores, n, counts);
        organ_edge_select_digit(&e, d, counts, count - 1);
    }
    organ_edge_cut(&e, scores, n, count - e.less, keep);
}

/* ---- on all workers ---- */

static size_t edge_strips(const organ_edge_search *s) { return organ_pieces_of(s->count, s->strip); }

static size_t edge_strip_length(const organ_edge_search *s, size_t index)
{
    return organ_min(s->strip, s->count - index * s->strip);
}

static size_t edge_counters(const organ_edge_search *s)
{
    return organ_workers_count(s->engine->workers) * ORGAN_EDGE_DIGIT;
}

bool organ_edge_search_open(organ_edge_search *s, size_t most)
{
    s->counts = malloc(edge_counters(s) * sizeof *s->counts);
    s->equals = malloc(organ_pieces_of(most, s->strip) * sizeof *s->equals);
    return s->counts && s->equals;
}

void organ_edge_search_close(organ_edge_search *s)
{
    free(s->counts);
    free(s->equals);
    s->counts = s->equals = NULL;
}

void organ_edge_search_begin(organ_edge_search *s, const float *scores, size_t count, size_t removed, uint8_t *keep)
{
    s->scores = scores;
    s->count = count;
    s->removed = removed;
    s->keep = keep;
    s->edge = (organ_score_edge){0};
    s->digit = 0;
    memset(s->counts, 0, edge_counters(s) * sizeof *s->counts);
}

void organ_edge_search_count(organ_edge_search *s, size_t at, size_t n, size_t worker)
{
    organ_edge_count(&s->edge, s->digit, s->scores + at, n, s->counts + worker * ORGAN_EDGE_DIGIT);
}

/* Only magnitudes that equal the edge in all higher digits count. */
static void count_strip_digit(void *context, size_t index, size_t worker)
{
    organ_edge_search *const s = context;
    organ_edge_search_count(s, index * s->strip, edge_strip_length(s, index), worker);
}

/* The edge has rank removed - 1 among the magnitudes in ascending order. */
static void select_edge_digit(organ_edge_search *s)
{
    for (size_t w = 1; w < organ_workers_count(s->engine->workers); w++)
        for (size_t k = 0; k < ORGAN_EDGE_DIGIT; k++)
            s->counts[k] += s->counts[w * ORGAN_EDGE_DIGIT + k];
    organ_edge_select_digit(&s->edge, s->digit, s->counts, s->removed - 1);
}

/* The scores below the edge are removed, and the first equals[index] of those equal to the edge. Then equals[index]
 * becomes the number of scores equal to the edge. */
static void cut_edge_strip(void *context, size_t index, size_t worker)
{
    organ_edge_search *const s = context;
    const size_t at = index * s->strip;
    (void)worker;
    s->equals[index] =
        organ_edge_cut(&s->edge, s->scores + at, edge_strip_length(s, index), s->equals[index], s->keep + at);
}

/* As many scores equal to the edge are removed as must be in addition to those below it. Strips with such scores are
 * few, most often one. */
static void cut_equal_scores(organ_edge_search *s)
{
    uint64_t remaining = s->removed - s->edge.less;
    for (size_t k = 0; remaining > 0; k++) {
        s->equals[k] = remaining < s->equals[k] ? remaining : s->equals[k];
        remaining -= s->equals[k];
        if (s->equals[k])
            cut_edge_strip(s, k, 0);
    }
}

void organ_edge_search_finish(organ_edge_search *s)
{
    const size_t strips = edge_strips(s);
    const double work = ORGAN_SHARE_NUMBER * (double)s->count;
    if (s->removed == 0 || s->removed >= s->count) {
        memset(s->keep, s->removed == 0, s->count);
        return;
    }
    for (select_edge_digit(s); ++s->digit < ORGAN_EDGE_DIGITS; select_edge_digit(s)) {
        memset(s->counts, 0, edge_counters(s) * sizeof *s->counts);
        organ_share_work(s->engine, NULL, strips, work, count_strip_digit, s);
    }
    memset(s->equals, 0, strips * sizeof *s->equals);
    organ_share_work(s->engine, NULL, strips, work, cut_edge_strip, s);
    cut_equal_scores(s);
}
