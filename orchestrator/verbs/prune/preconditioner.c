/* SPDX-License-Identifier: MIT
 * Finds the dominant directions of H, keeps for each row a small factorised matrix that follows its mask, and applies
 * the approximate inverse. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define DIRECTIONS       ((size_t)64) /* for a whole H */
#define DIRECTIONS_BLOCK ((size_t)16) /* for each block of a block-diagonal H */
#define OVERSAMPLED      ((size_t)16) /* additional directions of the subspace iteration, discarded at its end */
#define MAX_SUBSPACE     (DIRECTIONS + OVERSAMPLED) /* greatest subspace_size */
#define PASSES           3 /* products of subspace iteration with H; one more product gives the eigenvalues */
/* mu is the largest of three values: REST times the mean of the eigenvalues without a direction; WEAKEST times the
 * smallest eigenvalue with a direction, since all eigenvalues without one are smaller; and 1e-6. A larger mu shortens
 * steps in directions outside U. */
#define REST      1.5
#define WEAKEST   0.4
#define MIN_GAP   1e-3f /* least (Lambda - mu) / mu; a direction with an eigenvalue of mu would need no correction */
#define MIN_SHARE 1e-4f /* least mu / (Lambda - mu): keeps the k x k matrices far from singular in FP32 */

/* The part is one diagonal block of H; a whole H has one part. */
typedef struct preconditioner_part {
    size_t start, width; /* the block has columns [start, start + width) of H */
    size_t k;            /* number of its directions */
    size_t first;        /* index of its first direction among those of all parts */
    size_t square;       /* offset of the part's k x k matrix and diagonal among the values of a row in
                            organ_preconditioner.square */
    float mu;            /* stands for the eigenvalues of the block that have no direction */
} preconditioner_part;

typedef struct ritz {
    float small[MAX_SUBSPACE * MAX_SUBSPACE];   /* q (D^-1 H D^-1) q^T, f x f */
    double square[MAX_SUBSPACE * MAX_SUBSPACE]; /* the same in FP64 */
    double vectors[DIRECTIONS * MAX_SUBSPACE];  /* eigenvectors of `square`, k x f */
    double values[MAX_SUBSPACE];                /* eigenvalues of `square`, descending */
    double eigen_scratch[ORGAN_EIGEN_ROOM * MAX_SUBSPACE];
    _Alignas(64) unsigned char scratch[ORGAN_PRODUCT_SCRATCH];
} ritz;

struct organ_preconditioner {
    const organ_kernels *kernels;
    const char *name; /* for messages */
    organ_block_matrix h;
    size_t rows, part_count; /* rows of the matrix of weights; number of parts */
    size_t directions;       /* number of directions of all parts */
    size_t squares;          /* number of values in `square` for one row: the sum of k (k + 1) over all parts */
    preconditioner_part *parts;
    float *root, *inverse; /* D = sqrt(diag H), and 1 / D; one value per column */
    float *u; /* U of each part, width x k: column j of H has the k values from at[part] + (j - start) k on */
    float *u_transposed; /* U^T of each part, k x width, from at[part] on */
    size_t *at;          /* offset of each part in u and u_transposed */
    float *gap;          /* Lambda - mu of each direction */
    /* For each row and part the k x k matrix A = E + (masked U)^T (masked U), where E = mu / (Lambda - mu) and masked U
     * has the rows of U that belong to kept columns. With A = L L^T, L^T is stored on and above the diagonal, A itself
     * below it. The k diagonal elements of A follow. */
    float *square;
    /* Of the subspace iteration: */
    size_t most, widest; /* largest subspace_size and width of a part */
    float *q, *s;        /* vectors, and their products with D^-1 H D^-1: most x h.size */
    ritz *ritz;
    organ_buffers buffers;
};

/* The number of directions of a part is a quarter of its width, but at most DIRECTIONS for a whole H and
 * DIRECTIONS_BLOCK for a block of a block-diagonal H. */
static size_t directions_of(const organ_block_matrix *h, size_t part, size_t *width)
{
    *width = organ_min(h->block, h->size - part * h->block);
    return organ_min(h->block < h->size ? DIRECTIONS_BLOCK : DIRECTIONS, *width / 4);
}

