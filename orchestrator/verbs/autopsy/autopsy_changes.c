/* SPDX-License-Identifier: MIT
 * Verdicts on the distance of weights from the original. A distance is a finding unless an operation on models explains
 * it: rounding, pruning, an adapter, training. Training changes many weights of a role, so it explains a difference
 * without structure only if other weights differ as much. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FAR            0.5  /* relative error above which a weight is no copy of its counterpart */
#define FAR_COSINE     0.6  /* cosine from which on training can explain such an error */
#define LEAST          0.01 /* smallest relative error of a finding */
#define LEAST_NOISE    0.04 /* relative error from which on noise is a finding even if other weights differ, too */
#define SIMILAR_FACTOR 3    /* largest factor between the errors of weights that were changed together */
#define SIMILAR_SHARE  0.25 /* share of the weights of a group that must differ as much */
#define FEWEST_SIMILAR 2    /* smallest number of weights that must differ as much */

/* Changed weights are those whose class is not ORGAN_CHANGE_NONE. The weights of each role are a group, and group
 * ORGAN_ROLE_COUNT has the weights of all roles. */
struct organ_change_census {
    double *errors; /* group after group, in descending order within each; each changed weight is in two groups */
    size_t first[ORGAN_ROLE_COUNT + 1], count[ORGAN_ROLE_COUNT + 1]; /* index and number of the errors of each group */
    size_t compared[ORGAN_ROLE_COUNT + 1];                           /* weights of each group with a counterpart */
};

/* ---- other weights with a similar error ---- */

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static organ_status collect_errors(const organ_autopsy_job *job, organ_change_census *c, organ_error *error)
{
    const organ_change *const changes = job->changes;
    size_t next[ORGAN_ROLE_COUNT];
    for (size_t k = 0; k < job->count; k++) {
        const organ_role role = job->stats[k].weight->anatomy.role;
        c->compared[role] += job->stats[k].other != NULL;
        c->count[role] += changes[k].kind != ORGAN_CHANGE_NONE;
    }
    for (size_t r = 0; r < ORGAN_ROLE_COUNT; r++) {
        next[r] = c->first[r] = c->count[ORGAN_ROLE_COUNT];
        c->count[ORGAN_ROLE_COUNT] += c->count[r];
        c->compared[ORGAN_ROLE_COUNT] += c->compared[r];
    }
    const size_t all = c->first[ORGAN_ROLE_COUNT] = c->count[ORGAN_ROLE_COUNT];
    if (!(c->errors = organ_rows_take(2 * all + 1, sizeof *c->errors)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0, n = all; k < job->count; k++)
        if (changes[k].kind != ORGAN_CHANGE_NONE)
            c->errors[n++] = c->errors[next[job->stats[k].weight->anatomy.role]++] = changes[k].relative;
    for (size_t r = 0; r <= ORGAN_ROLE_COUNT; r++)
        qsort(c->errors + c->first[r], c->count[r], sizeof *c->errors, descending);
    return ORGAN_OK;
}

/* Enough are at least FEWEST_SIMILAR other weights with a relative error of at least `relative` / SIMILAR_FACTOR, and
 * the share SIMILAR_SHARE of the other compared weights of the group. The search finds the changed weight too, which
 * is not counted. `group` is a role, or ORGAN_ROLE_COUNT for all weights. */
static bool is_among_similar(const organ_change_census *c, size_t group, double relative)
{
    const double *const errors = c->errors + c->first[group];
    size_t low = 0, high = c->count[group];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (errors[middle] * SIMILAR_FACTOR >= relative)
            low = middle + 1;
        else
            high = middle;
    }
    return low > FEWEST_SIMILAR && (double)(low - 1) >= SIMILAR_SHARE * (double)(c->compared[group] - 1);
}

typedef enum other_weights {
    OTHERS_DIFFER_LESS, /* no sufficient number of other weights has a similar error */
    OTHERS_UNKNOWN,     /* not known: --select selects the weights, or there are too few */
    OTHERS_DIFFER       /* enough other weights of the role or of the model have a similar error */
} other_weights;

/* If enough errors are similar, one operation on the model explains all of them. */
static other_weights others_of(const organ_autopsy_job *job, size_t index)
{
    const organ_change_census *const c = job->census;
    const double relative = job->changes[index].relative;
    if (is_among_similar(c, job->stats[index].weight->anatomy.role, relative) ||
        is_among_similar(c, ORGAN_ROLE_COUNT, relative))
        return OTHERS_DIFFER;
    return job->options->match || c->compared[ORGAN_ROLE_COUNT] <= FEWEST_SIMILAR ? OTHERS_UNKNOWN : OTHERS_DIFFER_LESS;
}

