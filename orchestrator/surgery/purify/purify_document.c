/* SPDX-License-Identifier: MIT
 * Makes the report of organ purify. */
#include "orchestrator/surgery/purify/purify_job.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

/* The report warns if more than this percentage of the energy was removed. */
#define WARNING_PERCENT 5.0

/* before, after: energies in the donor and in the copy. theta_before and theta_after are sums over the `thetas`
 * parts that have a theta in both models. */
typedef struct document_sums {
    uint64_t tensors, elements, bytes;
    double before, after, theta_before, theta_after;
    size_t thetas;
} document_sums;

static bool has_theta(const organ_z *z) { return z->done && !z->reason; }

static void document_add_part(document_sums *s, const organ_purify_job *job, size_t k)
{
    const organ_purify_part *const part = &job->parts[k];
    const double *const energies = job->rows.results[k].sums;
    s->tensors++;
    s->elements += part->tensor->elements;
    s->bytes += part->tensor->bytes;
    s->before += energies[ORGAN_ENERGY_BEFORE];
    s->after += energies[ORGAN_ENERGY_AFTER];
    if (has_theta(&part->z_before) && has_theta(&part->z_after)) {
        s->theta_before += part->z_before.theta;
        s->theta_after += part->z_after.theta;
        s->thetas++;
    }
}

/* The percentage is rounded to 6 decimals; it is 0 if there was no energy. */
static double removed_percent(double before, double after)
{
    return before > 0 ? organ_millionth(100.0 * (before - after) / before) : 0.0;
}

/* Sets a member to the mean sum / count; null if count is 0. */
#define SET_THETA(key, sum, count) SET_REAL_OF(key, (count) > 0, organ_millionth((sum) / (double)(count)))

static json_t *document_sums_json(const organ_purify_job *job, const document_sums *s)
{
    json_t *const object = ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                                        SET_COUNT("bytes", s->bytes));
    if (job->options->write.dry_run)
        return object;
    return organ_json_joined(object,
                             ORGAN_OBJECT(SET_REAL("energy_before", s->before), SET_REAL("energy_after", s->after),
                                          SET_REAL("energy_removed_percent", removed_percent(s->before, s->after)),
                                          SET_THETA("theta_before", s->theta_before, s->thetas),
                                          SET_THETA("theta_after", s->theta_after, s->thetas)));
}

static json_t *document_role_json(const void *context, size_t role)
{
    const organ_purify_job *const job = context;
    document_sums s = {0};
    for (size_t k = 0; k < job->count; k++) {
        organ_rows_passed();
        if (organ_anatomy_row(&job->parts[k].tensor->anatomy) == role)
            document_add_part(&s, job, k);
    }
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))),
                                         document_sums_json(job, &s))
                     : NULL;
}

/* A dry run has no energies, thetas and digest. */
static json_t *document_part_json(const void *context, size_t k)
{
    const organ_purify_job *const job = context;
    const organ_purify_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->tensor;
    const double before = job->rows.results[k].sums[ORGAN_ENERGY_BEFORE],
                 after = job->rows.results[k].sums[ORGAN_ENERGY_AFTER];
    json_t *const object = ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy),
                                        SET_DTYPE("dtype", tensor->dtype), SET("shape", organ_shape_json(tensor)));
    if (job->options->write.dry_run)
        return object;
    return organ_json_joined(object,
                             ORGAN_OBJECT(SET_REAL("energy_before", before), SET_REAL("energy_after", after),
                                          SET_REAL("energy_removed_percent", removed_percent(before, after)),
                                          SET_THETA("theta_before", part->z_before.theta, has_theta(&part->z_before)),
                                          SET_THETA("theta_after", part->z_after.theta, has_theta(&part->z_after)),
                                          SET_TEXT("xxh3", job->rows.results[k].xxh3)));
}

static json_t *document_left_out_json(const void *context, size_t k)
{
    const organ_tensor *const tensor = ((const organ_purify_job *)context)->left_out[k];
    return ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_DTYPE("dtype", tensor->dtype));
}

json_t *organ_purify_parameters(void *context)
{
    const organ_purify_job *const job = context;
    const organ_purify_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("method", o->method), SET_REAL("threshold", job->threshold),
                        SET_REAL("strength", o->strength), SET_BYTES_OF("type", o->types),
                        SET_BYTES_OF("layers", o->layers));
}

static json_t *command_json(const organ_purify_job *job)
{
    return organ_json_command((const char *const[]){"organ", "evaluate", job->donor->path, job->options->write.output,
                                                    "--text", "TEXT", NULL});
}

/* The warning is null if at most WARNING_PERCENT of the energy was removed, or in a dry run. */
static json_t *warning_json(const organ_purify_job *job, const document_sums *all)
{
    if (job->options->write.dry_run || removed_percent(all->before, all->after) <= WARNING_PERCENT)
        return json_null();
    return ORGAN_OBJECT(
        SET_TEXT("text", "More than 5 % of the energy of these tensors was removed. Such a filter classifies most of "
                         "what a model has learned as noise: measure the damage, for example as the perplexity of both "
                         "models on the same text, before you use this one."),
        SET_REAL("energy_removed_percent", removed_percent(all->before, all->after)),
        SET("commands", json_pack("[o]", command_json(job))));
}

static json_t *purify_definitions_json(const organ_purify_job *job)
{
    return ORGAN_OBJECT(
        SET_TEXT("energy", "The sum of the squares of a tensor's stored values, before and after; the removed energy "
                           "is their difference."),
        SET_TEXT("noise", job->haar ? "A detail of a row's orthonormal Haar decomposition (at most 5 levels), unless "
                                      "both it and its parent at twice the scale exceed threshold x (median of "
                                      "|detail| of its level / 0.6745). It is multiplied by 1 - strength."
                                    : "A bin of a row's spectrum whose power is below threshold x "
                                      "(median power of the row's bins / ln 2). It is "
                                      "multiplied by 1 - strength."),
        SET_TEXT("theta", "The angle of the Z-measure, a mean over tensors. It measures how far values are from noise, "
                          "not how good a model is: a filter that destroys a model can raise it."));
}

json_t *organ_purify_document(void *context, const organ_writing *made)
{
    (void)made; /* tensors keep their files and offsets */
    const organ_purify_job *const job = context;
    document_sums all = {0};
    for (size_t k = 0; k < job->count; k++) {
        organ_rows_passed();
        document_add_part(&all, job, k);
    }
    return ORGAN_OBJECT(SET("totals", document_sums_json(job, &all)), SET("warning", warning_json(job, &all)),
                        SET("matrices", organ_matrices_json(job->donor, job->chosen)),
                        SET("roles", organ_anatomy_rows_json(document_role_json, job)),
                        SET("tensors", organ_json_rows(job->count, document_part_json, job)),
                        SET("left_alone", organ_json_rows(job->left_out_count, document_left_out_json, job)),
                        SET("definitions", purify_definitions_json(job)));
}
