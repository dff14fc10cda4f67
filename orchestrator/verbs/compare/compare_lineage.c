/* SPDX-License-Identifier: MIT
 * Finds which models descend from one base, and the nearest relative of each, from distances alone:
 * docs/definitions/compare.md. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdio.h>

#define RELATED 0.1  /* least cosine of related models */
#define ERRORS  5    /* and that many standard errors of the cosine of independent values */
#define ABSENT  0.35 /* largest mean cosine of the differences from a base; tunes of an absent one have 0.5 */
#define CLEAR   0.1  /* other candidates within this have nearly the same mean cosine */

compare_figures organ_compare_figures(const compare_pair *pair)
{
    const double squares = pair->square[0] + pair->square[1], norms = sqrt(pair->square[0]) * sqrt(pair->square[1]);
    const uint64_t signs = pair->signs.equal + pair->signs.opposite;
    const double cosine = norms > 0 ? (squares - pair->distance) / (2 * norms) : NAN;
    double distance = NAN;
    if (pair->values)
        distance = squares > 0 ? sqrt(2 * pair->distance / squares) : 0;
    return (compare_figures){
        .distance = distance,
        .cosine = isnan(cosine) ? NAN : fmax(-1, fmin(1, cosine)),
        .same = pair->values ? (double)pair->same / (double)pair->values : NAN,
        .signs = signs ? (double)pair->signs.equal / (double)signs : NAN,
    };
}

/* (x_i - b)(x_j - b) = (|x_i - b|^2 + |x_j - b|^2 - |x_i - x_j|^2) / 2 */
double organ_compare_difference(const compare_sums *sums, size_t b, size_t i, size_t j)
{
    const double one = sums->shared[organ_compare_pair(i, b)], other = sums->shared[organ_compare_pair(j, b)];
    if (!(one > 0 && other > 0))
        return NAN;
    const double cosine = (one + other - sums->shared[organ_compare_pair(i, j)]) / (2 * sqrt(one) * sqrt(other));
    return fmax(-1, fmin(1, cosine));
}

bool organ_compare_related(const compare_job *job, size_t i, size_t j)
{
    const compare_pair *const pair = &job->matrices.pairs[organ_compare_pair(i, j)];
    const double cosine = organ_compare_figures(pair).cosine;
    return pair->values && cosine >= RELATED && cosine * sqrt((double)pair->values) >= ERRORS;
}

/* ---- the base ---- */

/* The errors of quantised copies are no changes from a base: only models that are not quantised tell it, unless all
 * are quantised. */
static bool votes(const compare_job *job, size_t m)
{
    bool any = false;
    for (size_t k = 0; k < job->count; k++)
        any |= !job->models[k].coarse;
    return !any || !job->models[m].coarse;
}

/* Quantised copies are not ancestors of models that are not quantised. */
static bool may_precede(const compare_job *job, size_t b, size_t m)
{
    return b != m && organ_compare_related(job, b, m) && (!job->models[b].coarse || job->models[m].coarse);
}

/* The mean of the cosines of the differences of all pairs of other models from b, over pairs that differ from it. */
static double mean_cosine(const compare_job *job, size_t b)
{
    double sum = 0;
    size_t count = 0;
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j; i++) {
            if (i == b || j == b || !votes(job, i) || !votes(job, j) || !may_precede(job, b, i) ||
                !may_precede(job, b, j))
                continue;
            const double cosine = organ_compare_difference(&job->matrices, b, i, j);
            sum += isnan(cosine) ? 0 : cosine;
            count += !isnan(cosine);
        }
    return count ? sum / (double)count : NAN;
}

/* Returns the first of the candidates with the smallest mean cosine; COMPARE_NONE: there are none. Sets means[b] to the
 * mean cosine of model b; NaN: it is no candidate. */
static size_t find_best(const compare_job *job, double means[COMPARE_MODELS])
{
    size_t best = COMPARE_NONE;
    for (size_t b = 0; b < job->count; b++) {
        means[b] = mean_cosine(job, b);
        if (!isnan(means[b]) && (best == COMPARE_NONE || means[b] < means[best]))
            best = b;
    }
    return best;
}

static bool are_all_related(const compare_job *job)
{
    for (size_t j = 1; j < job->count; j++)
        for (size_t i = 0; i < j; i++)
            if (!organ_compare_related(job, i, j))
                return false;
    return true;
}

/* Returns the labels of the other candidates that may be the base as well. */
static json_t *near_json(const compare_job *job, const double *means, size_t best)
{
    json_t *const near = json_array();
    for (size_t b = 0; best != COMPARE_NONE && b < job->count; b++)
        if (b != best && means[b] <= means[best] + CLEAR)
            json_array_append_new(near, json_string(organ_compare_label(b)));
    return near;
}

