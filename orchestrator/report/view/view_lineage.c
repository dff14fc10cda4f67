/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_lineage.h"

#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct fingerprint {
    double of[6]; /* mean / std, std, min, max, kurtosis, share of zeros */
    json_int_t elements;
    size_t model;    /* index of the model that it was read from */
    uint64_t owners; /* bit m is set: model m has a tensor with these figures */
} fingerprint;

static int by_values(const void *a, const void *b)
{
    const fingerprint *const x = a, *const y = b;
    for (size_t k = 0; k < sizeof x->of / sizeof *x->of; k++)
        if (x->of[k] != y->of[k])
            return x->of[k] < y->of[k] ? -1 : 1;
    return (x->elements > y->elements) - (x->elements < y->elements);
}

static int by_model(const void *a, const void *b)
{
    const fingerprint *const x = a, *const y = b;
    return (x->model > y->model) - (x->model < y->model);
}

static double lineage_rounded(double x)
{
    int exponent;
    const double mantissa = frexp(x, &exponent);
    return ldexp(round(ldexp(mantissa, 33)), exponent - 33);
}

/* Returns false if a figure is missing, or if the tensor is constant, such as a new norm: unrelated models have
 * equal constant tensors, so they prove no kinship. */
static bool read_fingerprint(const json_t *tensor, size_t model, fingerprint *p)
{
    static const char *const keys[] = {"mean", "std", "min", "max", "kurtosis", "zero_share"};
    *p = (fingerprint){.elements = json_integer_value(json_object_get(tensor, "elements")), .model = model};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *const value = json_object_get(tensor, keys[k]);
        if (!json_is_number(value))
            return false;
        p->of[k] = json_number_value(value);
    }
    if (!(p->of[1] > 0))
        return false;
    /* coarser than the rounding errors of different storage types and orders of rows */
    p->of[0] = round(p->of[0] / p->of[1] * 1e8);
    p->of[1] = lineage_rounded(p->of[1]);
    p->of[4] = round(p->of[4] * 1e4);
    return true;
}

static size_t read_fingerprints(const json_t *models, size_t max, fingerprint *prints)
{
    size_t count = 0;
    for (size_t m = 0; m < max; m++) {
        const json_t *const tensors = json_object_get(organ_json_row_at(models, m), "per_tensor");
        for (size_t t = 0; t < json_array_size(tensors); t++)
            count += read_fingerprint(organ_json_row_at(tensors, t), m, &prints[count]);
    }
    return count;
}

static void find_owners(fingerprint *prints, size_t count)
{
    qsort(prints, count, sizeof *prints, by_values);
    for (size_t from = 0, to; from < count; from = to) {
        uint64_t owners = 0;
        for (to = from; to < count && by_values(&prints[to], &prints[from]) == 0; to++)
            owners |= UINT64_C(1) << prints[to].model;
        for (size_t k = from; k < to; k++)
            prints[k].owners = owners;
    }
    qsort(prints, count, sizeof *prints, by_model);
}

/* Sets *model to the model of the set `among` (a bit for each model) that has the most of these fingerprints, and
 * returns how many it has. Ignores fingerprints that are also of a model of the set `but`. Without any, *model is
 * NONE. */
static size_t lineage_max_of(const fingerprint *prints, size_t count, uint64_t among, uint64_t but, size_t *model)
{
    size_t counts[64] = {0}, best = 0;
    for (size_t k = 0; k < count; k++)
        for (size_t m = 0; m < ORGAN_LINEAGE_MAX && !(prints[k].owners & but); m++)
            counts[m] += (prints[k].owners & among) >> m & 1;
    *model = ORGAN_LINEAGE_NONE;
    for (size_t m = 0; m < ORGAN_LINEAGE_MAX; m++)
        if (counts[m] > best) {
            best = counts[m];
            *model = m;
        }
    return best;
}

/* A model is a chimera of two if the model with the most of its fingerprints (the body) does not have all, and a
 * single other model (the donor) has all that the body lacks. If so, sets body, donor and their counts, and returns
 * true. */
