/* SPDX-License-Identifier: MIT
 * Refits scales of GGUF blocks whose group scales are codes of few bits times d or dmin. Rounds the solution of a row's
 * normal equations to scales that such blocks can store, by coordinate descent on the same equations: changes one code,
 * d or dmin at a time. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include <math.h>

#define ROUNDS 3 /* rounds of the descent: d and dmin of each block, then all codes */
/* Adding and subtracting 3 x 2^22 rounds an FP32 value to an integer. */
#define WHOLE 12582912.0f

/* The normal equations of a row. Its unknowns are the scales of its groups, then (if the type has them) their
 * minima. */
typedef struct row_of {
    organ_gptq_job *job;
    size_t row, unknowns, several; /* the row; number of unknowns; groups of a block */
    const float *m, *diagonal;     /* M below its diagonal, unknowns x unknowns; its diagonal */
    float *residual;               /* right-hand side minus M times the changes made so far */
} row_of;

/* Returns the place of number k of the row in job->scales. */
static float *gptq_refine_number_at(const row_of *r, size_t k) { return &r->job->scales[k * r->job->padded + r->row]; }

/* Returns the place of d (for a scale) or dmin (for a minimum) of the block that an unknown belongs to. */
static float *super_at(const row_of *r, size_t unknown)
{
    const size_t term = unknown / r->job->groups, block = unknown % r->job->groups / r->several;
    return gptq_refine_number_at(r, r->unknowns + term * r->job->supers + block);
}

/* Returns entry (u, v) of the symmetric matrix M, which is stored in r->diagonal and below the diagonal of r->m. */
static float gram_entry(const row_of *r, size_t u, size_t v)
{
    return u == v ? r->diagonal[u] : r->m[(u > v ? u : v) * r->unknowns + (u > v ? v : u)];
}

/* Sets unknown u to `value` and updates the residuals of all unknowns. */
static void set_unknown(const row_of *r, size_t u, float value)
{
    const float change = value - *gptq_refine_number_at(r, u);
    *gptq_refine_number_at(r, u) = value;
    for (size_t v = 0; v < r->unknowns && change != 0; v++)
        r->residual[v] -= change * gram_entry(r, u, v);
}

/* Returns the change of an unknown when its code grows by 1: d for a scale, -dmin for a minimum, which is stored as
 * -dmin times its code. */
static float unit_of(const row_of *r, size_t u) { return u < r->job->groups ? *super_at(r, u) : -*super_at(r, u); }

/* Returns the code of unknown u that is nearest to `number`. Scales of types without minima are signed bytes; scales
 * and minima of types with minima have 6 bits without sign. */
static float code_for(const row_of *r, size_t u, float number)
{
    const float low = r->job->terms > 1 ? 0 : -128, high = r->job->terms > 1 ? 63 : 127, unit = unit_of(r, u);
    float code = unit != 0 ? number / unit : 0;
    code = code < low ? low : code;
    code = code > high ? high : code;
    return code + WHOLE - WHOLE;
}

/* Sets unknown u to the storable value nearest to the minimum of the loss over u, with all other unknowns fixed. */
static void choose_code(const row_of *r, size_t u)
{
    if (r->diagonal[u] > 0)
        set_unknown(r, u,
                    code_for(r, u, *gptq_refine_number_at(r, u) + r->residual[u] / r->diagonal[u]) * unit_of(r, u));
}

/* Refits d (or dmin) of the block whose first unknown is `first`, with its codes fixed. Keeps it if its sign would
 * change. */
static void choose_super(const row_of *r, size_t first)
{
    float *const d = super_at(r, first), codes[ORGAN_GGML_GROUPS], over = 0, under = 0;
    for (size_t g = 0; g < r->several; g++) {
        codes[g] = code_for(r, first + g, *gptq_refine_number_at(r, first + g));
        over += codes[g] * r->residual[first + g];
    }
    for (size_t g = 0; g < r->several; g++)
        for (size_t h = 0; h < r->several; h++)
            under += codes[g] * codes[h] * gram_entry(r, first + g, first + h);
    const float sign = first < r->job->groups ? 1.0f : -1.0f;
    const float target = organ_grid_stored(&r->job->matrix->grid, r->job->inputs->engine->kernels,
                                           under > 0 ? *d + sign * over / under : *d);
    if (!isfinite(target) || !(target * *d > 0))
        return;
    *d = target;
    for (size_t g = 0; g < r->several; g++)
        set_unknown(r, first + g, codes[g] * unit_of(r, first + g));
}

/* Sets the scales of a row to storable values that minimise its loss: rounds `target`, the exact solution, then
 * improves it in ROUNDS of coordinate descent. */
void organ_gptq_refine(organ_gptq_job *job, size_t row, const float *m, const float *diagonal, float *right,
                       const float *target)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(&job->matrix->grid);
    const row_of r = {job, row, job->groups * job->terms, kind->elements / kind->group, m, diagonal, right};
    for (size_t u = 0; u < r.unknowns; u++) {
        const float number = *gptq_refine_number_at(&r, u) + target[u];
        if (isfinite(number))
            set_unknown(&r, u, code_for(&r, u, number) * unit_of(&r, u));
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t u = 0; u < r.unknowns; u += r.several)
            choose_super(&r, u);
        for (size_t u = 0; u < r.unknowns; u++)
            choose_code(&r, u);
    }
}
