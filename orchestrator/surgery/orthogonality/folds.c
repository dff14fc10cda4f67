/* SPDX-License-Identifier: MIT
 * Rows of a report that sum several modules: those of a projection, of a layer, or of a projection in one layer. */
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/orthogonality/noise_job.h"

#include <math.h>

/* In folded.row: modules of all rows of the anatomy. */
enum { ALL_ROWS = ORGAN_ANATOMY_ROWS };

/* The modules to fold: those of the row `row` among the modules `from` to `to` - 1 of the job. */
typedef struct folded {
    size_t from, to;
    unsigned row;
} folded;

/* Returns the row of a module in a report. The report of two pairs has one row for each role; the other one separates
 * routed experts, shared experts and dense matrices (organ_anatomy_row). */
static unsigned fold_row_of(const organ_compared_job *job, const organ_compared_module *m)
{
    return job->pairs ? 3 * (unsigned)m->anatomy->role : organ_anatomy_row(m->anatomy);
}

/* Folds the selected modules. */
static organ_compared_fold fold_modules(const organ_compared_folding *g, folded of)
{
    organ_compared_fold f = {0};
    for (size_t k = of.from; k < of.to; k++)
        if (of.row == ALL_ROWS || fold_row_of(g->job, &g->job->modules[k]) == of.row)
            g->add(&f, &g->job->modules[k], g->which);
    return f;
}

organ_compared_fold organ_compared_fold_all(const organ_compared_folding *g)
{
    return fold_modules(g, (folded){0, g->job->count, ALL_ROWS});
}

/* Appends the row of the selected modules, with the member "layer" unless `layer` is NULL. Appends nothing if there are
 * none. */
static void append_fold(const organ_compared_folding *g, folded of, const int32_t *layer, json_t *rows)
{
    const organ_compared_fold f = fold_modules(g, of);
    const bool named = of.row != ALL_ROWS;
    if (f.noises.modules)
        json_array_append_new(
            rows, g->json(ORGAN_OBJECT(SET_IF(named, "projection", json_string(organ_anatomy_row_name(of.row))),
                                       SET_IF(layer, "layer", organ_json_index(*layer))),
                          &f, g->which));
}

json_t *organ_compared_projections_json(const organ_compared_folding *g)
{
    json_t *const rows = json_array();
    for (unsigned row = 0; row < ORGAN_ANATOMY_ROWS; row++)
        append_fold(g, (folded){0, g->job->count, row}, NULL, rows);
    return rows;
}

/* Appends one row per layer, or with `places` one per projection and layer. The modules of a layer are adjacent,
 * because job->modules is ordered by layer. */
json_t *organ_compared_layers_json(const organ_compared_folding *g, bool places)
{
    const organ_compared_job *const job = g->job;
    json_t *const rows = json_array();
    for (size_t from = 0, to = 0; from < job->count; from = to) {
        const int32_t layer = job->modules[from].anatomy->layer;
        while (to < job->count && job->modules[to].anatomy->layer == layer)
            to++;
        for (unsigned row = places ? 0 : ALL_ROWS; row < ALL_ROWS + (unsigned)!places; row++)
            append_fold(g, (folded){from, to, row}, &layer, rows);
    }
    return rows;
}

/* `z` divides <N, K> by its standard deviation for a random N, `z_signs` by that for random signs of N. */
void organ_compared_add_cosine(json_t *row, const organ_noise_fold *f, bool signs)
{
    const double norms = sqrt(f->defined_square) * sqrt(f->defined_change);
    const bool any = norms > 0;
    ORGAN_ADD(row, SET_REAL_OF("cosine", any, f->dot / norms),
              SET_REAL_OF("chance_std", any, sqrt(f->variance) / norms),
              SET_REAL_OF("z", any, f->dot / sqrt(f->variance)),
              SET_IF(signs, "z_signs", organ_json_real_of(any && f->signs > 0, f->dot / sqrt(f->signs))),
              SET_COUNT("beyond", f->beyond), SET_COUNT("with_cosine", f->defined));
}

/* ---- parts of both reports ---- */

/* Returns mean and standard deviation of the cosine of a module with random matrices. `std_exact` is that of the theory
 * for out x in values. */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *m)
{
    return ORGAN_OBJECT(SET_COUNT("draws", job->draws), SET_REAL("mean", m->drawn_mean), SET_REAL("std", m->drawn_std),
                        SET_REAL("std_exact", 1 / sqrt((double)m->rows * (double)m->cols)));
}

static const organ_weight *compared_weight(const void *job, size_t k)
{
    return ((const organ_compared_job *)job)->modules[k].weight[0];
}

json_t *organ_compared_matrices_json(const organ_compared_job *job)
{
    return organ_matrices_among(job->weights[0], job->count, compared_weight, job);
}

json_t *organ_compared_run_json(const organ_compared_job *job, json_t *inputs)
{
    return organ_json_joined(inputs, ORGAN_OBJECT(SET_BYTES_OF("output", job->output),
                                                  SET_REAL("seconds", organ_milliseconds(job->seconds)),
                                                  SET_COUNT("bytes_read", job->bytes),
                                                  SET_COUNT("threads", organ_workers_count(job->engine->workers)),
                                                  SET_TEXT("cpu_isa", job->engine->kernels->isa)));
}