static organ_preconditioner preconditioner_of(const organ_block_matrix *h, size_t rows)
{
    organ_preconditioner made = {.h = *h, .rows = rows, .part_count = organ_pieces_of(h->size, h->block)};
    for (size_t b = 0, width; b < made.part_count; b++) {
        const size_t k = directions_of(h, b, &width);
        made.directions += k;
        made.squares += k * (k + 1);
        made.most = organ_max(made.most, organ_min(k + OVERSAMPLED, width));
        made.widest = organ_max(made.widest, width);
    }
    return made;
}

static void lay_out(void *context, organ_buffers *b)
{
    organ_preconditioner *const c = context;
    c->parts = organ_take_zeros(b, c->part_count, sizeof *c->parts);
    c->at = organ_take_zeros(b, c->part_count, sizeof *c->at);
    c->root = organ_take_floats(b, c->h.size, 1);
    c->inverse = organ_take_floats(b, c->h.size, 1);
    c->u = organ_take_floats(b, c->h.size, DIRECTIONS);
    c->u_transposed = organ_take_floats(b, c->h.size, DIRECTIONS);
    c->gap = organ_take_floats(b, c->directions, 1);
    c->square = organ_take_floats(b, c->rows, c->squares);
    c->q = organ_take_floats(b, c->most, c->h.size);
    c->s = organ_take_floats(b, c->most, c->h.size);
    c->ritz = organ_take(b, 1, sizeof *c->ritz);
    organ_take_beside(b, sizeof *c + organ_orthonormal_bytes(c->most, c->widest));
}

/* ---- directions ---- */

/* The product is q D^-1 H D^-1, with D = sqrt(diag H). q is scaled in place and scaled back, so it is unchanged but
 * for rounding. */
static organ_status multiply_scaled(const organ_engine *engine, const organ_preconditioner *c, float *q, size_t count,
                                    float *product, organ_error *error)
{
    const size_t n = c->h.size;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < n; j++)
            q[i * n + j] *= c->inverse[j];
    if (organ_block_multiply(engine, &c->h, q, count, product, error))
        return error->status;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < n; j++) {
            q[i * n + j] *= c->root[j];
            product[i * n + j] *= c->inverse[j];
        }
    return ORGAN_OK;
}

static size_t subspace_size(const preconditioner_part *p) { return organ_min(p->k + OVERSAMPLED, p->width); }

/* The first subspace_size rows of q become orthonormal within the columns of each part. Returns false if an
 * allocation failed. */
static bool orthonormalise_parts(const organ_preconditioner *c, float *q)
{
    bool done = true;
    for (size_t b = 0; b < c->part_count && done; b++) {
        const preconditioner_part *const p = &c->parts[b];
        done = organ_orthonormal(c->kernels, q + p->start, subspace_size(p), p->width, c->h.size, NULL);
    }
    return done;
}

/* The eigenproblem is that of D^-1 H D^-1 in the space of the rows of q; `s` has the products of these rows with
 * D^-1 H D^-1. r->values gets the eigenvalues, r->vectors the eigenvectors of the k largest. Returns false if a
 * value is not finite. */
static bool find_ritz(const organ_preconditioner *c, const preconditioner_part *p)
{
    const float *const q = c->q, *const s = c->s;
    ritz *const r = c->ritz;
    const size_t f = subspace_size(p), n = c->h.size;
    const organ_product product = {.m = f,
                                   .n = f,
                                   .k = p->width,
                                   .a = organ_by_rows(q + p->start, n),
                                   .b = organ_by_rows(s + p->start, n),
                                   .c = r->small,
                                   .c_stride = f};
    c->kernels->product(&product, r->scratch);
    for (size_t i = 0; i < f * f; i++)
        r->square[i] = (double)r->small[i];
    return organ_symmetric_eigen(c->kernels, r->square, f, p->k, r->values, r->vectors, r->eigen_scratch);
}

