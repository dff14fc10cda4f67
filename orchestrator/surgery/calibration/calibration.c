/* SPDX-License-Identifier: MIT
 * A calibration: receives the inputs of a layer in chunks of ORGAN_CALIBRATION_CHUNK tokens, so that the sums do not
 * depend on the number of tokens in a call of organ_calibration_add, exchanges the sums between ranks and computes the
 * results from them. */
#include "orchestrator/surgery/calibration/calibration_sums.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PANEL         ORGAN_CALIBRATION_BLOCK
#define MAX_FEATURES  ((size_t)1 << 20)
#define LARGEST_INPUT 1e15f /* the sum of a chunk's squares, at most 512e30, is below the largest FP32, 3.4e38 */

static organ_row_range share_of(const organ_calibration *c, size_t count, size_t rank)
{
    return organ_ranks_rows(c->engine->ranks, rank, count, /*step=*/1);
}

/* ---- creation ---- */

static organ_status fail_memory(const organ_calibration_options *options, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: calibration of %zu inputs", options->name, options->features);
}

/* The panels are those of H on and above the diagonal and, with two streams and without weights, all of C. With
 * diagonal blocks, panels outside of the blocks are left out. */
static void list_panels(organ_calibration *c)
{
    const size_t features = c->options.features, block = c->moments.block;
    for (size_t row = 0; row < features; row += PANEL) {
        const size_t start = row / block * block, end = organ_min(start + block, features);
        for (size_t col = start; col < end; col += PANEL) {
            if (col >= row)
                c->panels[c->panel_count++] = (organ_calibration_panel){row, col, .cross = false};
            if (c->options.two_streams && !c->options.weights.values)
                c->panels[c->panel_count++] = (organ_calibration_panel){row, col, .cross = true};
        }
    }
}

/* With several ranks the buffers always have ORGAN_CALIBRATION_CHUNK rows, because organ_calibration_complete exchanges
 * sums through them. */
static size_t chunk_rows(const organ_calibration *c)
{
    const size_t tokens = c->options.tokens;
    return tokens && organ_ranks_count(c->engine->ranks) < 2 ? organ_min(tokens, ORGAN_CALIBRATION_CHUNK)
                                                             : ORGAN_CALIBRATION_CHUNK;
}

size_t organ_calibration_scratch(const organ_engine *engine)
{
    const size_t panels = engine->compute == ORGAN_COMPUTE_EXACT ? 0 : organ_workers_count(engine->workers);
    return organ_products_scratch(engine) + panels * PANEL * PANEL * sizeof(float);
}

static bool allocate_chunks(organ_calibration *c)
{
    const size_t n = c->options.features, rows = chunk_rows(c);
    c->chunk[ORGAN_STREAM_PRUNED] = organ_floats(rows, n);
    c->chunk[ORGAN_STREAM_DONOR] = c->options.two_streams ? organ_floats(rows, n) : NULL;
    c->own_scratch = c->options.scratch ? NULL : aligned_alloc(64, organ_calibration_scratch(c->engine));
    c->scratch = c->options.scratch ? c->options.scratch : c->own_scratch;
    return c->chunk[ORGAN_STREAM_PRUNED] && (c->chunk[ORGAN_STREAM_DONOR] || !c->options.two_streams) && c->scratch &&
           organ_calibration_turned_open(c);
}

static bool calibration_allocate(organ_calibration *c)
{
    /* entries of all diagonal blocks, the last of which may be narrower */
    const size_t n = c->options.features, block = c->moments.block,
                 entries = n / block * block * block + n % block * (n % block);
    const size_t panels = (n + PANEL - 1) / PANEL, across = block / PANEL + 1;
    c->magnitudes = c->options.magnitudes ? calloc(ORGAN_MAGNITUDES, sizeof *c->magnitudes) : NULL;
    if (c->options.ranges_only)
        return c->magnitudes || !c->options.magnitudes;
    c->h = organ_zero_doubles(entries);
    c->c = c->options.two_streams && !c->options.weights.values ? organ_zero_doubles(entries) : NULL;
    if (c->options.weights.values) {
        c->drift = organ_zero_doubles(c->options.rows * n);
        c->shift = organ_floats(chunk_rows(c), c->options.rows);
    }
    c->factors = calloc(3 * n, sizeof *c->factors);
    const bool salient = !c->options.moments_only;
    c->sums_memory = salient ? calloc(ORGAN_SALIENCY_SUMS * n, sizeof *c->sums_memory) : NULL;
    c->own_levels = c->options.levels || !salient ? NULL : organ_normal_levels();
    c->levels = c->options.levels ? c->options.levels : c->own_levels;
    c->panels = calloc(2 * panels * across, sizeof *c->panels);
    if (c->sums_memory) {
        double *const s = c->sums_memory;
        c->sums = (organ_saliency_sums){s, s + n, s + 2 * n, s + 3 * n, s + 4 * n};
    }
    return allocate_chunks(c) && c->h && (c->c || !c->options.two_streams || (c->drift && c->shift)) && c->factors &&
           ((c->sums_memory && c->levels) || !salient) && c->panels && (c->magnitudes || !c->options.magnitudes);
}

