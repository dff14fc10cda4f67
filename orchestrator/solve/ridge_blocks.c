/* SPDX-License-Identifier: MIT
 * Solver by blocks of the ridge regression: block Gauss-Seidel, used if the normal matrix of all inputs would be too
 * large. For one piece at a time (some inputs of a block), solves for the change of D that minimises the objective ||R
 * - Z D||^2 + shift ||D||^2, then updates the residual R - Z D. Sweeps over all pieces are repeated until one lowers
 * the objective by less than MIN_PROGRESS. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <string.h>

#define MIN_PROGRESS 1e-4 /* a sweep that lowers the objective by less than this share of ||R||^2 is the last */
#define MAX_SWEEPS   16   /* for one lambda */
#define FEW_VALUES   ((size_t)1 << 14) /* copying at most so many values takes less time than starting the workers */

typedef struct ridge_blocks_piece {
    size_t block, from, width; /* inputs from .. from + width - 1 of the block */
    size_t input;              /* index of its first input among those of all blocks */
} ridge_blocks_piece;

static size_t pieces_per_block(const organ_ridge *ridge) { return organ_pieces_of(ridge->shape.width, ridge->n); }

static ridge_blocks_piece piece_of(const organ_ridge *ridge, size_t number)
{
    const size_t from = number % pieces_per_block(ridge) * ridge->n, block = number / pieces_per_block(ridge),
                 width = ridge->shape.width;
    return (ridge_blocks_piece){block, from, organ_min(ridge->n, width - from), block * width + from};
}

static float *factor_of(const organ_ridge *ridge, const ridge_blocks_piece *p)
{
    return ridge->factor + p->input * ridge->n;
}

/* ---- memory ---- */

size_t organ_ridge_piece(const organ_ridge_shape *shape)
{
    const size_t max = organ_min(ORGAN_RIDGE_PIECE, shape->largest ? shape->largest : ORGAN_RIDGE_PIECE);
    return organ_pieces_of(shape->width, organ_pieces_of(shape->width, max));
}

static void lay_out(organ_ridge *ridge, organ_buffers *buffers)
{
    organ_ridge_blocks *const b = &ridge->by_blocks;
    const organ_ridge_shape *const s = &ridge->shape;
    organ_take_beside(buffers, organ_ridge_rows_memory(s));
    b->residual = organ_take_floats(buffers, s->tokens[ORGAN_RIDGE_FIT] + s->tokens[ORGAN_RIDGE_HELD], s->outputs);
    b->gathered = organ_take_floats(buffers, ORGAN_RIDGE_READ, s->outputs);
    b->gram = organ_take_zeros(buffers, ridge->n, ridge->n * sizeof *b->gram);
    b->cross = organ_take_zeros(buffers, ridge->n, s->outputs * sizeof *b->cross);
    b->rhs = organ_take_floats(buffers, ridge->n, s->outputs);
    b->step = organ_take_floats(buffers, ridge->n, s->outputs);
}

static organ_status ridge_blocks_begin(organ_ridge *ridge, organ_error *error)
{
    memset(ridge->solution, 0, ridge->features * ridge->shape.outputs * sizeof *ridge->solution);
    return organ_ridge_rows_open(&ridge->shape, &ridge->by_blocks.rows, error);
}

/* ---- tokens ---- */

/* The rows of R are the initial residuals, because D is 0. */
static organ_status ridge_blocks_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                                     const float *inputs, const float *target, organ_error *error)
{
    const organ_ridge_shape *const s = &ridge->shape;
    organ_ridge_sums *const sums = &ridge->sums[part];
    const size_t first = (part == ORGAN_RIDGE_HELD ? s->tokens[ORGAN_RIDGE_FIT] : 0) + sums->added,
                 row = s->used * s->width;
    memcpy(ridge->by_blocks.residual + first * s->outputs, target, tokens * s->outputs * sizeof *target);
    for (size_t t = 0; t < tokens && !error->status; t++) {
        sums->trace += organ_sum_of_squares(inputs + t * row, row);
        for (size_t u = 0; u < s->used && !error->status; u++)
            organ_ridge_rows_add(ridge->by_blocks.rows, part, blocks ? blocks[t * s->used + u] : u, first + t,
                                 inputs + t * row + u * s->width, error);
    }
    return error->status;
}

static organ_status ridge_blocks_finish(organ_ridge *ridge, organ_error *error)
{
    return organ_ridge_rows_finish(ridge->by_blocks.rows, error);
}

/* ---- a batch ---- */

