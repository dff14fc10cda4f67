/* SPDX-License-Identifier: MIT
 * The report of models with different vocabularies, and its figures. */
#include "orchestrator/verbs/evaluate/across.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double total(const across_job *job, const across_model *m)
{
    double sum = 0;
    for (size_t w = 0; w < job->chosen; w++)
        sum += m->nll[job->sums.window[w].at];
    return sum;
}

static double bits_per_byte(const across_job *job, const across_model *m)
{
    return total(job, m) / M_LN2 / (double)job->scored_bytes;
}

/* Standard error of the bits per byte of a model less those of `first` (NULL: of the model alone): that of the sum of
 * what each window deviates from its bytes times the figure. NAN if memory runs out. */
static double bits_error(const across_job *job, const across_model *m, const across_model *first)
{
    ORGAN_OWNED double *const rest = malloc((job->chosen + 1) * sizeof *rest);
    const double figure = bits_per_byte(job, m) - (first ? bits_per_byte(job, first) : 0);
    for (size_t w = 0; rest && w < job->chosen; w++) {
        const uint64_t bytes = job->bytes[job->order ? job->order[w] : w];
        rest[w] = (m->nll[w] - (first ? first->nll[w] : 0)) / M_LN2 - figure * (double)bytes;
    }
    return rest ? organ_mean_between(rest, &job->sums).error * (double)job->chosen / (double)job->scored_bytes : NAN;
}

json_t *organ_across_figures(const across_job *job, const across_model *m)
{
    const double error = bits_error(job, m, NULL), sum = total(job, m);
    return ORGAN_OBJECT(SET_REAL_OF("bits_per_byte", true, bits_per_byte(job, m)),
                        SET_REAL_OF("bits_per_byte_error", true, error), SET_COUNT("tokens_scored", m->scored),
                        SET_REAL_OF("nll", true, sum / (double)m->scored),
                        SET_REAL("bytes_per_token", organ_ratio((double)job->scored_bytes, (double)m->scored)));
}

json_t *organ_across_divergence(const organ_scoring *scoring, const across_model *m, organ_error *error)
{
    const double *const dropped = scoring->models[0].dropped;
    double most = 0;
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_windows(scoring, scoring->plan.windows, &windows, error))
        return NULL;
    for (size_t k = 0; k < scoring->plan.scored; k++)
        most = dropped[k] > most ? dropped[k] : most;
    const organ_mean mean = organ_mean_between(dropped, &windows);
    organ_perplexity_comparison c;
    if (organ_perplexity_compare_windows(&scoring->models[0].scores, &scoring->models[1].scores, &windows, &c, error))
        return NULL;
    return ORGAN_OBJECT(
        SET_COUNT("tokens", m->shared.count),
        SET_COUNT("rows", organ_forward_describe(scoring->models[0].forward)->vocabulary),
        SET_COUNT("tokens_scored", scoring->plan.scored), SET_REAL_OF("kl_divergence", true, c.divergence.mean),
        SET_REAL_OF("kl_divergence_error", true, c.divergence.error), SET_REAL_OF("top1_agreement", true, c.agreement),
        SET_REAL_OF("top1_agreement_error", true, c.agreement_error), SET_REAL("dropped", organ_billionth(mean.mean)),
        SET_REAL_OF("dropped_error", true, mean.error), SET_REAL("dropped_most", organ_billionth(most)));
}

json_t *organ_across_comparison(const across_job *job, const across_model *m, json_t *divergence, organ_error *error)
{
    const across_model *const first = job->models;
    const double was = bits_per_byte(job, first), is = bits_per_byte(job, m);
    json_t *const comparison = ORGAN_OBJECT(
        SET_REAL_OF("difference", true, is - was), SET_REAL_OF("difference_error", true, bits_error(job, m, first)),
        SET_REAL_OF("rise_percent", was > 0, 100 * (is / was - 1)),
        SET_REAL("more_tokens_percent",
                 organ_ratio(100 * ((double)m->scored - (double)first->scored), 1) / (double)first->scored),
        SET("kept", divergence),
        SET_BYTES_OF("why_not", m->shared.count && json_is_object(divergence) ? NULL : m->why_not));
    if (!comparison && !error->status)
        organ_fail_memory(error, m->path);
    return comparison;
}

static json_t *experiment_json(const across_job *job)
{
    const char *const slash = strrchr(job->experiment.text, '/');
    return ORGAN_OBJECT(SET("text", ORGAN_OBJECT(SET_BYTES("name", slash ? slash + 1 : job->experiment.text),
                                                 SET_COUNT("bytes", job->text_bytes), SET_TEXT("xxh3", job->digest))),
                        SET_COUNT("context", job->context), SET_COUNT("windows", job->chosen),
                        SET_COUNT("text_windows", job->windows), SET_COUNT("bytes_scored", job->scored_bytes),
                        SET_FLAG("leads", job->leads), SET_TEXT("compute", job->compute),
                        SET_BYTES_OF("compute_isa", job->compute_isa));
}

static json_t *models_json(const across_job *job)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < job->count; k++)
        json_array_append(list, job->models[k].entry);
    return list;
}

json_t *organ_across_document(const across_job *job)
{
    const bool dry = job->options->dry_run;
    json_t *const facts = ORGAN_OBJECT(SET_FLAG("leads", job->leads), SET_FLAG("part", job->chosen < job->windows));
    json_t *const document =
        ORGAN_OBJECT(SET_HEAD("organ.vocabularies/1", "vocabularies/1"), SET_IF(dry, "dry_run", json_true()),
                     SET("experiment", experiment_json(job)), SET("models", models_json(job)),
                     SET_IF(dry, "plan", organ_plan_json(&job->plan)),
                     SET_SENTENCES("organ.vocabularies/1", "definitions", facts), SET_HELD("run", job->run));
    if (document && dry)
        ORGAN_ADD(json_object_get(document, "run"), SET("plan", organ_plan_time_json(&job->plan, job->engine)));
    return document;
}