/* The drift (rows x features sums) needs two products of its size, C (features x features sums) only one: hence the
 * half. */
bool organ_calibration_takes_weights(size_t rows, size_t features) { return rows < features / 2; }

/* Each entry of H needs 8 bytes, and 8 more for its FP32 copies; with two streams, each entry of C or of the drift
 * needs 8. The drift replaces C for a matrix with few rows. The diagonal blocks have PANEL features. */
uint64_t organ_calibration_memory(uint64_t features, uint64_t rows, bool two_streams, bool undivided)
{
    if (undivided && two_streams && rows > 0 && organ_calibration_takes_weights((size_t)rows, (size_t)features))
        return 16 * features * features + 8 * rows * features;
    return features * (undivided || features < PANEL ? features : PANEL) * (two_streams ? 24 : 16);
}

/* moments.block is the width of the blocks of H. options.weights is cleared unless `drift` will be summed. */
static void choose_sums(organ_calibration *c)
{
    const organ_calibration_options *const o = &c->options;
    c->moments.block = !o->blocks || o->features <= PANEL ? o->features : PANEL;
    if (o->blocks || !o->two_streams || !o->weights.values || !organ_calibration_takes_weights(o->rows, o->features))
        c->options.weights.values = NULL;
}

organ_status organ_calibration_create(const organ_calibration_options *options, const organ_engine *engine,
                                      organ_calibration **calibration, organ_error *error)
{
    *calibration = NULL;
    if (options->features == 0 || options->features > MAX_FEATURES)
        return organ_fail(error, ORGAN_USAGE, "%s: a calibration is for 1 to %zu inputs, not %zu", options->name,
                          MAX_FEATURES, options->features);
    organ_calibration *c = calloc(1, sizeof *c);
    if (!c)
        return fail_memory(options, error);
    c->options = *options;
    c->engine = engine;
    c->moments.features = options->features;
    choose_sums(c);
    if (!calibration_allocate(c)) {
        organ_calibration_destroy(c);
        return fail_memory(options, error);
    }
    if (!options->ranges_only)
        list_panels(c);
    *calibration = c;
    return ORGAN_OK;
}

static void free_work(organ_calibration *c)
{
    ORGAN_FREE_ARRAYS(c->sums_memory, c->own_levels, c->chunk[ORGAN_STREAM_PRUNED], c->chunk[ORGAN_STREAM_DONOR],
                      c->own_scratch, c->shift, c->panels);
    organ_calibration_turned_close(c);
    c->sums_memory = NULL;
    c->levels = NULL;
    c->scratch = c->own_scratch = NULL;
    c->own_levels = c->shift = c->chunk[ORGAN_STREAM_PRUNED] = c->chunk[ORGAN_STREAM_DONOR] = NULL;
    c->panels = NULL;
}

void organ_calibration_destroy(organ_calibration *c)
{
    if (!c)
        return;
    free_work(c);
    ORGAN_FREE_ARRAYS(c->h, c->c, c->drift, c->factors, c->magnitudes, c);
}

/* ---- tokens ---- */

typedef struct adding {
    organ_calibration *c;
    const float *inputs;
    float *chunk;      /* NULL: inputs are not kept */
    bool broken;       /* an input is not finite or above LARGEST_INPUT; atomic */
    uint32_t greatest; /* bits of the greatest magnitude, in the order of the magnitudes; atomic */
} adding;

