/* SPDX-License-Identifier: MIT
 * Comparison with the original model: the distance of a weight from its counterpart, the distances that are usual for
 * types and schemes, and the counterpart of each weight. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "orchestrator/output/head.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <math.h>

/* The relative error is ||own - other|| / ||other||. Each number is NAN if a norm in its denominator is 0, except
 * that the relative error of two zero weights is 0. */
organ_distance_view organ_distance_view_of(const organ_distance *d)
{
    const double own = sqrt(d->own), other = sqrt(d->other);
    const double without = d->pairs && d->difference == 0 ? 0 : (double)NAN;
    return (organ_distance_view){.relative = other > 0 ? sqrt(d->difference) / other : without,
                                 .cosine = own > 0 && other > 0 ? d->product / (own * other) : (double)NAN,
                                 .ratio = other > 0 ? own / other : (double)NAN};
}

/* ---- usual errors ---- */

/* Usual relative errors of weights that are stored in one tensor, by its type. */
static const struct {
    organ_dtype dtype;
    organ_usual_error usual;
} plain[] = {
    {ORGAN_F64, {0, 1e-6, "F64"}},
    {ORGAN_F32, {0, 1e-6, "F32"}},
    {ORGAN_BF16, {0, 0.004, "BF16"}},
    {ORGAN_F16, {0, 0.002, "F16"}},
    {ORGAN_F8_E4M3, {0.02, 0.04, "FP8 E4M3"}},
    {ORGAN_F8_E5M2, {0.04, 0.08, "FP8 E5M2"}},
    {ORGAN_I8, {0.005, 0.02, "INT8"}},
    {ORGAN_Q8_0, {0.002, 0.01, "Q8_0"}},
    {ORGAN_Q6_K, {0.01, 0.03, "Q6_K"}},
    {ORGAN_Q5_0, {0.025, 0.06, "Q5_0"}},
    {ORGAN_Q5_1, {0.025, 0.06, "Q5_1"}},
    {ORGAN_Q5_K, {0.02, 0.05, "Q5_K"}},
    {ORGAN_Q4_0, {0.06, 0.12, "Q4_0"}},
    {ORGAN_Q4_1, {0.05, 0.11, "Q4_1"}},
    {ORGAN_Q4_K, {0.05, 0.1, "Q4_K"}},
    {ORGAN_IQ4_NL, {0.05, 0.11, "IQ4_NL"}},
    {ORGAN_IQ4_XS, {0.05, 0.11, "IQ4_XS"}},
    {ORGAN_MXFP4, {0.09, 0.16, "MXFP4"}},
    {ORGAN_NVFP4, {0.07, 0.13, "NVFP4"}},
    {ORGAN_Q3_K, {0.1, 0.22, "Q3_K"}},
    {ORGAN_IQ3_S, {0.1, 0.22, "IQ3_S"}},
    {ORGAN_IQ3_XXS, {0.12, 0.25, "IQ3_XXS"}},
    {ORGAN_Q2_K, {0.2, 0.45, "Q2_K"}},
    {ORGAN_F8_E4M3FNUZ, {0.02, 0.04, "FP8 E4M3"}},
    {ORGAN_F8_E5M2FNUZ, {0.04, 0.08, "FP8 E5M2"}},
    {ORGAN_IQ2_S, {0.25, 0.5, "IQ2_S"}},
    {ORGAN_IQ2_XS, {0.25, 0.55, "IQ2_XS"}},
    {ORGAN_IQ2_XXS, {0.3, 0.6, "IQ2_XXS"}},
    {ORGAN_Q2_0, {0.3, 0.65, "Q2_0"}},
    {ORGAN_IQ1_S, {0.4, 0.9, "IQ1_S"}},
    {ORGAN_IQ1_M, {0.4, 0.9, "IQ1_M"}},
    {ORGAN_TQ1_0, {0.4, 0.9, "TQ1_0"}},
    {ORGAN_TQ2_0, {0.4, 0.9, "TQ2_0"}},
    {ORGAN_Q1_0, {0.4, 0.9, "Q1_0"}},
};

