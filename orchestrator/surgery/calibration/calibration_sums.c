/* SPDX-License-Identifier: MIT
 * Adds the chunks of a calibration to its sums. Exact arithmetic computes products of 256 tokens in FP32 and adds them
 * to FP64 sums. The other arithmetics have instructions for operands with a row for each feature. So chunks are turned:
 * their inputs are transposed, and rounded to BF16 if the arithmetic does so. The products of up to TURNED_BYTES of
 * each feature are then computed in FP32 and added to the FP64 sums. */
#include "orchestrator/surgery/calibration/calibration_sums.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>
#include <string.h>

#define PANEL         ORGAN_CALIBRATION_BLOCK
#define TURNED_BYTES  ((size_t)4096) /* of the inputs of one feature */
#define TURNED_COLUMN ((size_t)64)   /* features that a worker turns together */
_Static_assert(TURNED_COLUMN *ORGAN_CALIBRATION_CHUNK * sizeof(float) <= ORGAN_PRODUCT_SCRATCH, "turned inputs fit");

organ_row_range organ_calibration_own_range(const organ_calibration *c, size_t count)
{
    return organ_ranks_own_rows(c->engine->ranks, count, /*step=*/1);
}

size_t organ_calibration_tiles(const organ_calibration *c) { return organ_pieces_of(c->options.features, PANEL); }

organ_panel_sums organ_calibration_panel_sums(const organ_calibration *c, const organ_calibration_panel *p)
{
    const size_t features = c->options.features, block = c->moments.block, start = p->row / block * block;
    const size_t width = organ_min(block, features - start);
    double *const sums = (p->cross ? c->c : c->h) + start * block;
    return (organ_panel_sums){sums + (p->row - start) * width + p->col - start, organ_min(PANEL, features - p->row),
                              organ_min(PANEL, features - p->col), width};
}

/* ---- saliency and magnitudes ---- */

static void add_saliency(void *context, size_t index, size_t worker)
{
    organ_calibration *const c = context;
    const size_t first = (organ_calibration_own_range(c, organ_calibration_tiles(c)).first + index) * PANEL;
    const organ_input_noise noise = {c->levels, c->options.seed, c->options.layer};
    (void)worker;
    organ_saliency_add(&c->sums, &noise, c->moments.tokens, c->buffered, c->chunk[ORGAN_STREAM_PRUNED],
                       c->options.features, first, organ_min(PANEL, c->options.features - first));
}

void organ_calibration_count_magnitudes(const organ_calibration *c, const float *inputs, size_t tokens)
{
    for (size_t k = 0; k < tokens * c->options.features; k++) {
        uint32_t bits;
        memcpy(&bits, &inputs[k], sizeof bits);
        c->magnitudes[(bits & 0x7fffffff) >> ORGAN_MAGNITUDE_SHIFT]++;
    }
}

/* ---- products of a chunk: exact arithmetic ---- */

