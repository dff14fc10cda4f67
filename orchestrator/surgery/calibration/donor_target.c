/* SPDX-License-Identifier: MIT
 * The change of a matrix that gives a part of the donor's outputs, from the moments of both models' inputs. */
#include "orchestrator/surgery/calibration/donor_target.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <string.h>

#define STRIP ((size_t)128) /* rows that a worker solves at a time */
/* Share of the donor's outputs in the target of a matrix; the rest are the outputs of the donor's weights for the
 * inputs of the base. */
#define DONOR_SHARE 0.5

typedef struct drifting {
    const organ_engine *engine;
    const organ_block_matrix *h;
    const float *factor; /* of H, in blocks */
    size_t rows;
    float *target; /* [rows][h->size] */
    float *panels; /* per worker: the panel of organ_factor_solve */
    unsigned char *scratch;
} drifting;

static void solve_strip(void *context, size_t index, size_t worker)
{
    const drifting *const d = context;
    const size_t first = index * STRIP, rows = organ_min(STRIP, d->rows - first), cols = d->h->size,
                 block = d->h->block;
    for (size_t start = 0; start < cols; start += block)
        organ_factor_solve(d->engine->kernels, d->factor + start * block, organ_min(block, cols - start),
                           d->target + first * cols + start, rows, cols,
                           d->panels + worker * STRIP * ORGAN_FACTOR_BLOCK,
                           d->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

/* target = DONOR_SHARE W (C - H), with C and H of the calibration, per token. Returns false if memory cannot be
 * allocated. */
static bool find_drift(const drifting *d, const organ_input_moments *m, const float *weights, organ_error *error)
{
    const size_t n = d->rows * d->h->size;
    for (size_t k = 0; m->drift && k < n; k++)
        d->target[k] = (float)(DONOR_SHARE * m->drift[k] / (double)m->tokens);
    ORGAN_OWNED_BUFFERS buffers = {0};
    const float *const drift =
        m->drift ? NULL
                 : organ_expand_moments(d->engine, m, /*c=*/DONOR_SHARE, /*h=*/-DONOR_SHARE, /*damping=*/0, &buffers);
    if (drift)
        organ_block_multiply(d->engine, &(organ_block_matrix){d->h->size, m->block, drift}, weights, d->rows, d->target,
                             error);
    return m->drift || drift;
}

void organ_donor_target_close(organ_donor_target *donor)
{
    organ_buffers_release(&donor->buffers);
    *donor = (organ_donor_target){0};
}

static organ_status factorise(organ_donor_target *donor, const organ_engine *engine,
                              const organ_calibration_matrix *matrix, const organ_block_matrix *h, organ_error *error)
{
    const size_t cols = h->size, block = h->block, entries = organ_block_entries(cols, block);
    bool definite = true, made = true;
    organ_donor_target_close(donor);
    if (!(donor->factor = organ_take_floats(&donor->buffers, entries, 1)))
        return organ_fail_memory(error, matrix->name);
    memcpy(donor->factor, h->values, entries * sizeof *donor->factor);
    for (size_t start = 0; start < cols && made && definite; start += block)
        made = organ_block_factor(engine, donor->factor + start * block, organ_min(block, cols - start), &definite);
    if (!made)
        return organ_fail_memory(error, matrix->name);
    if (!definite)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the second moments of its inputs cannot be inverted",
                          matrix->name);
    donor->of = matrix->calibration;
    return ORGAN_OK;
}

static void lay_out(void *context, organ_buffers *b)
{
    drifting *const d = context;
    d->panels = organ_take_floats(b, organ_workers_count(d->engine->workers), STRIP * ORGAN_FACTOR_BLOCK);
    d->scratch = organ_take(b, organ_products_scratch(d->engine), 1);
}

organ_status organ_donor_target_find(organ_donor_target *donor, const organ_engine *engine,
                                     const organ_calibration_matrix *matrix, const organ_block_matrix *h,
                                     const float *weights, float *target, organ_error *error)
{
    const organ_input_moments *const m = organ_calibration_moments(matrix->calibration);
    const size_t rows = (size_t)matrix->rows;
    memset(target, 0, rows * h->size * sizeof *target);
    if ((!m->c && !m->drift) ||
        (donor->of != matrix->calibration && factorise(donor, engine, matrix, h, error) != ORGAN_OK))
        return error->status;
    ORGAN_OWNED_BUFFERS buffers = {0};
    drifting d = {.engine = engine, .h = h, .factor = donor->factor, .rows = rows, .target = target};
    if (!organ_buffers_take(&buffers, lay_out, &d) || !find_drift(&d, m, weights, error))
        organ_fail_memory(error, matrix->name);
    else if (!error->status)
        organ_share(engine, /*stop=*/NULL, (rows + STRIP - 1) / STRIP, solve_strip, &d);
    return error->status;
}

uint64_t organ_donor_target_memory(const organ_engine *engine, uint64_t cols, uint64_t block)
{
    drifting d = {.engine = engine};
    return sizeof(float) * 2 * cols * block + organ_inverse_factor_memory(engine, block) +
           organ_buffers_count(lay_out, &d);
}
