/* SPDX-License-Identifier: MIT
 * Samples of tokens and of rows of weights from which the factors of a fold are chosen. */
#include "orchestrator/surgery/folds/smooth_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <organ/weights.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MOST_ROWS    1024
#define MOST_TOKENS  1024
#define LEAST_TOKENS 64
#define FOLD_INPUTS  (1 << 25) /* most inputs in the samples of a fold, if each has more than LEAST_TOKENS tokens */
#define FEW_TOKENS   256       /* a sample with fewer tokens permits only a choice of alpha */

typedef struct token {
    uint64_t hash;
    size_t place; /* row of `inputs` */
} token;

/* Inputs of one matrix. All readers of its channels have the same, times their organ_fold_side.times. */
struct organ_smooth_sample {
    size_t fold, side;
    uint64_t matrix;      /* of a stack whose matrices have channels of their own; else 0 */
    uint64_t from, count; /* range of its channels in the fold */
    size_t cols, room;    /* inputs of a token; most tokens */
    size_t tokens;
    token *kept;   /* in any order until the sample is solved */
    size_t last;   /* index in `kept` of the token with the greatest hash */
    float *inputs; /* room x cols */
    double share;
};

/* ---- the samples of a layer ---- */

static size_t room_of(uint64_t channels)
{
    const size_t room = (size_t)(FOLD_INPUTS / channels);
    if (room < LEAST_TOKENS)
        return LEAST_TOKENS;
    return room < MOST_TOKENS ? room : MOST_TOKENS;
}

/* Returns the number of samples of a side. Experts have channels of their own: those of a stack by matrix, others by
 * tensor. */
static uint64_t samples_of(const organ_fold_side *side) { return side->apart ? side->matrices : 1; }

static organ_status begin_sample(organ_smooth_walk *w, size_t f, size_t k, uint64_t matrix, organ_error *error)
{
    const organ_fold *const fold = &w->scaling->folds.list[f];
    const organ_fold_side *const side = &w->scaling->folds.sides[k];
    organ_smooth_samples *const samples = &w->samples;
    if (!organ_grow(&samples->list, samples->count, &samples->room, sizeof *samples->list))
        return organ_fail_memory(error, side->weight->name);
    organ_smooth_sample *const s = &samples->list[samples->count++];
    const size_t cols = (size_t)side->cols, room = room_of(fold->channels);
    *s = (organ_smooth_sample){
        .fold = f, .side = k, .matrix = matrix, .count = fold->channels, .cols = cols, .room = room};
    if (side->apart) {
        s->from = organ_fold_channel(side, matrix, 0);
        s->count = cols;
    }
    s->kept = malloc(room * sizeof *s->kept);
    s->inputs = malloc(room * cols * sizeof *s->inputs);
    return s->kept && s->inputs ? ORGAN_OK : organ_fail_memory(error, side->weight->name);
}

organ_status organ_smooth_samples_begin(organ_smooth_walk *w, organ_error *error)
{
    for (size_t f = w->first; f < w->end; f++) {
        const organ_fold *const fold = &w->scaling->folds.list[f];
        for (size_t k = fold->first; k < fold->first + fold->count; k++)
            for (uint64_t m = 0; w->watched[k] && m < samples_of(&w->scaling->folds.sides[k]); m++)
                if (begin_sample(w, f, k, m, error))
                    return error->status;
    }
    return ORGAN_OK;
}

void organ_smooth_samples_release(organ_smooth_samples *samples)
{
    for (size_t k = 0; k < samples->count; k++)
        ORGAN_FREE_ARRAYS(samples->list[k].kept, samples->list[k].inputs);
    free(samples->list);
    *samples = (organ_smooth_samples){0};
}

/* ---- the tokens with the least hashes ---- */

/* Tokens with equal inputs, such as the first ones of all windows, count once. */
static void keep(organ_smooth_sample *s, uint64_t hash, const float *inputs)
{
    const bool full = s->tokens == s->room;
    if (full && hash >= s->kept[s->last].hash)
        return;
    for (size_t k = 0; k < s->tokens; k++)
        if (s->kept[k].hash == hash)
            return;
    const size_t place = full ? s->last : s->tokens++;
    memcpy(s->inputs + place * s->cols, inputs, s->cols * sizeof *inputs);
    s->kept[place] = (token){hash, place};
    for (size_t k = s->last = 0; k < s->tokens; k++)
        if (s->kept[k].hash > s->kept[s->last].hash)
            s->last = k;
}

