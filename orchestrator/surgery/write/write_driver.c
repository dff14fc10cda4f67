/* SPDX-License-Identifier: MIT
 * Runs organ_write_run: creates the files of the output, lets the verb fill them, and publishes the finished output
 * with its report. organ_rows_rest (formats/base/rows.h) frees the memory of large arrays between phases. */
#include "orchestrator/output/facts.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/head.h"
#include "orchestrator/surgery/write/writing.h"

#include <organ/base.h>
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/stream/transfer.h"

#include <stdlib.h>
#include <string.h>

/* ---- what an earlier run left ---- */

static bool is_planned(const void *planned, const char *name) { return organ_name_table_find(planned, name) != NULL; }

/* The journal's digests verify only the files with tensors. Other files have no digest, and a half-written one must
 * not become part of the output; this run writes them again. */
static organ_status remove_files_without_tensors(const organ_writing *w, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table planned = {0};
    size_t count;
    const organ_layout_file *const files = organ_layout_written(w->plan, &count);
    for (size_t f = 0; f < count && !error->status; f++)
        if (!organ_name_table_put(&planned, files[f].name, f))
            organ_fail_memory(error, w->output.path);
    if (!error->status)
        organ_output_clear_rest(&w->output, is_planned, &planned, error);
    return error->status;
}

/* ---- the tensors ---- */

/* The other files do not depend on the bytes of tensors. Only rank 0 calls this. */
static organ_status write_begin(organ_writing *w, organ_error *error)
{
    const bool in_place = w->plan->in_place; /* organ_model_copy_begin checks the room */
    const uint64_t tensors = in_place || w->write->outline ? 0 : organ_layout_bytes(w->plan);
    if (!in_place && organ_run_journal_plan(&w->journal, organ_writing_plan_line(w), w->output.path, error))
        return error->status;
    if (w->output.publish.resumed ? remove_files_without_tensors(w, error)
                                  : organ_transfer_room(organ_output_directory(&w->output), w->output.path,
                                                        "the output needs", tensors + w->extra.bytes, error))
        return error->status;
    return organ_writing_begin(w, organ_output_directory(&w->output), error);
}

static organ_status open_files(organ_writing *w, organ_error *error)
{
    const char *const to = organ_output_directory(&w->output);
    const bool made_already = w->output.publish.resumed || !organ_ranks_first(w->output.ranks);
    const organ_files_state state = made_already ? ORGAN_CONTINUED : ORGAN_CREATED;
    if (w->plan->in_place)
        return organ_model_copy_begin(w->write->model, &w->output.publish, w->write->replaced.chosen,
                                      w->output.single ? organ_output_name(&w->output) : NULL, &w->plan->copy, error);
    return organ_layout_begin(w->plan, to, w->write->outline ? ORGAN_OUTLINE : state, error);
}

/* Rank 0 creates the files before the other ranks open them. For a copy of the model's files, rank 0 sends the
 * others how it made the copy (organ_model_copy_made), and every rank lists its share of the bytes that are not
 * replaced. */
static organ_status make_files(organ_writing *w, organ_error *error)
{
    organ_ranks *const ranks = w->output.ranks;
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered how = {0};
    size_t bytes = 0;
    if (organ_ranks_first(ranks))
        open_files(w, error);
    const char *const mine = w->plan->copy ? organ_model_copy_made(w->plan->copy, &bytes) : NULL;
    organ_ranks_gather(ranks, "creating files", mine, bytes, &how, error);
    if (!organ_ranks_first(ranks) && !error->status)
        open_files(w, error);
    if (organ_ranks_agree(ranks, "opening files", error) == ORGAN_OK && w->plan->copy)
        organ_model_copy_start(w->plan->copy, how.of[0], organ_ranks_rank(ranks), organ_ranks_count(ranks), error);
    return error->status;
}

/* If all pieces are copied, there is no `fill`. */
static organ_status write_fill(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (m->replaced.rows)
        return organ_row_work_run(w, error);
    return m->make.fill ? m->make.fill(organ_write_inner(w), w, error) : ORGAN_OK;
}

static organ_status write_units(organ_writing *w, organ_error *error)
{
    uint64_t bytes = w->source_bytes;
    ORGAN_EACH_UNIT (u, w)
        bytes -= w->plan->pieces[u].done ? w->plan->pieces[u].cost : 0;
    organ_progress_begin(w->write->progress, w->write->names.stage, bytes, w->unit_count - w->done);
    if (organ_units_assign(w, error) == ORGAN_OK && write_fill(w, error) == ORGAN_OK)
        organ_units_copy(w, error);
    organ_units_join(w, error);
    organ_progress_end(w->write->progress);
    return error->status;
}

/* An output of new files opens by its directory, because its shards have new names; one with the model's files opens
 * by the same kind of path as the donor (organ_output_copy_path). The caller frees the path; NULL if memory runs
 * out. */
