/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A pair of models, or (b not COMPARE_NONE) of their differences from model b. */
typedef struct report_pair {
    const compare_job *job;
    size_t i, j, b;
    char name[8];
} report_pair;

/* The inverse of organ_compare_pair: pairs of model j begin with number organ_compare_pair(0, j), and there are j. */
static report_pair pair_of(const compare_job *job, size_t number, size_t b)
{
    report_pair pair = {.job = job, .j = 1, .b = b};
    while (organ_compare_pair(0, pair.j) + pair.j <= number)
        pair.j++;
    pair.i = number - organ_compare_pair(0, pair.j);
    snprintf(pair.name, sizeof pair.name, "%s %s", organ_compare_label(pair.i), organ_compare_label(pair.j));
    return pair;
}

static json_t *real(double x) { return organ_json_real_of(/*there=*/true, organ_billionth(x)); }

/* The figures of a pair in some sums; NULL: the pair has no values there. */
static json_t *figures_json(const report_pair *of, const compare_sums *sums)
{
    const size_t p = organ_compare_pair(of->i, of->j);
    const compare_pair *const pair = &sums->pairs[p];
    if (of->b != COMPARE_NONE) {
        const compare_signs *const signs = &sums->differences[p * COMPARE_MODELS + of->b];
        const double cosine = organ_compare_difference(sums, of->b, of->i, of->j);
        const uint64_t all = signs->equal + signs->opposite;
        if (isnan(cosine))
            return NULL;
        return ORGAN_OBJECT(SET("cosine", real(cosine)),
                            SET_REAL_OF("same_signs", all > 0, organ_ratio((double)signs->equal, (double)all)));
    }
    const compare_figures f = organ_compare_figures(pair);
    if (pair->values == 0)
        return NULL;
    return ORGAN_OBJECT(SET_COUNT("tensors", pair->tensors), SET_COUNT("values", pair->values),
                        SET("distance", real(f.distance)), SET("cosine", real(f.cosine)), SET("equal", real(f.same)),
                        SET("same_signs", real(f.signs)));
}

static json_t *role_json(const void *context, size_t row)
{
    const report_pair *const pair = context;
    compare_sums sums;
    memset(&sums, 0, sizeof sums);
    for (size_t k = 0; k < pair->job->cell_count; k++)
        if (pair->job->cells[k].row == row)
            organ_compare_add(&sums, &pair->job->cells[k].sums);
    json_t *const figures = figures_json(pair, &sums);
    return figures ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)row))), figures)
                   : NULL;
}

static json_t *cell_json(const void *context, size_t k)
{
    const report_pair *const pair = context;
    const compare_cell *const cell = &pair->job->cells[k];
    json_t *const figures = figures_json(pair, &cell->sums);
    return figures ? organ_json_joined(ORGAN_OBJECT(SET_INDEX("layer", cell->layer),
                                                    SET_TEXT("role", organ_anatomy_row_name(cell->row))),
                                       figures)
                   : NULL;
}

static json_t *pair_json(const void *context, size_t number)
{
    const compare_job *const job = context;
    const report_pair pair = pair_of(job, number, COMPARE_NONE);
    json_t *const figures = figures_json(&pair, &job->matrices);
    if (!figures)
        return ORGAN_OBJECT(SET_TEXT("pair", pair.name), SET_COUNT("tensors", 0), SET_COUNT("values", 0),
                            SET_NULL("distance"), SET_NULL("cosine"), SET_NULL("equal"), SET_NULL("same_signs"),
                            SET_FLAG("related", false), SET("roles", json_array()), SET("cells", json_array()));
    json_t *const row = organ_json_joined(ORGAN_OBJECT(SET_TEXT("pair", pair.name)), figures);
    ORGAN_ADD(row, SET_FLAG("related", organ_compare_related(job, pair.i, pair.j)),
              SET("roles", organ_anatomy_rows_json(role_json, &pair)),
              SET("cells", organ_json_rows(job->cell_count, cell_json, &pair)));
    return row;
}

