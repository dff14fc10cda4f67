/* SPDX-License-Identifier: MIT
 * Runs organ lora extract. Ranks: the journal has their number, because each rank writes a file of its own, so that
 * only the same number of ranks can continue an interrupted run. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/lora/extract_job.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

/* Parses --rank-by energy SHARE or energy=SHARE into job->share. */
static organ_status read_share(organ_lora_job *job, organ_error *error)
{
    const char *const by = job->options->rank_by, *text = job->options->share;
    if (!by)
        return text ? organ_fail(error, ORGAN_USAGE, "unexpected argument '%s': only --rank-by energy takes a share",
                                 text)
                    : ORGAN_OK;
    if (strncmp(by, "energy", 6) != 0 || (by[6] && by[6] != '='))
        return organ_fail(error, ORGAN_USAGE, "--rank-by '%s': must be energy and a share, such as energy 0.95", by);
    if (by[6] && text)
        return organ_fail(error, ORGAN_USAGE, "unexpected argument '%s': --rank-by %s already has a share", text, by);
    text = by[6] ? by + 7 : text;
    if (!text)
        return organ_fail(error, ORGAN_USAGE, "--rank-by energy needs a share after it: --rank-by energy 0.95");
    char *end;
    job->share = organ_strtod(text, &end);
    if (*end || end == text || !(job->share > 0 && job->share <= 1))
        return organ_fail(error, ORGAN_USAGE, "--rank-by energy: '%s' is not a share above 0, at most 1", text);
    return ORGAN_OK;
}

/* Checks the rank, and parses the options for the type of the factors and the share into `job`. */
static organ_status extract_check_options(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    if (o->rank == 0)
        return organ_fail(error, ORGAN_USAGE, "the rank must be at least 1");
    return organ_dtype_requested(o->dtype, &job->dtype, error) ? error->status : read_share(job, error);
}

/* Opens the model at `path` and finds its weights. The caller releases *model and *weights, also after an error. */
static organ_status open_one(const char *path, organ_model **model, organ_weights **weights, organ_error *error)
{
    if (organ_donor_open(path, "extracted from", NULL, model, error))
        return error->status;
    return organ_weights_find(*model, weights, error);
}

/* Opens base and tuned model and checks the path of the output. Fails if one model is GGUF and the other is not. */
static organ_status open_both(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    if (open_one(o->base, &job->base, &job->base_weights, error) ||
        open_one(o->tuned, &job->tuned, &job->tuned_weights, error) ||
        organ_output_check_not_input(o->write.output, job->base, error) ||
        organ_output_check_not_input(o->write.output, job->tuned, error))
        return error->status;
    if ((job->base->gguf != NULL) != (job->tuned->gguf != NULL))
        return organ_fail(error, ORGAN_USAGE, "%s is %s, but %s is %s: organ convert makes both of one format", o->base,
                          job->base->gguf ? "GGUF" : "safetensors", o->tuned,
                          job->tuned->gguf ? "GGUF" : "safetensors");
    if (job->base->gguf && o->save_full)
        return organ_fail(error, ORGAN_USAGE, "--save-full: llama.cpp loads no whole tensors from a GGUF adapter");
    if (organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: an adapter is a directory", o->write.output);
    return organ_output_check(o->write.output, NULL, o->write.force, error);
}

/* ---- the adapter ---- */

/* Returns the first line of the journal: everything that must be equal if a later run continues this one. NULL if out
 * of memory. */
static json_t *extract_head_of(const organ_lora_job *job)
{
    const organ_lora_extract_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.journal/1"), SET_TEXT("definition", "lora-extract/1"),
                        SET_TEXT("organ", ORGAN_VERSION), SET("parameters", organ_lora_extract_parameters(job)),
                        SET_BYTES("base_path", o->base), SET("base", organ_run_files(job->base, NULL)),
                        SET("tuned", organ_run_files(job->tuned, NULL)),
                        SET_COUNT("ranks", organ_ranks_count(job->engine->ranks)));
}

/* Begins the adapter: opens the writer with room for the names of all tensors that may be written, and for their bytes
 * if every module had the largest possible rank. */