static bool find_part(organ_preconditioner *c, size_t index)
{
    const float *const q = c->q;
    ritz *const r = c->ritz;
    preconditioner_part *const p = &c->parts[index];
    const size_t f = subspace_size(p), n = c->h.size;
    double sum = 0;
    if (!find_ritz(c, p))
        return false;
    for (size_t d = 0; d < p->k; d++)
        sum += r->values[d];
    /* The trace of a block of D^-1 H D^-1 is its width, since its diagonal is 1: eigenvalues without a direction sum to
     * width - sum. */
    const double mean = ((double)p->width - sum) / (double)(p->width - p->k),
                 weakest = p->k > 0 ? r->values[p->k - 1] : 0;
    p->mu = (float)fmax(fmax(REST * mean, WEAKEST * weakest), 1e-6);
    for (size_t d = 0; d < p->k; d++)
        c->gap[p->first + d] = fmaxf((float)r->values[d] - p->mu, MIN_GAP * p->mu);
    for (size_t j = 0; j < p->width; j++)
        for (size_t d = 0; d < p->k; d++) {
            double x = 0;
            for (size_t e = 0; e < f; e++)
                x += (double)q[e * n + p->start + j] * r->vectors[d * f + e];
            c->u[c->at[index] + j * p->k + d] = (float)x;
            c->u_transposed[c->at[index] + d * p->width + j] = (float)x;
        }
    return true;
}

/* Subspace iteration starts from random vectors: PASSES products with D^-1 H D^-1, made orthonormal after each. Then
 * the eigenproblem is solved in the resulting subspace. */
static organ_status find_directions(const organ_engine *engine, organ_preconditioner *c, organ_error *error)
{
    float *const q = c->q, *const s = c->s;
    const size_t n = c->h.size, count = c->most;
    organ_philox_normal(n, 0, 0, q, count * n);
    for (int k = 0; k < PASSES; k++) {
        if (multiply_scaled(engine, c, q, count, s, error))
            return error->status;
        memcpy(q, s, count * n * sizeof *q);
        if (!orthonormalise_parts(c, q))
            return organ_fail_memory(error, c->name);
    }
    if (multiply_scaled(engine, c, q, count, s, error))
        return error->status;
    for (size_t b = 0; b < c->part_count; b++)
        if (!find_part(c, b))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: the second moments of the inputs have no eigenvectors",
                              c->name);
    return ORGAN_OK;
}

/* ---- creation ---- */

static void cut_parts(organ_preconditioner *c)
{
    size_t at = 0, directions = 0, squares = 0;
    for (size_t b = 0; b < c->part_count; b++) {
        preconditioner_part *const p = &c->parts[b];
        *p = (preconditioner_part){.start = b * c->h.block, .first = directions, .square = squares};
        p->k = directions_of(&c->h, b, &p->width);
        c->at[b] = at;
        at += p->width * p->k;
        directions += p->k;
        squares += p->k * (p->k + 1);
    }
}

/* The diagonal of the k x k matrix follows it. */
static float *square_of(const organ_preconditioner *c, size_t row, const preconditioner_part *p)
{
    return c->square + row * c->squares + p->square;
}

/* The matrices are E + I: while the mask keeps all columns, U^T U is I. The matrix is diagonal, so its Cholesky
 * factor has the roots of the diagonal. */
static void begin_squares(organ_preconditioner *c)
{
    for (size_t row = 0; row < c->rows; row++)
        for (size_t b = 0; b < c->part_count; b++) {
            const preconditioner_part *const p = &c->parts[b];
            float *const square = square_of(c, row, p);
            memset(square, 0, p->k * p->k * sizeof *square);
            for (size_t d = 0; d < p->k; d++) {
                const float own = fmaxf(p->mu / c->gap[p->first + d], MIN_SHARE) + 1;
                square[p->k * p->k + d] = own;
                square[d * (p->k + 1)] = sqrtf(own);
            }
        }
}

organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_preconditioner **made, organ_error *error)
{
    *made = NULL;
    organ_preconditioner begun = preconditioner_of(h, rows), *const c = organ_take(&begun.buffers, 1, sizeof *c);
    if (!c)
        return organ_fail_memory(error, name);
    *c = begun;
    c->kernels = engine->kernels;
    c->name = name;
    if (organ_buffers_take(&c->buffers, lay_out, c)) {
        cut_parts(c);
        for (size_t j = 0; j < h->size; j++) {
            c->root[j] = sqrtf(organ_block_diagonal(h, j));
            c->inverse[j] = 1.0f / c->root[j];
        }
    }
    if (c->buffers.lacking)
        organ_fail_errno(error, ENOMEM, "%s: preconditioner of %zu x %zu", name, rows, h->size);
    else if (find_directions(engine, c, error) == ORGAN_OK) {
        begin_squares(c);
        *made = c;
        return ORGAN_OK;
    }
    organ_preconditioner_destroy(c);
    return error->status;
}

