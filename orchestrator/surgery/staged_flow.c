/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/staged_flow.h"

#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/low_rank_job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE        ORGAN_FLOW_TILE
#define MOST_GROUP  16
#define LEAST_GAIN  0x1p-20
#define MOST_GAIN   0x1p40
#define MOST_ROUNDS 40

static size_t lesser(size_t a, size_t b) { return a < b ? a : b; }

/* ---- one trial of a gain ---- */

typedef struct trial {
    const organ_flow *flow;
    const organ_kernels *kernels;
    double gain;         /* INFINITY: nothing is killed but what has no importance */
    const uint8_t *keep; /* before */
    uint8_t *kept;       /* after */
    uint64_t *counts;    /* kept, per tile */
    float *importance;   /* per worker: TILE x TILE twice, before and after the flow */
    char *scratch;       /* per worker */
    size_t scratch_bytes, across;
    int nonfinite;
} trial;

typedef struct place {
    size_t row, col, rows, cols;
} place;

static place place_of(const trial *t, size_t index)
{
    place p = {.row = index / t->across * TILE, .col = index % t->across * TILE};
    p.rows = lesser(TILE, t->flow->rows - p.row);
    p.cols = lesser(TILE, t->flow->cols - p.col);
    return p;
}

static bool lay_out(const trial *t, const place *p, float *importance)
{
    const float *const food = t->flow->food + p->col;
    uint32_t some = 0;
    for (size_t i = 0; i < p->rows; i++) {
        const size_t at = (p->row + i) * t->flow->cols + p->col;
        const float *const weights = t->flow->weights + at;
        const uint8_t *const keep = t->keep + at;
        for (size_t j = 0; j < p->cols; j++) {
            const float value = fabsf(weights[j]) * food[j] * (float)keep[j];
            importance[i * TILE + j] = value;
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            some |= bits;
        }
    }
    return some != 0;
}

/* The most important that were killed come back until the group has as many as the pattern keeps. */
static void revive(const organ_pattern *pattern, const float *importance, const uint8_t *before, uint8_t *after)
{
    unsigned count = 0;
    for (unsigned k = 0; k < pattern->of; k++)
        count += after[k];
    for (; count < pattern->keep; count++) {
        unsigned best = pattern->of;
        for (unsigned k = 0; k < pattern->of; k++)
            if (before[k] && !after[k] && (best == pattern->of || importance[k] > importance[best]))
                best = k;
        if (best == pattern->of)
            return;
        after[best] = 1;
    }
}

static uint64_t harvest(const trial *t, const place *p, const float *importance, const float *flowed)
{
    const organ_pattern *const pattern = &t->flow->pattern;
    uint64_t count = 0;
    for (size_t i = 0; i < p->rows; i++) {
        const size_t at = (p->row + i) * t->flow->cols + p->col, cols = p->cols;
        const uint8_t *restrict const before = t->keep + at;
        uint8_t *restrict const after = t->kept + at;
        if (flowed)
            for (size_t j = 0; j < cols; j++)
                after[j] = (uint8_t)(before[j] & (flowed[i * TILE + j] != 0));
        else
            memcpy(after, before, cols);
        for (size_t j = 0; pattern->of && j < cols; j += pattern->of)
            revive(pattern, importance + i * TILE + j, before + j, after + j);
        for (size_t j = 0; j < cols; j++)
            count += after[j];
    }
    return count;
}

static void try_tile(void *context, size_t index, size_t worker)
{
    trial *const t = context;
    const place p = place_of(t, index);
    float *const importance = t->importance + worker * 2 * TILE * TILE, *const flowed = importance + TILE * TILE;
    const bool some = lay_out(t, &p, importance);
    if (some) {
        const organ_physarum_params params = {.iterations = 30, .beta = 2, .coupling = 1, .gain = (float)t->gain};
        organ_prune_counts counts = {0};
        memcpy(flowed, importance, TILE * TILE * sizeof *flowed);
        if (isfinite(t->gain))
            t->kernels->physarum_f32(flowed, p.rows, p.cols, TILE, &params, t->scratch + worker * t->scratch_bytes, &counts);
        if (counts.nonfinite)
            __atomic_store_n(&t->nonfinite, 1, __ATOMIC_RELAXED);
    }
    t->counts[index] = harvest(t, &p, importance, some ? flowed : NULL);
}

/* Percentage of zeros that this gain leaves in t->kept. */
static double try_gain(const organ_engine *engine, trial *t, double gain)
{
    const size_t tiles = (t->flow->rows + TILE - 1) / TILE * t->across;
    uint64_t kept = 0;
    t->gain = gain;
    organ_share(engine, NULL, tiles, try_tile, t);
    for (size_t k = 0; k < tiles; k++)
        kept += t->counts[k];
    const double all = (double)t->flow->rows * (double)t->flow->cols;
    return 100 * (all - (double)kept) / all;
}

/* ---- the search ---- */

typedef struct search {
    double low, low_rate;                  /* a gain that kills too much; 0: none yet */
    double high, high_rate;                /* one that kills too little */
    double now, now_rate, last, last_rate; /* the gain tried last and the one before; 0: none */
    double best, best_rate, best_error;
    uint8_t *best_kept;
} search;