void organ_smooth_samples_take(organ_smooth_walk *w, size_t side, uint64_t matrix, size_t tokens, const float *inputs)
{
    for (size_t k = 0; k < w->samples.count; k++) {
        organ_smooth_sample *const s = &w->samples.list[k];
        if (s->side != side || s->matrix != (w->scaling->folds.sides[side].apart ? matrix : 0))
            continue;
        for (size_t t = 0; t < tokens; t++)
            keep(s, XXH3_64bits(inputs + t * s->cols, s->cols * sizeof *inputs), inputs + t * s->cols);
        return;
    }
}

/* All ranks get the tokens of all. */
static organ_status share_sample(const organ_smooth_walk *w, organ_smooth_sample *s, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (organ_ranks_count(w->engine->ranks) < 2)
        return error->status;
    const uint64_t bytes = (uint64_t)s->tokens * s->cols * sizeof *s->inputs;
    if (organ_ranks_gather(w->engine->ranks, "samples of inputs", s->inputs, bytes, &all, error))
        return error->status;
    ORGAN_OWNED float *const inputs = malloc(s->cols * sizeof *inputs);
    if (!inputs)
        return organ_fail_memory(error, w->scaling->model->path);
    const size_t row = s->cols * sizeof *inputs;
    for (size_t r = 0; r < all.count; r++)
        for (uint64_t at = 0; at + row <= all.bytes[r]; at += row) {
            memcpy(inputs, all.of[r] + at, row);
            keep(s, XXH3_64bits(inputs, row), inputs);
        }
    return ORGAN_OK;
}

static int by_hash(const void *a, const void *b)
{
    const uint64_t one = ((const token *)a)->hash, other = ((const token *)b)->hash;
    return (one > other) - (one < other);
}

/* ---- the problem of a sample ---- */

/* Work that several threads share: each solves some of a layer's samples. */
typedef struct sample_work {
    organ_smooth_walk *walk;
    const organ_layer *layer;             /* has the weights of which a problem has some rows */
    const organ_channel_weights *weights; /* of the channels of the folds [walk->first, walk->end) */
} sample_work;

/* Adds the magnitudes of a row of weights or of a token, times `times`, to column `at` of channels x count values. */
static void add_values(const organ_smooth_sample *s, const organ_fold_side *side, const float *values, float times,
                       size_t at, size_t count, float *magnitudes, double *squares, double share)
{
    for (size_t c = 0; c < s->cols; c++) {
        const uint64_t found = organ_fold_channel(side, s->matrix, c);
        if (found == ORGAN_NO_CHANNEL)
            continue;
        const uint64_t channel = found - s->from;
        float *const greatest = &magnitudes[channel * count + at];
        const float magnitude = fabsf(values[c] * times);
        *greatest = magnitude > *greatest ? magnitude : *greatest;
        squares[channel] += (double)magnitude * (double)magnitude * share;
    }
}

/* Returns whether the sample's problem has the weights of a side: those of a quantised matrix that reads its channels.
 */
static bool has_weights(const organ_smooth_sample *s, const organ_fold_side *side, size_t k)
{
    return !side->divided && organ_role_describe(side->weight->anatomy.role)->projection &&
           (!side->apart || s->side == k);
}

static uint64_t rows_of(const organ_smooth_walk *w, const organ_smooth_sample *s)
{
    const organ_folds *const folds = &w->scaling->folds;
    const organ_fold *const fold = &folds->list[s->fold];
    uint64_t rows = 0;
    for (size_t k = fold->first; k < fold->first + fold->count; k++)
        if (has_weights(s, &folds->sides[k], k))
            rows += folds->sides[k].rows * (folds->sides[k].apart ? 1 : folds->sides[k].matrices);
    return rows;
}

