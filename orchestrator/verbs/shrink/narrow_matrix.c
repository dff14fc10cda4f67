/* SPDX-License-Identifier: MIT
 * Removes columns of a projection W one by one, by the Optimal Brain Surgeon (Hassibi and Stork 1993) applied to whole
 * columns. V is the least-squares solution on the remaining columns, initially W; P is the inverse of H restricted to
 * these columns; G = V^T V. If column c becomes 0 and the others are refitted, tr((W - V) H (W - V)^T) grows by G(c, c)
 * / P(c, c). With p and g row c of P and G, q = p / P(c, c) and h = g - q G(c, c) / 2, the removal changes V to V - V_c
 * q^T, P to P - p q^T, and G to G - q h^T - h q^T. The choice needs only P and G, so V is computed once at the end,
 * from the last P. A removal reads only one row of P and one of G. Therefore the updates of PENDING columns are
 * collected and then applied together as one matrix product. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <string.h>

#define PENDING ((size_t)128) /* removed columns whose updates of P and G are collected before they are applied */
/* Rows of the product U^T U that are computed together as a band. U is triangular: row i of the product needs only rows
 * 0 .. i of U, so the product for a band sums over fewer rows of U. */
#define BAND   ((size_t)256)
#define STRIP  ((size_t)512) /* rows of W that are refitted together */
#define SOLVES 3 /* solutions: the first, and corrections of the rounding errors that many FP32 updates left in P */

/* P, G, q, h and p are those of the first comment of this file. */
typedef struct narrowing {
    const organ_engine *engine;
    const organ_narrow_options *options;
    const organ_input_moments *moments; /* H */
    organ_narrow_report *report;
    float *weights;            /* W; at the end V */
    size_t rows, cols, groups; /* shape of W; number of groups of columns */
    float *p, *g;              /* P and G: diagonal blocks like those of H */
    double *own_p, *own_g;     /* diagonals of P and G in FP64, with the collected updates applied */
    bool *gone;                /* gone[k]: group k is removed */
    float *lost[3];            /* q, h and p of the columns whose updates are collected, PENDING x cols each */
    size_t pending;            /* number of these columns */
    double *losses;            /* loss of each group if it were removed next */
    /* For groups of several columns: three square matrices of a group's width for each worker. */
    double *group_squares;
    void *scratch;           /* scratch memory of organ_products_run */
    organ_product *products; /* list of products for one call of organ_products_run */
    float *strips;           /* three strips of rows for the refit */
    organ_buffers buffers, of_g;
} narrowing;

enum { Q, H, ROW };

/* A diagonal block of H, P and G. */
typedef struct narrow_matrix_block {
    size_t start, width; /* first column; number of columns */
    size_t at;           /* index of its first entry in the arrays of P and G */
} narrow_matrix_block;

static narrow_matrix_block block_at(const narrowing *x, size_t column)
{
    const size_t b = x->moments->block, start = column / b * b;
    return (narrow_matrix_block){start, organ_min(b, x->cols - start), start * b}; /* after start / b blocks of b * b */
}

/* ---- P and G ---- */

/* P = H^-1 = U^T U follows from the factor U in x->g. The factorisation leaves the part below the diagonal of U
 * undefined. */
static void square_factor(const narrowing *x, const narrow_matrix_block *b)
{
    float *const u = x->g + b->at, *const p = x->p + b->at;
    size_t count = 0;
    for (size_t i = 1; i < b->width; i++)
        memset(u + i * b->width, 0, i * sizeof *u);
    for (size_t first = 0; first < b->width; first += BAND)
        x->products[count++] = (organ_product){.m = organ_min(BAND, b->width - first),
                                               .n = b->width,
                                               .k = organ_min(first + BAND, b->width),
                                               .a = organ_by_columns(u + first, b->width),
                                               .b = organ_by_columns(u, b->width),
                                               .c = p + first * b->width,
                                               .c_stride = b->width};
    organ_products_run(x->engine, NULL, x->products, count, x->scratch);
}

