/* SPDX-License-Identifier: MIT
 * Radix selection on all workers: one pass over the scores for each digit of the edge, the magnitude of the largest
 * removed score, then one pass that compares all scores with the edge. */
#include "orchestrator/surgery/prune/edge_search.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"

#include <stdlib.h>
#include <string.h>

static size_t edge_strips(const organ_edge_search *s) { return organ_pieces_of(s->count, s->strip); }

/* Returns the number of scores of strip `index`. */
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

/* Adds digit s->digit of a strip's magnitudes to the worker's counts. Only magnitudes that equal the edge in all higher
 * digits count. */
static void count_strip_digit(void *context, size_t index, size_t worker)
{
    organ_edge_search *const s = context;
    organ_edge_search_count(s, index * s->strip, edge_strip_length(s, index), worker);
}

/* Adds the counts of all workers, and finds from them digit s->digit of the edge. The edge has rank removed - 1 among
 * the magnitudes in ascending order. */
static void select_edge_digit(organ_edge_search *s)
{
    for (size_t w = 1; w < organ_workers_count(s->engine->workers); w++)
        for (size_t k = 0; k < ORGAN_EDGE_DIGIT; k++)
            s->counts[k] += s->counts[w * ORGAN_EDGE_DIGIT + k];
    organ_edge_select_digit(&s->edge, s->digit, s->counts, s->removed - 1);
}

/* Sets the mask of a strip: removes the scores below the edge, and the first equals[index] of those equal to the edge.
 * Then sets equals[index] to the number of scores equal to the edge. */
static void cut_edge_strip(void *context, size_t index, size_t worker)
{
    organ_edge_search *const s = context;
    const size_t at = index * s->strip;
    (void)worker;
    s->equals[index] =
        organ_edge_cut(&s->edge, s->scores + at, edge_strip_length(s, index), s->equals[index], s->keep + at);
}

/* Removes the first scores equal to the edge, as many as must be removed in addition to those below it. Strips with
 * such scores are few, most often one. */
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