/* The rows are those of FIT or, with `all`, of both parts, batch by batch. */
static organ_status for_batches(organ_ridge *ridge, const ridge_blocks_piece *p, bool all,
                                void (*each)(organ_ridge *ridge, const ridge_blocks_piece *p,
                                             const organ_ridge_batch *batch),
                                organ_error *error)
{
    organ_ridge_rows *const rows = ridge->by_blocks.rows;
    organ_ridge_batch batch;
    for (organ_ridge_part part = ORGAN_RIDGE_FIT; part <= (all ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT); part++)
        for (uint32_t k = organ_ridge_rows_first(rows, part, p->block); k != ORGAN_RIDGE_NONE;) {
            if (organ_ridge_rows_read(rows, &k, &batch, error) != ORGAN_OK)
                return error->status;
            each(ridge, p, &batch);
        }
    return ORGAN_OK;
}

/* `gram` gets Z^T Z of the piece's inputs Z. The matrix is symmetric, so a row of tiles is computed only from the
 * diagonal on. */
static void add_gram(organ_ridge *ridge, const ridge_blocks_piece *p, const organ_ridge_batch *batch)
{
    size_t count = 0;
    for (size_t from = 0; from < p->width; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] =
            (organ_product){.m = organ_min(ORGAN_RIDGE_TILE, p->width - from),
                            .n = p->width - from,
                            .k = batch->rows,
                            .a = organ_by_columns(batch->inputs + p->from + from, ridge->shape.width),
                            .b = organ_by_columns(batch->inputs + p->from + from, ridge->shape.width),
                            .c = ridge->by_blocks.gram + from * (p->width + 1),
                            .c_stride = p->width,
                            .wide = true,
                            .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, ridge->products, count, ridge->scratch);
}

/* `back` false: copies from `residual` to `gathered`; true: from `gathered` to `residual`. */
typedef struct residual_copy {
    const organ_ridge *ridge;
    const organ_ridge_batch *batch;
    bool back;
} residual_copy;

static void copy_residual_row(void *context, size_t row, size_t worker)
{
    const residual_copy *const m = context;
    const size_t outputs = m->ridge->shape.outputs;
    float *const residual = m->ridge->by_blocks.residual + m->batch->tokens[row] * outputs;
    float *const gathered = m->ridge->by_blocks.gathered + row * outputs;
    (void)worker;
    memcpy(m->back ? residual : gathered, m->back ? gathered : residual, outputs * sizeof *residual);
}

static void copy_residuals(const organ_ridge *ridge, const organ_ridge_batch *batch, bool back)
{
    residual_copy m = {ridge, batch, back};
    if (batch->rows * ridge->shape.outputs > FEW_VALUES)
        organ_share(ridge->engine, NULL, batch->rows, copy_residual_row, &m);
    else
        for (size_t row = 0; row < batch->rows; row++)
            copy_residual_row(&m, row, 0);
}