/* Adds rows evenly from all matrices, one below the other: row (n + 1/2) of `all` divided by p->rows. */
static organ_status add_weights(const sample_work *v, const organ_smooth_sample *s, uint64_t all,
                                organ_smooth_problem *p, organ_error *error)
{
    const organ_folds *const folds = &v->walk->scaling->folds;
    const organ_fold *const fold = &folds->list[s->fold];
    ORGAN_OWNED float *const buffer = malloc(s->cols * sizeof *buffer);
    uint64_t begin = 0;
    size_t n = 0;
    if (!buffer)
        return organ_fail_memory(error, v->walk->scaling->model->path);
    for (size_t k = fold->first; k < fold->first + fold->count; k++) {
        const organ_fold_side *const side = &folds->sides[k];
        organ_product_operand values;
        uint64_t rows;
        if (!has_weights(s, side, k))
            continue;
        if (organ_smooth_values(v->layer, side, &values, &rows, error))
            return error->status;
        const uint64_t own = side->apart ? side->rows : rows, skipped = side->apart ? s->matrix * side->rows : 0;
        for (uint64_t at; n < p->rows && (at = (2 * n + 1) * all / (2 * p->rows)) < begin + own; n++)
            add_values(s, side, organ_smooth_row(v->walk, side, &values, skipped + at - begin, buffer), side->times, n,
                       p->rows, p->weights, p->weight_squares, 1);
        begin += own;
    }
    return ORGAN_OK;
}

/* With a fixed scale the greatest input of all tokens counts, so that each channel has one. */
static void add_inputs(const organ_smooth_walk *w, const organ_smooth_sample *s, organ_smooth_problem *p)
{
    const organ_fold_side *const side = &w->scaling->folds.sides[s->side];
    const uint64_t begin = w->scaling->begin[s->fold] + s->from;
    for (size_t t = 0; t < s->tokens; t++)
        add_values(s, side, s->inputs + s->kept[t].place * s->cols, 1 / side->times, w->rounding.fixed ? 0 : t,
                   p->tokens, p->inputs, p->input_squares, 1.0 / (double)s->tokens);
    for (uint64_t c = 0; w->rounding.fixed && c < s->count; c++)
        p->inputs[c] = fmaxf(fabsf(w->least[begin + c]), fabsf(w->most[begin + c]));
}

static size_t group_of(const organ_smooth_walk *w, uint64_t channels)
{
    return w->rounding.group && w->rounding.group < channels ? w->rounding.group : (size_t)channels;
}

/* Allocates the arrays of a problem; release_problem frees them, also after an error. */
static organ_status make_problem(const organ_smooth_walk *w, const organ_smooth_sample *s, uint64_t rows,
                                 organ_smooth_problem *p, organ_error *error)
{
    *p = (organ_smooth_problem){.channels = (size_t)s->count,
                                .rows = (size_t)(rows < MOST_ROWS ? rows : MOST_ROWS),
                                .tokens = w->rounding.fixed ? 1 : s->tokens,
                                .group = group_of(w, s->count),
                                .weight_levels = w->rounding.weight_levels,
                                .input_levels = w->rounding.input_levels,
                                .alphas_only = s->tokens < FEW_TOKENS};
    p->weights = calloc(p->channels * p->rows, sizeof *p->weights);
    p->inputs = calloc(p->channels * p->tokens, sizeof *p->inputs);
    p->weight_squares = calloc(p->channels, sizeof *p->weight_squares);
    p->input_squares = calloc(p->channels, sizeof *p->input_squares);
    p->ranges = malloc(p->channels * sizeof *p->ranges);
    p->greatest = malloc(p->channels * sizeof *p->greatest);
    p->allowed = w->reals ? NULL : malloc(p->channels * sizeof *p->allowed);
    return p->weights && p->inputs && p->weight_squares && p->input_squares && p->ranges && p->greatest &&
                   (p->allowed || w->reals)
               ? ORGAN_OK
               : organ_fail_memory(error, w->scaling->model->path);
}

static void release_problem(organ_smooth_problem *p)
{
    ORGAN_FREE_ARRAYS(p->weights, p->inputs, p->weight_squares, p->input_squares, p->ranges, p->greatest, p->allowed);
}

/* Sets what the problem has by channel. `begin`: of the sample's channels in those of all folds. */
static void fill_channels(const organ_smooth_walk *w, uint64_t begin, const organ_channel_weights *weights,
                          organ_smooth_problem *p)
{
    for (size_t c = 0; c < p->channels; c++) {
        p->ranges[c] = w->most[begin + c] - w->least[begin + c];
        p->greatest[c] = weights[c].reader;
        if (p->allowed)
            p->allowed[c] = organ_channel_exponents(&weights[c].range);
    }
}

