/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/job.h"

#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MUCH 5.0 /* percent of the energy, from which on the report warns */

/* Sums over some parts; means of theta over those that have one before and after. */
typedef struct sums {
    json_int_t tensors, elements, bytes;
    double before, after, theta_before, theta_after;
    size_t thetas;
} sums;

static bool has_theta(const organ_z *z) { return z->done && !z->reason; }

static void add(sums *s, const organ_purify_part *part)
{
    s->tensors++;
    s->elements += (json_int_t)part->tensor->elements;
    s->bytes += (json_int_t)part->tensor->bytes;
    s->before += part->before;
    s->after += part->after;
    if (has_theta(&part->z_before) && has_theta(&part->z_after)) {
        s->theta_before += part->z_before.theta;
        s->theta_after += part->z_after.theta;
        s->thetas++;
    }
}

static double rounded(double x) { return round(x * 1e6) / 1e6; }

static double removed_percent(double before, double after) { return before > 0 ? rounded(100.0 * (before - after) / before) : 0.0; }

static json_t *theta_json(const organ_z *z) { return has_theta(z) ? json_real(rounded(z->theta)) : json_null(); }

static json_t *mean_json(double sum, size_t count) { return count ? json_real(rounded(sum / (double)count)) : json_null(); }

/* What a dry run does not know is null. */
static json_t *sums_json(const organ_purify_job *job, const char *name, const sums *s)
{
    json_t *object = json_object();
    if (name)
        json_object_set_new(object, "role", json_string(name));
    json_object_set_new(object, "tensors", json_integer(s->tensors));
    json_object_set_new(object, "elements", json_integer(s->elements));
    json_object_set_new(object, "bytes", json_integer(s->bytes));
    if (job->options->dry_run)
        return object;
    json_object_set_new(object, "energy_before", json_real(s->before));
    json_object_set_new(object, "energy_after", json_real(s->after));
    json_object_set_new(object, "energy_removed_percent", json_real(removed_percent(s->before, s->after)));
    json_object_set_new(object, "theta_before", mean_json(s->theta_before, s->thetas));
    json_object_set_new(object, "theta_after", mean_json(s->theta_after, s->thetas));
    return object;
}

static json_t *roles_json(const organ_purify_job *job)
{
    json_t *rows = json_array();
    for (unsigned role = 0; role < ORGAN_ANATOMY_ROWS; role++) {
        sums s = {0};
        for (size_t k = 0; k < job->count; k++)
            if (organ_anatomy_row(&job->parts[k].tensor->anatomy) == role)
                add(&s, &job->parts[k]);
        if (s.tensors)
            json_array_append_new(rows, sums_json(job, organ_anatomy_row_name(role), &s));
    }
    return rows;
}

static json_t *part_json(const organ_purify_job *job, const organ_purify_part *part)
{
    const organ_tensor *tensor = part->tensor;
    json_t *object = json_pack("{s:s, s:s, s:o, s:s, s:o}", "tensor", tensor->name, "role", organ_anatomy_role_name(&tensor->anatomy),
                               "layer", tensor->anatomy.layer < 0 ? json_null() : json_integer(tensor->anatomy.layer), "dtype",
                               organ_dtype_describe(tensor->dtype)->name, "shape", organ_shape_json(tensor));
    json_t *rest = job->options->dry_run
                       ? json_object()
                       : json_pack("{s:f, s:f, s:f, s:o, s:o, s:s}", "energy_before", part->before, "energy_after", part->after,
                                   "energy_removed_percent", removed_percent(part->before, part->after), "theta_before",
                                   theta_json(&part->z_before), "theta_after", theta_json(&part->z_after), "xxh3", part->xxh3);
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

static json_t *left_json(const organ_purify_job *job)
{
    json_t *rows = json_array();
    for (size_t k = 0; k < job->left_count; k++)
        json_array_append_new(
            rows, json_pack("{s:s, s:s}", "tensor", job->left[k]->name, "dtype", organ_dtype_describe(job->left[k]->dtype)->name));
    return rows;
}

static json_t *parameters_json(const organ_purify_job *job)
{
    const organ_purify_options *o = job->options;
    return json_pack("{s:s, s:f, s:f, s:o, s:o}", "method", o->method, "threshold", job->threshold, "strength", o->strength, "type",
                     o->types ? organ_document_string(o->types) : json_null(), "layers",
                     o->layers ? organ_document_string(o->layers) : json_null());
}

/* How the damage is measured. */
static json_t *command_json(const organ_purify_job *job)
{
    organ_error ignored = {0};
    organ_text text;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return organ_document_string(NULL);
    fputs("organ evaluate ", text.out);
    organ_shell_word(text.out, job->donor->path);
    fputc(' ', text.out);
    organ_shell_word(text.out, job->options->output);
    fputs(" --text TEXT", text.out);
    char *command = NULL;
    organ_text_finish(&text, &command, &ignored);
    json_t *const string = organ_document_string(command);
    free(command);
    return string;
}

static json_t *warning_json(const organ_purify_job *job, const sums *all)
{
    if (job->options->dry_run || removed_percent(all->before, all->after) <= MUCH)
        return json_null();
    return json_pack(
        "{s:s, s:f, s:[o]}", "text",
        "More than 5 % of the energy of these tensors was removed. What such a filter calls noise is most of what a model knows: "
        "measure the damage, as the perplexity of both models on the same text, before this one is used.",
        "energy_removed_percent", removed_percent(all->before, all->after), "commands", command_json(job));
}

static json_t *definitions_json(const organ_purify_job *job)
{
    return json_pack(
        "{s:s, s:s, s:s}", "energy",
        "The sum of the squares of a tensor's values as they are stored, before and after; what is removed is their difference.", "noise",
        job->haar
            ? "A detail of a row's orthonormal Haar decomposition (at most 5 levels) that is not, together with its parent at twice the "
              "scale, above threshold x (median of |detail| of its level / 0.6745). It is multiplied by 1 - strength."
            : "A bin of a row's spectrum whose power is below threshold x (median power of the row's bins / ln 2). It is multiplied by "
              "1 - strength.",
        "theta",
        "The angle of the Z-measure, a mean over tensors. It tells how far values are from noise, not how good a model is: a filter that "
        "destroys a model can raise it.");
}

static json_t *run_json(const organ_purify_job *job, const organ_output *output, const sums *all)
{
    json_t *const run = organ_output_run_on(output, (uint64_t)all->bytes, job->options->model, job->engine);
    if (run)
        json_object_set_new(run, "single_file", json_boolean(output->single));
    return run;
}

json_t *organ_purify_identity(void *job) { return json_pack("{s:o}", "parameters", parameters_json(job)); }

json_t *organ_purify_document(void *context, const organ_output *output, const organ_resharding *plan)
{
    const organ_purify_job *const job = context;
    sums all = {0};
    (void)plan;
    json_t *tensors = json_array();
    for (size_t k = 0; k < job->count; k++) {
        add(&all, &job->parts[k]);
        json_array_append_new(tensors, part_json(job, &job->parts[k]));
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", "organ.purify/1", "definition",
                     job->haar ? "purify-haar/1" : "purify-fft/1", "organ", ORGAN_VERSION, "dry_run", (int)job->options->dry_run, "model",
                     organ_model_json(job->donor), "parameters", parameters_json(job), "totals", sums_json(job, NULL, &all), "warning",
                     warning_json(job, &all), "roles", roles_json(job), "tensors", tensors, "left_alone", left_json(job), "definitions",
                     definitions_json(job), "run", run_json(job, output, &all));
}