static char *unfinished_model_path(const organ_writing *w)
{
    const char *const to = organ_output_directory(&w->output);
    const char *const single = w->output.single ? organ_output_name(&w->output) : NULL;
    return single || w->plan->in_place || w->plan->only_copies ? organ_output_copy_path(to, w->write->model, single)
                                                               : strdup(to);
}

static organ_status check_begun(const organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    char *const path = m->make.begun ? unfinished_model_path(w) : NULL;
    if (m->make.begun && !path)
        return organ_fail_memory(error, w->output.path);
    if (path)
        m->make.begun(m->context, organ_output_directory(&w->output), path, error);
    free(path);
    return error->status;
}

static organ_status write_tensors(organ_writing *w, organ_error *error)
{
    if (make_files(w, error) == ORGAN_OK && check_begun(w, error) == ORGAN_OK) {
        organ_rows_rest();
        organ_units_begin(w, error);
        if (organ_ranks_agree(w->output.ranks, "listing units", error) == ORGAN_OK && !w->write->outline)
            write_units(w, error);
    }
    w->output.done = w->done;
    organ_units_end(w);
    organ_model_copy_end(w->plan->copy);
    w->plan->copy = NULL;
    return error->status;
}

/* ---- what depends on the bytes of tensors ---- */

/* Several ranks or runs may have written a tensor, so its digest is made by reading the output at `path`. */
static organ_status finish_stretches(const organ_writing *w, const char *path, organ_error *error)
{
    organ_model *written = NULL;
    if (w->stretches->count > w->stretches->tensor_count &&
        organ_model_open_codes(path, NULL, &written, error) == ORGAN_OK)
        organ_stretches_complete(w->stretches, written, w->output.ranks, error);
    organ_model_close(written);
    if (!error->status && w->write->replaced.rows)
        organ_row_work_fold(w);
    return error->status;
}

static organ_status store_origin_text(const organ_writing *w, const char *to, organ_error *error)
{
    const organ_write_origin *const from = w->write->report.origin;
    if (!organ_writing_has_origin(w) || !from->name || !organ_ranks_first(w->output.ranks))
        return ORGAN_OK;
    ORGAN_OWNED char *const path = organ_output_report_path(to, w->output.path, /*single=*/true, from->name);
    if (path)
        organ_text_write(path, from->text, error);
    else
        organ_fail_memory(error, w->output.path);
    return error->status;
}

/* A quantised, replaced or added head may differ from an embedding to which config.json ties it. Only rank 0 writes. */
static organ_status settle_head(const organ_writing *w, const char *to, const char *path, organ_error *error)
{
    organ_model *made = NULL;
    const bool has_config = w->config_path || w->write->replaced.chosen;
    if (w->output.single || !has_config || organ_writing_is_apart(w) || !w->write->model->config.present ||
        !organ_ranks_first(w->output.ranks))
        return ORGAN_OK;
    if (organ_model_open(path, &made, error) == ORGAN_OK)
        organ_head_settle(to, made, w->write->engine, w->write->progress, error);
    organ_model_close(made);
    return error->status;
}

static organ_status store_manifest(const organ_writing *w, const char *to, organ_error *error)
{
    if (!organ_writing_is_apart(w) || !organ_ranks_first(w->output.ranks))
        return ORGAN_OK;
    ORGAN_OWNED_JSON json_t *const about = organ_model_json(w->write->model);
    return about ? organ_layout_manifest(w->plan, to, about, error) : organ_fail_memory(error, w->write->model->path);
}

/* The input models must not have changed during the run. All ranks call this; only rank 0 writes. */
static organ_status write_finish(const organ_writing *w, const char *path, organ_error *error)
{
    const organ_write *const m = w->write;
    const char *const to = organ_output_directory(&w->output);
    size_t again = 0; /* not used: w->stripped has the number of removed settings already */
    if ((m->source && organ_model_unchanged(m->source, error)) || organ_model_unchanged(m->model, error))
        return error->status;
    if (m->outline)
        return ORGAN_OK;
    if (settle_head(w, to, path, error))
        return error->status;
    if (store_origin_text(w, to, error) || (w->stretches && finish_stretches(w, path, error)) ||
        (m->make.written && m->make.written(m->inner, path, error)) ||
        (m->make.check && m->make.check(m->context, to, path, error)) || store_manifest(w, to, error))
        return error->status;
    if (m->replaced.chosen && w->stripped && organ_ranks_first(w->output.ranks))
        organ_leftovers_strip_copy(m->model, to, &again, error);
    return error->status;
}