/* At the start no column is removed, so V = W and G = W^T W. */
static void square_weights(const narrowing *x, const narrow_matrix_block *b)
{
    const organ_product_operand columns = organ_by_columns(x->weights + b->start, x->cols);
    const organ_product product = {.m = b->width,
                                   .n = b->width,
                                   .k = x->rows,
                                   .a = columns,
                                   .b = columns,
                                   .c = x->g + b->at,
                                   .c_stride = b->width};
    organ_products_run(x->engine, NULL, &product, 1, x->scratch);
}

static void read_diagonals(const narrowing *x)
{
    for (size_t j = 0; j < x->cols; j++) {
        const narrow_matrix_block b = block_at(x, j);
        x->own_p[j] = (double)x->p[b.at + (j - b.start) * (b.width + 1)];
        x->own_g[j] = (double)x->g[b.at + (j - b.start) * (b.width + 1)];
    }
}

/* H is per token, in FP32, and has damping so that it can be inverted. NULL if memory runs out. */
static float *damped_moments(narrowing *x)
{
    return organ_expand_moments(x->engine, x->moments, /*c=*/0, /*h=*/1,
                                ORGAN_NARROW_DAMPING * x->moments->mean_diagonal, &x->of_g);
}

static organ_status invert_moments(narrowing *x, organ_error *error)
{
    bool definite = false;
    x->g = damped_moments(x);
    x->p = organ_take_floats(&x->buffers, organ_block_entries(x->cols, x->moments->block), 1);
    if (!x->g || !x->p)
        return organ_fail_memory(error, x->options->name);
    for (size_t start = 0; start < x->cols; start += x->moments->block) {
        const narrow_matrix_block b = block_at(x, start);
        if (!organ_inverse_factor(x->engine, x->g + b.at, b.width, &definite))
            return organ_fail_memory(error, x->options->name);
        if (!definite)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the second moments of inputs %zu to %zu cannot be inverted (mean square %g)",
                              x->options->name, b.start, b.start + b.width - 1, x->moments->mean_diagonal);
        square_factor(x, &b);
        square_weights(x, &b);
    }
    read_diagonals(x);
    return ORGAN_OK;
}

/* ---- removal of a column ---- */

/* P becomes P - sum p q^T, and G becomes G - sum (q h^T + h q^T). */
static void apply_pending(narrowing *x)
{
    static const struct {
        int left, right; /* factors of the product, as indices into narrowing.lost */
        bool of_p;       /* the product is subtracted from P; else from G */
    } updates[] = {{Q, ROW, true}, {Q, H, false}, {H, Q, false}};
    for (size_t l = 0; l < sizeof updates / sizeof *updates; l++) {
        size_t count = 0;
        for (size_t start = 0; start < x->cols; start += x->moments->block) {
            const narrow_matrix_block b = block_at(x, start);
            x->products[count++] = (organ_product){.m = b.width,
                                                   .n = b.width,
                                                   .k = x->pending,
                                                   .a = organ_by_columns(x->lost[updates[l].left] + start, x->cols),
                                                   .b = organ_by_columns(x->lost[updates[l].right] + start, x->cols),
                                                   .c = (updates[l].of_p ? x->p : x->g) + b.at,
                                                   .c_stride = b.width,
                                                   .into = ORGAN_PRODUCT_SUBTRACT};
        }
        organ_products_run(x->engine, NULL, x->products, count, x->scratch);
    }
    x->pending = 0;
}