/* A panel of H gets X_p^T X_p of the chunk, a panel of C X_d^T X_p. */
static void add_panel(organ_calibration *c, size_t index, size_t worker)
{
    const organ_calibration_panel *const p = &c->panels[organ_calibration_own_range(c, c->panel_count).first + index];
    const organ_panel_sums sums = organ_calibration_panel_sums(c, p);
    const size_t features = c->options.features;
    const float *const rows = c->chunk[p->cross ? ORGAN_STREAM_DONOR : ORGAN_STREAM_PRUNED];
    const organ_product product = {.m = sums.rows,
                                   .n = sums.cols,
                                   .k = c->buffered,
                                   .a = organ_by_columns(rows + p->row, features),
                                   .b = organ_by_columns(c->chunk[ORGAN_STREAM_PRUNED] + p->col, features),
                                   .c = sums.at,
                                   .c_stride = sums.stride,
                                   .wide = true,
                                   .into = ORGAN_PRODUCT_ADD};
    organ_product_run(c->engine, &product, c->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

static organ_row_range own_rows_of_weights(const organ_calibration *c)
{
    return organ_calibration_own_range(c, c->options.rows);
}

/* Sets c->shift to the shift of the outputs, (X_d - X_p) W^T, of this rank's rows of W. Overwrites X_d by X_d - X_p. */
static void find_shift(organ_calibration *c)
{
    const size_t n = c->options.features;
    const organ_row_range own = own_rows_of_weights(c);
    const size_t rows = own.end - own.first;
    float *const donor = c->chunk[ORGAN_STREAM_DONOR];
    const organ_product shift = {.m = c->buffered,
                                 .n = rows,
                                 .k = n,
                                 .a = organ_by_rows(donor, n),
                                 .b = organ_factor_from(c->options.weights, own.first),
                                 .c = c->shift,
                                 .c_stride = rows,
                                 .compute = c->engine->compute};
    for (size_t k = 0; k < c->buffered * n; k++)
        donor[k] -= c->chunk[ORGAN_STREAM_PRUNED][k];
    organ_products_run(c->engine, /*stop=*/NULL, &shift, /*count=*/1, c->scratch);
}

/* `drift` gets W (X_d - X_p)^T X_p of the chunk: the transpose of the shift, multiplied by X_p. */
static void add_drift(organ_calibration *c)
{
    const size_t n = c->options.features;
    const organ_row_range own = own_rows_of_weights(c);
    const size_t rows = own.end - own.first;
    const organ_product drift = {.m = rows,
                                 .n = n,
                                 .k = c->buffered,
                                 .a = organ_by_columns(c->shift, rows),
                                 .b = organ_by_columns(c->chunk[ORGAN_STREAM_PRUNED], n),
                                 .c = c->drift + own.first * n,
                                 .c_stride = n,
                                 .wide = true,
                                 .into = ORGAN_PRODUCT_ADD};
    organ_products_run(c->engine, /*stop=*/NULL, &drift, /*count=*/1, c->scratch);
}

/* ---- products of turned chunks: the other arithmetics ---- */

bool organ_calibration_turned_open(organ_calibration *c)
{
    organ_turned_inputs *const t = &c->turned;
    const organ_row_range own = own_rows_of_weights(c);
    if (c->engine->compute == ORGAN_COMPUTE_EXACT)
        return true;
    t->type = c->engine->compute == ORGAN_COMPUTE_BF16 ? ORGAN_REAL_BF16 : ORGAN_REAL_F32;
    const size_t room = TURNED_BYTES / organ_real_bytes(t->type),
                 donor_rows = c->options.weights.values ? own.end - own.first : c->options.features;
    t->room = c->options.tokens ? organ_min(c->options.tokens, room) : room;
    t->rows[ORGAN_STREAM_PRUNED] = malloc(c->options.features * t->room * organ_real_bytes(t->type));
    if (c->options.two_streams)
        t->rows[ORGAN_STREAM_DONOR] = malloc((donor_rows + 1) * t->room * organ_real_bytes(t->type));
    return t->rows[ORGAN_STREAM_PRUNED] && (t->rows[ORGAN_STREAM_DONOR] || !c->options.two_streams);
}

void organ_calibration_turned_close(organ_calibration *c)
{
    for (size_t s = 0; s < ORGAN_INPUT_STREAMS; s++)
        free(c->turned.rows[s]);
    c->turned = (organ_turned_inputs){0};
}

typedef struct turning {
    organ_calibration *c;
    const float *from; /* tokens x width */
    size_t width;
    organ_input_stream to;
} turning;

/* Turns some columns of the chunk. */
static void turn_columns(void *context, size_t index, size_t worker)
{
    const turning *const t = context;
    const organ_turned_inputs *const to = &t->c->turned;
    const organ_kernels *const kernels = t->c->engine->kernels;
    const size_t tokens = t->c->buffered, first = index * TURNED_COLUMN, n = organ_min(TURNED_COLUMN, t->width - first),
                 row = to->room * organ_real_bytes(to->type);
    unsigned char *const at = to->rows[t->to] + first * row + to->tokens * organ_real_bytes(to->type);
    if (to->type == ORGAN_REAL_F32) {
        kernels->transpose(t->from + first, t->width, (float *)(void *)at, to->room, tokens, n);
        return;
    }
    float *const values = (float *)(void *)(t->c->scratch + worker * ORGAN_PRODUCT_SCRATCH);
    kernels->transpose(t->from + first, t->width, values, tokens, tokens, n);
    for (size_t k = 0; k < n; k++)
        organ_narrow(kernels, ORGAN_BF16, values + k * tokens, at + k * row, tokens);
}

static void turn(organ_calibration *c, const float *from, size_t width, organ_input_stream to)
{
    turning t = {c, from, width, to};
    organ_share_work(c->engine, /*stop=*/NULL, organ_pieces_of(width, TURNED_COLUMN),
                     ORGAN_SHARE_NUMBER * (double)width * (double)c->buffered, turn_columns, &t);
}

static organ_product_operand turned_rows(const organ_calibration *c, organ_input_stream stream, size_t row)
{
    const organ_turned_inputs *const t = &c->turned;
    return organ_factor_from((organ_product_operand){.values = t->rows[stream], .type = t->type, .stride = t->room},
                             row);
}

/* Adds the product of turned rows to some of the sums; `partial` has room for PANEL x PANEL numbers. */
static void add_product(const organ_calibration *c, organ_panel_sums sums, organ_product_operand a,
                        organ_product_operand b, float *partial, void *scratch)
{
    const organ_product product = {.m = sums.rows,
                                   .n = sums.cols,
                                   .k = c->turned.tokens,
                                   .a = a,
                                   .b = b,
                                   .c = partial,
                                   .c_stride = PANEL,
                                   .compute = c->engine->compute};
    organ_product_run(c->engine, &product, scratch);
    for (size_t i = 0; i < sums.rows; i++) {
        double *restrict const to = sums.at + i * sums.stride;
        const float *restrict const from = partial + i * PANEL;
        for (size_t j = 0; j < sums.cols; j++)
            to[j] += (double)from[j];
    }
}

/* Tiles of the drift follow the panels. */
static void add_turned(void *context, size_t index, size_t worker)
{
    organ_calibration *const c = context;
    const organ_row_range panels = organ_calibration_own_range(c, c->panel_count), own = own_rows_of_weights(c);
    const size_t n = c->options.features, across = organ_pieces_of(n, PANEL);
    unsigned char *const scratch = c->scratch + worker * ORGAN_PRODUCT_SCRATCH;
    float *const partial = (float *)(void *)(c->scratch + organ_products_scratch(c->engine)) + worker * PANEL * PANEL;
    if (index < panels.end - panels.first) {
        const organ_calibration_panel *const p = &c->panels[panels.first + index];
        add_product(c, organ_calibration_panel_sums(c, p),
                    turned_rows(c, p->cross ? ORGAN_STREAM_DONOR : ORGAN_STREAM_PRUNED, p->row),
                    turned_rows(c, ORGAN_STREAM_PRUNED, p->col), partial, scratch);
        return;
    }
    index -= panels.end - panels.first;
    const size_t row = index / across * PANEL, col = index % across * PANEL;
    const organ_panel_sums sums = {c->drift + (own.first + row) * n + col, organ_min(PANEL, own.end - own.first - row),
                                   organ_min(PANEL, n - col), n};
    add_product(c, sums, turned_rows(c, ORGAN_STREAM_DONOR, row), turned_rows(c, ORGAN_STREAM_PRUNED, col), partial,
                scratch);
}

static void multiply_turned(organ_calibration *c)
{
    const organ_row_range panels = organ_calibration_own_range(c, c->panel_count), own = own_rows_of_weights(c);
    const size_t tiles = c->drift ? organ_pieces_of(own.end - own.first, PANEL) * organ_calibration_tiles(c) : 0;
    if (c->turned.tokens > 0)
        organ_share(c->engine, /*stop=*/NULL, panels.end - panels.first + tiles, add_turned, c);
    c->turned.tokens = 0;
}

/* A chunk is not divided: its first tokens may need all the room that is left. */
static void turn_chunk(organ_calibration *c)
{
    const organ_row_range own = own_rows_of_weights(c);
    if (c->turned.tokens + c->buffered > c->turned.room)
        multiply_turned(c);
    turn(c, c->chunk[ORGAN_STREAM_PRUNED], c->options.features, ORGAN_STREAM_PRUNED);
    if (c->drift)
        turn(c, c->shift, own.end - own.first, ORGAN_STREAM_DONOR);
    else if (c->options.two_streams)
        turn(c, c->chunk[ORGAN_STREAM_DONOR], c->options.features, ORGAN_STREAM_DONOR);
    c->turned.tokens += c->buffered;
}

/* ---- chunks ---- */

/* Every rank counts the inputs of all tokens. A worker counts while the others add panels. */
static void add_work(void *context, size_t index, size_t worker)
{
    organ_calibration *const c = context;
    if (!c->magnitudes)
        add_panel(c, index, worker);
    else if (index > 0)
        add_panel(c, index - 1, worker);
    else
        organ_calibration_count_magnitudes(c, c->chunk[ORGAN_STREAM_PRUNED], c->buffered);
}

static void add_products(organ_calibration *c)
{
    const organ_row_range panels = organ_calibration_own_range(c, c->panel_count), own = own_rows_of_weights(c);
    const bool exact = c->turned.room == 0, drifts = c->drift && own.end > own.first;
    const size_t products = exact ? panels.end - panels.first : 0;
    organ_share(c->engine, /*stop=*/NULL, products + (c->magnitudes != NULL), add_work, c);
    if (drifts)
        find_shift(c);
    if (!exact)
        turn_chunk(c);
    else if (drifts)
        add_drift(c);
}

void organ_calibration_add_chunk(organ_calibration *c)
{
    if (c->buffered == 0)
        return;
    const organ_row_range tiles = organ_calibration_own_range(c, organ_calibration_tiles(c));
    if (!c->options.moments_only)
        organ_share(c->engine, /*stop=*/NULL, tiles.end - tiles.first, add_saliency, c);
    add_products(c);
    c->moments.tokens += c->buffered;
    c->buffered = 0;
}

void organ_calibration_add_last(organ_calibration *c)
{
    organ_calibration_add_chunk(c);
    multiply_turned(c);
}