organ_status organ_autopsy_read_changes(organ_autopsy_job *job, organ_error *error)
{
    job->census = calloc(1, sizeof *job->census);
    job->changes = organ_rows_take(job->count + 1, sizeof *job->changes);
    if (!job->census || !job->changes)
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->count; k++)
        if (organ_change_read(job, &job->stats[k], &job->changes[k], error))
            return error->status;
    return collect_errors(job, job->census, error);
}

void organ_autopsy_changes_release(organ_autopsy_job *job)
{
    organ_rows_free(job->changes);
    if (job->census)
        organ_rows_free(job->census->errors);
    free(job->census);
}

/* ---- verdicts ---- */

/* The cosine in `d` decides which cause is named. `faulty`: the weight already has another finding, which is then
 * the cause. */
static const char *cause_of(const organ_weight *weight, organ_distance_view d, bool faulty)
{
    if (faulty)
        return "Another finding of this weight explains it.";
    if (!(fabs(d.cosine) <= 1.001)) /* NaN: a norm is 0 */
        return "One of the two is zero: it was never loaded, or its scales are zero.";
    if (d.cosine > 0.95)
        return "The same direction in another size: one scale for the whole tensor is wrong, or was applied twice or "
               "not at all.";
    if (d.cosine < -0.5)
        return "The opposite direction: a sign was lost, or codes were read as unsigned.";
    if (fabs(d.cosine) < 0.1)
        return "The two have nothing in common: nibbles in the wrong order, a matrix read transposed, rows in another "
               "order (q and k of some GGUF files), or other weights under the same name.";
    if (weight->scheme == ORGAN_SCHEME_AWQ_GEMM || weight->scheme == ORGAN_SCHEME_AWQ_GEMV || weight->columns)
        return "Partly similar: AWQ moves scales of activations from one weight into another, so that single weights "
               "differ from the original; otherwise a wrong order of nibbles or zero points.";
    return "Partly similar: scales of other blocks (a grid transposed or of the wrong block size), zero points that "
           "are off, or some rows or nibbles in the wrong order.";
}

/* The findings of those classes of the difference that are faults; `range` is set when one is reported. */
static const organ_verdict faults[] = {
    [ORGAN_CHANGE_ORDER] = {"order", "the values of the other model in another order", "",
                            "Both have the same sum of squares, which training and rounding change: rows or columns "
                            "were permuted, a matrix was transposed, or signs were changed.",
                            true},
    [ORGAN_CHANGE_LINES] = {"lines", "some rows or columns differ from the other model", "",
                            "The other lines are equal: a part of the file was overwritten, lost or moved.", true},
    [ORGAN_CHANGE_SHIFT] = {"shift", "the values are shifted", "",
                            "Nearly the same was added to all values: zero points that are off by one, or a bias that "
                            "was added to the weight.",
                            true},
    [ORGAN_CHANGE_NOISE] = {"damaged", "a difference that no operation on models explains", "",
                            "It is spread over all directions like noise. Training and adapters prefer some "
                            "directions, rounding gives few values or errors within a step, pruning gives zeros: the "
                            "bytes were changed, or noise was added.",
                            true},
    [ORGAN_CHANGE_OTHER] = {"damaged", "a difference that no operation on models explains", "",
                            "Other weights do not differ as much, as they would after training, a merge or "
                            "rounding: the bytes were changed, or it is the weight of another model.",
                            true}};

/* Returns NULL if the other weights do not explain the difference. Noise with a relative error of LEAST_NOISE or
 * more is never explained. */
static const char *explanation_by_other_weights(const organ_change *change, other_weights others)
{
    if (change->kind == ORGAN_CHANGE_NOISE && change->relative >= LEAST_NOISE)
        return NULL;
    if (others == OTHERS_UNKNOWN)
        return "The other weights, which were not compared, show whether it was trained, merged or rounded: then they "
               "differ as much.";
    return others == OTHERS_DIFFER ? "Other weights differ as much: trained further, merged, or quantised in between."
                                   : NULL;
}

