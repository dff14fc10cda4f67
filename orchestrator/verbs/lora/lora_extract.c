/* SPDX-License-Identifier: MIT
 * Runs organ lora extract. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

/* --rank-by energy SHARE and --rank-by energy=SHARE mean the same. */
static organ_status read_share(organ_lora_job *job, organ_error *error)
{
    const size_t word = strlen("energy");
    const char *const by = job->options->rank_by, *text = job->options->share;
    if (!by)
        return text ? organ_fail(error, ORGAN_USAGE, "unexpected argument '%s': only `rank_by` energy takes a share",
                                 text)
                    : ORGAN_OK;
    if (strncmp(by, "energy", word) != 0 || (by[word] && by[word] != '='))
        return organ_fail(error, ORGAN_USAGE, "`rank_by` '%s': must be energy and a share, such as energy 0.95", by);
    if (by[word] && text)
        return organ_fail(error, ORGAN_USAGE, "unexpected argument '%s': `rank_by` %s already has a share", text, by);
    text = by[word] ? by + word + 1 : text;
    if (!text)
        return organ_fail(error, ORGAN_USAGE, "`rank_by` energy needs a share after it: `rank_by` energy 0.95");
    char *end;
    job->share = organ_strtod(text, &end);
    if (*end || end == text || !(job->share > 0 && job->share <= 1))
        return organ_fail(error, ORGAN_USAGE, "`rank_by` energy: '%s' is not a share above 0, at most 1", text);
    return ORGAN_OK;
}

static organ_status extract_check_options(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    if (o->rank == 0)
        return organ_fail(error, ORGAN_USAGE, "the rank must be at least 1");
    return organ_dtype_requested(o->dtype, &job->dtype, error) ? error->status : read_share(job, error);
}

/* The caller releases *model and *weights, also after an error. */
static organ_status open_one(const char *path, const organ_progress *progress, organ_model **model,
                             organ_weights **weights, organ_error *error)
{
    if (organ_donor_open(path, "extracted from", progress, model, error))
        return error->status;
    if (organ_weights_find(*model, weights, error) == ORGAN_OK)
        organ_progress_note_remarks(progress, path, *weights);
    return error->status;
}

organ_status organ_lora_open(organ_lora_job *job, const char *path, organ_error *error)
{
    const organ_write_options *const write = &job->options->write;
    if (extract_check_options(job, error) || open_one(path, /*progress=*/NULL, &job->base, &job->base_weights, error) ||
        open_one(path, /*progress=*/NULL, &job->tuned, &job->tuned_weights, error) ||
        organ_output_check_not_input(write->output, job->base, error))
        return error->status;
    return organ_output_check(write->output, NULL, write->force, error);
}