void organ_preconditioner_destroy(organ_preconditioner *c)
{
    if (c)
        organ_buffers_release(&c->buffers);
}

/* ---- use ---- */

/* Scratch has two areas: ORGAN_PRODUCT_SCRATCH bytes for the product kernel, then either the gathered rows of U of
 * one part or the shares of `rows` rows in its directions, rounded up to whole cache lines. */
size_t organ_preconditioner_scratch(const organ_block_matrix *h, size_t rows)
{
    const size_t gathered = organ_min(h->block, h->size) * DIRECTIONS,
                 shares = rows * preconditioner_of(h, rows).directions;
    return ORGAN_PRODUCT_SCRATCH / sizeof(float) + (organ_max(gathered, shares) + 15) / 16 * 16;
}

uint64_t organ_preconditioner_memory(const organ_block_matrix *h, size_t rows)
{
    organ_preconditioner c = preconditioner_of(h, rows);
    return organ_buffers_count(lay_out, &c);
}

/* The second area follows the ORGAN_PRODUCT_SCRATCH bytes of the product kernel. */
static float *own_scratch(float *scratch) { return scratch + ORGAN_PRODUCT_SCRATCH / sizeof(float); }

/* The first column is in the lowest of the 8 bytes; a byte is 1 if `before` keeps the column and `keep` does not,
 * else 0. */
static uint64_t removed_of_eight(const uint8_t *before, const uint8_t *keep)
{
    uint64_t had, has;
    memcpy(&had, before, sizeof had);
    memcpy(&has, keep, sizeof has);
    return had & ~has;
}

/* A column is removed if `before` keeps it and `keep` does not. `rows` gets the rows of U that belong to removed
 * columns of part `index`, one after another. Few columns are removed at a time, so eight are tested at once. */
static size_t preconditioner_gather(const organ_preconditioner *c, size_t index, const uint8_t *before,
                                    const uint8_t *keep, float *rows)
{
    const preconditioner_part *const p = &c->parts[index];
    const float *const u = c->u + c->at[index];
    size_t count = 0, j = 0;
    for (; j + 8 <= p->width; j += 8)
        for (uint64_t remaining = removed_of_eight(before + p->start + j, keep + p->start + j); remaining;
             remaining &= remaining - 1)
            memcpy(rows + p->k * count++, u + (j + (size_t)__builtin_ctzll(remaining) / 8) * p->k, p->k * sizeof *rows);
    for (; j < p->width; j++)
        if (before[p->start + j] && !keep[p->start + j])
            memcpy(rows + p->k * count++, u + j * p->k, p->k * sizeof *rows);
    return count;
}

/* The outer products of the rows of U that belong to removed columns are subtracted from the k x k matrix of each
 * part (organ_preconditioner.square). Then its Cholesky factor is computed again. */
void organ_preconditioner_remove(organ_preconditioner *c, size_t row, const uint8_t *before, const uint8_t *keep,
                                 float *scratch)
{
    for (size_t b = 0; b < c->part_count; b++) {
        const preconditioner_part *const p = &c->parts[b];
        const size_t k = p->k, count = preconditioner_gather(c, b, before, keep, own_scratch(scratch));
        float *const square = square_of(c, row, p), *const diagonal = square + k * k;
        if (count == 0 || k == 0)
            continue;
        for (size_t d = 0; d < k; d++)
            square[d * (k + 1)] = diagonal[d];
        const organ_product loss = {.m = k,
                                    .n = k,
                                    .k = count,
                                    .a = organ_by_columns(own_scratch(scratch), k),
                                    .b = organ_by_columns(own_scratch(scratch), k),
                                    .c = square,
                                    .c_stride = k,
                                    .into = ORGAN_PRODUCT_SUBTRACT};
        c->kernels->product(&loss, scratch);
        for (size_t d = 0; d < k; d++) {
            diagonal[d] = square[d * (k + 1)];
            for (size_t e = d + 1; e < k; e++)
                square[d * k + e] = square[e * k + d];
        }
        c->kernels->cholesky_f32(square, k);
    }
}