static organ_status begin_adapter(organ_lora_job *job, organ_error *error)
{
    const unsigned each = organ_dtype_describe(job->dtype)->bytes;
    size_t names = 0; /* upper bound of the bytes of all names */
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->module_count; k++) {
        const organ_lora_module *const m = &job->modules[k];
        const organ_matrices shape = organ_weight_matrices(m->base);
        const uint64_t least = shape.rows < shape.cols ? shape.rows : shape.cols;
        names += 2 * (strlen(m->key) + sizeof "base_model.model..lora_A.weight");
        bytes +=
            shape.count * (shape.rows + shape.cols) * (least < job->options->rank ? least : job->options->rank) * each;
    }
    for (size_t k = 0; k < job->other_count && job->options->save_full; k++)
        if (job->others[k].tuned) {
            names += strlen(job->others[k].tuned->name) + sizeof "base_model.model.model.language_model..base_layer";
            bytes += organ_lora_other_changed(&job->others[k]) ? job->others[k].tuned->codes->bytes : 0;
        }
    const organ_adapter_resumable resumable = {.resume = job->options->write.resume,
                                               .units = job->module_count,
                                               .head =
                                                   organ_ranks_first(job->engine->ranks) ? extract_head_of(job) : NULL};
    if (organ_adapter_writer_begin(job->options->write.output, NULL, job->options->write.force,
                                   organ_output_closed(job->base) | organ_output_closed(job->tuned), job->engine->ranks,
                                   2 * job->module_count + job->other_count, names, bytes, &resumable, &job->writer,
                                   error) == ORGAN_OK &&
        job->base->gguf)
        organ_adapter_writer_gguf(job->writer, job->base->config.model_type);
    return error->status;
}

/* Returns the stored bytes of the tuned weight of a module, by which the progress of the extraction is counted. */
static uint64_t extract_bytes_of(const organ_lora_module *m) { return m->tuned->codes->bytes; }

/* Processes module k (`context`: the job). If an interrupted run has appended the factors, restores the results from
 * the journal; otherwise decomposes the change, appends the factors and writes the results to the journal. */
static organ_status factorise_one(void *context, size_t k, organ_error *error)
{
    organ_lora_job *const job = context;
    organ_lora_module *const m = &job->modules[k];
    char remark[64] = "unchanged";
    const json_t *const results = organ_adapter_writer_recall(job->writer, m->turn, error);
    if (error->status)
        return error->status;
    if (results ? organ_lora_module_recall(job, m, results, error)
                : (organ_lora_factorise(job, m, error) ||
                   organ_adapter_writer_done(job->writer, organ_lora_module_results(m), error)))
        return error->status;
    if (m->rank)
        organ_snprintf(remark, sizeof remark, "rank %zu, %.1f %% explained", m->rank, 100 * (1 - m->rest / m->change));
    organ_progress_advance(job->progress, extract_bytes_of(m), m->name, remark);
    return ORGAN_OK;
}

/* Assigns a turn to every module, and processes the modules assigned to this rank. */
static organ_status factorise_all(organ_lora_job *job, organ_error *error)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->module_count; k++) {
        bytes += extract_bytes_of(&job->modules[k]);
        job->modules[k].turn = job->turns++;
    }
    organ_progress_begin(job->progress, "extracting", bytes, job->module_count);
    organ_assignment_run(&job->module_assignment, factorise_one, job, error);
    organ_progress_end(job->progress);
    return error->status;
}

/* Appends all tensors by falling size of their elements (8, 4, 2, 1 bytes), because safetensors readers require aligned
 * data: factors in their type, and with --save-full whole weights. */
static organ_status write_tensors(organ_lora_job *job, organ_error *error)
{
    for (unsigned bytes = 8; bytes > 0 && !error->status; bytes /= 2) {
        if (job->options->save_full)
            organ_lora_keep(job, bytes, error);
        if (!error->status && bytes == organ_dtype_describe(job->dtype)->bytes)
            factorise_all(job, error);
    }
    return error->status;
}

/* Implements `bytes` of organ_assignment_exchange: returns the bytes of the spectrum of module k. */
static uint64_t spectrum_bytes(const void *modules, size_t k)
{
    return ((const organ_lora_module *)modules)[k].rank * sizeof(float);
}

/* Sends the results of each rank's modules to all ranks: the members from `rank` on, the spectra and the notes. */
static organ_status share_modules(organ_lora_job *job, organ_error *error)
{
    organ_assignment_complete(&job->module_assignment, "listing the modules", &job->modules->rank,
                              sizeof *job->modules - offsetof(organ_lora_module, rank), sizeof *job->modules, error);
    organ_assignment_exchange(&job->module_assignment, "computing the spectra", &job->modules->spectrum,
                              sizeof *job->modules, spectrum_bytes, job->modules, error);
    return error->status ? error->status : organ_lora_notes_written(job, error);
}

/* Returns ORGAN_BAD_INPUT if no module has changed. */
static organ_status check_changed(const organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->module_count; k++)
        if (job->modules[k].rank)
            return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: none of its %zu linear layers differs from %s: there is nothing to extract",
                      job->tuned->path, job->module_count, job->base->path);
}

/* Writes adapter_config.json and completes the adapter. */
static organ_status write_config(organ_lora_job *job, organ_error *error)
{
    json_t *config = organ_lora_config(job);
    if (!config)
        return organ_fail_memory(error, job->options->write.output);
    organ_adapter_writer_finish(job->writer, config, error);
    json_decref(config);
    return error->status;
}