static organ_status open_both(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    if (open_one(o->base, job->progress, &job->base, &job->base_weights, error) ||
        open_one(o->tuned, job->progress, &job->tuned, &job->tuned_weights, error) ||
        organ_output_check_not_input(o->write.output, job->base, error) ||
        organ_output_check_not_input(o->write.output, job->tuned, error))
        return error->status;
    if ((job->base->gguf != NULL) != (job->tuned->gguf != NULL))
        return organ_fail(error, ORGAN_USAGE, "%s is %s, but %s is %s: organ convert makes both of one format", o->base,
                          job->base->gguf ? "GGUF" : "safetensors", o->tuned,
                          job->tuned->gguf ? "GGUF" : "safetensors");
    if (job->base->gguf && o->save_full)
        return organ_fail(error, ORGAN_USAGE, "`save_full`: llama.cpp loads no whole tensors from a GGUF adapter");
    if (organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: an adapter is a directory", o->write.output);
    organ_warn_of_type(job->progress, job->base, "names of modules in the adapter");
    return organ_output_check(o->write.output, NULL, o->write.force, error);
}

/* ---- the adapter ---- */

static json_t *extract_parameters(void *job) { return organ_lora_extract_parameters(job); }

/* The identity has the path of the base, because adapter_config.json has it. */
static json_t *extract_identity(void *context)
{
    const organ_lora_job *const job = context;
    return ORGAN_OBJECT(SET_BYTES("base_path", job->options->base));
}

static void list_units(organ_lora_job *job, unsigned width)
{
    for (size_t k = 0; k < job->other_count; k++) {
        organ_lora_other *const o = &job->others[k];
        if (!o->kept || organ_dtype_describe(organ_lora_kept_type(job, o))->bytes != width)
            continue;
        const bool plain = o->tuned->scheme == ORGAN_SCHEME_PLAIN;
        job->contents[job->making.unit_count].other = o;
        organ_piece *const unit = &job->units[job->making.unit_count++];
        *unit = plain ? organ_piece_same(o->tuned->codes)
                      : (organ_piece){.bytes = o->tuned->elements * width, .calib = job->repairs};
        unit->name = o->tuned->name;
        unit->cost = organ_weight_bytes(o->tuned);
        unit->model = job->tuned;
    }
    for (size_t k = 0; k < job->module_count && organ_dtype_describe(job->dtype)->bytes == width; k++) {
        organ_lora_module *const m = &job->modules[k];
        const organ_matrices shape = organ_weight_matrices(m->base);
        const uint64_t rank = organ_lora_max_rank(job, m->base);
        job->contents[job->making.unit_count].module = m;
        job->units[job->making.unit_count++] =
            (organ_piece){.name = m->name,
                          .cost = m->tuned->codes->bytes,
                          .bytes = shape.count * (shape.rows + shape.cols) * rank * width,
                          .calib = job->repairs};
        job->making.name_bytes += 2 * (strlen(m->key) + sizeof "base_model.model..lora_A.weight");
        organ_rows_passed();
    }
}

static organ_status list_all_units(organ_lora_job *job, organ_error *error)
{
    const size_t most = job->module_count + job->other_count + 1;
    job->units = organ_rows_take(most, sizeof *job->units);
    job->contents = organ_rows_take(most, sizeof *job->contents);
    if (!job->units || !job->contents)
        return organ_fail_memory(error, job->options->write.output);
    for (unsigned width = 8; width > 0; width /= 2) /* wide values come first */
        list_units(job, width);
    for (size_t k = 0; k < job->other_count && job->options->save_full; k++)
        if (job->others[k].tuned)
            job->making.name_bytes +=
                strlen(job->others[k].tuned->name) + sizeof "base_model.model.model.language_model..base_layer";
    return ORGAN_OK;
}

static organ_status extract_fill(void *context, organ_adapter_writer *writer, organ_error *error)
{
    organ_lora_job *const job = context;
    bool differs = false;
    job->writer = writer;
    /* Equal models are noticed before the calibration; extract_config then refuses them. */
    if (job->repairs && organ_lora_differs(job, &differs, error) == ORGAN_OK && differs)
        organ_lora_repair_modules(job, error);
    if (!error->status)
        organ_lora_make_units(job, error);
    job->writer = NULL;
    return error->status;
}

static organ_status extract_fill_by(void *context, organ_adapter_writer *writer, organ_error *error)
{
    const organ_lora_job *const job = context;
    return job->fill(job->fill_context, writer, error);
}

static bool extract_recall(void *context, size_t unit, const json_t *results)
{
    organ_lora_module *const m = ((organ_lora_job *)context)->contents[unit].module;
    return !m || organ_lora_module_recall(m, results);
}

static organ_status check_changed(const organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->module_count; k++)
        if (job->modules[k].rank)
            return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: none of its %zu linear layers differs from %s: there is nothing to extract",
                      job->tuned->path, job->module_count, job->base->path);
}

static json_t *extract_config(void *context, organ_error *error)
{
    organ_lora_job *const job = context;
    json_t *config = NULL;
    bool named = true;
    if (check_changed(job, error))
        return NULL;
    organ_lora_notes_written(job);
    for (size_t k = 0; k < job->making.unit_count; k++)
        if (job->contents[k].other)
            named = (job->units[k].name = organ_lora_kept_name(job, job->contents[k].other)) && named;
    if (!named || !(config = organ_lora_config(job)))
        organ_fail_memory(error, job->options->write.output);
    return config;
}

organ_status organ_lora_make_adapter(organ_lora_job *job, void *context,
                                     organ_status (*fill)(void *context, organ_adapter_writer *writer,
                                                          organ_error *error),
                                     json_t **report, organ_error *error)
{
    organ_adapter_making *const making = &job->making;
    if (list_all_units(job, error))
        return error->status;
    making->write = (organ_write){ORGAN_WRITE_BY(job),
                                  .model = job->base,
                                  .source = job->tuned,
                                  .requested = &job->options->write,
                                  .check.early = !job->options->write.dry_run && !job->inner,
                                  .names = {job->repairs ? "lora-repair/1" : "lora-extract/1", &organ_lora_extract_view,
                                            "extracting", "base", NULL},
                                  .check.parameters = extract_parameters,
                                  .check.identity = extract_identity,
                                  .report = {.plan = &job->plan, .document = organ_lora_extract_document}};
    making->units = job->units;
    making->tensors = 2 * job->module_count + job->other_count;
    making->architecture = job->base->gguf ? job->base->config.model_type : NULL;
    making->base_name = organ_path_name(job->options->base);
    job->fill = fill;
    job->fill_context = context;
    making->fill = extract_fill_by;
    making->recall = extract_recall;
    making->config = extract_config;
    organ_adapter_make(making, report, error);
    if (job->options->write.figures)
        job->options->write.figures->weights_changed = 0; /* an extraction does not change the base */
    return error->status;
}