organ_usual_error organ_usual_error_of_bits(unsigned bits)
{
    static const organ_usual_error usual[9] = {{0, 0.9, "codes of less than 2 bits"},
                                               {0.4, 0.9, "INT1"},
                                               {0.3, 0.65, "INT2"},
                                               {0.14, 0.32, "INT3"},
                                               {0.08, 0.15, "INT4"},
                                               {0.03, 0.08, "INT5"},
                                               {0.015, 0.04, "INT6"},
                                               {0.008, 0.02, "INT7"},
                                               {0.004, 0.015, "INT8"}};
    return usual[bits <= 8 ? bits : 8];
}

/* The relative error is |copy - original| / |original|. */
organ_usual_error organ_usual_error_of(const organ_weight *weight)
{
    switch (weight->scheme) {
    case ORGAN_SCHEME_FP8:
        return weight->codes->dtype == ORGAN_F8_E5M2 || weight->codes->dtype == ORGAN_F8_E5M2FNUZ
                   ? (organ_usual_error){0.04, 0.08, "FP8 E5M2"}
                   : (organ_usual_error){0.02, 0.04, "FP8 E4M3"};
    case ORGAN_SCHEME_MXFP8:
        return (organ_usual_error){0.02, 0.04, "MXFP8"};
    case ORGAN_SCHEME_MXFP4:
        return (organ_usual_error){0.09, 0.16, "MXFP4"};
    case ORGAN_SCHEME_NVFP4:
        return (organ_usual_error){0.07, 0.13, "NVFP4"};
    case ORGAN_SCHEME_MXFP6:
        return (organ_usual_error){0.02, 0.06, "MXFP6"};
    case ORGAN_SCHEME_MXINT4:
        return (organ_usual_error){0.08, 0.2, "MXINT4"};
    case ORGAN_SCHEME_BNB4:
        return (organ_usual_error){0.07, 0.15, "NF4 and FP4"};
    case ORGAN_SCHEME_BNB8:
    case ORGAN_SCHEME_INT8:
        return (organ_usual_error){0.005, 0.02, "INT8"};
    case ORGAN_SCHEME_PLAIN:
        for (size_t k = 0; k < sizeof plain / sizeof *plain; k++)
            if (plain[k].dtype == weight->codes->dtype)
                return plain[k].usual;
        return (organ_usual_error){0, 1e-6, organ_dtype_describe(weight->codes->dtype)->name};
    default:
        return organ_usual_error_of_bits(weight->bits);
    }
}

/* The larger error is the one with the larger upper bound. */
organ_usual_error organ_usual_error_between(const organ_weight *one, const organ_weight *other)
{
    const organ_usual_error a = organ_usual_error_of(one), b = organ_usual_error_of(other);
    return a.max >= b.max ? a : b;
}

/* ---- counterparts ---- */

/* Models may lack an output head that repeats the embedding, and weights that conversions leave out. *why becomes
 * the reason, a sentence. `here`: the examined model has the weight, else the other. */
static bool may_be_unpaired(const organ_autopsy_job *job, const organ_weight *weight, bool here, const char **why,
                            organ_error *error)
{
    bool repeats = false;
    *why = "An output head that repeats the embedding may be stored or not.";
    if (weight->anatomy.role == ORGAN_ROLE_OUTPUT && weight->anatomy.layer < 0) {
        organ_head_repeats(here ? job->model : job->other, here ? job->weights : job->other_weights, job->engine,
                           &repeats, error);
        return repeats;
    }
    *why = "Only one of the two formats stores it: conversions leave out vision, audio and draft layers, and values "
           "that follow from the configuration.";
    return job->across && organ_across_kind_of(job->across, weight->name) == ORGAN_ACROSS_LEFT_OUT;
}

