/* SPDX-License-Identifier: MIT
 * Masks that remove the weights of lowest score, without changing the kept weights. wanda ranks the weights |w|
 * act_norm of each row, and a pattern those of each group; both masks need only one row. magnitude without a pattern
 * ranks |w| over the whole matrix: it removes the weights below an edge, and as many of those equal to the edge as are
 * then still to be removed. Radix selection finds the edge in passes over all bands. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the edge, and masks by it ---- */

/* Radix selection of the edge, the score of a given rank, and masks by comparison of scores with it; on all workers:
 * one pass over the scores for each digit of the edge, then one pass that compares all scores with the edge. */

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

/* Adds to counts[v] the number of scores whose digit number `digit` is v, among those that agree with the bits of the
 * edge found so far. Digit 0 of many scores is counted by count_first. For later digits few scores agree with the edge:
 * find_alike compares TOGETHER at once, and only those that agree are counted. count_one counts the remaining scores.
 */
static void count_digit(const organ_score_edge *e, unsigned digit, const float *scores, size_t n,
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
static void select_digit(organ_score_edge *e, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT], uint64_t rank)
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

/* Sets keep[k] to 0 for scores below the edge and for the first `equals` scores equal to it, to 1 for all others.
 * Returns the number of scores equal to the edge, kept or not. */
static uint64_t edge_cut(const organ_score_edge *e, const float *scores, size_t n, uint64_t equals, uint8_t *keep)
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
        count_digit(&e, d, scores, n, counts);
        select_digit(&e, d, counts, count - 1);
    }
    edge_cut(&e, scores, n, count - e.less, keep);
}

/* ---- on all workers ---- */

static size_t edge_strips(const organ_edge_search *s) { return organ_pieces_of(s->count, s->strip); }

static size_t edge_strip_length(const organ_edge_search *s, size_t index)
{
    return organ_min(s->strip, s->count - index * s->strip);
}

/* One thread clears and adds the tables, so only those of workers that have counted. */
static void clear_tables(organ_edge_search *s)
{
    memset(s->counts, 0, s->used * ORGAN_EDGE_DIGIT * sizeof *s->counts);
    s->used = 0;
}

void organ_edge_search_lay_out(organ_edge_search *s, size_t most, organ_buffers *b)
{
    s->counts = organ_take_zeros(b, organ_workers_count(s->engine->workers), ORGAN_EDGE_DIGIT * sizeof *s->counts);
    s->equals = organ_take(b, organ_pieces_of(most, s->strip), sizeof *s->equals);
}

void organ_edge_search_begin(organ_edge_search *s, const float *scores, size_t count, size_t removed, uint8_t *keep)
{
    s->scores = scores;
    s->count = count;
    s->removed = removed;
    s->keep = keep;
    s->edge = (organ_score_edge){0};
    s->digit = 0;
    clear_tables(s);
}

