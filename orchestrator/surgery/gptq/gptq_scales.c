/* SPDX-License-Identifier: MIT
 * Refits the scales and minima of a GGUF block that stores them as codes, for the fixed codes of its values. The values
 * of a row are linear in these numbers, so the numbers with the least loss solve the normal equations M x = b, where x
 * are changes of the present scales and minima. With c_g the codes of group g, 0 in other columns, M_gh = c_g^T H c_h
 * and b_g = c_g^T H (w - v), with w the weights and v the values of the row. The codes of a minimum are all 1. Unknowns
 * 0 .. groups - 1 are scales, groups .. 2 groups - 1 are minima. */
#include "orchestrator/surgery/gptq/gptq.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"

#include <math.h>

/* Refits the scales of a row of GGUF blocks that store each group scale as a code of few bits times d, and each minimum
 * as a code times dmin (Q4_K and similar). Rounds the exact solution of the row's normal equations to such numbers,
 * then improves them by coordinate descent on the same equations: changes one code, one d or one dmin at a time. */

#define MOST   32 /* greatest number of unknowns of a block */
#define ROUNDS 3  /* rounds of the descent: each refits d and dmin of all blocks, then all codes */
/* Adding and subtracting 3 x 2^22 rounds an FP32 value to an integer. */
#define WHOLE 12582912.0f

/* The normal equations M x = b of a GGUF block of a row. The unknowns x are changes of the scales of its groups and
 * then, if the type has them, of their minima. */
typedef struct row_equations {
    const organ_gptq_job *job;
    size_t row;                     /* index of the row */
    size_t first;                   /* first group of the block */
    size_t unknowns;                /* number of unknowns: groups of the block x terms */
    size_t block_groups;            /* groups of a GGUF block */
    const organ_ggml_scales *coded; /* codes of scales and minima */
    const float *m;                 /* M below its diagonal, [unknowns][unknowns] */
    const float *diagonal;          /* diagonal of M */
    float *residual;                /* b - M x for the changes x made so far */
} row_equations;

/* Number k of a row counts the scales of its groups, then their minima, then d of all blocks, then dmin. */
static float *number_of_row_at(const row_equations *r, size_t k)
{
    return &r->job->scales[k * r->job->padded + r->row];
}

static float *unknown_at(const row_equations *r, size_t u)
{
    return number_of_row_at(r, u / r->block_groups * r->job->groups + r->first + u % r->block_groups);
}

/* Returns the d of the block, or its dmin if unknown u is a minimum. */
static float *super_at(const row_equations *r, size_t u)
{
    const size_t term = u / r->block_groups;
    return number_of_row_at(r, r->job->groups * r->job->terms + term * r->job->supers + r->first / r->block_groups);
}

static float gram_entry(const row_equations *r, size_t u, size_t v)
{
    return u == v ? r->diagonal[u] : r->m[(u > v ? u : v) * r->unknowns + (u > v ? v : u)];
}

static void set_unknown(const row_equations *r, size_t u, float value)
{
    const float change = value - *unknown_at(r, u);
    *unknown_at(r, u) = value;
    for (size_t v = 0; v < r->unknowns && change != 0; v++)
        r->residual[v] -= change * gram_entry(r, u, v);
}

/* The unit is d for a scale and -dmin for a minimum, because blocks store the code of the negative minimum. */
static float unit_of(const row_equations *r, size_t u)
{
    return u < r->block_groups ? *super_at(r, u) : -*super_at(r, u);
}

/* Returns the number that the nearest code of a scale or minimum stands for, as a multiple of its unit. */
static float code_for(const row_equations *r, size_t u, float number)
{
    const organ_ggml_scales *const s = r->coded;
    const float unit = unit_of(r, u);
    const float present = s->keeps_sign ? *unknown_at(r, u) : 0; /* code 0 is the least positive number */
    const float low = present > 0 ? 0 : s->low, high = present < 0 ? -1 : s->high;
    float code = unit != 0 ? (number / unit - s->shift) / s->step : 0;
    code = code < low ? low : code;
    code = code > high ? high : code;
    return s->shift + s->step * (code + WHOLE - WHOLE);
}