/* The updates are the sum over the collected columns c of lost[coefficients][c][column] x lost[vectors][c]. */
static void subtract_pending(const narrowing *x, size_t column, const narrow_matrix_block *b, int coefficients,
                             int vectors, float *row)
{
    const organ_product product = {.m = 1,
                                   .n = b->width,
                                   .k = x->pending,
                                   .a = organ_by_columns(x->lost[coefficients] + column, x->cols),
                                   .b = organ_by_columns(x->lost[vectors] + b->start, x->cols),
                                   .c = row,
                                   .c_stride = b->width,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    organ_products_run(x->engine, NULL, &product, 1, x->scratch);
}

/* The equations are at the head of this file. x->p and x->g lack the collected updates, so these are subtracted from
 * copies of the row of the column. own_p and own_g are updated at once. */
static void remove_column(narrowing *x, size_t column)
{
    const narrow_matrix_block b = block_at(x, column);
    const size_t at = b.at + (column - b.start) * b.width;
    float *rows[3];
    for (size_t k = 0; k < 3; k++) {
        rows[k] = x->lost[k] + x->pending * x->cols;
        memset(rows[k], 0, x->cols * sizeof **rows);
        rows[k] += b.start;
    }
    memcpy(rows[ROW], x->p + at, b.width * sizeof **rows);
    memcpy(rows[H], x->g + at, b.width * sizeof **rows);
    subtract_pending(x, column, &b, Q, ROW, rows[ROW]);
    subtract_pending(x, column, &b, Q, H, rows[H]);
    subtract_pending(x, column, &b, H, Q, rows[H]);
    const double pivot = (double)rows[ROW][column - b.start], own = (double)rows[H][column - b.start];
    x->report->expected_loss += own / pivot;
    for (size_t j = 0; j < b.width; j++) {
        const double q = (double)rows[ROW][j] / pivot, h = (double)rows[H][j] - q * own / 2;
        rows[Q][j] = (float)q;
        rows[H][j] = (float)h;
        x->own_p[b.start + j] -= q * (double)rows[ROW][j];
        x->own_g[b.start + j] -= 2 * q * h;
    }
    if (++x->pending == PENDING)
        apply_pending(x);
}

/* ---- the choice ---- */

/* No updates may be pending. Entries of two columns in different blocks of H are 0. */
static void copy_square(const narrowing *x, const float *from, size_t first, double *square)
{
    const size_t n = x->options->group;
    for (size_t i = 0; i < n; i++) {
        const narrow_matrix_block b = block_at(x, first + i);
        for (size_t j = 0; j < n; j++) {
            const size_t column = first + j;
            const bool inside = column >= b.start && column < b.start + b.width;
            square[i * n + j] = inside ? (double)from[b.at + (first + i - b.start) * b.width + column - b.start] : 0.0;
        }
    }
}

/* The columns are removed one after another by the formulas of remove_column from copies of the group's squares of P
 * and G in FP64, and their losses are added up. */
static void weigh_group(void *context, size_t group, size_t worker)
{
    narrowing *const x = context;
    const organ_kernels *const k = x->engine->kernels;
    const size_t n = x->options->group;
    /* the worker's three squares: p, g, and of the third one the row h */
    double *const p = x->group_squares + worker * 3 * n * n, *const g = p + n * n, *const h = g + n * n;
    x->losses[group] = 0;
    if (x->gone[group])
        return;
    copy_square(x, x->p, group * n, p);
    copy_square(x, x->g, group * n, g);
    for (size_t c = 0; c < n; c++) {
        const double pivot = p[c * (n + 1)], own = g[c * (n + 1)];
        const double *const row = p + c * n;
        x->losses[group] += own / pivot;
        memcpy(h, g + c * n, n * sizeof *h);
        k->add_scaled_f64(h, -own / (2 * pivot), row, n);
        for (size_t i = c + 1; i < n; i++) {
            const double q = p[i * n + c] / pivot;
            k->add_scaled_f64(g + i * n + c + 1, -q, h + c + 1, n - c - 1);
            k->add_scaled_f64(g + i * n + c + 1, -h[i] / pivot, row + c + 1, n - c - 1);
            k->add_scaled_f64(p + i * n + c + 1, -q, row + c + 1, n - c - 1);
        }
    }
}

/* For groups of one column the loss is the diagonal entry of G divided by that of P, or 0 if one of them is not
 * positive. */
static void compute_losses(narrowing *x)
{
    if (x->options->group == 1) {
        for (size_t column = 0; column < x->cols; column++)
            x->losses[column] =
                x->own_p[column] > 0 && x->own_g[column] > 0 ? x->own_g[column] / x->own_p[column] : 0.0;
        return;
    }
    apply_pending(x);
    organ_share(x->engine, NULL, x->groups, weigh_group, x);
}

/* The loss of a group is the sum of |w|^2 H(j, j) over its columns j, where w is column j of W. This ignores the
 * refit of other columns and the interaction between groups. */
static void weigh_by_magnitude(narrowing *x)
{
    const organ_input_moments *const m = x->moments;
    for (size_t group = 0; group < x->groups; group++) {
        x->losses[group] = 0;
        for (size_t j = group * x->options->group; j < (group + 1) * x->options->group; j++)
            x->losses[group] += x->own_g[j] * (double)m->act_norm[j] * (double)m->act_norm[j];
    }
}

static size_t least_loss_group(const narrowing *x)
{
    size_t best = x->groups;
    for (size_t k = 0; k < x->groups; k++)
        if (!x->gone[k] && (best == x->groups || x->losses[k] < x->losses[best]))
            best = k;
    return best;
}

/* Losses are computed again before each removal, except with options->by_magnitude. */
static organ_status choose_kept(narrowing *x, uint32_t *kept, organ_error *error)
{
    const organ_narrow_options *const o = x->options;
    if (o->by_magnitude)
        weigh_by_magnitude(x);
    for (size_t remaining = x->groups; remaining > o->keep; remaining--) {
        if (organ_stop_is_requested(x->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", o->name);
        if (!o->by_magnitude)
            compute_losses(x);
        const size_t group = least_loss_group(x);
        x->gone[group] = true;
        for (size_t c = 0; c < o->group; c++)
            remove_column(x, group * o->group + c);
    }
    apply_pending(x);
    for (size_t k = 0, n = 0; k < x->groups; k++)
        if (!x->gone[k])
            kept[n++] = (uint32_t)k;
    return ORGAN_OK;
}

/* ---- refit of the remaining columns ---- */

/* Some rows of W; each array is rows x cols. */
typedef struct narrow_matrix_strip {
    size_t rows;
    float *weights;              /* W, overwritten with the solution V */
    float *donor;                /* W */
    float *difference, *product; /* W - V, and (W - V) H; difference also has a Newton step */
} narrow_matrix_strip;

static void clear_gone(const narrowing *x, float *values, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < x->groups; k++)
            if (x->gone[k])
                memset(values + i * x->cols + k * x->options->group, 0, x->options->group * sizeof *values);
}

/* s->product, (W - V) H, is half the negative gradient of the loss; for the solution V it is 0 on the kept columns. */
static organ_status multiply_residual(const narrowing *x, const organ_block_matrix *h, const narrow_matrix_strip *s,
                                      organ_error *error)
{
    for (size_t k = 0; k < s->rows * x->cols; k++)
        s->difference[k] = s->donor[k] - s->weights[k];
    return organ_block_multiply(x->engine, h, s->difference, s->rows, s->product, error);
}

/* V starts as W without the removed columns. Then, unless options->no_refit is set, there are SOLVES Newton steps:
 * each adds the product of columns K of (W - V) H and H_KK^-1, where K are the kept columns and H_KK^-1 is P
 * restricted to K. The first step gives the solution; further steps correct rounding errors. */
static organ_status solve_strip(const narrowing *x, const organ_block_matrix *h, const narrow_matrix_strip *s,
                                organ_error *error)
{
    const organ_block_matrix p = {x->cols, x->moments->block, x->p};
    const size_t n = s->rows * x->cols;
    memcpy(s->donor, s->weights, n * sizeof *s->donor);
    if (organ_block_multiply(x->engine, h, s->donor, s->rows, s->product, error) != ORGAN_OK)
        return error->status;
    for (size_t i = 0; i < s->rows; i++)
        x->report->energy += organ_dot(s->donor + i * x->cols, s->product + i * x->cols, x->cols);
    clear_gone(x, s->weights, s->rows);
    for (unsigned k = 0; k < SOLVES && !x->options->no_refit && multiply_residual(x, h, s, error) == ORGAN_OK; k++) {
        clear_gone(x, s->product, s->rows);
        organ_block_multiply(x->engine, &p, s->product, s->rows, s->difference, error);
        clear_gone(x, s->difference, s->rows);
        for (size_t j = 0; j < n; j++)
            s->weights[j] += s->difference[j];
    }
    if (error->status || multiply_residual(x, h, s, error) != ORGAN_OK)
        return error->status;
    for (size_t i = 0; i < s->rows; i++)
        x->report->loss += organ_dot(s->difference + i * x->cols, s->product + i * x->cols, x->cols);
    return ORGAN_OK;
}

static organ_status solve_rows(narrowing *x, organ_error *error)
{
    const size_t together = organ_min(STRIP, x->rows);
    float *const scratch = x->strips;
    organ_buffers_release(&x->of_g);
    x->g = damped_moments(x);
    const organ_block_matrix h = {x->cols, x->moments->block, x->g};
    if (!x->g)
        organ_fail_memory(error, x->options->name);
    for (size_t first = 0; first < x->rows && !error->status; first += together) {
        const narrow_matrix_strip s = {.rows = organ_min(together, x->rows - first),
                                       .weights = x->weights + first * x->cols,
                                       .donor = scratch,
                                       .difference = scratch + together * x->cols,
                                       .product = scratch + 2 * together * x->cols};
        solve_strip(x, &h, &s, error);
    }
    return error->status;
}

/* ---- the whole matrix ---- */

static void lay_out(void *context, organ_buffers *b)
{
    narrowing *const x = context;
    const size_t group = x->options->group, block = x->moments->block;
    for (size_t k = 0; k < 3; k++)
        x->lost[k] = organ_take_floats(b, PENDING, x->cols);
    x->own_p = organ_take_zeros(b, x->cols, sizeof *x->own_p);
    x->own_g = organ_take_zeros(b, x->cols, sizeof *x->own_g);
    x->gone = organ_take_zeros(b, x->groups, sizeof *x->gone);
    x->losses = organ_take_zeros(b, x->groups, sizeof *x->losses);
    x->group_squares = organ_take_zeros(b, group > 1 ? organ_workers_count(x->engine->workers) : 0,
                                        3 * group * group * sizeof *x->group_squares);
    x->scratch = organ_take(b, organ_products_scratch(x->engine), 1);
    /* an upper bound for both uses: the bands of one block, and a product for each block */
    x->products = organ_take(b, x->cols / BAND + x->cols / block + 2, sizeof *x->products);
    x->strips = organ_take_floats(b, 3 * organ_min(STRIP, x->rows), x->cols);
    organ_take_beside(b, organ_inverse_factor_memory(x->engine, x->cols));
}

static void release(narrowing *x)
{
    organ_buffers_release(&x->of_g);
    organ_buffers_release(&x->buffers);
}

organ_status organ_narrow_matrix(const organ_engine *engine, const organ_narrow_options *options,
                                 const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                 uint32_t *kept, organ_narrow_report *report, organ_error *error)
{
    const organ_input_moments *const moments = organ_calibration_moments(calibration);
    ORGAN_RELEASED_BY(release)
    narrowing x = {.engine = engine,
                   .options = options,
                   .moments = moments,
                   .report = report,
                   .weights = weights,
                   .rows = rows,
                   .cols = cols,
                   .groups = cols / options->group};
    *report = (organ_narrow_report){.tokens = moments->tokens, .block_diagonal = moments->block < cols};
    if (!isfinite(organ_sum_of_squares(weights, rows * cols)))
        organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has values that are not finite", options->name);
    else if (!organ_buffers_take(&x.buffers, lay_out, &x))
        organ_fail_memory(error, options->name);
    else if (invert_moments(&x, error) == ORGAN_OK && choose_kept(&x, kept, error) == ORGAN_OK)
        solve_rows(&x, error);
    return error->status;
}

/* P and G are excluded: organ_calibration_memory counts two FP32 copies of H. */
uint64_t organ_narrow_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, uint64_t group)
{
    narrowing x = {.engine = engine,
                   .options = &(organ_narrow_options){.group = (size_t)group},
                   .moments = &(organ_input_moments){.block = ORGAN_CALIBRATION_BLOCK},
                   .rows = (size_t)rows,
                   .cols = (size_t)cols,
                   .groups = (size_t)(cols / group)};
    return organ_buffers_count(lay_out, &x);
}