void organ_edge_search_count(organ_edge_search *s, size_t at, size_t n, size_t worker)
{
    size_t used = __atomic_load_n(&s->used, __ATOMIC_RELAXED);
    while (used <= worker &&
           !__atomic_compare_exchange_n(&s->used, &used, worker + 1, /*weak=*/true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    count_digit(&s->edge, s->digit, s->scores + at, n, s->counts + worker * ORGAN_EDGE_DIGIT);
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
    for (size_t t = 1; t < s->used; t++)
        for (size_t k = 0; k < ORGAN_EDGE_DIGIT; k++)
            s->counts[k] += s->counts[t * ORGAN_EDGE_DIGIT + k];
    select_digit(&s->edge, s->digit, s->counts, s->removed - 1);
}

/* The scores below the edge are removed, and the first equals[index] of those equal to the edge. Then equals[index]
 * becomes the number of scores equal to the edge. */
static void cut_edge_strip(void *context, size_t index, size_t worker)
{
    organ_edge_search *const s = context;
    const size_t at = index * s->strip;
    (void)worker;
    s->equals[index] = edge_cut(&s->edge, s->scores + at, edge_strip_length(s, index), s->equals[index], s->keep + at);
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
            cut_edge_strip(s, k, /*worker=*/0);
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
        clear_tables(s);
        organ_share_work(s->engine, NULL, strips, work, count_strip_digit, s);
    }
    memset(s->equals, 0, strips * sizeof *s->equals);
    organ_share_work(s->engine, NULL, strips, work, cut_edge_strip, s);
    cut_equal_scores(s);
}

#define ROWS_PER_BATCH ((size_t)16) /* rows of the work of one task of organ_share_work */

typedef struct ranking {
    const organ_matrix_job *job;
    size_t workers;
    size_t rows;        /* rows of the loaded band */
    float *row_scratch; /* per worker: cols values, for a row widened to FP32 or its scores */
    /* Only for magnitude without a pattern: */
    organ_score_edge edge; /* magnitude of the largest removed weight; its digits are found one by one */
    unsigned digit;        /* number of the digit of the edge that the current pass counts; 0: the highest */
    uint64_t count;        /* number of weights to remove from the matrix */
    uint64_t equals_left;  /* number of weights equal to the edge that are still to be removed, in the order of rows */
    uint64_t *counts;      /* per worker: how many weights have each of the ORGAN_EDGE_DIGIT values of the digit */
    uint64_t *equals;      /* per row of the band: number of weights equal to the edge; later, how many to remove */
} ranking;

/* Every row must reach the sparsity with Wanda and patterns, else the matrix as a whole must. */
static bool by_row(const organ_matrix_job *job)
{
    return job->options->method == ORGAN_PRUNE_WANDA || job->options->pattern.of;
}

static float *room_of(const ranking *r, size_t worker) { return r->row_scratch + worker * r->job->bands->cols; }

/* `row` counts from the band's first row; `weights` are FP32, in the band or in the worker's buffer. */
static void each_row(const ranking *r, size_t index, size_t worker,
                     void (*act)(const ranking *r, size_t row, const float *weights, size_t worker))
{
    const size_t cols = r->job->bands->cols;
    for (size_t row = index * ROWS_PER_BATCH; row < organ_min((index + 1) * ROWS_PER_BATCH, r->rows); row++)
        act(r, row, organ_matrix_band_values(r->job->engine, r->job->bands, row * cols, cols, room_of(r, worker)),
            worker);
}

/* Only magnitudes that equal the edge in all higher digits count. */
static void count_row(const ranking *r, size_t row, const float *weights, size_t worker)
{
    (void)row;
    count_digit(&r->edge, r->digit, weights, r->job->bands->cols, r->counts + worker * ORGAN_EDGE_DIGIT);
}

/* A score is |w|, or with wanda |w| act_norm. `weights` may be the worker's buffer, which the scores overwrite. */
static void cut_row(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const organ_prune_matrix_options *const options = r->job->options;
    const size_t cols = r->job->bands->cols;
    float *const scores = room_of(r, worker);
    uint8_t *const keep = r->job->keep + row * cols;
    for (size_t j = 0; j < cols; j++)
        scores[j] = fabsf(weights[j]) * (options->method == ORGAN_PRUNE_WANDA ? r->job->moments->act_norm[j] : 1.0f);
    if (!options->pattern.of) {
        organ_mask_lowest(scores, cols, (size_t)llround(options->sparsity / 100 * (double)cols), keep);
        return;
    }
    memset(keep, 1, cols);
    for (size_t j = 0; j < cols; j += options->pattern.of)
        organ_pattern_group(&options->pattern, scores + j, keep + j);
}

static void count_equals(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const size_t cols = r->job->bands->cols;
    (void)worker;
    r->equals[row] = edge_cut(&r->edge, weights, cols, 0, r->job->keep + row * cols);
}

static void cut_equals(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const size_t cols = r->job->bands->cols;
    (void)worker;
    if (r->equals[row])
        edge_cut(&r->edge, weights, cols, r->equals[row], r->job->keep + row * cols);
}

static void count_rows_task(void *context, size_t index, size_t worker) { each_row(context, index, worker, count_row); }
static void cut_rows_task(void *context, size_t index, size_t worker) { each_row(context, index, worker, cut_row); }
static void count_equals_task(void *context, size_t index, size_t worker)
{
    each_row(context, index, worker, count_equals);
}
static void cut_equals_task(void *context, size_t index, size_t worker)
{
    each_row(context, index, worker, cut_equals);
}

static void share_rows(ranking *r, void (*task)(void *context, size_t index, size_t worker))
{
    const double work = ORGAN_SHARE_HARD * (double)r->rows * (double)r->job->bands->cols;
    organ_share_work(r->job->engine, NULL, organ_pieces_of(r->rows, ROWS_PER_BATCH), work, task, r);
}

/* The edge has rank r->count - 1 among the magnitudes in ascending order. */
static organ_status find_digit(ranking *r, organ_error *error)
{
    organ_matrix_bands *const bands = r->job->bands;
    const size_t workers = r->workers;
    memset(r->counts, 0, workers * ORGAN_EDGE_DIGIT * sizeof *r->counts);
    for (size_t first = 0; first < bands->rows; first += bands->band_rows) {
        if (organ_matrix_band(r->job->engine, bands, first, error) != ORGAN_OK)
            return error->status;
        r->rows = organ_matrix_band_rows(bands, first);
        share_rows(r, count_rows_task);
    }
    for (size_t w = 1; w < workers; w++)
        for (size_t k = 0; k < ORGAN_EDGE_DIGIT; k++)
            r->counts[k] += r->counts[w * ORGAN_EDGE_DIGIT + k];
    select_digit(&r->edge, r->digit, r->counts, r->count - 1);
    return ORGAN_OK;
}

/* Values of 16 bits, widened to FP32, have only zeros in the last digit, so that digit needs no pass. With a count
 * of 0 the edge stays 0 and nothing is removed. */
static organ_status find_edge(ranking *r, organ_error *error)
{
    const organ_matrix_bands *const bands = r->job->bands;
    const unsigned digits = bands->dtype == ORGAN_F32 ? ORGAN_EDGE_DIGITS : ORGAN_EDGE_DIGITS - 1;
    r->count = (uint64_t)llround(r->job->options->sparsity / 100 * ((double)bands->rows * (double)bands->cols));
    for (r->digit = 0; r->digit < digits && r->count > 0 && !error->status; r->digit++)
        find_digit(r, error);
    r->equals_left = r->count - r->edge.less;
    return error->status;
}

/* Bands must come in order, because r->equals_left weights equal to the edge are removed from the first rows that
 * have some. */
static void mask_band(ranking *r, size_t first)
{
    r->rows = organ_matrix_band_rows(r->job->bands, first);
    if (by_row(r->job)) {
        share_rows(r, cut_rows_task);
        return;
    }
    share_rows(r, count_equals_task);
    for (size_t row = 0; row < r->rows; row++) {
        r->equals[row] = r->equals_left < r->equals[row] ? r->equals_left : r->equals[row];
        r->equals_left -= r->equals[row];
    }
    share_rows(r, cut_equals_task);
}

static void lay_out(void *context, organ_buffers *b)
{
    ranking *const r = context;
    const organ_matrix_bands *const bands = r->job->bands;
    r->row_scratch = organ_take_floats(b, r->workers, bands->cols);
    r->counts = organ_take_zeros(b, r->workers, ORGAN_EDGE_DIGIT * sizeof *r->counts);
    r->equals = organ_take_zeros(b, bands->band_rows, sizeof *r->equals);
}

uint64_t organ_rank_memory(organ_matrix_bands *bands, size_t workers)
{
    return organ_buffers_count(lay_out, &(ranking){.job = &(organ_matrix_job){.bands = bands}, .workers = workers});
}

/* Unless each row has its own ranking (by_row), find_edge first runs passes over all bands. */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error)
{
    organ_matrix_bands *const bands = job->bands;
    ORGAN_OWNED_BUFFERS buffers = {0};
    ranking r = {.job = job, .workers = organ_workers_count(job->engine->workers)};
    if (!organ_buffers_take(&buffers, lay_out, &r))
        organ_fail_memory(error, job->options->name);
    else if (by_row(job) || find_edge(&r, error) == ORGAN_OK)
        for (size_t first = 0; first < bands->rows && !error->status; first += bands->band_rows)
            if (organ_matrix_band(job->engine, bands, first, error) == ORGAN_OK) {
                mask_band(&r, first);
                job->take(job->context, first, error);
            }
    return error->status;
}

void organ_clear_dead_inputs(const organ_matrix_job *job)
{
    for (size_t j = 0; j < job->cols; j++)
        if (job->moments->act_norm[j] == 0)
            for (size_t i = 0; i < job->rows; i++)
                job->weights[i * job->cols + j] = 0;
}