static void raise_greatest(uint32_t *greatest, float magnitude)
{
    uint32_t bits, before = __atomic_load_n(greatest, __ATOMIC_RELAXED);
    memcpy(&bits, &magnitude, sizeof bits);
    while (bits > before &&
           !__atomic_compare_exchange_n(greatest, &before, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
}

static void add_token(void *context, size_t token, size_t worker)
{
    adding *const a = context;
    const size_t n = a->c->options.features;
    const float *restrict const from = a->inputs + token * n;
    uint32_t broken = 0; /* at most n */
    (void)worker;
    for (size_t k = 0; k < n; k++)
        broken += !(fabsf(from[k]) <= LARGEST_INPUT);
    if (a->chunk)
        memcpy(a->chunk + (a->c->buffered + token) * n, from, n * sizeof *from);
    if (broken)
        __atomic_store_n(&a->broken, true, __ATOMIC_RELAXED);
    raise_greatest(&a->greatest, a->c->engine->kernels->amax(from, n));
}

/* The message names the first input that is not finite or above LARGEST_INPUT. `where` is "" or " in the donor". */
static organ_status fail_input(const organ_calibration *c, const float *inputs, const char *where, organ_error *error)
{
    const size_t n = c->options.features;
    size_t k = 0;
    while (fabsf(inputs[k]) <= LARGEST_INPUT)
        k++;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: calibration token %llu, input %zu%s: the activation is %g; it must be finite and within %g",
                      c->options.name, (unsigned long long)(c->moments.tokens + c->buffered + k / n), k % n, where,
                      (double)inputs[k], (double)LARGEST_INPUT);
}

static organ_status add_inputs(organ_calibration *c, const float *inputs, size_t tokens, organ_input_stream stream,
                               organ_error *error)
{
    adding a = {.c = c, .inputs = inputs, .chunk = c->chunk[stream]};
    organ_share_work(c->engine, /*stop=*/NULL, tokens,
                     ORGAN_SHARE_NUMBER * (double)tokens * (double)c->options.features, add_token, &a);
    float greatest;
    memcpy(&greatest, &a.greatest, sizeof greatest);
    if (stream == ORGAN_STREAM_PRUNED && greatest > c->moments.greatest)
        c->moments.greatest = greatest;
    return a.broken ? fail_input(c, inputs, stream == ORGAN_STREAM_DONOR ? " in the donor" : "", error) : ORGAN_OK;
}

static organ_status add_ranges(organ_calibration *c, const float *inputs, size_t tokens, organ_error *error)
{
    if (add_inputs(c, inputs, tokens, ORGAN_STREAM_PRUNED, error))
        return error->status;
    if (c->magnitudes)
        organ_calibration_count_magnitudes(c, inputs, tokens);
    c->moments.tokens += tokens;
    return ORGAN_OK;
}

/* Because chunks have a fixed size, the sums do not depend on how callers split the tokens. */
organ_status organ_calibration_add(organ_calibration *c, const float *pruned_inputs, const float *donor_inputs,
                                   size_t tokens, organ_error *error)
{
    const size_t n = c->options.features;
    if (c->finished || (donor_inputs != NULL) != c->options.two_streams)
        return organ_fail(error, ORGAN_USAGE, "%s: %s", c->options.name,
                          c->finished ? "the calibration is finished and accepts no more tokens"
                                      : "inputs of the donor are given, but were not declared (or the reverse)");
    if (c->options.tokens && c->moments.tokens + c->buffered + tokens > c->options.tokens)
        return organ_fail(error, ORGAN_USAGE, "%s: more tokens than the declared %zu", c->options.name,
                          c->options.tokens);
    if (c->options.ranges_only)
        return add_ranges(c, pruned_inputs, tokens, error);
    for (size_t done = 0; done < tokens;) {
        const size_t some = organ_min(ORGAN_CALIBRATION_CHUNK - c->buffered, tokens - done);
        if (add_inputs(c, pruned_inputs + done * n, some, ORGAN_STREAM_PRUNED, error) ||
            (donor_inputs && add_inputs(c, donor_inputs + done * n, some, ORGAN_STREAM_DONOR, error)))
            return error->status;
        c->buffered += some;
        done += some;
        if (c->buffered == ORGAN_CALIBRATION_CHUNK)
            organ_calibration_add_chunk(c);
    }
    return ORGAN_OK;
}

/* ---- ranks ---- */

typedef enum movement { SUMS_COUNT, SUMS_PACK, SUMS_UNPACK } movement;

/* The sums are `stride` apart, `packed` is contiguous. Returns the number of sums. */
static size_t move_sums(double *sums, size_t rows, size_t cols, size_t stride, double *packed, movement way)
{
    const bool unpack = way == SUMS_UNPACK;
    for (size_t i = 0; i < rows && way != SUMS_COUNT; i++)
        memcpy(unpack ? sums + i * stride : packed + i * cols, unpack ? packed + i * cols : sums + i * stride,
               cols * sizeof *sums);
    return rows * cols;
}

/* The first panels of the range, as many as fit in the buffer `packed`, are removed from *range. Returns the number
 * of their sums. */
static size_t move_panels(const organ_calibration *c, organ_row_range *range, double *packed, movement way)
{
    const size_t capacity = ORGAN_CALIBRATION_CHUNK * c->options.features * sizeof(float) / sizeof(double);
    size_t count = 0;
    for (; range->first < range->end; range->first++) {
        const organ_panel_sums p = organ_calibration_panel_sums(c, &c->panels[range->first]);
        if (count + p.rows * p.cols > capacity)
            break;
        count += move_sums(p.at, p.rows, p.cols, p.stride, packed + count, way);
    }
    return count;
}

static void complete_panels(const organ_calibration *c, size_t rank, double *packed, organ_error *error)
{
    const bool own = rank == organ_ranks_rank(c->engine->ranks);
    for (organ_row_range remaining = share_of(c, c->panel_count, rank);
         remaining.first < remaining.end && !error->status;) {
        organ_row_range same = remaining; /* unpacking begins where packing did */
        const size_t count = move_panels(c, &remaining, packed, own ? SUMS_PACK : SUMS_COUNT);
        if (organ_ranks_broadcast(c->engine->ranks, rank, packed, count * sizeof *packed, error) == ORGAN_OK && !own)
            move_panels(c, &same, packed, SUMS_UNPACK);
    }
}

static void complete_saliency(const organ_calibration *c, size_t rank, double *packed, organ_error *error)
{
    const size_t features = c->options.features;
    const organ_row_range tiles = share_of(c, organ_calibration_tiles(c), rank);
    const size_t first = tiles.first * PANEL,
                 count = organ_min(tiles.end * PANEL, features) - organ_min(first, features);
    const bool own = rank == organ_ranks_rank(c->engine->ranks);
    if (own)
        move_sums(c->sums_memory + first, ORGAN_SALIENCY_SUMS, count, features, packed, SUMS_PACK);
    if (organ_ranks_broadcast(c->engine->ranks, rank, packed, ORGAN_SALIENCY_SUMS * count * sizeof *packed, error) ==
            ORGAN_OK &&
        !own)
        move_sums(c->sums_memory + first, ORGAN_SALIENCY_SUMS, count, features, packed, SUMS_UNPACK);
}

/* The chunk serves as a buffer: its ORGAN_CALIBRATION_CHUNK x features FP32 have room for PANEL x features FP64, which
 * is enough for any panel and for the ORGAN_SALIENCY_SUMS x features saliency sums. */
organ_status organ_calibration_complete(organ_calibration *c, organ_error *error)
{
    const size_t ranks = organ_ranks_count(c->engine->ranks), features = c->options.features;
    if (ranks < 2 || error->status || c->options.ranges_only)
        return error->status;
    organ_calibration_add_last(c);
    double *const packed = (double *)(void *)c->chunk[ORGAN_STREAM_PRUNED];
    for (size_t rank = 0; rank < ranks; rank++) {
        const organ_row_range rows = share_of(c, c->drift ? c->options.rows : 0, rank);
        complete_panels(c, rank, packed, error);
        if (c->sums_memory)
            complete_saliency(c, rank, packed, error);
        if (c->drift)
            organ_ranks_broadcast(c->engine->ranks, rank, c->drift + rows.first * features,
                                  (rows.end - rows.first) * features * sizeof *c->drift, error);
    }
    return error->status;
}

/* ---- results ---- */

/* act_norm of inputs [first, first + width) is their root mean square, from the diagonal of H; stability and
 * contribution are 1. `h` is the tile of H of these inputs, with `stride` entries from row to row. */
static void finish_moments(organ_calibration *c, const double *h, size_t stride, size_t first, size_t width)
{
    const size_t n = c->options.features;
    for (size_t j = 0; j < width; j++) {
        c->factors[first + j] = (float)sqrt(h[j * (stride + 1)] / (double)c->moments.tokens);
        c->factors[n + first + j] = c->factors[2 * n + first + j] = 1;
    }
}

static void finish_tile(void *context, size_t index, size_t worker)
{
    organ_calibration *const c = context;
    const size_t n = c->options.features, first = index * PANEL, width = organ_min(PANEL, n - first);
    const size_t block = c->moments.block, start = first / block * block, stride = organ_min(block, n - start);
    const double *const h = c->h + start * block + (first - start) * (stride + 1);
    (void)worker;
    if (c->options.moments_only) {
        finish_moments(c, h, stride, first, width);
        return;
    }
    for (size_t j = first; j < first + width; j++)
        organ_saliency_finish(&c->sums, j, c->moments.tokens, &c->factors[j], &c->factors[n + j]);
    if (!organ_saliency_contribution(c->engine->kernels, h, stride, width, c->moments.tokens,
                                     ORGAN_CALIBRATION_DAMPING * c->moments.mean_diagonal, c->factors + 2 * n + first))
        __atomic_store_n(&c->singular, 1, __ATOMIC_RELAXED);
}

static double mean_diagonal(const organ_calibration *c)
{
    const size_t n = c->options.features, block = c->moments.block;
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        const size_t start = j / block * block, width = organ_min(block, n - start);
        sum += c->h[start * block + (j - start) * (width + 1)];
    }
    return sum / (double)n / (double)c->moments.tokens;
}