static json_t *difference_json(const void *context, size_t number)
{
    const compare_job *const job = context;
    const report_pair pair = pair_of(job, number, job->base);
    if (pair.i == job->base || pair.j == job->base)
        return NULL;
    json_t *const figures = figures_json(&pair, &job->matrices);
    if (!figures)
        return NULL;
    json_t *const row = organ_json_joined(ORGAN_OBJECT(SET_TEXT("pair", pair.name)), figures);
    ORGAN_ADD(row, SET("roles", organ_anatomy_rows_json(role_json, &pair)),
              SET("cells", organ_json_rows(job->cell_count, cell_json, &pair)));
    return row;
}

/* The name of a model with an adapter has both. */
static json_t *facts_json(const compare_model *m)
{
    json_t *const facts = organ_model_json(m->model);
    if (!m->adapted.adapter)
        return facts;
    ORGAN_OWNED_JSON json_t *const adapter = organ_name_json(m->adapted.adapter->path);
    ORGAN_OWNED char *const name =
        organ_format("%s+%s", json_string_value(json_object_get(facts, "name")), json_string_value(adapter));
    ORGAN_ADD(facts, SET_TEXT("name", name), SET("adapter", organ_adapter_json(m->adapted.adapter)));
    return facts;
}

static json_t *model_json(const void *context, size_t k)
{
    const compare_job *const job = context;
    const organ_weights *const weights = job->models[k].weights;
    uint64_t values = 0;
    for (size_t w = 0; w < weights->count; w++)
        values += weights->weights[w].elements;
    return ORGAN_OBJECT(SET_TEXT("label", organ_compare_label(k)), SET_COUNT("weights", weights->count),
                        SET_COUNT("values", values), SET("model", facts_json(&job->models[k])),
                        SET_FLAG("base", k == job->base), SET_FLAG("quantised", job->models[k].coarse));
}

static json_t *router_json(const void *context, size_t k)
{
    const compare_job *const job = context;
    const compare_match *const m = &job->matches[k];
    const report_pair pair = pair_of(job, m->pair, COMPARE_NONE);
    return ORGAN_OBJECT(SET_INDEX("layer", m->router->anatomy.layer), SET_TEXT("tensor", m->router->name),
                        SET_TEXT("pair", pair.name), SET_COUNT("experts", m->experts), SET_COUNT("moved", m->moved),
                        SET("cosine", real(m->cosine)), SET("cosine_in_order", real(m->in_order)));
}

static json_t *path_json(const void *context, size_t k)
{
    return organ_document_string(((const compare_job *)context)->models[k].name);
}

json_t *organ_compare_document(compare_job *job)
{
    const size_t pairs = job->count * (job->count - 1) / 2;
    json_t *const lineage = organ_compare_lineage(job);
    if (job->broken)
        organ_memory_count_refusal();
    return ORGAN_OBJECT(
        SET_HEAD("organ.compare/1", "compare/1"), SET("models", organ_json_rows(job->count, model_json, job)),
        SET("lineage", lineage), SET("nearest", organ_compare_nearest(job)),
        SET("pairs", organ_json_rows(pairs, pair_json, job)),
        SET("differences", job->base == COMPARE_NONE ? json_array() : organ_json_rows(pairs, difference_json, job)),
        SET("patches", json_incref(job->patches)), SET("clashes", json_incref(job->clashes)),
        SET("shapes", json_incref(job->shapes)), SET("only", json_incref(job->only)),
        SET("vocabularies", json_incref(job->vocabularies)),
        SET("routers", organ_json_rows(job->match_count, router_json, job)), SET("notes", json_incref(job->notes)),
        SET_COUNT("skipped", job->all.skipped), SET_SENTENCES("organ.compare/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET("models", organ_json_rows(job->count, path_json, job)),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - job->started)),
                                SET_ENGINE(job->engine))));
}
