/* SPDX-License-Identifier: MIT
 * Makes the report organ.measure/1 and finds the wells, tensors with a lower theta than their neighbours. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fold {
    uint64_t tensors, elements;          /* number of weights and their elements */
    uint64_t with_theta, theta_elements; /* number of weights that have a theta, and their elements */
    double sum;                          /* sum of theta, in degrees */
    double weighted;                     /* sum of theta x elements */
    double signal;                       /* sum of organ_z.signal */
    double least, max;                   /* least and greatest theta */
    /* Least and greatest number of levels (distinct values) of a weight, over the weights whose values can be read; 0:
     * there is no such weight. */
    uint32_t min_levels, max_levels;
} fold;

static void document_fold_in(fold *f, const organ_weight *weight, const organ_z *z)
{
    f->tensors++;
    f->elements += weight->elements;
    if (z->levels > 0) {
        f->min_levels = f->min_levels == 0 || z->levels < f->min_levels ? z->levels : f->min_levels;
        f->max_levels = z->levels > f->max_levels ? z->levels : f->max_levels;
    }
    if (z->reason)
        return;
    f->least = f->with_theta == 0 || z->theta < f->least ? z->theta : f->least;
    f->max = f->with_theta == 0 || z->theta > f->max ? z->theta : f->max;
    f->with_theta++;
    f->theta_elements += weight->elements;
    f->sum += z->theta;
    f->signal += z->signal;
    f->weighted += z->theta * (double)weight->elements;
}

/* Sets a member to x rounded to six decimals; to null unless `there` is true and x is finite. */
#define SET_MILLIONTH(key, there, x) SET_REAL_OF(key, there, organ_millionth(x))

static json_t *levels_json(uint32_t levels)
{
    return levels == 0 ? json_null() : json_integer(levels < ORGAN_Z_LEVELS ? levels : ORGAN_Z_LEVELS);
}

static json_t *document_fold_json(const char *key, json_t *name, const fold *f)
{
    const bool any = f->with_theta > 0;
    const double n = any ? (double)f->with_theta : 1;
    return ORGAN_OBJECT(SET(key, name), SET_COUNT("tensors", f->tensors), SET_COUNT("with_theta", f->with_theta),
                        SET_COUNT("elements", f->elements), SET_MILLIONTH("theta_mean", any, f->sum / n),
                        SET_MILLIONTH("theta_weighted", any, f->weighted / (any ? (double)f->theta_elements : 1)),
                        SET_MILLIONTH("theta_min", any, f->least), SET_MILLIONTH("theta_max", any, f->max),
                        SET_MILLIONTH("signal_mean", any, f->signal / n), SET("levels_min", levels_json(f->min_levels)),
                        SET("levels_max", levels_json(f->max_levels)),
                        SET_FLAG("more_levels", f->max_levels > ORGAN_Z_LEVELS));
}

/* A negative value matches all. A row (organ_anatomy_row) is a role outside of experts, in routed experts or in
 * shared experts. */
static bool matches_group_row_layer(const organ_weight *weight, int group, int row, int64_t layer)
{
    return (group < 0 || (int)weight->anatomy.group == group) &&
           (row < 0 || (int)organ_anatomy_row(&weight->anatomy) == row) &&
           (layer < 0 || weight->anatomy.layer == layer);
}

static const organ_weight *weight_at(const organ_measured *m, size_t t)
{
    return m->z[t].done ? m->subjects->weight_of[t] : NULL;
}

static fold document_fold_of(const organ_measured *m, int group, int row, int64_t layer)
{
    fold f = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++)
        if (weight_at(m, t) && matches_group_row_layer(weight_at(m, t), group, row, layer))
            document_fold_in(&f, weight_at(m, t), &m->z[t]);
    return f;
}

static json_t *document_group_json(const void *m, size_t group)
{
    const fold f = document_fold_of(m, (int)group, -1, -1);
    return f.tensors ? document_fold_json("group", json_string(organ_group_name((organ_group)group)), &f) : NULL;
}

