/* SPDX-License-Identifier: MIT
 * The flow of physarum v2 over importances |w| food, tile by tile, and the search for its gain. The kernel physarum_f32
 * sets the importances of removed weights to 0; a greater gain removes fewer. The removed percentage falls about
 * linearly with the logarithm of the gain. So the search interpolates between logarithms of gains (regula falsi), and
 * keeps the nearest tried gains on both sides of the requested percentage. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- bands of a matrix: loading, one check that weights are finite, and widening to FP32 ---- */

#define PIECE ((size_t)256) /* weights that nonfinite_column widens at once */

static size_t matrix_bands_size_of(const organ_matrix_bands *b) { return organ_dtype_describe(b->dtype)->bytes; }

size_t organ_matrix_band_rows(const organ_matrix_bands *b, size_t first)
{
    return organ_min(b->band_rows, b->rows - first);
}

size_t organ_matrix_band_bytes(const organ_matrix_bands *b, size_t first)
{
    return organ_matrix_band_rows(b, first) * b->cols * matrix_bands_size_of(b);
}

const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *b, size_t at, size_t n,
                                      float *scratch)
{
    if (b->dtype == ORGAN_F32)
        return (const float *)b->values + at;
    organ_widen(engine->kernels, b->dtype, (const char *)b->values + at * matrix_bands_size_of(b), scratch, n);
    return scratch;
}

/* ---- check for finite weights ---- */

typedef struct row_check {
    const organ_engine *engine;
    const organ_matrix_bands *bands;
    size_t row; /* first row of the band with a weight that is not finite; SIZE_MAX: none is found */
} row_check;

/* Returns the number of columns if all weights are finite; else *value is the first weight that is not. */
static size_t nonfinite_column(const row_check *l, size_t row, float *value)
{
    const size_t cols = l->bands->cols;
    float scratch[PIECE];
    for (size_t j = 0; j < cols; j += PIECE) {
        const size_t n = organ_min(PIECE, cols - j);
        const float *const values = organ_matrix_band_values(l->engine, l->bands, row * cols + j, n, scratch);
        bool found = false; /* a first loop without a branch, which the compiler vectorises */
        for (size_t k = 0; k < n; k++)
            found |= !isfinite(values[k]);
        for (size_t k = 0; found && k < n; k++)
            if (!isfinite(values[k])) {
                *value = values[k];
                return j + k;
            }
    }
    return cols;
}