/* `cross` gets Z^T times the residuals, with the piece's inputs Z. */
static void add_cross(organ_ridge *ridge, const ridge_blocks_piece *p, const organ_ridge_batch *batch)
{
    const size_t outputs = ridge->shape.outputs;
    copy_residuals(ridge, batch, /*back=*/false);
    const organ_product product = {.m = p->width,
                                   .n = outputs,
                                   .k = batch->rows,
                                   .a = organ_by_columns(batch->inputs + p->from, ridge->shape.width),
                                   .b = organ_by_columns(ridge->by_blocks.gathered, outputs),
                                   .c = ridge->by_blocks.cross,
                                   .c_stride = outputs,
                                   .wide = true,
                                   .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
}

/* The residuals lose Z times the change of D (`step`), with the piece's inputs Z. */
static void subtract_step(organ_ridge *ridge, const ridge_blocks_piece *p, const organ_ridge_batch *batch)
{
    const size_t outputs = ridge->shape.outputs;
    copy_residuals(ridge, batch, /*back=*/false);
    const organ_product product = {.m = batch->rows,
                                   .n = outputs,
                                   .k = p->width,
                                   .a = organ_by_rows(batch->inputs + p->from, ridge->shape.width),
                                   .b = organ_by_columns(ridge->by_blocks.step, outputs),
                                   .c = ridge->by_blocks.gathered,
                                   .c_stride = outputs,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
    copy_residuals(ridge, batch, /*back=*/true);
}

/* ---- a piece ---- */

/* The normal matrix is Z^T Z + shift I over the tokens of FIT or, with `all`, of both parts; U of organ_ridge_invert
 * is stored. */
static organ_status invert_piece(organ_ridge *ridge, const ridge_blocks_piece *p, bool all, double shift,
                                 organ_error *error)
{
    const double *const gram = ridge->by_blocks.gram;
    const size_t n = p->width;
    float *const factor = factor_of(ridge, p);
    memset(ridge->by_blocks.gram, 0, n * n * sizeof *gram);
    if (for_batches(ridge, p, all, add_gram, error) != ORGAN_OK)
        return error->status;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            factor[i * n + j] = (float)(gram[organ_min(i, j) * n + organ_max(i, j)] + (i == j ? shift : 0));
    return organ_ridge_invert(ridge, factor, n, error);
}

/* D of a piece changes to its optimum while D of all other pieces stays fixed. *decrease grows by the decrease of
 * the objective. `all`: D is fitted to both parts, not to FIT alone. ridge->found becomes false if the change is not
 * finite. */
static organ_status improve_piece(organ_ridge *ridge, const ridge_blocks_piece *p, bool all, double shift,
                                  double *decrease, organ_error *error)
{
    const organ_ridge_blocks *const b = &ridge->by_blocks;
    const size_t outputs = ridge->shape.outputs, count = p->width * outputs;
    float *const solution = ridge->solution + p->input * outputs;
    memset(b->cross, 0, count * sizeof *b->cross);
    if (for_batches(ridge, p, all, add_cross, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < count; k++)
        b->rhs[k] = (float)(b->cross[k] - shift * (double)solution[k]);
    organ_ridge_apply(ridge, factor_of(ridge, p), p->width, b->rhs, b->step);
    for (size_t k = 0; k < count && ridge->found; k++)
        ridge->found = isfinite(b->step[k]);
    if (!ridge->found)
        return ORGAN_OK;
    for (size_t i = 0; i < p->width; i++)
        *decrease += organ_dot(b->rhs + i * outputs, b->step + i * outputs, outputs);
    for (size_t k = 0; k < count; k++)
        solution[k] += b->step[k];
    return for_batches(ridge, p, /*all=*/true, subtract_step, error);
}

/* ---- all pieces ---- */

/* Returns false after an error or a request to stop (ORGAN_INTERRUPTED), or if a factor or change is not finite. */
static bool may_continue(const organ_ridge *ridge, organ_error *error)
{
    if (!error->status && organ_stop_is_requested(ridge->engine->stop))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return ridge->found && !error->status;
}

/* D is improved piece by piece, from the last solution on, until a sweep over all pieces lowers the objective by too
 * little. */
static organ_status ridge_blocks_solve(organ_ridge *ridge, bool all, double shift, organ_error *error)
{
    const organ_ridge_sums *const sums = ridge->sums;
    const double enough = MIN_PROGRESS * (sums[ORGAN_RIDGE_FIT].energy + (all ? sums[ORGAN_RIDGE_HELD].energy : 0));
    const size_t pieces = ridge->shape.blocks * pieces_per_block(ridge);
    double decrease = INFINITY;
    ridge->found = true;
    for (size_t k = 0; k < pieces && may_continue(ridge, error); k++) {
        const ridge_blocks_piece p = piece_of(ridge, k);
        invert_piece(ridge, &p, all, shift, error);
    }
    for (size_t sweep = 0; sweep < MAX_SWEEPS && decrease > enough && may_continue(ridge, error); sweep++) {
        decrease = 0;
        for (size_t k = 0; k < pieces && may_continue(ridge, error); k++) {
            const ridge_blocks_piece p = piece_of(ridge, k);
            improve_piece(ridge, &p, all, shift, &decrease, error);
        }
    }
    return error->status;
}

static double ridge_blocks_held_error(organ_ridge *ridge)
{
    const size_t fit = ridge->shape.tokens[ORGAN_RIDGE_FIT], outputs = ridge->shape.outputs;
    double sum = 0;
    for (size_t t = fit; t < fit + ridge->shape.tokens[ORGAN_RIDGE_HELD]; t++)
        sum += organ_sum_of_squares(ridge->by_blocks.residual + t * outputs, outputs);
    return sum;
}

const organ_ridge_solver organ_ridge_by_blocks = {.name = "blocks",
                                                  .lay_out = lay_out,
                                                  .begin = ridge_blocks_begin,
                                                  .add = ridge_blocks_add,
                                                  .finish = ridge_blocks_finish,
                                                  .solve = ridge_blocks_solve,
                                                  .held_error = ridge_blocks_held_error,
                                                  .block = organ_ridge_transposed};