static json_t *document_role_json(const void *m, size_t row)
{
    const fold f = document_fold_of(m, -1, (int)row, -1);
    return f.tensors ? document_fold_json("role", json_string(organ_anatomy_row_name((unsigned)row)), &f) : NULL;
}

/* All layers are summed in one pass over the tensors, because an expert model has tens of thousands of tensors. */
static json_t *document_layers_json(const organ_measured *m)
{
    enum { ALL = ORGAN_GROUP_OTHER + 1, FOLDS, LAYERS = 1024 };
    int32_t last = -1;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        last = weight_at(m, t) && weight_at(m, t)->anatomy.layer > last ? weight_at(m, t)->anatomy.layer : last;
    /* A damaged file may name any layer number: without rows if the highest exceeds both the number of weights and
     * LAYERS. Companions do not count, so that a packed model and its dequantised copy have the same limit. */
    const size_t named = (size_t)(last + 1);
    const size_t count = named <= organ_max(m->model->tensor_count - m->subjects->companions, LAYERS) ? named : 0;
    fold(*folds)[FOLDS] = calloc(count + 1, sizeof *folds);
    json_t *rows = folds ? json_array() : NULL;
    for (size_t t = 0; folds && t < m->model->tensor_count; t++) {
        const organ_weight *const weight = weight_at(m, t);
        if (!weight || weight->anatomy.layer < 0 || (size_t)weight->anatomy.layer >= count)
            continue;
        document_fold_in(&folds[weight->anatomy.layer][weight->anatomy.group], weight, &m->z[t]);
        document_fold_in(&folds[weight->anatomy.layer][ALL], weight, &m->z[t]);
    }
    for (size_t layer = 0; rows && layer < count; layer++) {
        if (!folds[layer][ALL].tensors)
            continue;
        json_t *row = document_fold_json("layer", json_integer((json_int_t)layer), &folds[layer][ALL]);
        for (int group = ORGAN_GROUP_SKELETON; group < ALL; group++) {
            const fold *f = &folds[layer][group];
            ORGAN_ADD(row, SET_MILLIONTH(organ_group_name((organ_group)group), f->with_theta > 0,
                                         f->sum / (double)f->with_theta));
        }
        json_array_append_new(rows, row);
    }
    free(folds);
    return rows;
}

const char *organ_measure_rating(double theta)
{
    if (theta >= 85)
        return "***";
    if (theta >= 60)
        return "**";
    return theta >= 30 ? "*" : "";
}

static json_t *document_tensor_json(const void *context, size_t k)
{
    char text[160];
    const organ_measured *const measured = context;
    const organ_weight *const weight = weight_at(measured, k);
    const organ_z *const z = &measured->z[k];
    if (!weight)
        return NULL;
    const bool there = !z->reason, any = z->moments.n > 0, slope = z->scales >= 2;
    const organ_moments *m = &z->moments;
    json_t *const row = ORGAN_OBJECT(
        SET_BYTES("name", weight->name), SET_TEXT("role", organ_anatomy_role_name(&weight->anatomy)),
        SET_TEXT("group", organ_group_name(weight->anatomy.group)), SET_INDEX("layer", weight->anatomy.layer),
        SET_INDEX("expert", weight->anatomy.expert), SET_DTYPE("dtype", weight->codes->dtype),
        SET_TEXT("scheme", organ_scheme_name(weight->scheme)),
        SET_TEXT("stored", organ_weight_text(weight, text, sizeof text)),
        SET("shape", organ_counts_json(weight->rank, weight->shape)), SET_COUNT("elements", weight->elements));
    json_t *const shape = ORGAN_OBJECT(
        SET_MILLIONTH("theta", there, z->theta), SET("reason", there ? json_null() : json_string(z->reason)),
        SET("rating", there ? json_string(organ_measure_rating(z->theta)) : json_null()),
        SET_MILLIONTH("E", there, z->e), SET_MILLIONTH("K", there, z->k), SET_MILLIONTH("C", there, z->c),
        SET_MILLIONTH("signal", there, z->signal), SET_MILLIONTH("dI_dlog2s", slope, z->dI_dlog2s),
        SET_MILLIONTH("coherence", slope, z->coherence), SET_COUNT("scales", z->scales));
    json_t *const moments = ORGAN_OBJECT(
        SET_REAL_OF("mean", any, m->mean), SET_REAL_OF("std", any, z->std), SET_REAL_OF("min", any, (double)m->min),
        SET_REAL_OF("max", any, (double)m->max), SET_MILLIONTH("kurtosis", any && m->m2 > 0, z->kurtosis),
        SET_MILLIONTH("zero_share", any, (double)m->zero / (any ? (double)m->n : 1)), SET_COUNT("nan", m->nan),
        SET_COUNT("inf", m->inf), SET_COUNT_OF("levels", any, z->levels < ORGAN_Z_LEVELS ? z->levels : ORGAN_Z_LEVELS),
        SET_FLAG("more_levels", z->levels > ORGAN_Z_LEVELS));
    return organ_json_joined(organ_json_joined(row, shape), moments);
}