/* While all gains tried kill too much, or all too little: a careful step, then the line through the last two, and somewhat beyond where it
 * meets the goal. */
static double step_out(const search *s, double percent)
{
    const double sign = s->high == 0 ? 1 : -1, rise = s->now_rate - s->last_rate;
    double step = 0.25;
    if (s->last > 0)
        step = rise != 0 ? 1.2 * sign * (percent - s->now_rate) * log2(s->now / s->last) / rise : 2;
    return s->now * exp2(sign * fmin(2, fmax(0.05, step)));
}

/* The next gain to try: on the line between both ends over the logarithm of the gain, but not next to an end. */
static double next_gain(const search *s, double percent)
{
    if (s->high == 0 || s->low == 0)
        return step_out(s, percent);
    const double share = (s->low_rate - percent) / (s->low_rate - s->high_rate);
    return s->low * exp2(fmin(0.95, fmax(0.05, share)) * log2(s->high / s->low));
}

static void remember(search *s, trial *t, double rate, double percent)
{
    const double off = fabs(rate - percent);
    s->last = s->now;
    s->last_rate = s->now_rate;
    s->now = isfinite(t->gain) ? t->gain : 0;
    s->now_rate = rate;
    if (rate > percent) {
        s->low = t->gain;
        s->low_rate = rate;
    } else {
        s->high = t->gain;
        s->high_rate = rate;
    }
    if (s->best == 0 || off < s->best_error) {
        uint8_t *const other = s->best_kept;
        s->best_kept = t->kept;
        t->kept = other;
        s->best = t->gain;
        s->best_rate = rate;
        s->best_error = off;
    }
}

static organ_status find(const organ_engine *engine, trial *t, search *s, double percent, double first, organ_error *error)
{
    double gain = percent > 0 ? INFINITY : first;
    for (unsigned round = 0; round < MOST_ROUNDS; round++) {
        if (organ_stop_asked(engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", t->flow->name);
        const double rate = try_gain(engine, t, (double)(float)gain);
        if (t->nonfinite)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: a tile has weights that are NaN or infinite: there is no flow through them",
                              t->flow->name);
        remember(s, t, rate, percent);
        if (percent <= 0 || s->best_error <= t->flow->tolerance || (round == 0 && rate > percent))
            break;
        if (round == 0)
            s->high = 0;
        const double next = round == 0 ? first : next_gain(s, percent);
        if (next < LEAST_GAIN || next > MOST_GAIN || (float)next == (float)t->gain)
            break;
        gain = next;
    }
    return ORGAN_OK;
}

organ_status organ_flow_run(const organ_engine *engine, const organ_flow *flow, double percent, double *gain, uint8_t *keep, double *killed,
                            organ_error *error)
{
    const size_t workers = organ_workers_count(engine->workers), all = flow->rows * flow->cols;
    trial t = {.flow = flow, .kernels = engine->kernels, .keep = keep, .across = (flow->cols + TILE - 1) / TILE};
    search s = {.best_kept = malloc(all + 1)};
    t.kept = malloc(all + 1);
    t.counts = calloc((flow->rows + TILE - 1) / TILE * t.across, sizeof *t.counts);
    t.scratch_bytes = organ_physarum_scratch(TILE, TILE);
    t.scratch = aligned_alloc(64, workers * t.scratch_bytes);
    t.importance = organ_floats(workers, 2 * TILE * TILE);
    if (!s.best_kept || !t.kept || !t.counts || !t.scratch || !t.importance)
        organ_fail_errno(error, ENOMEM, "%s: flow through %zu x %zu", flow->name, flow->rows, flow->cols);
    else {
        memset(t.importance, 0, workers * 2 * TILE * TILE * sizeof *t.importance);
        if (find(engine, &t, &s, percent, *gain, error) == ORGAN_OK) {
            memcpy(keep, s.best_kept, all);
            *gain = s.best;
            *killed = s.best_rate;
        }
    }
    free(s.best_kept);
    free(t.kept);
    free(t.counts);
    free(t.scratch);
    free(t.importance);
    return error->status;
}

/* ---- patterns ---- */

void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep)
{
    uint8_t after[MOST_GROUP] = {0};
    revive(pattern, scores, keep, after);
    memcpy(keep, after, pattern->of);
}

typedef struct groups {
    const organ_flow *flow;
    uint8_t *keep;
} groups;

static void keep_groups(void *context, size_t row, size_t worker)
{
    const groups *const g = context;
    const organ_flow *const flow = g->flow;
    (void)worker;
    for (size_t j = 0; j < flow->cols; j += flow->pattern.of) {
        float scores[MOST_GROUP];
        for (size_t k = 0; k < flow->pattern.of; k++)
            scores[k] = fabsf(flow->weights[row * flow->cols + j + k]) * flow->food[j + k];
        organ_pattern_group(&flow->pattern, scores, g->keep + row * flow->cols + j);
    }
}

void organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, uint8_t *keep)
{
    groups g = {flow, keep};
    organ_share(engine, NULL, flow->rows, keep_groups, &g);
}