/* Operations on models are quantising, pruning, merging and training. Returns NULL if none explains the class. */
static const char *explanation_of(const organ_weight *weight, const organ_change *change, other_weights others)
{
    const bool table = weight->anatomy.role == ORGAN_ROLE_EMBED || weight->anatomy.role == ORGAN_ROLE_OUTPUT;
    switch (change->kind) {
    case ORGAN_CHANGE_ROUNDED:
        return "Its values or errors are those of a coarser type: it was quantised in between.";
    case ORGAN_CHANGE_PRUNED:
        return "It has zeros where the other has none, and the values that were kept agree: it was pruned.";
    case ORGAN_CHANGE_PART:
        return "It is the other weight without a part: a filter, or an approximation of low rank.";
    case ORGAN_CHANGE_LOW_RANK:
        return "The difference has a low rank: an adapter was merged.";
    case ORGAN_CHANGE_STRUCTURED:
        return others == OTHERS_DIFFER_LESS
                   ? "The difference has strong directions: trained further, merged with another "
                     "model, or filtered. No other weights differ as much."
                   : "The difference has strong directions: trained further, merged with another "
                     "model, or filtered.";
    case ORGAN_CHANGE_LINES:
        return table && change->rows ? "The rows of some tokens differ: they were added or trained." : NULL;
    case ORGAN_CHANGE_NOISE:
    case ORGAN_CHANGE_OTHER:
        return explanation_by_other_weights(change, others);
    default:
        return NULL;
    }
}

static void evidence_text(const organ_change *change, char text[120])
{
    *text = '\0';
    if (change->kind == ORGAN_CHANGE_LINES && change->lines == 0)
        snprintf(text, 120, "; the %zu rows of a sample differ less", change->line_count);
    else if (change->kind == ORGAN_CHANGE_LINES)
        snprintf(text, 120, "; it is in %zu of %zu %s that were compared", change->lines, change->line_count,
                 change->rows ? "rows" : "columns");
    else if (change->kind == ORGAN_CHANGE_LOW_RANK)
        snprintf(text, 120, "; %zu direction%s contain%s 95 percent of the difference", change->rank,
                 change->rank == 1 ? "" : "s", change->rank == 1 ? "s" : "");
    else if (change->top > 0)
        organ_snprintf(text, 120,
                       "; the strongest direction of the difference has %.3g times the energy of one in noise",
                       change->top);
}

/* `range` is the usual error in words; `faulty`: the weight has another finding. */
static void report_far(organ_autopsy_job *job, const organ_weight_stats *v, const char *range, bool faulty)
{
    const organ_distance_view d = organ_distance_view_of(&v->distance);
    const organ_verdict verdict = {"far", "far from the other model", range, cause_of(v->weight, d, faulty), true};
    if (isfinite(d.cosine))
        organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict,
                             "relative error %.4g percent, cosine %.4f, norm %.4g of the other's", 100 * d.relative,
                             d.cosine, d.ratio);
    else
        organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "norms %.4g here and %.4g there",
                             sqrt(v->distance.own), sqrt(v->distance.other));
}

/* A relative error is far if it exceeds FAR and ORGAN_CHANGE_UNUSUAL times the usual one. A far error is the finding
 * "far" if the weight has another finding (`faulty`), or if the class of the difference does not explain so large an
 * error. Otherwise the class ORGAN_CHANGE_NONE adds nothing. Every other class adds its finding (faults[]) or, in
 * three cases, the remark "unusual": an operation on models explains the distance, another finding does, or the
 * relative error is at most LEAST. */
void organ_autopsy_judge_distance(organ_autopsy_job *job, size_t index, bool faulty)
{
    const organ_weight_stats *const v = &job->stats[index];
    if (!v->other || v->unread)
        return;
    const organ_change *const change = &job->changes[index];
    const organ_distance_view d = organ_distance_view_of(&v->distance);
    const organ_usual_error usual = organ_usual_error_between(v->weight, v->other);
    const bool far = !(d.relative <= fmax(FAR, ORGAN_CHANGE_UNUSUAL * usual.max)) && v->distance.pairs > 0;
    const bool unlike =
        change->kind == ORGAN_CHANGE_OTHER || (change->kind >= ORGAN_CHANGE_STRUCTURED && d.cosine < FAR_COSINE);
    const char *const explained = explanation_of(v->weight, change, others_of(job, index));
    char range[160], evidence[120];
    organ_snprintf(range, sizeof range, "usual for %s: %.3g to %.3g percent", usual.what, 100 * usual.least,
                   100 * usual.max);
    if (far && (faulty || unlike || change->kind == ORGAN_CHANGE_NONE)) {
        report_far(job, v, range, faulty);
        return;
    }
    if (change->kind == ORGAN_CHANGE_NONE)
        return;
    const bool finding = !explained && !faulty && change->relative > LEAST;
    organ_verdict verdict = {"unusual", "farther from the other model than is usual", range,
                             explained ? explained : cause_of(v->weight, d, faulty), true};
    if (finding) {
        verdict = faults[change->kind];
        verdict.range = range;
    }
    evidence_text(change, evidence);
    organ_autopsy_report(job, finding, v->weight, &verdict, "relative error %.4g percent, cosine %.4f%s",
                         100 * d.relative, d.cosine, evidence);
}