static json_t *ratings_json(const organ_measured *m)
{
    json_int_t by_stars[4] = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++)
        if (weight_at(m, t) && !m->z[t].reason)
            by_stars[strlen(organ_measure_rating(m->z[t].theta))]++;
    return ORGAN_OBJECT(SET_COUNT("***", by_stars[3]), SET_COUNT("**", by_stars[2]), SET_COUNT("*", by_stars[1]),
                        SET_COUNT("none", by_stars[0]));
}

static json_t *model_json(const organ_measured *m)
{
    uint64_t elements = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        elements += m->subjects->weight_of[t] ? m->subjects->weight_of[t]->elements : 0;
    return organ_json_joined(
        organ_model_json(m->model),
        ORGAN_OBJECT(SET_COUNT("elements", elements), SET_COUNT("companions", m->subjects->companions)));
}

static const organ_weight *subject_at(const void *context, size_t t, bool *target)
{
    const organ_measured *const m = context;
    *target = m->z[t].done;
    return m->subjects->weight_of[t];
}

json_t *organ_measure_model_json(const organ_measured *m)
{
    const fold all = document_fold_of(m, -1, -1, -1);
    json_t *const rest = ORGAN_OBJECT(
        SET("matrices", organ_matrices_each(m->model->tensor_count, subject_at, m)), SET("ratings", ratings_json(m)),
        SET("groups", organ_json_rows(ORGAN_GROUP_OTHER + 1, document_group_json, m)),
        SET("roles", organ_anatomy_rows_json(document_role_json, m)), SET("layers", document_layers_json(m)),
        SET("wells", organ_measure_wells(m)),
        SET("per_tensor", organ_json_rows(m->model->tensor_count, document_tensor_json, m)));
    return organ_json_joined(document_fold_json("model", model_json(m), &all), rest);
}

json_t *organ_measure_document(json_t *models)
{
    return ORGAN_OBJECT(SET_HEAD("organ.measure/1", ORGAN_Z_DEFINITION), SET("models", models),
                        SET_SENTENCES("organ.measure/1", "definitions", NULL));
}

/* ---- wells ---- */

/* Finds wells: tensors with a lower theta than their neighbours, which are the tensors of the same module and expert in
 * the previous and the next layer. */

/* A link is a weight in the series of one module over the layers. */
typedef struct link {
    const organ_weight *weight;
    double theta;     /* degrees */
    char module[160]; /* name without layer and expert, from organ_anatomy_module: "self_attn.q_proj" */
} link;