/* Syncs the adapter, then makes and writes its report. */
static organ_status extract_write_reports(organ_lora_job *job, json_t **report, organ_error *error)
{
    if (organ_adapter_writer_sync(job->writer, error) == ORGAN_OK && !(*report = organ_lora_extract_document(job)))
        organ_fail_memory(error, job->options->write.output);
    if (!error->status)
        organ_adapter_writer_report(job->writer, "lora_extract.json", *report, "LORA_REPORT.md", error);
    return error->status;
}

/* Compares the other weights, writes the adapter and its report, and publishes them or, after an error, removes them
 * unless a later run can continue. */
static organ_status make_adapter(organ_lora_job *job, json_t **report, organ_error *error)
{
    if (organ_lora_compare(job, error) || begin_adapter(job, error))
        return error->status;
    if (organ_lora_find_changed_experts(job, error) == ORGAN_OK)
        write_tensors(job, error);
    if (share_modules(job, error) == ORGAN_OK && check_changed(job, error) == ORGAN_OK &&
        organ_model_unchanged(job->base, error) == ORGAN_OK && organ_model_unchanged(job->tuned, error) == ORGAN_OK &&
        write_config(job, error) == ORGAN_OK)
        extract_write_reports(job, report, error);
    return organ_adapter_writer_end(job->writer, error);
}

/* Implements `bytes` of organ_assignment_create for modules: returns the work, the number of elements of the weight. */
static uint64_t values_of_module(const void *modules, size_t k)
{
    return ((const organ_lora_module *)modules + k)->base->elements;
}

/* Implements `bytes` of organ_assignment_create for other weights; 0 if the tuned model lacks the weight. */
static uint64_t bytes_of_other(const void *others, size_t k)
{
    const organ_lora_other *const other = (const organ_lora_other *)others + k;
    return other->tuned ? other->tuned->codes->bytes : 0;
}

/* Assigns modules and other weights to ranks, so that all ranks have about as many elements of modules and about as
 * many bytes of other weights. */
static organ_status assign_parts(organ_lora_job *job, organ_error *error)
{
    organ_ranks *const ranks = job->engine->ranks;
    if (organ_assignment_create(ranks, job->module_count, values_of_module, job->modules, &job->module_assignment,
                                error) == ORGAN_OK)
        organ_assignment_create(ranks, job->other_count, bytes_of_other, job->others, &job->other_assignment, error);
    return error->status;
}

/* Frees the job's lists and closes both models. */
static void close_extraction(organ_lora_job *job)
{
    for (size_t k = 0; k < job->module_count; k++) {
        free(job->modules[k].name);
        free(job->modules[k].note);
        free(job->modules[k].spectrum);
    }
    for (size_t k = 0; k < job->other_count; k++)
        free(job->others[k].note);
    organ_assignment_release(&job->module_assignment);
    organ_assignment_release(&job->other_assignment);
    for (size_t k = 0; k < job->note_count; k++)
        free(job->notes[k]);
    organ_rows_free(job->modules);
    organ_rows_free(job->others);
    organ_rows_free(job->groups);
    organ_rows_free(job->base_names);
    organ_arena_release(&job->names);
    organ_weights_free(job->base_weights);
    organ_weights_free(job->tuned_weights);
    organ_model_close(job->base);
    organ_model_close(job->tuned);
}

/* Returns ORGAN_USAGE if --memory is too small for a module. The message names the amount that is enough. To name an
 * amount that is also enough for comparing the other weights, tries this comparison, unless the run is a dry one. */
static organ_status check_memory(organ_lora_job *job, organ_error *error)
{
    organ_error compared = {0};
    if (organ_lora_check_memory(job, error) == ORGAN_OK || job->options->write.dry_run || !organ_memory_named(error))
        return error->status;
    organ_lora_compare(job, &compared);
    return organ_memory_refuse_both(error, &compared);
}

/* Checks options, models and memory, then writes the adapter, or for a dry run only makes the report. */
static organ_status extract_adapter(organ_lora_job *job, json_t **report, organ_error *error)
{
    if (extract_check_options(job, error) || open_both(job, error) || organ_lora_plan(job, error) ||
        (!job->options->write.dry_run && assign_parts(job, error)) || check_memory(job, error))
        return error->status;
    if (!job->options->write.dry_run)
        return make_adapter(job, report, error);
    *report = organ_lora_extract_document(job);
    return ORGAN_OK;
}

/* Runs the extraction and releases the job; organ_report_end releases the report after an error. */
organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_lora_extract_options, options, report, error, "base", options->base, "tuned",
                         options->tuned, "dtype", options->dtype, "write.output", options->write.output))
        return error->status;
    organ_lora_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    extract_adapter(&job, report, error);
    close_extraction(&job);
    return organ_report_end(&work, options->write.output, error);
}
