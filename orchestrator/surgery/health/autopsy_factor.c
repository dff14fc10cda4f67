/* SPDX-License-Identifier: MIT
 * Scales of a weight that are all wrong by one factor. No block of the weight shows it; the other weights do, and the
 * digits of the scales if the factor is no power of two. One factor of all scales of a model is found by autopsy_text.c
 * alone, or by the original. */
#include "orchestrator/surgery/health/autopsy_scales.h"

#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEIGHBOURS   2 /* layers on either side */
#define FEWEST_PEERS 3
#define WRONG        2.2 /* times the neighbours' spread, or a part of it */
#define WRONG_AT_END 4   /* the same of the first two layers and of the last two, which may differ from the rest */
#define BEYOND       6   /* times what weights of the model, and of the role, usually differ by */

/* ---- digits ---- */

#define FEWEST_SCALES 9
#define BROKEN        0.7  /* share of scales with such digits below which the digits of a BF16 model are lost */
#define WHOLE         0.99 /* share from which on they are present */

/* Returns true if x is m 2^e for a whole number m below 2^8, within the rounding of one division and one product in
 * FP32. Probability by chance: 2^-13. */
static bool is_bf16(double x)
{
    int exponent;
    const double m = ldexp(frexp(x, &exponent), 8);
    return fabs(m - rint(m)) < 0x1p-14;
}

/* Returns the share of scales that become BF16 values if multiplied by `times`. Scales of BF16 weights are the block's
 * maximum, a BF16 value, over the largest code. */
static double share_of_bf16(const organ_blocks *b, double times)
{
    const size_t count = b->rows * b->cols;
    size_t good = 0;
    for (size_t k = 0; k < count; k++)
        good += is_bf16((double)b->scales[k] * times);
    return (double)good / (double)count;
}

/* Reports FP8 scales that were all multiplied by one factor. In a model converted from BF16 the scale times the largest
 * code is the largest value of the block, which is a BF16 value. A factor of 3 breaks that in two of three blocks, and
 * multiplying by a third restores it. Powers of two cannot be detected. */
void organ_autopsy_judge_digits(organ_autopsy_job *job, const organ_weight_stats *v, const organ_blocks *blocks)
{
    static const double factors[] = {3, 1 / 3.0, 5, 1 / 5.0, 7, 1 / 7.0, 9, 1 / 9.0, 3 / 5.0, 5 / 3.0};
    static const char *const names[] = {"3", "1/3", "5", "1/5", "7", "1/7", "9", "1/9", "3/5", "5/3"};
    static const organ_verdict verdict = {
        "scale_factor", "scales wrong by one factor", "scales whose digits are those of a BF16 model",
        "All its scales were multiplied by the same factor after they were computed. Divide them by it, "
        "or convert the original again.",
        true};
    const organ_dtype code = v->weight->codes->dtype;
    double largest = code == ORGAN_F8_E4M3 ? 448 : 0;
    if (code == ORGAN_F8_E5M2)
        largest = 57344;
    if (v->weight->scheme != ORGAN_SCHEME_FP8 || v->weight->scale->dtype != ORGAN_F32 || largest == 0 ||
        blocks->rows * blocks->cols < FEWEST_SCALES || share_of_bf16(blocks, largest) > BROKEN)
        return;
    for (size_t k = 0; k < sizeof factors / sizeof *factors; k++)
        if (share_of_bf16(blocks, largest / factors[k]) >= WHOLE) {
            organ_autopsy_report(job, true, v->weight, &verdict,
                                 "%.0f percent of %zu scales are a BF16 value over the largest code; divided by %s (or "
                                 "%s times a power of "
                                 "two) %.0f percent are",
                                 100 * share_of_bf16(blocks, largest), blocks->rows * blocks->cols, names[k], names[k],
                                 100 * share_of_bf16(blocks, largest / factors[k]));
            return;
        }
}

