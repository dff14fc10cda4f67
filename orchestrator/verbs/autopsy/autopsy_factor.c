/* SPDX-License-Identifier: MIT
 * Finds weights whose scales are all wrong by the same factor. The blocks of such a weight alone do not show the fault.
 * A comparison with the other weights of the same layer and of the same role does, and so do the digits of the scales,
 * unless the factor is a power of two. One factor of all scales of a whole model shows only by a text
 * or by comparison with the original. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEIGHBOURS   2   /* layers on either side with which a layer is compared */
#define FEWEST_PEERS 3   /* the weights of a role are compared if it has more layers than this */
#define WRONG        2.2 /* factor (or its inverse) between two standard deviations above which scales are wrong */
#define WRONG_AT_END 4   /* the same for the first two layers and the last two, which may differ from the others */
#define BEYOND       6   /* ln of the factor must also exceed this multiple of the median |deviation| of all weights */

/* ---- digits ---- */

#define FEWEST_SCALES 9    /* smallest number of scales in a weight that is tested */
#define BROKEN        0.7  /* largest share of scales with the digits of a BF16 model if all were multiplied */
#define WHOLE         0.99 /* smallest share of scales with these digits once they are divided by the right factor */

/* The number must be m 2^e with a whole number m below 2^8, up to the rounding of one division and one product in
 * FP32. A random number passes with probability 2^-13. */
static bool is_bf16(double x)
{
    int exponent;
    const double m = ldexp(frexp(x, &exponent), 8);
    return fabs(m - rint(m)) < 0x1p-14;
}

/* A scale may be divided by the largest code, or by one of the smaller numbers that organ quantize tries instead of
 * that code (docs/definitions/quantisation.md). */
static bool has_digits(double scale, double largest, double factor)
{
    for (int k = 0; k < 16; k++)
        if (is_bf16(scale * (double)(float)(largest * exp2(-k / 16.0)) / factor))
            return true;
    return false;
}

/* The scale of a block of BF16 weights is the largest value of the block, a BF16 number, divided by the largest
 * code. */
static double share_of_bf16(const organ_blocks *b, double largest, double factor)
{
    const size_t count = b->rows * b->cols;
    size_t good = 0;
    for (size_t k = 0; k < count; k++)
        good += has_digits((double)b->scales[k], largest, factor);
    return (double)good / (double)count;
}

/* In a model that was converted from BF16, each scale times the largest code is a BF16 value. After multiplication
 * by 3, for example, this is true for only one of three blocks; after division by 3 it is true for all blocks again. */
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
        blocks->rows * blocks->cols < FEWEST_SCALES || share_of_bf16(blocks, largest, 1) > BROKEN)
        return;
    for (size_t k = 0; k < sizeof factors / sizeof *factors; k++)
        if (share_of_bf16(blocks, largest, factors[k]) >= WHOLE) {
            organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict,
                                 "%.0f percent of %zu scales are a BF16 value over the largest code; divided by %s (or "
                                 "%s times a power of "
                                 "two) %.0f percent are",
                                 100 * share_of_bf16(blocks, largest, 1), blocks->rows * blocks->cols, names[k],
                                 names[k], 100 * share_of_bf16(blocks, largest, factors[k]));
            return;
        }
}

/* ---- comparison of layers ---- */

/* Deviations from other weights are differences of ln of the standard deviation. */
typedef struct peer {
    const organ_weight_stats *stats;
    long layer;          /* number of its layer */
    double ln_std;       /* ln of the standard deviation of its values */
    double off;          /* ln_std minus the median ln_std of the same role and expert in the neighbouring layers */
    double alone;        /* `off` minus the median `off` of the other weights in its layer */
    size_t place, count; /* index among the peers of its role and expert, and number of these; count 0: not compared */
} peer;

static int factor_by_place(const void *a, const void *b)
{
    const peer *const x = a, *const y = b;
    const organ_anatomy *const p = &x->stats->weight->anatomy, *const q = &y->stats->weight->anatomy;
    return ORGAN_ORDERS(ORGAN_ORDER(p->role, q->role), ORGAN_ORDER(p->expert, q->expert),
                        ORGAN_ORDER(x->layer, y->layer));
}

static int factor_by_layer(const void *a, const void *b)
{
    const peer *const x = a, *const y = b;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer) : factor_by_place(a, b);
}

/* The median is over the nearest four layers: two on each side, or more on one side at an end of the model. If there
 * are fewer than five layers, all except k count. `peers` are the `count` layers of one role. */
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

/* `off` is ln_std minus the median of the neighbouring layers. With FEWEST_PEERS layers or fewer, `off` and the
 * member `count` become 0. */
static void compare_layers(peer *peers, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        peers[k].off = count > FEWEST_PEERS ? peers[k].ln_std - neighbours_of(peers, count, k) : 0;
        peers[k].place = k;
        peers[k].count = count > FEWEST_PEERS ? count : 0;
    }
}

/* If at most this number of weights of a layer were compared, each weight is compared with the median of the others. In
 * a larger layer it is compared with the median of all, which is nearly the same and faster. */
#define FEW_WEIGHTS 8

/* `alone` is `off` minus the median `off` of the other weights of the layer that were compared with their
 * neighbouring layers (of all such weights, if there are more than FEW_WEIGHTS). If fewer than two others were
 * compared, it is `off`. `scratch` has `count` elements. */
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

/* Returns the index after the last of the consecutive peers for which `same` is true in comparison with peers[from]. */
static size_t run_of(const peer *peers, size_t count, size_t from, bool (*same)(const peer *, const peer *))
{
    size_t to = from + 1;
    while (to < count && same(&peers[from], &peers[to]))
        to++;
    return to;
}

/* Peers that were not compared (member `count` 0) are left out; without others the result is 0. `scratch` has
 * `count` elements. */
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

/* The standard deviation must differ, in the same direction, both from the neighbouring layers and from the other
 * weights of its layer: one of these alone may be a property of the model. Both factors must exceed WRONG
 * (WRONG_AT_END at an end of the model), and both logarithms BEYOND times `usual`, the median |alone|. */
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
        organ_autopsy_report(job, /*finding=*/true, p->stats->weight, &verdict,
                             "std %.4g, %.3g times that of the same role in the neighbouring layers, and %.3g times "
                             "relative to the other weights of its layer",
                             organ_weight_stats_std(p->stats), exp(p->off), exp(p->alone));
}

/* Each peer is judged against the larger of two medians of |alone|: over all peers, and over the peers of the same
 * role and expert. */
static void judge_peers(organ_autopsy_job *job, peer *peers, size_t count, double *scratch)
{
    qsort(peers, count, sizeof *peers, factor_by_place);
    for (size_t from = 0, to; from < count; from = to) {
        to = run_of(peers, count, from, same_role_and_expert);
        compare_layers(peers + from, to - from);
    }
    qsort(peers, count, sizeof *peers, factor_by_layer);
    for (size_t from = 0, to; from < count; from = to) {
        to = run_of(peers, count, from, same_layer);
        compare_weights(peers + from, to - from, scratch);
    }
    const double usual = median_alone(peers, count, scratch);
    qsort(peers, count, sizeof *peers, factor_by_place);
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
    ORGAN_OWNED peer *const peers = calloc(job->count + 1, sizeof *peers);
    ORGAN_OWNED double *const scratch = calloc(job->count + 1, sizeof *scratch);
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
    return error->status;
}