organ_status organ_calibration_finish(organ_calibration *c, organ_error *error)
{
    const size_t n = c->options.features;
    if (c->finished)
        return organ_fail(error, ORGAN_USAGE, "%s: the calibration is already finished", c->options.name);
    organ_calibration_add_last(c);
    if (c->moments.tokens == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the calibration has no tokens", c->options.name);
    c->moments.mean_diagonal = c->h ? mean_diagonal(c) : 0;
    if (!((c->h ? c->moments.mean_diagonal : (double)c->moments.greatest) > 0))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: all %zu inputs are zero for all %llu calibration tokens",
                          c->options.name, n, (unsigned long long)c->moments.tokens);
    if (c->h)
        organ_share(c->engine, /*stop=*/NULL, organ_calibration_tiles(c), finish_tile, c);
    if (c->singular)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: the second moments of the inputs of a tile cannot be inverted (mean square %g)",
                          c->options.name, c->moments.mean_diagonal);
    c->moments.h = c->h;
    c->moments.magnitudes = c->magnitudes;
    c->moments.c = c->c;
    c->moments.drift = c->drift;
    c->moments.rows = c->drift ? c->options.rows : 0;
    c->moments.act_norm = c->factors;
    c->moments.stability = c->factors ? c->factors + n : NULL;
    c->moments.contribution = c->factors ? c->factors + 2 * n : NULL;
    c->finished = true;
    free_work(c);
    return ORGAN_OK;
}