/* The weights of one module in successive layers become adjacent. */
static int by_series(const void *a, const void *b)
{
    const link *x = a, *y = b;
    const organ_anatomy *p = &x->weight->anatomy, *q = &y->weight->anatomy;
    const int order = strcmp(x->module, y->module);
    if (order)
        return order;
    return ORGAN_ORDERS(ORGAN_ORDER(p->expert, q->expert), ORGAN_ORDER(p->layer, q->layer));
}

static bool is_next_layer(const link *a, const link *b)
{
    return strcmp(a->module, b->module) == 0 && a->weight->anatomy.expert == b->weight->anatomy.expert &&
           a->weight->anatomy.role == b->weight->anatomy.role &&
           a->weight->anatomy.layer + 1 == b->weight->anatomy.layer;
}

static bool has_theta(const organ_measured *m, size_t t)
{
    return m->z[t].done && !m->z[t].reason && m->subjects->weight_of[t];
}

static void spread_of_roles(const organ_measured *m, double std[ORGAN_ROLE_COUNT])
{
    double sum[ORGAN_ROLE_COUNT] = {0}, m2[ORGAN_ROLE_COUNT] = {0}, count[ORGAN_ROLE_COUNT] = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++)
        if (has_theta(m, t)) {
            sum[m->subjects->weight_of[t]->anatomy.role] += m->z[t].theta;
            count[m->subjects->weight_of[t]->anatomy.role]++;
        }
    for (size_t t = 0; t < m->model->tensor_count; t++)
        if (has_theta(m, t)) {
            const organ_role role = m->subjects->weight_of[t]->anatomy.role;
            const double deviation = m->z[t].theta - sum[role] / count[role];
            m2[role] += deviation * deviation;
        }
    for (int role = 0; role < ORGAN_ROLE_COUNT; role++)
        std[role] = count[role] > 0 ? sqrt(m2[role] / count[role]) : 0;
}

/* `before` and `after` are the same module in the layers before and after the well `dip`; `std` is the standard
 * deviation of theta over the role. */
static json_t *dip_json(const link *before, const link *dip, const link *after, double std)
{
    return ORGAN_OBJECT(SET_BYTES("name", dip->weight->name),
                        SET_TEXT("role", organ_anatomy_role_name(&dip->weight->anatomy)),
                        SET_COUNT("layer", dip->weight->anatomy.layer), SET_REAL("theta", organ_millionth(dip->theta)),
                        SET_REAL("before", organ_millionth(before->theta)),
                        SET_REAL("after", organ_millionth(after->theta)), SET_REAL("std", organ_millionth(std)));
}

static size_t collect_links(const organ_measured *m, link *links)
{
    size_t count = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++) {
        const organ_weight *const weight = m->subjects->weight_of[t];
        if (!has_theta(m, t) || weight->anatomy.layer < 0 || weight->anatomy.role == ORGAN_ROLE_OTHER)
            continue;
        links[count] = (link){.weight = weight, .theta = m->z[t].theta};
        organ_anatomy_module(weight->name, links[count].module, sizeof links[count].module);
        count++;
    }
    return count;
}

json_t *organ_measure_wells(const organ_measured *m)
{
    double std[ORGAN_ROLE_COUNT];
    json_t *const dips = json_array();
    ORGAN_OWNED link *const links = calloc(m->model->tensor_count + 1, sizeof *links);
    const size_t count = links ? collect_links(m, links) : 0;
    if (!links)
        organ_memory_count_refusal();
    spread_of_roles(m, std);
    if (links)
        qsort(links, count, sizeof *links, by_series);
    for (size_t k = 1; k + 1 < count; k++) {
        const link *l = &links[k];
        const double depth = std[l->weight->anatomy.role];
        if (is_next_layer(l - 1, l) && is_next_layer(l, l + 1) && l->theta < l[-1].theta - depth &&
            l->theta < l[1].theta - depth)
            json_array_append_new(dips, dip_json(l - 1, l, l + 1, depth));
    }
    return dips;
}