static organ_status complete_output(organ_writing *w, json_t **report, organ_error *error)
{
    organ_rows_rest();
    if (write_tensors(w, error))
        return error->status;
    organ_rows_rest();
    ORGAN_OWNED char *const path = unfinished_model_path(w);
    if (!path)
        organ_fail_memory(error, w->output.path);
    else if (write_finish(w, path, error) == ORGAN_OK && organ_output_sync(&w->output, error) == ORGAN_OK) {
        organ_rows_rest();
        organ_writing_report(w, path, report, error);
    }
    return error->status;
}

/* ---- the phases ---- */

static organ_status write_decide(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (m->decide && m->decide(organ_write_inner(w), w, &w->made, error))
        return error->status;
    if (organ_writing_plan(w, error) == ORGAN_OK)
        w->output.all = w->unit_count;
    return error->status;
}

static organ_status open_journal(organ_writing *w, organ_error *error)
{
    if (!(w->choices = organ_publish_path(&w->output.publish, ORGAN_CHOICES_NAME)))
        organ_fail_memory(error, w->output.path);
    else if (organ_ranks_first(w->output.ranks))
        organ_run_journal_begin(&w->journal, organ_writing_head(w), w->output.path, error);
    return organ_run_journal_share(&w->output.publish, &w->journal, w->output.ranks, error);
}

/* All ranks call this. The output is written into a hidden directory, then published. */
static organ_status write_output(organ_writing *w, json_t **report, organ_error *error)
{
    bool begun;
    organ_output_begin_together(&w->output, /*bytes=*/0, &begun, error);
    if (!begun)
        return error->status;
    if (!error->status && open_journal(w, error) == ORGAN_OK) {
        if (write_decide(w, error) == ORGAN_OK && organ_ranks_first(w->output.ranks))
            write_begin(w, error);
        if (organ_ranks_agree(w->output.ranks, "planning the output", error) == ORGAN_OK)
            complete_output(w, report, error);
    }
    organ_ranks_agree(w->output.ranks, "completing the output", error);
    return organ_output_end(&w->output, error);
}

/* Choices of an unfinished run with the same inputs and parameters are known. */
static organ_status report_dry_run(organ_writing *w, json_t **report, organ_error *error)
{
    if (organ_output_try(&w->output, error) != ORGAN_OK ||
        (w->write->decide && w->output.path &&
         organ_run_journal_peek(&w->journal, organ_writing_head(w), w->output.path, error)) ||
        write_decide(w, error) != ORGAN_OK)
        return error->status;
    w->rows_memory = w->write->replaced.rows ? organ_row_work_enough(w, error) : 0;
    return error->status ? error->status : organ_writing_report(w, /*path=*/NULL, report, error);
}

static void write_release(organ_writing *w)
{
    organ_evaluation_release(&w->evaluation);
    organ_layout_release(&w->own_plan);
    if (w->write->replaced.rows)
        organ_rows_free(w->write->replaced.rows->results);
    organ_run_inputs_release(&w->inputs);
    organ_run_journal_close(&w->journal);
    organ_stretches_release(&w->own_stretches);
    free(w->tensors);
    organ_list_release(&w->extra);
    organ_json_edit_release(&w->config);
    ORGAN_FREE_ARRAYS(w->choices, w->root, w->config_path);
}

organ_overflow *organ_write_overflow(organ_writing *w) { return &w->overflow; }

static void note_limited(const organ_writing *w)
{
    const organ_overflow *const o = &w->overflow;
    if (o->values)
        organ_progress_note(w->write->progress, "%llu value%s beyond the range of %s: limited to %g; %s has the first",
                            (unsigned long long)o->values, o->values == 1 ? " is" : "s are",
                            organ_dtype_describe(o->dtype)->name, (double)organ_overflow_limit(o->dtype), o->first);
}

/* Not the index of the shards, and not reports on the model. */
static bool is_missed(const void *context, const char *name)
{
    const organ_model *const model = context;
    return (!model->index || strcmp(name, model->index) != 0) && !organ_is_report_path(name);
}

/* A safetensors file has tensors only. The texts of `files` are of a verb that makes them. */
static organ_status note_left_files(const organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    char *text = NULL;
    size_t count = 0;
    if (!w->output.path || !w->output.single || m->outline || !organ_ends_with(w->output.path, ".safetensors"))
        return ORGAN_OK;
    for (const organ_written_file *file = w->made.files; file && file->name && !error->status; file++, count++) {
        char *const longer = organ_format("%s%s%s", text ? text : "", text ? ", " : "", file->name);
        free(text);
        if (!(text = longer))
            organ_fail_memory(error, w->output.path);
    }
    if (!w->made.files)
        organ_extra_files_text(m->model, is_missed, m->model, &text, &count, error);
    if (!error->status && count)
        organ_progress_note_once(
            m->progress, "%s has the tensors only; it lacks %s: %s (the name of a directory gets all of them)",
            w->output.path, count == 1 ? "this file of the model" : "these files of the model", text);
    free(text);
    return error->status;
}