organ_status organ_calibration_from_norms(const organ_calibration_options *options, const float *norms, uint64_t tokens,
                                          organ_calibration **calibration, organ_error *error)
{
    const size_t n = options->features;
    *calibration = NULL;
    if (n == 0 || n > MAX_FEATURES)
        return organ_fail(error, ORGAN_USAGE, "%s: a calibration is for 1 to %zu inputs, not %zu", options->name,
                          MAX_FEATURES, n);
    organ_calibration *const c = calloc(1, sizeof *c);
    if (!c || !(c->factors = calloc(3 * n, sizeof *c->factors))) {
        free(c);
        return fail_memory(options, error);
    }
    bool known = false;
    c->options = *options;
    for (size_t j = 0; j < n && !error->status; j++) {
        if (!(norms[j] >= 0) || !isfinite(norms[j]))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: the norm of input %zu is %g; it must be finite and not negative",
                       options->name, j, (double)norms[j]);
        known |= norms[j] > 0;
        c->factors[j] = norms[j];
        c->factors[n + j] = c->factors[2 * n + j] = 1;
        c->moments.mean_diagonal += (double)norms[j] * (double)norms[j] / (double)n;
    }
    if (!error->status && !known)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the norms of all %zu inputs are zero", options->name, n);
    c->moments.features = c->moments.block = n;
    c->moments.tokens = tokens;
    c->moments.act_norm = c->factors;
    c->moments.stability = c->factors + n;
    c->moments.contribution = c->factors + 2 * n;
    c->finished = true;
    if (error->status)
        organ_calibration_destroy(c);
    else
        *calibration = c;
    return error->status;
}

const organ_input_moments *organ_calibration_moments(const organ_calibration *c)
{
    return c->finished ? &c->moments : NULL;
}