static void check_row(void *context, size_t row, size_t worker)
{
    row_check *const l = context;
    float value;
    (void)worker;
    if (nonfinite_column(l, row, &value) == l->bands->cols)
        return;
    size_t least = __atomic_load_n(&l->row, __ATOMIC_RELAXED);
    while (row < least && !__atomic_compare_exchange_n(&l->row, &least, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static organ_status check_finite(const organ_engine *engine, organ_matrix_bands *b, size_t first, organ_error *error)
{
    row_check l = {engine, b, SIZE_MAX};
    const size_t rows = organ_matrix_band_rows(b, first);
    organ_share_work(engine, NULL, rows, ORGAN_SHARE_NUMBER * (double)rows * (double)b->cols, check_row, &l);
    if (l.row != SIZE_MAX) {
        float value = 0;
        const size_t column = nonfinite_column(&l, l.row, &value);
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: weight [%zu, %zu] is %g; it must be finite", b->name,
                          first + l.row, column, (double)value);
    }
    b->checked = first + rows;
    return ORGAN_OK;
}

#define READ_TOGETHER ((size_t)1 << 18) /* bytes that one worker reads */

typedef struct band_reading {
    const organ_matrix_bands *bands;
    uint64_t offset;
    size_t bytes, each; /* of the band, and of a piece */
} band_reading;

static organ_status read_piece(void *context, size_t index, size_t worker, organ_error *error)
{
    const band_reading *const r = context;
    const size_t from = index * r->each;
    (void)worker;
    return organ_model_read(r->bands->model, r->bands->file, (char *)r->bands->values + from,
                            organ_min(r->each, r->bytes - from), r->offset + from, error);
}

/* If the threads that read at the same time are limited, one of them reads all. */
static organ_status read_band(const organ_engine *engine, const organ_matrix_bands *b, size_t first, organ_error *error)
{
    const size_t bytes = organ_matrix_band_bytes(b, first);
    band_reading r = {b, b->offset + (uint64_t)first * b->cols * matrix_bands_size_of(b), bytes,
                      engine->readers ? organ_max(bytes, 1) : READ_TOGETHER};
    return organ_share_try(engine, organ_pieces_of(bytes, r.each), read_piece, &r, error);
}

organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *b, size_t first, organ_error *error)
{
    if (organ_stop_is_requested(engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", b->name);
    if (b->model && !(b->loaded && b->at == first)) {
        b->loaded = false;
        if (read_band(engine, b, first, error))
            return error->status;
        b->loaded = true;
        b->at = first;
    }
    return first < b->checked ? ORGAN_OK : check_finite(engine, b, first, error);
}

#define TILE       ORGAN_FLOW_TILE
#define LANES      16      /* values that the compiler processes in a vector loop */
#define MIN_GAIN   0x1p-20 /* the search ends at a gain outside MIN_GAIN .. MAX_GAIN */
#define MAX_GAIN   0x1p40
#define MAX_ROUNDS 40 /* gains that a search tries at most */

/* ---- one trial of a gain ---- */

/* A trial is one run of the flow over all tiles of a matrix, band by band, at one gain. */
typedef struct staged_flow_trial {
    const organ_flow *flow;
    const organ_engine *engine;
    double gain;               /* INFINITY: only weights without importance are removed */
    size_t tile_cols;          /* columns of a tile: whole groups of a pattern, at most TILE */
    size_t rows, tiles_across; /* rows of the band; number of tiles in a row */
    const uint8_t *before;     /* mask of the band before the flow; NULL: all weights are kept */
    uint8_t *kept;             /* mask after the flow; NULL: kept weights are only counted */
    uint64_t count;            /* number of kept weights, over all bands */
    /* Per worker: two arrays of TILE x TILE importances. The flow works in place in the first one. With a pattern it
     * works in the second one, a copy, because the pattern needs the importances before the flow. */
    float *importance;
    char *scratch; /* scratch of the kernel, per worker */
    int nonfinite; /* 1: a tile had a weight that is not finite */
    size_t workers;
    organ_buffers buffers;
} staged_flow_trial;

typedef struct staged_flow_place {
    size_t row, col, rows, cols;
} staged_flow_place;

static staged_flow_place place_of(const staged_flow_trial *t, size_t index)
{
    staged_flow_place p = {.row = index / t->tiles_across * TILE, .col = index % t->tiles_across * t->tile_cols};
    p.rows = organ_min(TILE, t->rows - p.row);
    p.cols = organ_min(t->tile_cols, t->flow->weights->cols - p.col);
    return p;
}

/* Returns the OR of the bits of LANES importances: 0 if all are 0. The fixed length lets the compiler use vectors. */
static uint32_t importance_of(const float *restrict weights, const float *restrict food, float *restrict importance)
{
    uint32_t bits[LANES], some = 0;
    for (size_t l = 0; l < LANES; l++)
        importance[l] = fabsf(weights[l]) * food[l];
    memcpy(bits, importance, sizeof bits);
    for (size_t l = 0; l < LANES; l++)
        some |= bits[l];
    return some;
}

/* Returns false if all importances |weight| x food are 0. Weights that t->before removes are zero in the matrix, so
 * their importance is 0. */
static bool fill_tile(const staged_flow_trial *t, const staged_flow_place *p, float *importance)
{
    const float *const food = t->flow->food + p->col;
    uint32_t some = 0;
    float scratch[TILE];
    for (size_t i = 0; i < p->rows; i++) {
        const size_t at = (p->row + i) * t->flow->weights->cols + p->col;
        const float *const weights = organ_matrix_band_values(t->engine, t->flow->weights, at, p->cols, scratch);
        float *const row = importance + i * TILE;
        float last[3][LANES] = {{0}}; /* weights, food and importances of the columns after the last whole vector */
        size_t j = 0;
        for (; j + LANES <= p->cols; j += LANES)
            some |= importance_of(weights + j, food + j, row + j);
        if (j == p->cols)
            continue;
        memcpy(last[0], weights + j, (p->cols - j) * sizeof(float));
        memcpy(last[1], food + j, (p->cols - j) * sizeof(float));
        some |= importance_of(last[0], last[1], last[2]);
        memcpy(row + j, last[2], (p->cols - j) * sizeof(float));
    }
    return some != 0;
}

/* The most important removed weights that `before` keeps come back, until the group keeps pattern->keep weights.
 * Returns the number of kept weights, which is less than pattern->keep if `before` keeps fewer. */
static unsigned readmit(const organ_pattern *pattern, const float *importance, const uint8_t *before, uint8_t *after)
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
            break;
        after[best] = 1;
    }
    return count;
}

/* The length is the constant LANES, so that the compiler can use vectors. Returns the number of kept weights. */
static uint64_t mask_nonzero_flow(const uint8_t *restrict before, const float *restrict flowed, uint8_t *restrict after)
{
    uint64_t words[2], count = 0;
    for (size_t l = 0; l < LANES; l++)
        after[l] = (uint8_t)(before[l] & (flowed[l] != 0));
    memcpy(words, after, sizeof words);
    for (size_t w = 0; w < 2; w++)
        count += words[w] * 0x0101010101010101u >> 56; /* the highest byte is the sum of the eight, which are 0 or 1 */
    return count;
}

static uint64_t mask_nonzero_flow_of_row(const uint8_t *before, const float *flowed, size_t cols, uint8_t *after)
{
    uint64_t count = 0;
    size_t j = 0;
    for (; j + LANES <= cols; j += LANES)
        count += mask_nonzero_flow(before + j, flowed + j, after + j);
    for (; j < cols; j++) {
        after[j] = (uint8_t)(before[j] & (flowed[j] != 0));
        count += after[j];
    }
    return count;
}

/* Writes the mask to t->kept unless that is NULL, and returns the number of kept weights. With a pattern, groups
 * that keep fewer than pattern->keep weights get removed ones back (readmit). `importance` has the
 * importances before the flow, which only a pattern needs, and `flowed` those after it. `flowed` NULL: all
 * importances were 0, so the flow did not run and removes nothing. */
static uint64_t select_kept(const staged_flow_trial *t, const staged_flow_place *p, const float *importance,
                            const float *flowed)
{
    const organ_pattern *const pattern = &t->flow->pattern;
    uint64_t count = 0;
    uint8_t all[TILE], discarded[TILE];
    float some[TILE];
    memset(all, 1, sizeof all);
    for (size_t j = 0; j < TILE; j++)
        some[j] = 1;
    for (size_t i = 0; i < p->rows; i++) {
        const size_t at = (p->row + i) * t->flow->weights->cols + p->col, cols = p->cols;
        const uint8_t *const before = t->before ? t->before + at : all;
        uint8_t *const after = t->kept ? t->kept + at : discarded;
        const uint64_t kept = mask_nonzero_flow_of_row(before, flowed ? flowed + i * TILE : some, cols, after);
        count += pattern->of ? 0 : kept; /* with a pattern, readmit counts */
        for (size_t j = 0; pattern->of && j < cols; j += pattern->of)
            count += readmit(pattern, importance + i * TILE + j, before + j, after + j);
    }
    return count;
}

/* With an infinite gain the flow does not run: only weights of importance 0 are removed. */
static void run_flow_on_tile(void *context, size_t index, size_t worker)
{
    staged_flow_trial *const t = context;
    const staged_flow_place p = place_of(t, index);
    const bool pattern = t->flow->pattern.of > 0;
    float *const importance = t->importance + worker * 2 * TILE * TILE;
    float *const flowed = pattern ? importance + TILE * TILE : importance;
    const bool some = fill_tile(t, &p, importance);
    if (some) {
        const organ_physarum_params params = {.iterations = 30, .beta = 2, .coupling = 1, .gain = (float)t->gain};
        organ_prune_counts counts = {0};
        if (pattern)
            memcpy(flowed, importance, TILE * TILE * sizeof *flowed);
        if (isfinite(t->gain))
            t->engine->kernels->physarum_f32(flowed, p.rows, p.cols, TILE, &params,
                                             t->scratch + worker * organ_physarum_scratch(TILE, TILE), &counts);
        if (counts.nonfinite)
            __atomic_store_n(&t->nonfinite, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&t->count, select_kept(t, &p, importance, some ? flowed : NULL), __ATOMIC_RELAXED);
}

static void lay_out(void *context, organ_buffers *b)
{
    staged_flow_trial *const t = context;
    t->scratch = organ_take(b, t->workers, organ_physarum_scratch(TILE, TILE));
    t->importance = organ_take_floats(b, t->workers, 2 * TILE * TILE);
}

/* The caller releases the buffers also after an error. A tile has whole groups of the pattern, so a group never
 * spans two tiles. */
static organ_status open_trial(staged_flow_trial *t, const organ_engine *engine, const organ_flow *flow,
                               organ_error *error)
{
    const size_t cols = flow->weights->cols, of = flow->pattern.of ? flow->pattern.of : 1;
    *t = (staged_flow_trial){
        .flow = flow, .engine = engine, .tile_cols = TILE / of * of, .workers = organ_workers_count(engine->workers)};
    t->tiles_across = (cols + t->tile_cols - 1) / t->tile_cols;
    if (!organ_buffers_take(&t->buffers, lay_out, t))
        return organ_fail_errno(error, ENOMEM, "%s: flow through %zu x %zu", flow->weights->name, flow->weights->rows,
                                cols);
    memset(t->importance, 0, t->workers * 2 * TILE * TILE * sizeof *t->importance);
    return ORGAN_OK;
}

uint64_t organ_flow_memory(size_t workers)
{
    return organ_buffers_count(lay_out, &(staged_flow_trial){.workers = workers});
}

static organ_status run_flow_on_band(staged_flow_trial *t, size_t first_row, organ_error *error)
{
    organ_matrix_bands *const weights = t->flow->weights;
    if (organ_matrix_band(t->engine, weights, first_row, error) != ORGAN_OK)
        return error->status;
    t->rows = organ_matrix_band_rows(weights, first_row);
    organ_share(t->engine, NULL, (t->rows + TILE - 1) / TILE * t->tiles_across, run_flow_on_tile, t);
    if (t->nonfinite)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: a tile has weights that are NaN or infinite: the flow is undefined for them",
                          weights->name);
    return ORGAN_OK;
}

/* `gain` is rounded to FP32. *rate becomes the resulting percentage of zeros. */
static organ_status try_gain(staged_flow_trial *t, double gain, double *rate, organ_error *error)
{
    const organ_matrix_bands *const weights = t->flow->weights;
    t->gain = (double)(float)gain;
    t->count = 0;
    for (size_t first = 0; first < weights->rows && !error->status; first += weights->band_rows)
        run_flow_on_band(t, first, error);
    const double all = (double)weights->rows * (double)weights->cols;
    *rate = 100 * (all - (double)t->count) / all;
    return error->status;
}

/* ---- the search ---- */

/* The goal is the gain at which the flow removes the requested percentage of the weights. A rate is the percentage
 * that the flow removes at a gain. */
typedef struct staged_flow_search {
    double low, low_rate;                  /* largest known gain that removes too many weights; 0: none yet */
    double high, high_rate;                /* smallest known gain that removes too few; 0: none yet */
    double now, now_rate, last, last_rate; /* `now`: the gain of the latest trial, `last`: that of the trial before it;
                                              and their rates. A gain of 0: none, or infinite */
    double best, best_rate, best_error;    /* the gain whose rate is nearest to the goal, and the distance in points */
    double fall;       /* percentage points per octave that the previous search found (fall_of); 0: unknown */
    bool best_is_last; /* the gain of the latest trial is the best one, so the mask of this trial is the result */
} staged_flow_search;

/* The fall is by how many percentage points the rate falls if the gain doubles (an octave), from the line through
 * the latest two trials. With fewer than two trials of finite gains, returns the value of the previous search.
 * Returns 0 if it is unknown or if the rate rises. */
static double fall_of(const staged_flow_search *s)
{
    if (s->last == 0 || s->now == 0 || s->now == s->last)
        return s->fall;
    return fmax(0, (s->last_rate - s->now_rate) / log2(s->now / s->last));
}

/* The gain is where the line of fall_of reaches `percent`, at most two octaves from the gain tried last. If the
 * slope of the line is unknown, or the rate rises with the gain, returns a gain a quarter of an octave nearer to the
 * goal. */
static double gain_at_goal(const staged_flow_search *s, double percent)
{
    const double fall = fall_of(s);
    double octaves = s->now_rate > percent ? 0.25 : -0.25;
    if (fall > 0)
        octaves = (s->now_rate - percent) / fall;
    return s->now * exp2(fmin(2, fmax(-2, octaves)));
}

/* Until gains on both sides of the goal are known (low and high), a step is at least 1/64 octave, so that the search
 * gets to the other side of the goal. Then the gain is that of gain_at_goal if it is between low and high and at
 * least 2 % of this interval (in octaves) from both. Otherwise it is interpolated linearly between low and high,
 * within 5 to 95 % of the interval, so that the interval always shrinks. */
static double next_gain(const staged_flow_search *s, double percent)
{
    const double next = gain_at_goal(s, percent), least = exp2(1.0 / 64);
    if (s->high == 0)
        return fmax(next, s->now * least);
    if (s->low == 0)
        return fmin(next, s->now / least);
    const double margin = 0.02 * log2(s->high / s->low);
    if (log2(next / s->low) > margin && log2(s->high / next) > margin)
        return next;
    const double share = (s->low_rate - percent) / (s->low_rate - s->high_rate);
    return s->low * exp2(fmin(0.95, fmax(0.05, share)) * log2(s->high / s->low));
}

static void record_trial(staged_flow_search *s, const staged_flow_trial *t, double rate, double percent)
{
    const double distance = fabs(rate - percent);
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
    s->best_is_last = s->best == 0 || distance < s->best_error;
    if (s->best_is_last) {
        s->best = t->gain;
        s->best_rate = rate;
        s->best_error = distance;
    }
}

/* *s, all zero except `fall`, gets the result. `from`: the result of the preceding search on the same matrix, or a
 * gain to start with (fall is 0). Without a preceding search, an infinite gain is tried first, which removes only
 * weights of importance 0: if these are more than requested, no gain removes fewer, and the search is over. */
static organ_status find_gain(staged_flow_trial *t, staged_flow_search *s, double percent, const organ_flow_gain *from,
                              organ_error *error)
{
    const staged_flow_search before = {.now = from->gain, .now_rate = from->killed, .fall = from->fall};
    const double first = from->fall > 0 ? gain_at_goal(&before, percent) : from->gain;
    double gain = percent > 0 && from->fall == 0 ? INFINITY : first, rate;
    for (unsigned round = 0; round < MAX_ROUNDS; round++) {
        const bool infinite = !isfinite(gain);
        if (try_gain(t, gain, &rate, error) != ORGAN_OK)
            return error->status;
        record_trial(s, t, rate, percent);
        if (percent <= 0 || s->best_error <= t->flow->tolerance || (infinite && rate > percent))
            break;
        if (infinite)
            s->high = 0; /* an infinite gain cannot be an end of the interval */
        const double next = infinite ? first : next_gain(s, percent);
        if (next < MIN_GAIN || next > MAX_GAIN || (float)next == (float)t->gain)
            break;
        gain = next;
    }
    return ORGAN_OK;
}

/* `kept` becomes the mask of the latest trial, which is the mask of the best gain only if that trial had the best
 * gain. */
organ_status organ_flow_search(const organ_engine *engine, const organ_flow *flow, double percent,
                               const uint8_t *before, uint8_t *kept, organ_flow_gain *found, organ_error *error)
{
    staged_flow_trial t;
    staged_flow_search s = {.fall = found->fall};
    if (open_trial(&t, engine, flow, error) == ORGAN_OK) {
        t.before = before;
        t.kept = kept;
        if (find_gain(&t, &s, percent, found, error) == ORGAN_OK)
            *found = (organ_flow_gain){s.best, s.best_rate, isfinite(s.best) ? fall_of(&s) : 0, kept && s.best_is_last};
    }
    organ_buffers_release(&t.buffers);
    return error->status;
}

organ_status organ_flow_mask(const organ_engine *engine, const organ_flow *flow, double gain, size_t first,
                             const uint8_t *before, uint8_t *kept, organ_error *error)
{
    staged_flow_trial t;
    if (open_trial(&t, engine, flow, error) == ORGAN_OK) {
        t.before = before;
        t.kept = kept;
        t.gain = gain;
        run_flow_on_band(&t, first, error);
    }
    organ_buffers_release(&t.buffers);
    return error->status;
}

/* ---- patterns ---- */

void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep)
{
    uint8_t after[ORGAN_PATTERN_MAX] = {0};
    readmit(pattern, scores, keep, after);
    memcpy(keep, after, pattern->of);
}

typedef struct pattern_masking {
    const organ_engine *engine;
    const organ_flow *flow;
    uint8_t *keep; /* mask of the band, which the pattern reduces */
} pattern_masking;

static void keep_groups(void *context, size_t row, size_t worker)
{
    const pattern_masking *const g = context;
    const organ_flow *const flow = g->flow;
    const size_t cols = flow->weights->cols, of = flow->pattern.of;
    (void)worker;
    for (size_t j = 0; j < cols; j += of) {
        float scores[ORGAN_PATTERN_MAX], scratch[ORGAN_PATTERN_MAX];
        const float *const weights = organ_matrix_band_values(g->engine, flow->weights, row * cols + j, of, scratch);
        for (size_t k = 0; k < of; k++)
            scores[k] = fabsf(weights[k]) * flow->food[j + k];
        organ_pattern_group(&flow->pattern, scores, g->keep + row * cols + j);
    }
}

organ_status organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, size_t first, uint8_t *keep,
                                organ_error *error)
{
    pattern_masking g = {engine, flow, keep};
    if (organ_matrix_band(engine, flow->weights, first, error) == ORGAN_OK)
        organ_share(engine, NULL, organ_matrix_band_rows(flow->weights, first), keep_groups, &g);
    return error->status;
}