static bool find_parents(const fingerprint *prints, size_t count, uint64_t among, organ_lineage *lineage)
{
    size_t body, donor;
    const size_t max = lineage_max_of(prints, count, among, 0, &body);
    if (body == ORGAN_LINEAGE_NONE || max == count ||
        max + lineage_max_of(prints, count, among, UINT64_C(1) << body, &donor) != count)
        return false;
    lineage->body = body;
    lineage->donor = donor;
    lineage->from_body = max;
    lineage->from_donor = count - max;
    return true;
}

/* The `known` fingerprints are sorted by model. The first pass finds parents among all models. The second pass
 * excludes chimeras as parents, so that two chimeras of the same parents are not described by each other. If the
 * second pass finds no parents of a model, those of the first pass stay. */
static void lineage_finish(const fingerprint *prints, size_t known, organ_lineage *lineage)
{
    uint64_t chimeras = 0;
    for (int again = 0; again < 2; again++) {
        const uint64_t others = again ? ~chimeras : ~UINT64_C(0);
        for (size_t from = 0, to; from < known; from = to) {
            const size_t self = prints[from].model;
            for (to = from; to < known && prints[to].model == self; to++)
                ;
            lineage[self].tensors = to - from;
            lineage[self].shared =
                lineage_max_of(prints + from, to - from, ~(UINT64_C(1) << self), 0, &lineage[self].like);
            if (lineage[self].shared < lineage[self].tensors &&
                find_parents(prints + from, to - from, others & ~(UINT64_C(1) << self), &lineage[self]))
                chimeras |= UINT64_C(1) << self;
        }
    }
}

static void put_in_order(const organ_lineage *lineage, size_t count, size_t root, size_t *order, size_t *used,
                         bool *done)
{
    size_t stack[ORGAN_LINEAGE_MAX + 1], top = 0;
    stack[top++] = root;
    done[root] = true;
    while (top > 0) {
        const size_t model = stack[--top];
        order[(*used)++] = model;
        for (size_t k = count; k-- > 0;)
            if (lineage[k].body == model && !done[k]) {
                done[k] = true;
                stack[top++] = k;
            }
    }
}

static organ_status lineage_arrange(organ_lineage *lineage, size_t count, size_t *order, organ_error *error)
{
    bool *const done = calloc(count + 1, sizeof *done);
    size_t used = 0;
    if (!done)
        return organ_fail_errno(error, ENOMEM, "the models");
    for (size_t k = 0; k < count; k++)
        if (lineage[k].body == ORGAN_LINEAGE_NONE)
            put_in_order(lineage, count, k, order, &used, done);
    for (size_t k = 0; k < count; k++) /* models that are in a circle of bodies */
        if (!done[k])
            put_in_order(lineage, count, k, order, &used, done);
    for (size_t k = 0; k < count; k++) {
        const size_t body = lineage[order[k]].body;
        bool before = false;
        for (size_t j = 0; j < k && body != ORGAN_LINEAGE_NONE; j++)
            before |= order[j] == body;
        lineage[order[k]].depth = before ? lineage[body].depth + 1 : 0;
    }
    free(done);
    return ORGAN_OK;
}

organ_status organ_measure_lineage(const json_t *models, organ_lineage *lineage, size_t *order, organ_error *error)
{
    const size_t count = json_array_size(models), max = count < ORGAN_LINEAGE_MAX ? count : ORGAN_LINEAGE_MAX;
    size_t capacity = 1;
    for (size_t m = 0; m < max; m++)
        capacity += json_array_size(json_object_get(organ_json_row_at(models, m), "per_tensor"));
    fingerprint *const prints = calloc(capacity, sizeof *prints);
    if (!prints)
        return organ_fail_errno(error, ENOMEM, "the tensors of %zu models", count);
    const size_t known = read_fingerprints(models, max, prints);
    find_owners(prints, known);
    for (size_t m = 0; m < count; m++)
        lineage[m] =
            (organ_lineage){.body = ORGAN_LINEAGE_NONE, .donor = ORGAN_LINEAGE_NONE, .like = ORGAN_LINEAGE_NONE};
    lineage_finish(prints, known, lineage);
    free(prints);
    return lineage_arrange(lineage, count, order, error);
}