/* Adds only a remark if that is no fault. */
static organ_status report_unpaired(organ_autopsy_job *job, const organ_weight *weight, bool here, organ_error *error)
{
    char shape[ORGAN_SHAPE_TEXT];
    const char *why;
    const bool fine = may_be_unpaired(job, weight, here, &why, error);
    const organ_verdict verdict = {
        here ? "missing" : "extra", here ? "not in the other model" : "only in the other model", "",
        fine ? why : "The two are of different kinds or formats, or a conversion lost or renamed it.", true};
    organ_autopsy_report(job, !fine, weight, &verdict, "%s", organ_shape_text(weight->rank, weight->shape, shape));
    return error->status;
}

/* v->other stays NULL if the shapes differ, as for a weight that cannot be read. */
static void pair_up(organ_autopsy_job *job, organ_weight_stats *v, const organ_weight *other)
{
    char mine[ORGAN_SHAPE_TEXT], its[ORGAN_SHAPE_TEXT];
    if (!ORGAN_SAME_SHAPE(v->weight, other)) {
        const organ_verdict verdict = {"shape", "another shape in the other model", "the same shape",
                                       "A vocabulary that was extended or cut, a transposed matrix, or another model.",
                                       true};
        organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "%s here, %s there",
                             organ_shape_text(v->weight->rank, v->weight->shape, mine),
                             organ_shape_text(other->rank, other->shape, its));
    } else if (!v->unread)
        v->other = other;
}

static bool is_here(const organ_autopsy_job *job, const organ_weight *weight)
{
    return job->across ? organ_across_kind_of(job->across, weight->name) == ORGAN_ACROSS_PAIRED
                       : organ_weights_named(job->weights, weight->name) != NULL;
}

organ_status organ_autopsy_pair(organ_autopsy_job *job, organ_error *error)
{
    if (!job->model->gguf != !job->other->gguf &&
        organ_across_open((organ_across_side){job->model, job->weights},
                          (organ_across_side){job->other, job->other_weights}, job->engine, &job->across, error))
        return error->status;
    for (size_t k = 0; k < job->count && !error->status; k++) {
        organ_weight_stats *const v = &job->stats[k];
        const organ_weight *const other = job->across ? organ_across_named(job->across, v->weight->name)
                                                      : organ_weights_named(job->other_weights, v->weight->name);
        if (other)
            pair_up(job, v, other);
        else
            report_unpaired(job, v->weight, /*here=*/true, error);
    }
    for (size_t k = 0; k < job->other_weights->count && !error->status; k++) {
        const organ_weight *const weight = &job->other_weights->weights[k];
        if (is_here(job, weight))
            continue;
        job->broken = json_array_append_new(job->only_in_other, json_string(weight->name)) || job->broken;
        if (!job->options->match)
            report_unpaired(job, weight, /*here=*/false, error);
    }
    return error->status;
}

/* ---- one wrong factor of all scales ---- */

/* Finds, without the original, one wrong factor of all scales of a model: the model then predicts a text better if its
 * scales are multiplied by another factor. */

#define TOKENS  512  /* tokens of the text that are scored */
#define CONTEXT 64   /* tokens in a window */
#define BETTER  0.05 /* smallest gain of a better factor in nats per token */
#define SURELY  5    /* smallest gain of a better factor in standard errors */

/* The first factor stands for the stored scales. */
static const float factors[] = {1, 0.25F, 0.5F, 2, 4};
static const char *const names[] = {"1", "1/4", "1/2", "2", "4"};
#define COUNT (sizeof factors / sizeof *factors)

bool organ_autopsy_has_scales(const organ_autopsy_job *job)
{
    for (size_t k = 0; k < job->weights->count; k++)
        if (job->weights->weights[k].scale)
            return true;
    return false;
}

