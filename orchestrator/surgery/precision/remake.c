/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/precision/remake.h"

#include "formats/base/input_file.h"
#include "formats/base/memory_watch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG "config.json"

typedef struct work {
    const organ_remake *remake;
    organ_output output;
    organ_resharding *plan;
    organ_file_list beside;
    char *root;             /* of the files beside the tensors */
    char *config_path;      /* of the donor's config.json; NULL: there is none to take along */
    organ_json_edit config; /* as the output will have it */
    organ_evaluation evaluation;
    organ_run_journal journal;
} work;

static organ_status no_memory(const work *w, organ_error *error) { return organ_fail_errno(error, ENOMEM, "%s", w->remake->path); }

/* ---- before anything is written ---- */

static organ_report_files files_of(const organ_remake *m) { return (organ_report_files){m->name, m->markdown_name, m->markdown}; }

static organ_status check_place(work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    w->output =
        (organ_output){.path = m->path, .single = organ_output_is_file(m->path), .like = organ_output_like(m->model), .force = m->force};
    const char *const kind = m->gguf ? ".gguf" : ".safetensors", *const dot = strrchr(m->path, '.');
    if (m->gguf && !w->output.single)
        return organ_fail(error, ORGAN_USAGE, "%s: the output of a GGUF model is one file: name a .gguf", m->path);
    if (w->output.single && strcmp(dot, kind) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the format of %s stays what it is: name a %s%s", m->path, m->model->path, kind,
                          m->gguf ? "" : " or a directory");
    if (organ_output_spares(m->path, m->model, error))
        return error->status;
    const organ_report_files files = files_of(m);
    return organ_output_check(m->path, w->output.like, m->force, error) ? error->status
                                                                        : organ_output_reports_check(&w->output, &files, error);
}

static organ_status plan_files(work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    const char *const name = w->output.single ? organ_output_name(&w->output) : NULL;
    if (m->gguf)
        return organ_resharding_plan_gguf(m->model, m->pieces, m->piece_count, name, m->gguf, &w->plan, error);
    return organ_resharding_plan(m->model, m->pieces, m->piece_count, m->most, name, w->output.single, &w->plan, error);
}

