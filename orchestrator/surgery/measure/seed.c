/* SPDX-License-Identifier: MIT
 * What the older measure says of a model, beside z/1: the member "seed" of an entry of organ.measure/1. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/measure/document.h"
#include "orchestrator/surgery/measure/z_subjects.h"

#include <math.h>

/* Tensors that are told together; both measures over those that have both. */
typedef struct seed_fold {
    uint64_t tensors, elements;
    double theta, weighted, signal, beside, least, most;
} seed_fold;

static bool has_both(const organ_z *z) { return z->done && z->seed.there && !z->reason; }

static void fold_in(seed_fold *f, const organ_weight *weight, const organ_z *z)
{
    f->least = f->tensors == 0 || z->seed.theta < f->least ? z->seed.theta : f->least;
    f->most = f->tensors == 0 || z->seed.theta > f->most ? z->seed.theta : f->most;
    f->tensors++;
    f->elements += weight->elements;
    f->theta += z->seed.theta;
    f->weighted += z->seed.theta * (double)weight->elements;
    f->signal += z->seed.signal;
    f->beside += z->theta;
}

static json_t *real(bool there, double x) { return there && isfinite(x) ? json_real(round(x * 1e6) / 1e6) : json_null(); }

static int put_fold(json_t *row, const seed_fold *f)
{
    const bool any = f->tensors > 0;
    const double n = any ? (double)f->tensors : 1;
    json_t *numbers = ORGAN_OBJECT(SET_COUNT("tensors", f->tensors), SET("theta_mean", real(any, f->theta / n)),
                                   SET("theta_weighted", real(any, f->weighted / (any ? (double)f->elements : 1))),
                                   SET("theta_min", real(any, f->least)), SET("theta_max", real(any, f->most)),
                                   SET("signal_mean", real(any, f->signal / n)), SET("z_theta_mean", real(any, f->beside / n)));
    const int failed = json_object_update(row, numbers);
    json_decref(numbers);
    return failed;
}

/* Of a group or of a row of the anatomy, the other < 0. */
static void add_row(json_t *rows, const char *key, const char *name, const organ_measured *m, int group, int row_of)
{
    seed_fold f = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++) {
        const organ_weight *const weight = m->subjects->of[t];
        if (weight && has_both(&m->z[t]) && (group < 0 || (int)weight->anatomy.group == group) &&
            (row_of < 0 || (int)organ_anatomy_row(&weight->anatomy) == row_of))
            fold_in(&f, weight, &m->z[t]);
    }
    json_t *row = f.tensors ? ORGAN_OBJECT(SET_TEXT(key, name)) : NULL;
    if (row && put_fold(row, &f) == 0)
        json_array_append(rows, row);
    json_decref(row);
}

static json_t *tensor_json(const organ_weight *weight, const organ_z *z)
{
    const organ_seed_z *const s = &z->seed;
    return ORGAN_OBJECT(SET_BYTES("name", weight->name), SET("theta", real(s->there, s->theta)), SET("z_theta", real(!z->reason, z->theta)),
                        SET("E", real(s->there, s->e)), SET("K", real(s->there, s->k)), SET("C", real(s->there, s->c)),
                        SET("signal", real(s->there, s->signal)), SET("dI_dlog2s", real(s->scales >= 2, s->dI_dlog2s)),
                        SET_COUNT("scales", s->scales));
}

json_t *organ_measure_seed_json(const organ_measured *m)
{
    json_t *const roles = json_array(), *const groups = json_array(), *const tensors = json_array();
    seed_fold all = {0};
    for (int row = 0; row < ORGAN_ANATOMY_ROWS; row++)
        add_row(roles, "role", organ_anatomy_row_name((unsigned)row), m, -1, row);
    for (int group = ORGAN_GROUP_SKELETON; group <= ORGAN_GROUP_OTHER; group++)
        add_row(groups, "group", organ_group_name((organ_group)group), m, group, -1);
    for (size_t t = 0; t < m->model->tensor_count; t++) {
        const organ_weight *const weight = m->subjects->of[t];
        if (weight && has_both(&m->z[t]))
            fold_in(&all, weight, &m->z[t]);
        if (weight && m->z[t].done)
            json_array_append_new(tensors, tensor_json(weight, &m->z[t]));
    }
    json_t *const object = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_SEED_DEFINITION));
    if (!object || put_fold(object, &all) || json_object_set_new(object, "roles", roles) || json_object_set_new(object, "groups", groups) ||
        json_object_set_new(object, "per_tensor", tensors)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

void organ_measure_seed_define(json_t *report)
{
    json_array_append_new(
        json_object_get(report, "definitions"),
        json_string("seed/1, beside z/1 where asked for, is an older measure, reconstructed from what was published of it: at most 4,096 "
                    "values of a tensor, evenly over its storage, sorted; E = 1 - 2^(-2 J) with J the negentropy of a histogram of 256 "
                    "bins between the least and the greatest, K = k / (1 + k) of the excess kurtosis k, C = 1 - exp(-|ln CV|) with CV "
                    "the coefficient of variation of the spacings between the lowest and the highest tenth; theta = asin sqrt((E + K + C) "
                    "/ 3). Nothing is taken off for sampling or for the grid of the storage type: spacings see that grid, so that "
                    "quantisation moves this theta without any change of what the weights say."));
}