static bool are_equal(const compare_job *job)
{
    for (size_t p = 0; p < job->count * (job->count - 1) / 2; p++)
        if (job->all.pairs[p].same < job->all.pairs[p].values || job->all.pairs[p].values == 0)
            return false;
    return job->all.skipped == 0;
}

static void say_lineage(const compare_job *job, const double *means, size_t best, const json_t *near, char text[320])
{
    const bool all = are_all_related(job);
    const char *const label = best == COMPARE_NONE ? "" : organ_compare_label(best);
    if (are_equal(job))
        snprintf(text, 320, "All values are equal.");
    else if (job->options->base)
        snprintf(text, 320, "%s is the given base.", organ_compare_label(job->base));
    else if (job->count == 2)
        snprintf(text, 320, "%s",
                 all ? "Both descend from one base. A third model is needed to find it."
                     : "They do not descend from one base.");
    else if (best == COMPARE_NONE)
        snprintf(text, 320, "%s",
                 all ? "All descend from one base, which their distances do not show."
                     : "No three models descend from one base.");
    else if (means[best] > ABSENT)
        snprintf(text, 320, "%s: none of them is the base of the others.",
                 all ? "All descend from one base" : "Some descend from one base");
    else
        snprintf(text, 320, "%s%s%s is the base of %s, or between them: their changes from it are independent.", label,
                 json_array_size(near) ? " or " : "",
                 json_array_size(near) ? json_string_value(json_array_get(near, 0)) : "",
                 all ? "the others" : "the related ones");
}

json_t *organ_compare_lineage(compare_job *job)
{
    double means[COMPARE_MODELS];
    char text[320];
    const size_t best = find_best(job, means);
    const bool found = best != COMPARE_NONE && means[best] <= ABSENT && job->count > 2;
    if (!job->options->base)
        job->base = found ? best : COMPARE_NONE;
    json_t *const near = near_json(job, means, found ? best : COMPARE_NONE);
    say_lineage(job, means, best, near, text);
    return ORGAN_OBJECT(
        SET("base", job->base == COMPARE_NONE ? json_null() : json_string(organ_compare_label(job->base))),
        SET_FLAG("given", job->options->base != NULL), SET_FLAG("related", are_all_related(job)), SET("near", near),
        SET_REAL_OF("cosine", best != COMPARE_NONE, best == COMPARE_NONE ? 0 : organ_millionth(means[best])),
        SET_TEXT("says", text));
}

/* ---- nearest relatives ---- */

static double distance_of(const compare_job *job, size_t i, size_t j)
{
    return organ_compare_figures(&job->matrices.pairs[organ_compare_pair(i, j)]).distance;
}

/* The nearest model that may precede m, without `other`. */
static size_t nearest_of(const compare_job *job, size_t m, size_t other)
{
    size_t nearest = COMPARE_NONE;
    for (size_t k = 0; k < job->count; k++)
        if (k != other && may_precede(job, k, m) &&
            (nearest == COMPARE_NONE || distance_of(job, k, m) < distance_of(job, nearest, m)))
            nearest = k;
    return nearest;
}

/* The place of m on the line from a (0) to c (1): (m - a)(c - a) / |c - a|^2. */
static double position_of(const compare_job *job, size_t m, size_t a, size_t c)
{
    const double *const d = job->matrices.shared, length = d[organ_compare_pair(a, c)];
    return (d[organ_compare_pair(m, a)] + length - d[organ_compare_pair(m, c)]) / (2 * length);
}

static json_t *nearest_json(const void *context, size_t m)
{
    const compare_job *const job = context;
    const size_t nearest = nearest_of(job, m, COMPARE_NONE);
    const size_t next = nearest == COMPARE_NONE ? COMPARE_NONE : nearest_of(job, m, nearest);
    if (nearest == COMPARE_NONE)
        return NULL;
    const bool two = next != COMPARE_NONE;
    return ORGAN_OBJECT(SET_TEXT("model", organ_compare_label(m)), SET_TEXT("nearest", organ_compare_label(nearest)),
                        SET_REAL_OF("distance", /*there=*/true, organ_billionth(distance_of(job, nearest, m))),
                        SET("next", two ? json_string(organ_compare_label(next)) : json_null()),
                        SET_REAL_OF("next_distance", two, two ? organ_billionth(distance_of(job, next, m)) : 0),
                        SET_REAL_OF("position", two, two ? organ_millionth(position_of(job, m, nearest, next)) : 0));
}

json_t *organ_compare_nearest(const compare_job *job) { return organ_json_rows(job->count, nearest_json, job); }