/* The work for a module is the number of elements of its weight. */
static uint64_t values_of_module(const void *modules, size_t k)
{
    return ((const organ_lora_module *)modules + k)->base->elements;
}

static uint64_t bytes_of_other(const void *others, size_t k)
{
    const organ_lora_other *const other = (const organ_lora_other *)others + k;
    return other->tuned ? other->tuned->codes->bytes : 0;
}

/* All ranks get about as many elements of modules and about as many bytes of other weights. */
static organ_status assign_parts(organ_lora_job *job, organ_error *error)
{
    organ_ranks *const ranks = job->engine->ranks;
    if (organ_assignment_create(ranks, job->module_count, values_of_module, job->modules, &job->module_assignment,
                                error) == ORGAN_OK)
        organ_assignment_create(ranks, job->other_count, bytes_of_other, job->others, &job->other_assignment, error);
    return error->status;
}

void organ_lora_close(organ_lora_job *job)
{
    for (size_t k = 0; k < job->module_count; k++) {
        ORGAN_FREE_ARRAYS(job->modules[k].name, job->modules[k].note, job->modules[k].spectrum);
    }
    for (size_t k = 0; k < job->other_count; k++)
        free(job->others[k].note);
    organ_assignment_release(&job->module_assignment);
    organ_assignment_release(&job->other_assignment);
    for (size_t k = 0; k < job->note_count; k++)
        free(job->notes[k]);
    organ_rows_free(job->units);
    organ_rows_free(job->contents);
    organ_rows_free(job->modules);
    organ_rows_free(job->others);
    organ_rows_free(job->groups);
    organ_rows_free(job->base_names);
    organ_lora_repair_close(job);
    organ_arena_release(&job->names);
    organ_weights_free(job->base_weights);
    organ_weights_free(job->tuned_weights);
    organ_model_close(job->base);
    organ_model_close(job->tuned);
}

/* To name an amount that is also enough for comparing the other weights, this comparison is tried, unless the run is
 * a dry one. */
static organ_status check_memory(organ_lora_job *job, organ_error *error)
{
    organ_error compared = {0};
    if (organ_lora_check_memory(job, error) == ORGAN_OK || job->options->write.dry_run || !organ_memory_named(error))
        return error->status;
    organ_lora_compare(job, &compared);
    return organ_memory_refuse_both(error, &compared);
}

static organ_status extract_adapter(organ_lora_job *job, json_t **report, organ_error *error)
{
    if (extract_check_options(job, error) || open_both(job, error) ||
        (job->repairs && organ_lora_repair_prepare(job, error)) || organ_lora_plan(job, error) ||
        (!job->options->write.dry_run && assign_parts(job, error)) ||
        (job->repairs ? organ_lora_repair_open(job, error) : check_memory(job, error)))
        return error->status;
    if (!job->options->write.dry_run &&
        (organ_lora_compare(job, error) || organ_lora_keep(job, error) || organ_lora_find_changed_experts(job, error)))
        return error->status;
    return organ_lora_make_adapter(job, job, extract_fill, report, error);
}

static organ_status extract_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                 json_t **report, organ_error *error)
{
    const organ_lora_extract_options *const options = given;
    ORGAN_RELEASED_BY(organ_lora_close)
    organ_lora_job job = {
        .options = options, .engine = engine, .progress = progress, .repairs = options->calibration.text != NULL};
    const organ_report_work work = organ_report_begin(report);
    extract_adapter(&job, report, error);
    return organ_report_end(&work, options->write.output, error);
}

#define ALONE(path) ORGAN_REQUIREMENT(organ_lora_extract_options, path, .never = "calibration.text")

ORGAN_REQUIREMENTS(lora_extract, NULL, ALONE(rank_by), ALONE(exact),
                   ORGAN_REQUIREMENT(organ_lora_extract_options, calibration.text))

organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_extract_options, options, report, error, "base", options->base, "tuned",
                         options->tuned, "dtype", options->dtype, "write.output", options->write.output) ||
        organ_requirements_check(&organ_lora_extract_requirements, options, &(organ_lora_extract_options){0}, error))
        return error->status;
    return organ_plan_run(extract_verb, options, options->write.dry_run, engine, progress, report, error);
}