/* ---- comparison of layers ---- */

/* A weight and the values by which it is compared. */
typedef struct peer {
    const organ_weight_stats *stats;
    long layer;
    double ln_std;
    double off;          /* from its neighbours */
    double alone;        /* the same without what the other weights of its layer are off by */
    size_t place, count; /* in its role, and how many are there */
} peer;

static int autopsy_factor_by_place(const void *a, const void *b)
{
    const peer *const x = a, *const y = b;
    const organ_anatomy *const p = &x->stats->weight->anatomy, *const q = &y->stats->weight->anatomy;
    if (p->role != q->role)
        return p->role < q->role ? -1 : 1;
    if (p->expert != q->expert)
        return p->expert < q->expert ? -1 : 1;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static int autopsy_factor_by_layer(const void *a, const void *b)
{
    const peer *const x = a, *const y = b;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer) : autopsy_factor_by_place(a, b);
}

/* Returns the median ln standard deviation of the nearest layers around layer k: two on each side, or more on one side
 * at an end of the model. */
static double neighbours_of(const peer *peers, size_t count, size_t k)
{
    double values[2 * NEIGHBOURS];
    size_t from = k < NEIGHBOURS ? 0 : k - NEIGHBOURS, used = 0;
    if (from + 2 * NEIGHBOURS + 1 > count)
        from = count > 2 * NEIGHBOURS + 1 ? count - 2 * NEIGHBOURS - 1 : 0;
    for (size_t j = from; j < count && j <= from + 2 * NEIGHBOURS; j++)
        if (j != k)
            values[used++] = peers[j].ln_std;
    return organ_autopsy_median(values, used);
}

/* Compares each layer of one role with its neighbours. Sets `count` to 0 for a role with too few layers to compare. */
static void compare_layers(peer *peers, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        peers[k].off = count > FEWEST_PEERS ? peers[k].ln_std - neighbours_of(peers, count, k) : 0;
        peers[k].place = k;
        peers[k].count = count > FEWEST_PEERS ? count : 0;
    }
}

#define FEW_WEIGHTS 8 /* in a layer; a larger one compares each weight with the median of all, not of the others */

/* Compares the weights of one layer: subtracts the median deviation of the others, if there are at least two. `scratch`
 * has `count` elements. */
static void compare_weights(peer *peers, size_t count, double *scratch)
{
    size_t used = 0;
    for (size_t j = 0; j < count; j++)
        if (peers[j].count)
            scratch[used++] = peers[j].off;
    const double all = used > FEW_WEIGHTS ? organ_autopsy_median(scratch, used) : 0;
    for (size_t k = 0; k < count; k++) {
        size_t others = 0;
        for (size_t j = 0; used <= FEW_WEIGHTS && j < count; j++)
            if (j != k && peers[j].count)
                scratch[others++] = peers[j].off;
        double usual = all;
        if (used <= FEW_WEIGHTS)
            usual = others >= 2 ? organ_autopsy_median(scratch, others) : 0;
        peers[k].alone = peers[k].off - usual;
    }
}

static bool same_role_and_expert(const peer *a, const peer *b)
{
    const organ_anatomy *const p = &a->stats->weight->anatomy, *const q = &b->stats->weight->anatomy;
    return p->role == q->role && p->expert == q->expert;
}

static bool same_layer(const peer *a, const peer *b) { return a->layer == b->layer; }

/* Returns the end of the run of peers from `from` on that are the same by `same`. */
static size_t run_of(const peer *peers, size_t count, size_t from, bool (*same)(const peer *, const peer *))
{
    size_t to = from + 1;
    while (to < count && same(&peers[from], &peers[to]))
        to++;
    return to;
}

/* Returns the median of |alone| over the peers that have neighbours to compare with, 0 without any. */
static double median_alone(const peer *peers, size_t count, double *scratch)
{
    size_t used = 0;
    for (size_t k = 0; k < count; k++)
        if (peers[k].count)
            scratch[used++] = fabs(peers[k].alone);
    return used ? organ_autopsy_median(scratch, used) : 0;
}