static organ_status edit_config(work *w, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    if (asprintf(&w->config_path, "%s/" CONFIG, w->root) < 0) {
        w->config_path = NULL;
        return no_memory(w, error);
    }
    if (access(w->config_path, F_OK)) {
        free(w->config_path);
        w->config_path = NULL;
        return ORGAN_OK;
    }
    if (organ_input_load(w->config_path, w->config_path, ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK &&
        organ_json_edit_begin(&w->config, w->config_path, bytes, length, error) == ORGAN_OK && w->remake->edit)
        w->remake->edit(w->remake->context, &w->config, error);
    free(bytes);
    return error->status;
}

static organ_status prepare_evaluation(work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    w->evaluation = (organ_evaluation){.options = m->evaluate,
                                       .engine = m->engine,
                                       .progress = m->progress,
                                       .before = m->model->path,
                                       .before_is = m->model_is,
                                       .output = m->path};
    if (m->evaluate && w->output.single && !m->gguf && m->repacked)
        return organ_fail(error, ORGAN_USAGE,
                          "--evaluate: %s would be tensors alone, and the config.json of %s tells of packed weights: name a directory",
                          m->path, m->model->path);
    return organ_evaluation_prepare(&w->evaluation, error);
}

static organ_status prepare(work *w, organ_error *error)
{
    if (check_place(w, error) || plan_files(w, error))
        return error->status;
    if (!w->output.single && (organ_beside_list(w->remake->model, &w->root, &w->beside, error) || edit_config(w, error)))
        return error->status;
    return prepare_evaluation(w, error);
}

/* ---- the files beside the tensors ---- */

/* One of the files of tensors. */
static bool is_planned(const work *w, const char *name)
{
    for (size_t f = 0; f < organ_resharding_files(w->plan); f++)
        if (strcmp(name, organ_resharding_file(w->plan, f, NULL)) == 0)
            return true;
    return false;
}

/* Neither made anew nor unwanted: an index of old shards, say. */
static bool goes_along(const work *w, const char *name)
{
    const organ_model *const model = w->remake->model;
    if (strcmp(name, CONFIG) == 0 || strcmp(name, ORGAN_INDEX_NAME) == 0 || (model->index && strcmp(name, model->index) == 0))
        return false;
    for (const char *const *out = w->remake->left_out; out && *out; out++)
        if (strcmp(name, *out) == 0)
            return false;
    return !is_planned(w, name);
}

/* Reports about the donor stay readable beside those about the output. */
static organ_status copy_beside(const work *w, const char *to, organ_error *error)
{
    for (size_t k = 0; k < w->beside.count && !error->status; k++) {
        const char *const name = w->beside.names[k];
        const bool record = strncmp(name, "organ/", 6) == 0;
        char *new_name = NULL;
        if (!goes_along(w, name))
            continue;
        if (asprintf(&new_name, "%s%s", record ? "organ/donor/" : "", record ? name + 6 : name) < 0)
            return no_memory(w, error);
        organ_copy_file(w->root, name, to, new_name, error);
        free(new_name);
    }
    return error->status;
}

static organ_status write_config(const work *w, organ_error *error)
{
    char *const path = organ_publish_path(&w->output.publish, CONFIG);
    if (!path)
        return no_memory(w, error);
    organ_text_write(path, w->config.bytes, error);
    free(path);
    return error->status;
}

/* ---- the run ---- */

static json_t *document_of(const work *w)
{
    return organ_evaluated_json(&w->evaluation, w->remake->document(w->remake->context, &w->output, w->plan));
}

/* The tensors are in shards of new names: a directory opens as one, whatever the model was named by. */
static void evaluate(work *w)
{
    char *const path = w->output.single ? organ_publish_path(&w->output.publish, organ_output_name(&w->output))
                                        : strdup(organ_output_directory(&w->output));
    organ_evaluation_run(&w->evaluation, path);
    free(path);
}

static organ_status make_units(const work *w, organ_unit_run *run, organ_error *error)
{
    const organ_remake *const m = w->remake;
    uint64_t bytes = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        bytes += m->model->tensors[t].bytes;
    for (size_t u = 0; u < m->unit_count; u++)
        bytes -= m->units[u].done ? m->units[u].bytes : 0;
    organ_progress_begin(m->progress, m->stage, bytes, m->unit_count - run->done);
    if (m->fill(m->context, run, error) == ORGAN_OK)
        organ_unit_run_copy(run, error);
    organ_progress_end(m->progress);
    return error->status;
}

static organ_status write_tensors(work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    const char *const to = organ_output_directory(&w->output);
    organ_unit_run run = {.plan = w->plan,
                          .pieces = m->pieces,
                          .piece_count = m->piece_count,
                          .units = m->units,
                          .unit_count = m->unit_count,
                          .journal = &w->journal,
                          .progress = m->progress,
                          .stop = m->stop,
                          .context = m->context,
                          .recall = m->recall};
    if (w->output.publish.resumed ? organ_resharding_continue(w->plan, to, error) : organ_resharding_begin(w->plan, to, error))
        return error->status;
    if (organ_unit_run_begin(&run, error) == ORGAN_OK)
        make_units(w, &run, error);
    w->output.done = run.done;
    organ_unit_run_end(&run);
    return error->status;
}

static organ_status write_all(work *w, json_t **report, organ_error *error)
{
    const organ_remake *const m = w->remake;
    const char *const to = organ_output_directory(&w->output);
    if (w->config_path && write_config(w, error))
        return error->status;
    if (copy_beside(w, to, error) || write_tensors(w, error) || organ_model_unchanged(m->model, error) ||
        organ_output_sync(&w->output, error))
        return error->status;
    evaluate(w);
    if (!(*report = document_of(w)))
        return no_memory(w, error);
    const organ_report_files files = files_of(m);
    if (organ_output_reports_write(&w->output, &files, *report, error) == ORGAN_OK && !w->output.single)
        organ_output_sync(&w->output, error);
    return error->status;
}

/* Of an unfinished run the tensors stay; all else is made anew, and what was half written would come along. */
static organ_status clear_rest(const work *w, organ_error *error)
{
    static const char *const journal[] = {ORGAN_JOURNAL_NAME};
    const char *const to = organ_output_directory(&w->output);
    organ_file_list there;
    if (organ_list_files(to, journal, 1, &there, error))
        return error->status;
    for (size_t k = 0; k < there.count && !error->status; k++) {
        char *const path = is_planned(w, there.names[k]) ? NULL : organ_publish_path(&w->output.publish, there.names[k]);
        if (path && unlink(path))
            organ_fail_errno(error, errno, "%s: cannot be removed", path);
        else if (!path && !is_planned(w, there.names[k]))
            no_memory(w, error);
        free(path);
    }
    organ_list_free(&there);
    return error->status;
}

/* The first line of the journal; NULL without memory. */
static json_t *head_of(const work *w)
{
    const organ_remake *const m = w->remake;
    char digest[17], *config = NULL;
    json_t *const identity = m->identity(m->context);
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)organ_resharding_digest(w->plan));
    if (asprintf(&config, "%s/" CONFIG, m->model->directory) < 0)
        config = NULL;
    json_t *head = config && identity
                       ? json_pack("{s:s, s:s, s:s}", "schema", "organ.journal/1", "definition", m->definition, "organ", ORGAN_VERSION)
                       : NULL;
    if (head && (json_object_update(head, identity) || json_object_set_new(head, m->model_is, organ_run_files(m->model, config)) ||
                 json_object_set_new(head, "plan", json_string(digest)))) {
        json_decref(head);
        head = NULL;
    }
    json_decref(identity);
    free(config);
    return head;
}

static organ_status run(work *w, json_t **report, organ_error *error)
{
    w->output.journal = &w->journal;
    w->output.resume = w->remake->resume;
    w->output.all = w->remake->unit_count;
    if (organ_output_begin(&w->output, organ_resharding_bytes(w->plan) + w->beside.bytes, error) == ORGAN_OK) {
        if (organ_run_journal_begin(&w->journal, head_of(w), w->remake->path, error) == ORGAN_OK &&
            (!w->output.publish.resumed || clear_rest(w, error) == ORGAN_OK))
            write_all(w, report, error);
        organ_output_end(&w->output, error);
    }
    organ_run_journal_close(&w->journal);
    return error->status;
}

organ_status organ_remake_run(const organ_remake *remake, json_t **report, organ_error *error)
{
    const organ_memory_work json = organ_memory_work_begin();
    work w = {.remake = remake};
    *report = NULL;
    if (prepare(&w, error) == ORGAN_OK) {
        if (!remake->dry_run)
            run(&w, report, error);
        else if (!(*report = document_of(&w)))
            no_memory(&w, error);
    }
    if (error->status) {
        json_decref(*report);
        *report = NULL;
    } else
        organ_evaluation_end(&w.evaluation, error);
    organ_evaluation_release(&w.evaluation);
    organ_resharding_free(w.plan);
    organ_list_free(&w.beside);
    organ_json_edit_release(&w.config);
    free(w.root);
    free(w.config_path);
    return organ_memory_work_end(&json, report, remake->path, error);
}
