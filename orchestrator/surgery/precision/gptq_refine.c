/* SPDX-License-Identifier: MIT
 * Refits the scales of a row of GGUF blocks that store each group scale as a code of few bits times d, and each minimum
 * as a code times dmin (Q4_K and similar). Rounds the exact solution of the row's normal equations to such numbers,
 * then improves them by coordinate descent on the same equations: changes one code, one d or one dmin at a time. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include <math.h>

#define MOST   32 /* greatest number of unknowns of a block */
#define ROUNDS 3  /* rounds of the descent: each refits d and dmin of all blocks, then all codes */
/* Adding and subtracting 3 x 2^22 rounds an FP32 value to an integer. */
#define WHOLE 12582912.0f

/* The normal equations M x = b of a GGUF block of a row. The unknowns x are changes of the scales of its groups and
 * then, if the type has them, of their minima. */
typedef struct row_equations {
    const organ_gptq_job *job;
    size_t row;            /* index of the row */
    size_t first;          /* first group of the block */
    size_t unknowns;       /* number of unknowns: groups of the block x terms */
    size_t block_groups;   /* groups of a GGUF block */
    const float *m;        /* M below its diagonal, [unknowns][unknowns] */
    const float *diagonal; /* diagonal of M */
    float *residual;       /* b - M x for the changes x made so far */
} row_equations;

/* Number k of a row counts the scales of its groups, then their minima, then d of all blocks, then dmin. */
static float *gptq_refine_number_at(const row_equations *r, size_t k)
{
    return &r->job->scales[k * r->job->padded + r->row];
}

static float *unknown_at(const row_equations *r, size_t u)
{
    return gptq_refine_number_at(r, u / r->block_groups * r->job->groups + r->first + u % r->block_groups);
}

/* Returns the d of the block, or its dmin if unknown u is a minimum. */
static float *super_at(const row_equations *r, size_t u)
{
    const size_t term = u / r->block_groups;
    return gptq_refine_number_at(r,
                                 r->job->groups * r->job->terms + term * r->job->supers + r->first / r->block_groups);
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

/* The range is 0 .. 63 in types with minima, else -128 .. 127. */
static float code_for(const row_equations *r, size_t u, float number)
{
    const float low = r->job->terms > 1 ? 0 : -128, high = r->job->terms > 1 ? 63 : 127, unit = unit_of(r, u);
    float code = unit != 0 ? number / unit : 0;
    code = code < low ? low : code;
    code = code > high ? high : code;
    return code + WHOLE - WHOLE;
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
void organ_gptq_refine(const organ_gptq_job *job, size_t first, size_t groups, size_t row, const float *m,
                       const float *diagonal, float *right, const float *target)
{
    const row_equations r = {job, row, first, groups * job->terms, groups, m, diagonal, right};
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
