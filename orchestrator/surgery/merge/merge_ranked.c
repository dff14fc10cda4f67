/* SPDX-License-Identifier: MIT
 * The choice of DELLA (arXiv 2406.11617): an element of a row is kept if its random number is below a bound that grows
 * with the rank of its key in the row. Elements are sorted by the leading bits of their magnitudes only. The bounds of
 * the first and the last rank of such a bucket decide about nearly all of its elements; exact ranks are needed for the
 * others. Elements of value 0 are not decided, because it would not change them. */
#include "orchestrator/surgery/merge/merge_parts.h"

#include "orchestrator/machine/quantity.h"

#include <string.h>

#define MOST_BUCKETS ((size_t)1 << 13)
#define LONG_ROW     ((size_t)8192) /* values of rows that are divided into all buckets; others into a quarter */
#define COUNTED      ((size_t)16)   /* ranks of a bucket that are counted; more need a sorted bucket */

/* An element of a bucket. */
typedef struct ranked_item {
    uint64_t key;
    size_t at;
} ranked_item;

/* The row that is divided. */
typedef struct ranked_row {
    const organ_merge_odds *odds;
    size_t cols;
    uint64_t first; /* number of its first element */
    float *delta;
    const float *uniform;
    uint32_t *order;     /* positions in the row, by bucket */
    uint32_t *undecided; /* positions in the bucket's part of `order` */
    ranked_item *items;  /* room for two for each element */
} ranked_row;

size_t organ_merge_ranked_bytes(size_t cols)
{
    return organ_to_line(cols * (2 * sizeof(ranked_item) + 2 * sizeof(uint32_t) + sizeof(float)));
}

/* Twice the probability less 1, with which numbers of Philox are compared. It does not fall with the rank. */
static float bound_of(const ranked_row *row, size_t rank)
{
    const double share = row->cols > 1 ? (double)rank / (double)(row->cols - 1) : .5;
    return (float)(2 * (row->odds->density - row->odds->epsilon + 2 * row->odds->epsilon * share) - 1);
}

/* Sorts n items by their keys, ascending, digit by digit; `other` has room for n. Returns the sorted array, one of
 * both. */
static ranked_item *sort_items(ranked_item *items, ranked_item *other, size_t n)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t counts[257] = {0};
        for (size_t i = 0; i < n; i++)
            counts[(items[i].key >> shift & 255) + 1]++;
        if (counts[(items[0].key >> shift & 255) + 1] == n)
            continue;
        for (size_t d = 0; d < 256; d++)
            counts[d + 1] += counts[d];
        for (size_t i = 0; i < n; i++)
            other[counts[items[i].key >> shift & 255]++] = items[i];
        ranked_item *const sorted = other;
        other = items;
        items = sorted;
    }
    return items;
}

static void decide(const ranked_row *row, size_t at, size_t rank)
{
    if (row->uniform[at] >= bound_of(row, rank))
        row->delta[at] = 0;
}

/* Decides about elements of a bucket by their exact ranks, of which the first is `from`. */
static void decide_exactly(const ranked_row *row, const uint32_t *members, size_t n, size_t from, size_t undecided)
{
    ranked_item *const items = row->items;
    for (size_t i = 0; i < n; i++)
        items[i] = (ranked_item){organ_merge_key(row->delta[members[i]], row->first + members[i]), members[i]};
    if (undecided <= COUNTED) {
        for (size_t u = 0; u < undecided; u++) {
            const ranked_item of = items[row->undecided[u]];
            size_t rank = from;
            for (size_t i = 0; i < n; i++)
                rank += items[i].key < of.key;
            decide(row, of.at, rank);
        }
        return;
    }
    const ranked_item *const sorted = sort_items(items, items + row->cols, n);
    for (size_t i = 0; i < n; i++)
        decide(row, sorted[i].at, from + i);
}

/* The members have the ranks from `from` on. */
static void decide_bucket(const ranked_row *row, const uint32_t *members, size_t n, size_t from)
{
    const float least = bound_of(row, from), most = bound_of(row, from + n - 1);
    size_t undecided = 0;
    for (size_t i = 0; i < n; i++) {
        const float uniform = row->uniform[members[i]];
        row->undecided[undecided] = (uint32_t)i;
        undecided += (uniform >= least) & (uniform < most) & (row->delta[members[i]] != 0);
    }
    if (undecided)
        decide_exactly(row, members, n, from, undecided);
    for (size_t i = 0; i < n; i++)
        if (row->uniform[members[i]] >= most)
            row->delta[members[i]] = 0;
}

static void decide_row(const ranked_row *row)
{
    const unsigned shift = row->cols < LONG_ROW ? 20 : 18;
    const size_t buckets = ((size_t)1 << 31) >> shift;
    uint32_t ends[MOST_BUCKETS + 1];
    memset(ends, 0, (buckets + 1) * sizeof *ends);
    for (size_t j = 0; j < row->cols; j++)
        ends[(organ_merge_magnitude(row->delta[j]) >> shift) + 1]++;
    for (size_t b = 0; b < buckets; b++)
        ends[b + 1] += ends[b];
    for (size_t j = 0; j < row->cols; j++)
        row->order[ends[organ_merge_magnitude(row->delta[j]) >> shift]++] = (uint32_t)j;
    for (size_t b = 0, from = 0; b < buckets; from = ends[b++])
        if (ends[b] > from)
            decide_bucket(row, row->order + from, ends[b] - from, from);
}

void organ_merge_choose_ranked(const organ_merge_task *task, const organ_merge_strip *strip,
                               const organ_merge_odds *odds, float *delta, void *scratch)
{
    const size_t cols = strip->cols;
    ranked_item *const items = scratch;
    uint32_t *const order = (uint32_t *)(void *)(items + 2 * cols), *const undecided = order + cols;
    float *const uniform = (float *)(void *)(undecided + cols);
    for (size_t row = 0; row < strip->rows; row++) {
        const uint64_t first = (strip->first + row) * (uint64_t)cols;
        task->kernels->philox_uniform(task->seed, odds->stream, first, uniform, cols);
        decide_row(&(ranked_row){.odds = odds,
                                 .cols = cols,
                                 .first = first,
                                 .delta = delta + row * cols,
                                 .uniform = uniform,
                                 .order = order,
                                 .undecided = undecided,
                                 .items = items});
    }
}