static bool was_reported(const organ_autopsy_job *job, const organ_weight *weight)
{
    for (size_t k = 0; k < json_array_size(job->findings); k++) {
        const json_t *const row = json_array_get(job->findings, k);
        const char *const kind = organ_json_text(row, "kind");
        if (strcmp(organ_json_text(row, "tensor"), weight->name) == 0 &&
            (strcmp(kind, "scale_factor") == 0 || strcmp(kind, "scale_row") == 0))
            return true;
    }
    return false;
}

/* Reports a weight whose spread differs by one factor from the neighbouring layers and from the other weights of its
 * own layer; one of both alone may be a property of the model. */
static void judge_peer(organ_autopsy_job *job, const peer *p, double usual)
{
    static const organ_verdict verdict = {
        "scale_factor", "scales wrong by one factor", "a spread like that of the neighbouring layers",
        "All its scales are too large or too small by the same factor: those of another tensor, a global "
        "scale that was left out, applied twice or inverted.",
        true};
    const bool end = p->count > 2 * NEIGHBOURS + 1 && (p->place < NEIGHBOURS || p->place + NEIGHBOURS >= p->count);
    const double least = fmin(fabs(p->off), fabs(p->alone));
    if (p->count && p->off * p->alone > 0 && least > log(end ? WRONG_AT_END : WRONG) && least > BEYOND * usual &&
        !was_reported(job, p->stats->weight))
        organ_autopsy_report(job, true, p->stats->weight, &verdict,
                             "std %.4g, %.3g times that of the same role in the neighbouring layers, and %.3g times "
                             "relative to the other weights of its layer",
                             organ_weight_stats_std(p->stats), exp(p->off), exp(p->alone));
}

/* Compares each weight with the medians of |alone| over the model and over its role. */
static void judge_peers(organ_autopsy_job *job, peer *peers, size_t count, double *scratch)
{
    qsort(peers, count, sizeof *peers, autopsy_factor_by_place);
    for (size_t from = 0, to; from < count; from = to) {
        to = run_of(peers, count, from, same_role_and_expert);
        compare_layers(peers + from, to - from);
    }
    qsort(peers, count, sizeof *peers, autopsy_factor_by_layer);
    for (size_t from = 0, to; from < count; from = to) {
        to = run_of(peers, count, from, same_layer);
        compare_weights(peers + from, to - from, scratch);
    }
    const double usual = median_alone(peers, count, scratch);
    qsort(peers, count, sizeof *peers, autopsy_factor_by_place);
    for (size_t from = 0, to; from < count; from = to) {
        to = run_of(peers, count, from, same_role_and_expert);
        const double of_role = median_alone(peers + from, to - from, scratch);
        for (size_t k = from; k < to; k++)
            judge_peer(job, &peers[k], fmax(usual, of_role));
    }
}

static bool is_scaled(const organ_weight_stats *v)
{
    return !v->unread && v->weight->scale && v->weight->anatomy.layer >= 0 && v->moments.nan + v->moments.inf == 0 &&
           organ_role_describe(v->weight->anatomy.role)->projection && organ_weight_stats_std(v) > 0;
}

organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error)
{
    peer *const peers = calloc(job->count + 1, sizeof *peers);
    double *const scratch = calloc(job->count + 1, sizeof *scratch);
    size_t count = 0;
    if (!peers || !scratch)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (is_scaled(&job->stats[k]))
            peers[count++] = (peer){.stats = &job->stats[k],
                                    .layer = job->stats[k].weight->anatomy.layer,
                                    .ln_std = log(organ_weight_stats_std(&job->stats[k]))};
    if (count && !error->status)
        judge_peers(job, peers, count, scratch);
    free(peers);
    free(scratch);
    return error->status;
}