/* Sets the factors of a sample's channels; a sample without tokens or without quantised readers leaves them at 1. */
static organ_status solve(void *context, size_t index, size_t worker, organ_error *error)
{
    const sample_work *const v = context;
    const organ_smooth_walk *const w = v->walk;
    organ_smooth_sample *const s = &w->samples.list[index];
    const uint64_t rows = rows_of(w, s), begin = w->scaling->begin[s->fold] + s->from;
    const organ_channel_weights *const weights = v->weights + (begin - w->scaling->begin[w->first]);
    float *const factors = w->scaling->factors + begin;
    ORGAN_RELEASED_BY(release_problem) organ_smooth_problem p = {0};
    (void)worker;
    s->share = 1;
    if (!rows || !s->tokens)
        return ORGAN_OK;
    qsort(s->kept, s->tokens, sizeof *s->kept, by_hash);
    if (make_problem(w, s, rows, &p, error) || add_weights(v, s, rows, &p, error))
        return error->status;
    add_inputs(w, s, &p);
    fill_channels(w, begin, weights, &p);
    organ_smooth_search(&p, factors, &s->share, error);
    for (size_t c = 0; w->reals && c < p.channels; c++)
        factors[c] = organ_channel_factor(&weights[c].range, w->engine->kernels, factors[c]);
    return error->status;
}

/* The share of a fold of experts is the mean of theirs. */
static void note_shares(organ_smooth_walk *w)
{
    for (size_t f = w->first; f < w->end; f++) {
        double sum = 0;
        size_t count = 0;
        for (size_t k = 0; k < w->samples.count; k++)
            if (w->samples.list[k].fold == f) {
                sum += w->samples.list[k].share;
                count++;
            }
        w->shares[f] = count ? sum / (double)count : 1;
    }
}

organ_status organ_smooth_samples_solve(organ_smooth_walk *w, const organ_layer *layer,
                                        const organ_channel_weights *weights, organ_error *error)
{
    sample_work work = {.walk = w, .layer = layer, .weights = weights};
    for (size_t k = 0; k < w->samples.count; k++)
        share_sample(w, &w->samples.list[k], error);
    if (error->status || organ_share_try(w->engine, w->samples.count, solve, &work, error))
        return error->status;
    note_shares(w);
    return ORGAN_OK;
}

/* ---- memory ---- */

static uint64_t sample_bytes(uint64_t channels, const organ_fold_side *side)
{
    return samples_of(side) * room_of(channels) * (side->cols * sizeof(float) + sizeof(token));
}

static uint64_t solve_bytes(const organ_smooth_walk *w, uint64_t channels, const organ_fold_side *side)
{
    const uint64_t count = side->apart ? side->cols : channels, tokens = room_of(channels);
    return count * (MOST_ROWS + tokens) * sizeof(float) +
           count * (2 * sizeof(double) + 2 * sizeof(float) + sizeof(uint64_t)) + side->cols * sizeof(float) +
           organ_smooth_search_memory(count, MOST_ROWS, tokens, group_of(w, count));
}

uint64_t organ_smooth_samples_memory(const organ_smooth_walk *w)
{
    const organ_folds *const folds = &w->scaling->folds;
    const uint64_t workers = organ_workers_count(w->engine->workers);
    uint64_t most = 0, all = 0, largest = 0, samples = 0;
    for (size_t f = 0; f < folds->count; f++) {
        const organ_fold *const fold = &folds->list[f];
        if (f > 0 && fold->layer != folds->list[f - 1].layer)
            all = samples = largest = 0;
        for (size_t k = fold->first; k < fold->first + fold->count; k++) {
            const organ_fold_side *const side = &folds->sides[k];
            /* of a norm only one reader is watched, and all have its width */
            if (side->divided || (fold->kind == ORGAN_FOLD_NORM && k + 1 < fold->first + fold->count))
                continue;
            const uint64_t own = solve_bytes(w, fold->channels, side);
            all += sample_bytes(fold->channels, side);
            samples += samples_of(side);
            largest = own > largest ? own : largest;
        }
        const uint64_t busy = samples < workers ? samples : workers;
        most = all + busy * largest > most ? all + busy * largest : most;
    }
    return most;
}