/* At the optimum the loss is least while all other numbers stay fixed. Leaves u unchanged if it has no influence on
 * the loss (a zero on the diagonal of M). */
static void choose_code(const row_equations *r, size_t u)
{
    if (r->diagonal[u] > 0)
        set_unknown(r, u, code_for(r, u, *unknown_at(r, u) + r->residual[u] / r->diagonal[u]) * unit_of(r, u));
}

/* Refits d (or dmin) of the block whose first scale (or minimum) is unknown `first`, with the codes of the block fixed.
 * The optimal change is (codes^T residual) / (codes^T M codes), rounded to F16. Leaves d unchanged if its sign would
 * change. */
static void choose_super(const row_equations *r, size_t first)
{
    float *const d = super_at(r, first), codes[ORGAN_GGML_GROUPS], numerator = 0, denominator = 0;
    for (size_t g = 0; g < r->block_groups; g++) {
        codes[g] = code_for(r, first + g, *unknown_at(r, first + g));
        numerator += codes[g] * r->residual[first + g];
    }
    for (size_t g = 0; g < r->block_groups; g++)
        for (size_t h = 0; h < r->block_groups; h++)
            denominator += codes[g] * codes[h] * gram_entry(r, first + g, first + h);
    const float sign = first < r->block_groups ? 1.0f : -1.0f; /* a minimum is its code times -dmin */
    const float target = organ_grid_stored(&r->job->matrix->grid, r->job->inputs->engine->kernels,
                                           denominator > 0 ? *d + sign * numerator / denominator : *d);
    if (!isfinite(target) || !(target * *d > 0))
        return;
    *d = target;
    for (size_t g = 0; g < r->block_groups; g++)
        set_unknown(r, first + g, codes[g] * unit_of(r, first + g));
}

typedef struct block_numbers {
    float unknowns[MOST], supers[2], residual[MOST];
} block_numbers;

static block_numbers numbers_of(const row_equations *r)
{
    block_numbers n = {.supers = {*super_at(r, 0)}};
    for (size_t u = 0; u < r->unknowns; u++) {
        n.unknowns[u] = *unknown_at(r, u);
        n.residual[u] = r->residual[u];
    }
    if (r->job->terms > 1)
        n.supers[1] = *super_at(r, r->block_groups);
    return n;
}

static void set_numbers(const row_equations *r, const block_numbers *n)
{
    for (size_t u = 0; u < r->unknowns; u++) {
        *unknown_at(r, u) = n->unknowns[u];
        r->residual[u] = n->residual[u];
    }
    *super_at(r, 0) = n->supers[0];
    if (r->job->terms > 1)
        *super_at(r, r->block_groups) = n->supers[1];
}

/* The gain is x^T (b + residual) for the changes x. */
static double gain_since(const row_equations *r, const block_numbers *before)
{
    double gain = 0;
    for (size_t u = 0; u < r->unknowns; u++)
        gain += ((double)*unknown_at(r, u) - (double)before->unknowns[u]) *
                ((double)before->residual[u] + (double)r->residual[u]);
    return gain;
}

static void descend(const row_equations *r)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t u = 0; u < r->unknowns; u += r->block_groups)
            choose_super(r, u);
        for (size_t u = 0; u < r->unknowns; u++)
            choose_code(r, u);
    }
}

/* Runs coordinate descent from two starts: the exact solution of the equations, `target`, rounded to codes times the
 * present d and dmin, and the present numbers. Keeps the better result, or the present numbers if neither is better.
 * `right` is b, which becomes row_equations.residual. */
static void gptq_refine(const organ_gptq_job *job, size_t first, size_t groups, size_t row, const float *m,
                        const float *diagonal, float *right, const float *target)
{
    const row_equations r = {
        job, row,      first, groups * job->terms, groups, &organ_grid_blocks(&job->matrix->grid)->coded,
        m,   diagonal, right};
    const block_numbers present = numbers_of(&r);
    for (size_t u = 0; u < r.unknowns; u++) {
        const float number = *unknown_at(&r, u) + target[u];
        if (isfinite(number))
            set_unknown(&r, u, code_for(&r, u, number) * unit_of(&r, u));
    }
    descend(&r);
    const double far = gain_since(&r, &present);
    const block_numbers rounded = numbers_of(&r);
    set_numbers(&r, &present);
    descend(&r);
    const double near = gain_since(&r, &present);
    if (far > near && far > 0)
        set_numbers(&r, &rounded);
    else if (!(near > 0))
        set_numbers(&r, &present);
}