static double perplexity_of(const organ_scoring *scoring, size_t k)
{
    return organ_perplexity_sum(scoring->models[k].scores.nll, scoring->plan.scored).perplexity;
}

/* For k > 0 *c has the difference of the loss from that with the stored scales, and the standard error of this
 * difference. */
static json_t *scoring_json(const organ_scoring *scoring, size_t k, const organ_perplexity_comparison *c)
{
    return ORGAN_OBJECT(SET_REAL("factor", (double)factors[k]), SET_TEXT("scales", names[k]),
                        SET_REAL_OF("perplexity", true, perplexity_of(scoring, k)),
                        SET_REAL_OF("nll_difference", k > 0, c->nll.mean),
                        SET_REAL_OF("nll_difference_error", k > 0, c->nll.error));
}

static void report_best(organ_autopsy_job *job, const organ_scoring *scoring, size_t best,
                        const organ_perplexity_comparison *c)
{
    static const organ_weight all = {.name = "*", .anatomy = {.layer = -1}};
    const organ_verdict verdict = {
        "scale_factor", "all scales wrong by one factor", "a text is predicted best with the stored scales",
        "Every scale of the model was multiplied by about the inverse of the better factor: largest values divided "
        "by another largest code than that of the type, a global factor applied twice or left out.",
        true};
    organ_autopsy_report(job, /*finding=*/true, &all, &verdict,
                         "with all scales %s times as large perplexity is %.4g, as stored %.4g (%.3g +- %.2g nats per "
                         "token over %zu tokens)",
                         names[best], perplexity_of(scoring, best), perplexity_of(scoring, 0), c->nll.mean,
                         c->nll.error, scoring->plan.scored);
}

/* A factor is better if its loss is lower than that of the stored scales by more than BETTER nats per token and by
 * more than SURELY standard errors. */
static organ_status compare_factors(organ_autopsy_job *job, const organ_scoring *scoring, organ_error *error)
{
    organ_perplexity_comparison all[COUNT] = {{0}};
    json_t *const trials = json_array();
    size_t best = 0;
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    organ_scoring_windows(scoring, scoring->plan.windows, &windows, error);
    for (size_t k = 0; k < COUNT && !error->status; k++) {
        if (k > 0 && organ_perplexity_compare_windows(&scoring->models[0].scores, &scoring->models[k].scores, &windows,
                                                      &all[k], error))
            break;
        const bool better = k > 0 && all[k].nll.mean < -BETTER && all[k].nll.mean < -SURELY * all[k].nll.error;
        if (better && all[k].nll.mean < all[best].nll.mean)
            best = k;
        job->broken = json_array_append_new(trials, scoring_json(scoring, k, &all[k])) || job->broken;
    }
    job->scale_test = ORGAN_OBJECT(SET_BYTES("text", job->options->text), SET_COUNT("tokens", scoring->plan.scored),
                                   SET("trials", trials));
    if (best > 0 && !error->status)
        report_best(job, scoring, best, &all[best]);
    return error->status;
}

organ_status organ_autopsy_judge_text(organ_autopsy_job *job, organ_error *error)
{
    const organ_experiment_options options = {
        .text = job->options->text, .context = CONTEXT, .max_tokens = TOKENS, .access = job->options->access};
    const char *const model = job->options->model, *const paths[COUNT] = {model, model, model, model, model};
    ORGAN_RELEASED_BY(organ_scoring_close) organ_scoring scoring = {0};
    if (organ_scoring_open(&scoring, paths, COUNT, &options, (organ_scoring_stop){0}, (organ_scored_drafts){0},
                           job->engine, job->progress, error) == ORGAN_OK) {
        for (size_t k = 0; k < COUNT; k++)
            scoring.models[k].model->scale_times = factors[k];
        if (organ_scoring_run(&scoring, error) == ORGAN_OK)
            compare_factors(job, &scoring, error);
    }
    return error->status;
}
