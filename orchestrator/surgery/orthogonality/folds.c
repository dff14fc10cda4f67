/* SPDX-License-Identifier: MIT
 * Makes the report's rows that sum several modules: the modules of a projection, of a layer, or of a projection in one
 * layer. A fold is the struct with these sums (organ_compared_fold). Also makes members that organ.orthogonality/1 and
 * organ.noise_pairs/1 have in common. */
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/orthogonality/noise_job.h"

#include <math.h>

/* Value of fold_selection.row that selects modules regardless of their projection. */
enum { ALL_ROWS = ORGAN_ANATOMY_ROWS };

/* Selects modules to sum: those of job->modules[from] to job->modules[to - 1] for which fold_row_of returns `row`, or
 * all of them if `row` is ALL_ROWS. */
typedef struct fold_selection {
    size_t from, to;
    unsigned row;
} fold_selection;

/* Returns the number of the projection to which the report counts the module. The numbers are those of
 * organ_anatomy_row, which are 3 times the role for dense matrices, plus 1 or 2 for routed and shared experts. A report
 * of two pairs does not separate these three kinds and uses the numbers of dense matrices. */
static unsigned fold_row_of(const organ_compared_job *job, const organ_compared_module *m)
{
    return job->pairs ? 3 * (unsigned)m->anatomy->role : organ_anatomy_row(m->anatomy);
}

/* Returns the sums over the modules that `of` selects. */
static organ_compared_fold fold_modules(const organ_compared_folding *g, fold_selection of)
{
    organ_compared_fold f = {0};
    for (size_t k = of.from; k < of.to; k++)
        if (of.row == ALL_ROWS || fold_row_of(g->job, &g->job->modules[k]) == of.row)
            g->add(&f, &g->job->modules[k], g->which);
    return f;
}

organ_compared_fold organ_compared_fold_all(const organ_compared_folding *g)
{
    return fold_modules(g, (fold_selection){0, g->job->count, ALL_ROWS});
}

/* Appends to `rows` the row with the sums over the modules that `of` selects. The row has the member "projection"
 * unless of.row is ALL_ROWS, and the member "layer" unless `layer` is NULL. Appends nothing if there is no module. */
static void append_fold(const organ_compared_folding *g, fold_selection of, const int32_t *layer, json_t *rows)
{
    const organ_compared_fold f = fold_modules(g, of);
    const bool named = of.row != ALL_ROWS;
    if (f.noises.modules)
        json_array_append_new(
            rows, g->json(ORGAN_OBJECT(SET_IF(named, "projection", json_string(organ_anatomy_row_name(of.row))),
                                       SET_IF(layer, "layer", organ_json_index(*layer))),
                          &f, g->which));
}

/* Tries the numbers of all projections; append_fold skips those without modules. */
json_t *organ_compared_projections_json(const organ_compared_folding *g)
{
    json_t *const rows = json_array();
    for (unsigned row = 0; row < ORGAN_ANATOMY_ROWS; row++)
        append_fold(g, (fold_selection){0, g->job->count, row}, NULL, rows);
    return rows;
}

/* Finds the modules of each layer as a range of job->modules, which is ordered by layer. With `places` appends a row
 * for each projection of the layer, otherwise one row with ALL_ROWS. */
json_t *organ_compared_layers_json(const organ_compared_folding *g, bool places)
{
    const organ_compared_job *const job = g->job;
    json_t *const rows = json_array();
    for (size_t from = 0, to = 0; from < job->count; from = to) {
        const int32_t layer = job->modules[from].anatomy->layer;
        while (to < job->count && job->modules[to].anatomy->layer == layer)
            to++;
        for (unsigned row = places ? 0 : ALL_ROWS; row < ALL_ROWS + (unsigned)!places; row++)
            append_fold(g, (fold_selection){from, to, row}, &layer, rows);
    }
    return rows;
}

/* Adds "cosine", its standard deviation by chance "chance_std", and "z": <N, K> divided by its standard deviation for a
 * random N. With `signs` adds "z_signs", which divides by the standard deviation for random signs of N instead. These
 * members are null if no module has a cosine. */
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

/* Returns the number of draws, and the mean and standard deviation of the drawn cosines of module m with random
 * matrices. "std_exact" is the theoretical standard deviation, 1 / sqrt(rows x cols). */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *m)
{
    return ORGAN_OBJECT(SET_COUNT("draws", job->draws), SET_REAL("mean", m->drawn_mean), SET_REAL("std", m->drawn_std),
                        SET_REAL("std_exact", 1 / sqrt((double)m->rows * (double)m->cols)));
}

/* Returns the weight of module k in the first model. */
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
                                                  SET_REAL("seconds", organ_rounded_seconds(job->seconds)),
                                                  SET_COUNT("bytes_read", job->bytes), SET_ENGINE(job->engine)));
}