/* The shares (rows x k) are x U. x points to the part's first column in the first of `rows` rows; each row begins
 * h.size values after the one before. */
static void project_on_directions(const organ_preconditioner *c, size_t index, size_t rows, const float *x,
                                  float *shares, void *scratch)
{
    const preconditioner_part *const p = &c->parts[index];
    const organ_product product = {.m = rows,
                                   .n = p->k,
                                   .k = p->width,
                                   .a = organ_by_rows(x, c->h.size),
                                   .b = organ_by_columns(c->u + c->at[index], p->k),
                                   .c = shares,
                                   .c_stride = p->k};
    c->kernels->product(&product, scratch);
}

/* shares U^T is added to x or subtracted, as `into` says. x and `rows` are as in project_on_directions. */
static void add_directions(const organ_preconditioner *c, size_t index, size_t rows, const float *shares, float *x,
                           organ_product_into into, void *scratch)
{
    const preconditioner_part *const p = &c->parts[index];
    const organ_product product = {.m = rows,
                                   .n = p->width,
                                   .k = p->k,
                                   .a = organ_by_rows(shares, p->k),
                                   .b = organ_by_columns(c->u_transposed + c->at[index], p->width),
                                   .c = x,
                                   .c_stride = c->h.size,
                                   .into = into};
    c->kernels->product(&product, scratch);
}

/* The approximate H is D (mu I + U (Lambda - mu) U^T) D, part by part. */
void organ_preconditioner_multiply(const organ_preconditioner *c, size_t rows, const float *matrix, float *product,
                                   float *scratch)
{
    const size_t n = c->h.size;
    float *const shares = own_scratch(scratch);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            product[i * n + j] = matrix[i * n + j] * c->root[j];
    for (size_t b = 0; b < c->part_count; b++) {
        const preconditioner_part *const p = &c->parts[b];
        project_on_directions(c, b, rows, product + p->start, shares, scratch);
        for (size_t i = 0; i < rows; i++) {
            for (size_t d = 0; d < p->k; d++)
                shares[i * p->k + d] *= c->gap[p->first + d];
            for (size_t j = p->start; j < p->start + p->width; j++)
                product[i * n + j] *= p->mu;
        }
        add_directions(c, b, rows, shares, product + p->start, ORGAN_PRODUCT_ADD, scratch);
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            product[i * n + j] *= c->root[j];
}

static void solve_part(const organ_preconditioner *c, size_t index, size_t first, size_t rows, float *x, float *scratch)
{
    const preconditioner_part *const p = &c->parts[index];
    float *const shares = own_scratch(scratch);
    if (p->k == 0)
        return;
    project_on_directions(c, index, rows, x, shares, scratch);
    for (size_t i = 0; i < rows; i++)
        c->kernels->solve_f32(square_of(c, first + i, p), p->k, shares + i * p->k);
    add_directions(c, index, rows, shares, x, ORGAN_PRODUCT_SUBTRACT, scratch);
}

static void scale_kept(float *y, float a, const float *x, const float *z, const uint8_t *keep, size_t n)
{
    for (size_t j = 0; j < n; j++)
        y[j] = a * x[j] * z[j] * (float)keep[j];
}

/* The masked D (mu I + U (Lambda - mu) U^T) D is inverted by Woodbury's identity. The inverse of the middle factor
 * is (1 / mu) (I - U A^-1 U^T), where A is the k x k matrix of each row (square_of). */
void organ_preconditioner_solve(const organ_preconditioner *c, size_t first, size_t rows, const float *residual,
                                const uint8_t *keep, float *result, float *scratch)
{
    const size_t n = c->h.size;
    for (size_t i = 0; i < rows; i++)
        scale_kept(result + i * n, /*a=*/1, residual + i * n, c->inverse, keep + i * n, n);
    for (size_t b = 0; b < c->part_count; b++)
        solve_part(c, b, first, rows, result + c->parts[b].start, scratch);
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < c->part_count; b++) {
            const preconditioner_part *const p = &c->parts[b];
            float *const x = result + i * n + p->start;
            scale_kept(x, 1.0f / p->mu, x, c->inverse + p->start, keep + i * n + p->start, p->width);
        }
}