#define BATCH  ((size_t)64) /* rows that are refitted together */
#define WIDEST ORGAN_GPTQ_WIDEST
#define LANES  16    /* partial sums of a dot product */
#define RIDGE  1e-6f /* number added to the diagonal of M, as a share of its mean: rounding may leave M singular */

typedef struct refit_block {
    const organ_gptq_job *job;
    size_t first, n, groups; /* columns and groups of the block */
    size_t row, rows;
    const float *h; /* the block of H */
    size_t width;   /* from one of its rows to the next */
    float *field;   /* [rows][WIDEST] */
    float *codes;   /* codes of the rows, then a row of ones: [BATCH + 1][WIDEST] */
    float *panel;   /* codes (and ones) of a group times H: [BATCH + 1][WIDEST] */
    float *system;  /* M of each row, on and above the diagonal: [BATCH][MOST][MOST] */
    float *right;   /* b of each row: [BATCH][MOST] */
    void *scratch;  /* of products */
} refit_block;

static size_t unknowns_of(const refit_block *b) { return b->groups * b->job->terms; }

size_t organ_gptq_scales_room(const organ_gptq_job *job)
{
    return job->supers ? (2 * (BATCH + 1) * WIDEST + BATCH * MOST * (MOST + 1)) * sizeof(float) : 0;
}

