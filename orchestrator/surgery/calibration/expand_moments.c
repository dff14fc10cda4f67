/* SPDX-License-Identifier: MIT
 * Expands the sums H and C of a calibration, of which H has only its upper triangle, to a damped matrix in FP32. */
#include "orchestrator/surgery/calibration/expand_moments.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#define PANEL ORGAN_CALIBRATION_BLOCK /* rows that a worker writes at a time */

typedef struct expansion {
    const organ_input_moments *moments; /* C, H and tokens */
    double c, h, damping;               /* factors of C and H; the number added to the diagonal */
    float *values;                      /* in blocks like H */
} expansion;

/* Row k of the matrix has only the diagonal block that contains it. H is symmetric and stored only above the
 * diagonal: entry (i, j) below the diagonal is read as (j, i). */
static void expand_rows(void *context, size_t index, size_t worker)
{
    const expansion *const x = context;
    const organ_input_moments *const m = x->moments;
    const size_t first = index * PANEL, start = first / m->block * m->block,
                 width = organ_min(m->block, m->features - start);
    const double *const h = m->h + start * m->block, *const c = m->c ? m->c + start * m->block : NULL;
    const double tokens = (double)m->tokens;
    float *const values = x->values + start * m->block;
    (void)worker;
    for (size_t i = first - start; i < organ_min(first - start + PANEL, width); i++)
        for (size_t j = 0; j < width; j++) {
            const double own = i <= j ? h[i * width + j] : h[j * width + i];
            const double mixed = x->c * (c ? c[i * width + j] : own) + x->h * own;
            values[i * width + j] = (float)(mixed / tokens + (i == j ? x->damping : 0));
        }
}

float *organ_expand_moments(const organ_engine *engine, const organ_input_moments *m, double c, double h,
                            double damping)
{
    const size_t rest = m->features % m->block, entries = m->features / m->block * m->block * m->block + rest * rest;
    expansion x = {m, c, h, damping, organ_floats(entries, 1)};
    if (x.values)
        organ_share(engine, NULL, (m->features + PANEL - 1) / PANEL, expand_rows, &x);
    return x.values;
}
