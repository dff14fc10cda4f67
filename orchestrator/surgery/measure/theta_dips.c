/* SPDX-License-Identifier: MIT
 * Finds wells: tensors with a lower theta than their neighbours, which are the tensors of the same module and expert in
 * the previous and the next layer. */
#include <organ/measure.h>

#include <organ/base.h>
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A weight in the series of one module over the layers. */
typedef struct link {
    const organ_weight *weight;
    double theta;     /* degrees */
    char module[160]; /* name without layer and expert, from organ_anatomy_module: "self_attn.q_proj" */
} link;

/* Comparison for qsort: orders links by module, expert and layer, so that the weights of one module in successive
 * layers become adjacent. */
static int by_series(const void *a, const void *b)
{
    const link *x = a, *y = b;
    const organ_anatomy *p = &x->weight->anatomy, *q = &y->weight->anatomy;
    const int order = strcmp(x->module, y->module);
    if (order)
        return order;
    if (p->expert != q->expert)
        return p->expert < q->expert ? -1 : 1;
    return (p->layer > q->layer) - (p->layer < q->layer);
}

/* Returns whether b is the weight of the same module and expert as a in the next layer. */
static bool is_next_layer(const link *a, const link *b)
{
    return strcmp(a->module, b->module) == 0 && a->weight->anatomy.expert == b->weight->anatomy.expert &&
           a->weight->anatomy.role == b->weight->anatomy.role &&
           a->weight->anatomy.layer + 1 == b->weight->anatomy.layer;
}

/* Returns whether tensor t has the values or codes of a weight with a theta. */
static bool has_theta(const organ_measured *m, size_t t)
{
    return m->z[t].done && !m->z[t].reason && m->subjects->weight_of[t];
}

/* Sets std[role] to the standard deviation of theta over the weights of each role, 0 without weights; in two passes:
 * mean, then deviations. */
static void spread_of_roles(const organ_measured *m, double std[ORGAN_ROLE_COUNT])
{
    double sum[ORGAN_ROLE_COUNT] = {0}, m2[ORGAN_ROLE_COUNT] = {0}, count[ORGAN_ROLE_COUNT] = {0};
    for (int again = 0; again < 2; again++)
        for (size_t t = 0; t < m->model->tensor_count; t++) {
            if (!has_theta(m, t))
                continue;
            const organ_role role = m->subjects->weight_of[t]->anatomy.role;
            const double deviation = again ? m->z[t].theta - sum[role] / count[role] : 0;
            *(again ? &m2[role] : &sum[role]) += again ? deviation * deviation : m->z[t].theta;
            count[role] += !again;
        }
    for (int role = 0; role < ORGAN_ROLE_COUNT; role++)
        std[role] = count[role] > 0 ? sqrt(m2[role] / count[role]) : 0;
}

/* Returns the row of the well `dip`. `before`, `after`: the same module in the layers before and after; `std`: standard
 * deviation of theta over the role. */
static json_t *dip_json(const link *before, const link *dip, const link *after, double std)
{
    return ORGAN_OBJECT(SET_BYTES("name", dip->weight->name),
                        SET_TEXT("role", organ_anatomy_role_name(&dip->weight->anatomy)),
                        SET_COUNT("layer", dip->weight->anatomy.layer), SET_REAL("theta", organ_millionth(dip->theta)),
                        SET_REAL("before", organ_millionth(before->theta)),
                        SET_REAL("after", organ_millionth(after->theta)), SET_REAL("std", organ_millionth(std)));
}

/* Fills `links`, which has room for all tensors, with the weights that have a layer number, a known role and a theta.
 * Returns their number. */
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
    link *const links = calloc(m->model->tensor_count + 1, sizeof *links);
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
    free(links);
    return dips;
}