/* The LANES partial sums are added in a fixed order, so that every instruction set gives the same bits. */
static float dot_in_lanes(const float *restrict a, const float *restrict b, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[k + l] * b[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += a[k] * b[k];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

/* Returns the present scale or minimum that the unknown of row `at` of the batch changes. */
static float *number_at(const refit_block *b, size_t unknown, size_t at)
{
    const size_t term = unknown / b->groups, group = b->first / b->job->group + unknown % b->groups;
    return &b->job->scales[(term * b->job->groups + group) * b->job->padded + b->row + at];
}

/* Sets the entries of M between the scale and the minimum of group g and those of the groups from g on. */
static void add_group(const refit_block *b, size_t g)
{
    const organ_gptq_job *const job = b->job;
    const size_t group = job->group, from = g * group, n = unknowns_of(b);
    /* the codes of all rows, and with minima the row of ones */
    const organ_product product = {.m = b->rows + job->terms - 1,
                                   .n = b->n - from,
                                   .k = group,
                                   .a = organ_by_rows(b->codes + from, WIDEST),
                                   .b = organ_by_columns(b->h + from * (b->width + 1), b->width),
                                   .c = b->panel + from,
                                   .c_stride = WIDEST};
    const float *const of_ones = b->panel + b->rows * WIDEST, *const ones = b->codes + b->rows * WIDEST;
    job->inputs->engine->kernels->product(&product, b->scratch);
    for (size_t i = 0; i < b->rows; i++)
        for (size_t other = g; other < b->groups; other++) {
            float *const system = b->system + i * n * n;
            const size_t at = other * group;
            const float *const of_codes = b->panel + i * WIDEST + at, *const codes = b->codes + i * WIDEST + at;
            system[g * n + other] = dot_in_lanes(of_codes, codes, group);
            if (job->terms == 1)
                continue;
            system[g * n + b->groups + other] = dot_in_lanes(of_codes, ones, group);
            system[other * n + b->groups + g] = dot_in_lanes(of_ones + at, codes, group);
            system[(b->groups + g) * n + b->groups + other] = dot_in_lanes(of_ones + at, ones, group);
        }
}

/* Scales and minima stay unchanged if M is not positive definite. cholesky_f32 overwrites M on and above the
 * diagonal, but gptq_refine needs M, so it is copied: to below the diagonal, and its diagonal to `diagonal`. */
static void solve_row(const refit_block *b, size_t at)
{
    const organ_kernels *const kernels = b->job->inputs->engine->kernels;
    const size_t n = unknowns_of(b);
    float *const a = b->system + at * n * n, *const right = b->right + at * MOST, x[MOST], diagonal[MOST], trace = 0;
    for (size_t u = 0; u < n; u++)
        trace += a[u * (n + 1)];
    for (size_t u = 0; u < n; u++) {
        diagonal[u] = a[u * (n + 1)] += RIDGE * trace / (float)n;
        x[u] = right[u];
        for (size_t v = 0; v < u; v++)
            a[u * n + v] = a[v * n + u];
    }
    kernels->cholesky_f32(a, n);
    for (size_t u = 0; u < n; u++)
        if (!(a[u * (n + 1)] > 0))
            return;
    kernels->solve_f32(a, n, x);
    gptq_refine(b->job, b->first / b->job->group, b->groups, b->row + at, a, diagonal, right, x);
}

/* Sets the codes of the row, and b of its equations. */
static void begin_row(const refit_block *b, size_t at)
{
    const organ_gptq_job *const job = b->job;
    for (size_t g = 0; g < b->groups; g++) {
        const size_t from = g * job->group;
        const float *const field = b->field + at * WIDEST + from;
        float *const codes = b->codes + at * WIDEST + from, *const right = b->right + at * MOST + g;
        organ_grid_codes(&job->matrix->grid, *number_at(b, g, at),
                         job->terms > 1 ? *number_at(b, b->groups + g, at) : 0,
                         job->matrix->values + (b->row + at) * job->cols + b->first + from, codes, job->group);
        *right = dot_in_lanes(codes, field, job->group);
        if (job->terms > 1)
            right[b->groups] = dot_in_lanes(b->codes + b->rows * WIDEST, field, job->group);
    }
}

/* Recomputes the values from the codes with the new scales and minima, and replaces the codes by the growth of the
 * values. */
static void decode_row(const refit_block *b, size_t at)
{
    const organ_gptq_job *const job = b->job;
    float *const values = job->matrix->values + (b->row + at) * job->cols + b->first;
    float *const codes = b->codes + at * WIDEST;
    for (size_t j = 0; j < b->n; j++) {
        const size_t g = j / job->group;
        float value = codes[j] * *number_at(b, g, at);
        if (job->terms > 1)
            value += *number_at(b, b->groups + g, at);
        codes[j] = value - values[j];
        values[j] = value;
    }
}

static void refit_batch(const refit_block *b)
{
    for (size_t j = 0; j < b->n; j++)
        b->codes[b->rows * WIDEST + j] = 1;
    for (size_t i = 0; i < b->rows; i++)
        begin_row(b, i);
    for (size_t g = 0; g < b->groups; g++)
        add_group(b, g);
    for (size_t i = 0; i < b->rows; i++) {
        solve_row(b, i);
        decode_row(b, i);
    }
    const organ_product change = {.m = b->rows,
                                  .n = b->n,
                                  .k = b->n,
                                  .a = organ_by_rows(b->codes, WIDEST),
                                  .b = organ_by_columns(b->h, b->width),
                                  .c = b->field,
                                  .c_stride = WIDEST,
                                  .into = ORGAN_PRODUCT_SUBTRACT};
    b->job->inputs->engine->kernels->product(&change, b->scratch);
}

void organ_gptq_scales(const organ_gptq_job *job, size_t first, size_t n, size_t row, size_t rows, float *field,
                       void *scratch)
{
    const organ_gptq_inputs *const in = job->inputs;
    const size_t start = first / in->block * in->block;
    refit_block b = {.job = job, .first = first, .n = n, .groups = n / job->group, .scratch = scratch};
    b.width = organ_min(in->block, job->cols - start);
    b.h = in->h + start * in->block + (first - start) * (b.width + 1);
    /* the arrays of organ_gptq_scales_room follow the scratch of products */
    b.codes = (float *)(void *)((unsigned char *)scratch + ORGAN_PRODUCT_SCRATCH);
    b.panel = b.codes + (BATCH + 1) * WIDEST;
    b.system = b.panel + (BATCH + 1) * WIDEST;
    b.right = b.system + BATCH * MOST * MOST;
    for (size_t i = 0; i < rows; i += BATCH) {
        b.row = row + i;
        b.rows = organ_min(BATCH, rows - i);
        b.field = field + i * WIDEST;
        refit_batch(&b);
    }
}
