/* SPDX-License-Identifier: MIT
 * The second moments of the inputs of a matrix for GPTQ, damped, and their factor for columns in the order of GPTQ. */
#include "orchestrator/surgery/precision/gptq.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/expand_moments.h"

#include <errno.h>
#include <stdlib.h>

#define ROWS ((size_t)64) /* rows of a block of H that a worker copies at a time */

typedef struct column_weight {
    float weight;
    uint32_t column;
} column_weight;

static int by_falling_weight(const void *a, const void *b)
{
    const column_weight *const x = a, *const y = b;
    return x->weight != y->weight ? (x->weight < y->weight) - (x->weight > y->weight)
                                  : (x->column > y->column) - (x->column < y->column);
}

typedef struct ordered_block {
    const float *h;
    const column_weight *columns;
    size_t width;
    float *factor;
} ordered_block;

/* Copies only entries on and to the right of the diagonal blocks of ORGAN_FACTOR_BLOCK columns: the factorisation
 * reads no others. */
static void copy_rows(void *context, size_t index, size_t worker)
{
    const ordered_block *const b = context;
    (void)worker;
    for (size_t i = index * ROWS; i < organ_min((index + 1) * ROWS, b->width); i++) {
        const float *const from = b->h + b->columns[i].column * b->width;
        float *const to = b->factor + i * b->width;
        for (size_t j = i / ORGAN_FACTOR_BLOCK * ORGAN_FACTOR_BLOCK; j < b->width; j++)
            to[j] = from[b->columns[j].column];
    }
}

/* The order is that of act-order in GPTQ: columns by falling mean square of their inputs. in->factor becomes a copy
 * of the block in that order. Returns false if memory cannot be allocated. */
static bool order_block(organ_gptq_inputs *in, size_t start, size_t width)
{
    const float *const h = in->h + start * in->block;
    column_weight *const columns = malloc(width * sizeof *columns);
    if (!columns)
        return false;
    for (size_t j = 0; j < width; j++)
        columns[j] = (column_weight){h[j * (width + 1)], (uint32_t)j};
    qsort(columns, width, sizeof *columns, by_falling_weight);
    for (size_t i = 0; i < width; i++)
        in->order[start + i] = (uint32_t)start + columns[i].column;
    ordered_block block = {h, columns, width, in->factor + start * in->block};
    organ_share_work(in->engine, NULL, (width + ROWS - 1) / ROWS, (double)width * (double)width * ORGAN_SHARE_NUMBER,
                     copy_rows, &block);
    free(columns);
    return true;
}

/* The damping is a share of the mean of the diagonal of H: more if there are few tokens for the inputs, whose
 * moments are then those of the text rather than those of the model. */
static double damping_of(const organ_input_moments *m)
{
    const double share = ORGAN_GPTQ_FEW_TOKENS * (double)m->block / (double)m->tokens;
    return share > ORGAN_GPTQ_DAMPING ? share : ORGAN_GPTQ_DAMPING;
}

/* If the factorisation of a block fails, H is not positive definite in spite of the damping. */
organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *in, organ_error *error)
{
    const organ_input_moments *const m = organ_calibration_moments(calibration);
    /* `entries`: values in all diagonal blocks, of which the last has `rest` columns if that is not 0 */
    const size_t n = m->features, rest = n % m->block, entries = n / m->block * m->block * m->block + rest * rest;
    *in =
        (organ_gptq_inputs){.engine = engine, .of = calibration, .features = n, .block = m->block, .tokens = m->tokens};
    /* factors 0, 1: only the moments of the inputs that the changed layers compute */
    in->h = organ_expand_moments(engine, m, 0, 1, damping_of(m) * m->mean_diagonal);
    in->factor = organ_floats(entries, 1);
    in->order = malloc(n * sizeof *in->order);
    if (!in->h || !in->factor || !in->order)
        return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, n);
    for (size_t start = 0; start < n; start += m->block) {
        const size_t width = organ_min(m->block, n - start);
        bool definite = false;
        if (!order_block(in, start, width) ||
            !organ_block_factor(engine, in->factor + start * m->block, width, &definite))
            return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, n);
        if (!definite)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the second moments of inputs %zu to %zu cannot be inverted (mean square %g)", name,
                              start, start + width - 1, m->mean_diagonal);
    }
    return ORGAN_OK;
}

void organ_gptq_inputs_close(organ_gptq_inputs *in)
{
    free(in->h);
    free(in->factor);
    free(in->order);
    *in = (organ_gptq_inputs){0};
}

organ_status organ_gptq_inputs_reopen(const organ_engine *engine, const organ_calibration *calibration,
                                      const char *name, organ_gptq_inputs *in, organ_error *error)
{
    if (in->of == calibration)
        return ORGAN_OK;
    organ_gptq_inputs_close(in);
    return organ_gptq_inputs_open(engine, calibration, name, in, error);
}
