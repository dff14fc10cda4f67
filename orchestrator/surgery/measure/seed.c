/* SPDX-License-Identifier: MIT
 * Reports the older measure seed/1 of a model in addition to z/1: the member "seed" of an entry of organ.measure/1. */
#include <organ/measure.h>
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/facts/facts.h"

/* Sums over the weights of a role or group that have a theta of both measures. */
typedef struct seed_fold {
    uint64_t tensors, elements; /* number of weights and their elements */
    double theta, signal;       /* sums of theta (degrees) and signal of seed/1 */
    double weighted;            /* sum of theta of seed/1 x elements */
    double z_theta;             /* sum of theta of z/1 */
    double least, max;          /* least and greatest theta of seed/1 */
} seed_fold;

/* Returns whether a weight has a theta of both measures. */
static bool has_both(const organ_z *z) { return z->done && z->seed.there && !z->reason; }

/* Adds the results of a weight to `f`, the sums of its role or group. */
static void seed_fold_in(seed_fold *f, const organ_weight *weight, const organ_z *z)
{
    f->least = f->tensors == 0 || z->seed.theta < f->least ? z->seed.theta : f->least;
    f->max = f->tensors == 0 || z->seed.theta > f->max ? z->seed.theta : f->max;
    f->tensors++;
    f->elements += weight->elements;
    f->theta += z->seed.theta;
    f->weighted += z->seed.theta * (double)weight->elements;
    f->signal += z->seed.signal;
    f->z_theta += z->theta;
}

/* Sets a member to x rounded to six decimals; to null unless `there` is true and x is finite. */
#define SET_MILLIONTH(key, there, x) SET_REAL_OF(key, there, organ_millionth(x))

/* Returns the sums as members of the report; means and extremes are null without weights. */
static json_t *seed_fold_json(const seed_fold *f)
{
    const bool any = f->tensors > 0;
    const double n = any ? (double)f->tensors : 1;
    return ORGAN_OBJECT(SET_COUNT("tensors", f->tensors), SET_MILLIONTH("theta_mean", any, f->theta / n),
                        SET_MILLIONTH("theta_weighted", any, f->weighted / (any ? (double)f->elements : 1)),
                        SET_MILLIONTH("theta_min", any, f->least), SET_MILLIONTH("theta_max", any, f->max),
                        SET_MILLIONTH("signal_mean", any, f->signal / n),
                        SET_MILLIONTH("z_theta_mean", any, f->z_theta / n));
}

/* Returns the sums over the weights with this group and row; a negative value matches all. A row (organ_anatomy_row) is
 * a role outside of experts, in routed experts or in shared experts. */
static seed_fold seed_fold_of(const organ_measured *m, int group, int row)
{
    seed_fold f = {0};
    for (size_t t = 0; t < m->model->tensor_count; t++) {
        const organ_weight *const weight = m->subjects->weight_of[t];
        if (weight && has_both(&m->z[t]) && (group < 0 || (int)weight->anatomy.group == group) &&
            (row < 0 || (int)organ_anatomy_row(&weight->anatomy) == row))
            seed_fold_in(&f, weight, &m->z[t]);
    }
    return f;
}

/* Returns the row of a role (`row` of organ_anatomy_row); NULL if it has no weight with both measures. `m`: the
 * organ_measured. */
static json_t *seed_role_json(const void *m, size_t row)
{
    const seed_fold f = seed_fold_of(m, -1, (int)row);
    return f.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)row))),
                                         seed_fold_json(&f))
                     : NULL;
}

/* Returns the row of a group; NULL if it has no weight with both measures. `m`: the organ_measured. */
static json_t *seed_group_json(const void *m, size_t group)
{
    const seed_fold f = seed_fold_of(m, (int)group, -1);
    return f.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("group", organ_group_name((organ_group)group))),
                                         seed_fold_json(&f))
                     : NULL;
}

/* Returns the row of tensor t with the results of seed/1 and the theta of z/1; NULL if it was not measured. */
static json_t *seed_tensor_json(const void *context, size_t t)
{
    const organ_measured *const m = context;
    const organ_weight *const weight = m->subjects->weight_of[t];
    const organ_z *const z = &m->z[t];
    const organ_seed_z *const s = &z->seed;
    if (!weight || !z->done)
        return NULL;
    return ORGAN_OBJECT(SET_BYTES("name", weight->name), SET_MILLIONTH("theta", s->there, s->theta),
                        SET_MILLIONTH("z_theta", !z->reason, z->theta), SET_MILLIONTH("E", s->there, s->e),
                        SET_MILLIONTH("K", s->there, s->k), SET_MILLIONTH("C", s->there, s->c),
                        SET_MILLIONTH("signal", s->there, s->signal),
                        SET_MILLIONTH("dI_dlog2s", s->scales >= 2, s->dI_dlog2s), SET_COUNT("scales", s->scales));
}

json_t *organ_measure_seed_json(const organ_measured *m)
{
    const seed_fold all = seed_fold_of(m, -1, -1);
    json_t *const rest = ORGAN_OBJECT(SET("roles", organ_anatomy_rows_json(seed_role_json, m)),
                                      SET("groups", organ_json_rows(ORGAN_GROUP_OTHER + 1, seed_group_json, m)),
                                      SET("per_tensor", organ_json_rows(m->model->tensor_count, seed_tensor_json, m)));
    return organ_json_joined(
        organ_json_joined(ORGAN_OBJECT(SET_TEXT("definition", ORGAN_SEED_DEFINITION)), seed_fold_json(&all)), rest);
}

void organ_measure_seed_define(json_t *report)
{
    json_array_append_new(
        json_object_get(report, "definitions"),
        json_string(
            "seed/1, computed on request in addition to z/1, is an older measure, reconstructed from its publication: "
            "at most 4,096 values of a tensor, evenly over its storage, sorted; E = 1 - 2^(-2 J) with J the negentropy "
            "of a histogram of 256 bins between the least and the greatest, K = k / (1 + k) of the excess kurtosis k, "
            "C = 1 - exp(-|ln CV|) with CV the coefficient of variation of the spacings between the lowest and the "
            "highest tenth; theta = asin sqrt((E + K + C) / 3). It does not correct for sampling or for the grid of "
            "the storage type: the spacings depend on that grid, so quantisation alone changes this theta."));
}