static organ_writing write_of(const organ_write *m)
{
    const organ_engine *const engine = m->engine;
    const bool named = m->requested->output != NULL; /* a dry run may have no name */
    const bool single = (named ? organ_output_is_file(m->requested->output) : organ_writing_makes_gguf(m)) &&
                        !(m->layout && m->layout->apart);
    return (organ_writing){
        .write = m,
        .made = m->pieces,
        .output = {.path = m->requested->output,
                   .single = single,
                   .parts = single && m->layout ? m->layout->files : NULL,
                   .part_count = single && m->layout ? m->layout->file_count : 0,
                   .like = m->layout && !m->layout->only_copies && m->source ? NULL : organ_output_like(m->model),
                   .force = m->requested->force,
                   .closed = organ_output_closed(m->model) | (m->source ? organ_output_closed(m->source) : 0),
                   .resume = m->requested->resume,
                   .resumed_by = m->names.resumed_by,
                   .ranks = engine->ranks},
        .overflow = ORGAN_OVERFLOW(m->requested->saturate),
        .evaluation = {.options = m->requested->evaluate,
                       .engine = engine,
                       .progress = m->progress,
                       .before = m->report.origin ? m->report.origin->scored : m->model->path,
                       .before_is = m->report.origin ? "base" : m->names.model,
                       .made_as = m->report.made_as,
                       .made_rounds = m->report.made_rounds,
                       .output = m->requested->output}};
}

/* ---- figures ---- */

/* Marks the tensors of the model that are copied into the output in their type. */
static void mark_copied(const organ_writing *w, bool *copied)
{
    const organ_model *const model = w->write->model;
    const bool *const chosen = w->write->replaced.chosen;
    const uintptr_t first = (uintptr_t)model->tensors, end = (uintptr_t)(model->tensors + model->tensor_count);
    for (size_t t = 0; chosen && t < model->tensor_count; t++)
        copied[t] = !chosen[t];
    for (size_t k = 0; !chosen && k < w->plan->piece_count; k++) {
        const organ_tensor *const same = w->plan->pieces[k].same;
        if (same && same->dtype == w->plan->pieces[k].dtype && (uintptr_t)same >= first && (uintptr_t)same < end)
            copied[same - model->tensors] = true;
    }
}

static organ_status set_figures(const organ_writing *w, organ_figures *figures, organ_error *error)
{
    const organ_model *const model = w->write->model;
    ORGAN_OWNED bool *const copied = calloc(model->tensor_count + 1, sizeof *copied);
    if (!copied)
        return organ_fail_memory(error, model->path);
    mark_copied(w, copied);
    *figures = (organ_figures){.bytes = w->plan->in_place ? organ_model_bytes(model) : organ_layout_bytes(w->plan),
                               .weights = organ_model_elements(model),
                               .seconds = organ_work_seconds()};
    for (size_t t = 0; t < model->tensor_count; t++)
        figures->weights_changed += copied[t] ? 0 : model->tensors[t].elements;
    return ORGAN_OK;
}

/* The evaluation's own error, if any, is set last. */
static organ_status run_with_engine(const organ_write *write, json_t **report, organ_error *error)
{
    const organ_report_work work = organ_report_begin(report);
    ORGAN_RELEASED_BY(write_release) organ_writing w = write_of(write);
    organ_rows_rest();
    if (organ_writing_check(&w, error) == ORGAN_OK && note_left_files(&w, error) == ORGAN_OK) {
        w.output.journal = &w.journal;
        write->requested->dry_run ? report_dry_run(&w, report, error) : write_output(&w, report, error);
        if (!error->status)
            note_limited(&w);
        if (!error->status && write->requested->figures)
            set_figures(&w, write->requested->figures, error);
        w.output.journal = NULL;
        organ_run_journal_close(&w.journal);
    }
    if (error->status) {
        organ_clear_json(report);
    } else
        organ_evaluation_end(&w.evaluation, error);
    return organ_report_end_partial(&work, write->requested->output, error);
}

organ_status organ_write_run(const organ_write *write, json_t **report, organ_error *error)
{
    organ_write with = *write;
    organ_engine *own = NULL;
    if (!write->layout || !write->layout->only_copies)
        return run_with_engine(write, report, error);
    *report = NULL;
    if (!write->engine && organ_engine_create(/*kernels=*/NULL, /*threads=*/0, /*memory=*/0, &own, error) != ORGAN_OK)
        return error->status;
    organ_engine engine = own ? *own : *write->engine;
    engine.ranks = write->ranks;
    engine.stop = write->stop;
    with.engine = &engine;
    run_with_engine(&with, report, error);
    organ_engine_destroy(own);
    return error->status;
}
