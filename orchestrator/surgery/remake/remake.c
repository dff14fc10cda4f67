/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/remake/remake.h"

#include "formats/base/input_file.h"
#include "formats/base/memory_watch.h"
#include "formats/base/paged_rows.h"
#include "formats/base/text_buffer.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/output/leftovers.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/output/unit_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG "config.json"

typedef struct remake_work {
    const organ_remake *remake;
    organ_unit_output made;
    organ_shard_piece *pieces; /* of copies of the files */
    organ_run_unit *units;
    const organ_tensor **tensors; /* that rows replace, */
    organ_cuts own;               /* and their stretches */
    organ_cuts *cuts;
    organ_file_list beside;
    char *root;             /* of the files beside the tensors */
    char *config_path;      /* of the donor's config.json; NULL: there is none to take along */
    organ_json_edit config; /* as the output will have it */
    size_t stripped;        /* settings that are left out of it */
    organ_evaluation evaluation;
} remake_work;

/* ---- before anything is written ---- */

static organ_report_files files_of(const organ_remake *m)
{
    return (organ_report_files){m->name, m->markdown_name, m->lines_name};
}

/* A copy can be one file only where the model is one of its kind. */
static organ_status check_ending(const organ_remake *m, bool single, organ_error *error)
{
    const char *const dot = strrchr(m->path, '.');
    const bool one_file = !m->model->whole_directory && m->model->file_count == 1;
    const char *const its = one_file ? strrchr(m->model->files[0].name, '.') : NULL;
    const char *const kind = m->gguf ? ".gguf" : ".safetensors";
    if (m->gguf && !single)
        return organ_fail(error, ORGAN_USAGE, "%s: the output of a GGUF model is one file: name a .gguf", m->path);
    if (!single)
        return ORGAN_OK;
    if (m->replaced && (!its || strcmp(dot, its) != 0))
        return organ_fail(error, ORGAN_USAGE, "%s: %s is not one %s file: name a directory for its copy", m->path,
                          m->model->path, dot);
    if (!m->replaced && strcmp(dot, kind) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the format of %s stays what it is: name a %s%s", m->path,
                          m->model->path, kind, m->gguf ? "" : " or a directory");
    return ORGAN_OK;
}

static organ_status remake_check_place(const remake_work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    const organ_output *const output = &w->made.output;
    if (check_ending(m, output->single, error) || organ_output_spares(m->path, m->model, error))
        return error->status;
    const organ_report_files files = files_of(m);
    return organ_output_check(m->path, output->like, m->force, error)
               ? error->status
               : organ_output_reports_check(output, &files, error);
}

/* Rows are cut wherever they are added up. */
static organ_status cut_rows(remake_work *w, organ_error *error)
{
    const organ_model *const model = w->remake->model;
    size_t count = 0;
    w->cuts = &w->own;
    if (!(w->tensors = calloc(model->tensor_count + 1, sizeof *w->tensors)))
        return organ_fail_memory(error, w->remake->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (w->remake->replaced[t])
            w->tensors[count++] = &model->tensors[t];
    if (organ_cuts_make(w->tensors, count, ORGAN_ROWS_CUT, &w->own, error) == ORGAN_OK &&
        !(w->remake->rows->results = organ_rows_take(w->own.count + 1, sizeof *w->remake->rows->results)))
        organ_fail_memory(error, w->remake->path);
    return error->status;
}

static organ_status list_replaced(remake_work *w, organ_error *error)
{
    organ_unit_output *const made = &w->made;
    w->cuts = w->remake->cuts;
    if (w->remake->rows && cut_rows(w, error))
        return error->status;
    const size_t count = made->piece_count = made->unit_count = w->cuts->count;
    made->pieces = w->pieces = organ_rows_take(count + 1, sizeof *w->pieces);
    made->units = w->units = organ_rows_take(count + 1, sizeof *w->units);
    if (!w->pieces || !w->units)
        return organ_fail_memory(error, w->remake->path);
    made->source_bytes = 0;
    for (size_t k = 0; k < count; k++) {
        const organ_tensor *const t = &w->cuts->list[k].tensor;
        w->pieces[k] =
            (organ_shard_piece){.name = w->cuts->list[k].unit, .bytes = t->bytes, .file = t->file, .offset = t->offset};
        w->units[k] = (organ_run_unit){.first = k, .count = 1, .item = k, .bytes = t->bytes, .along = w->remake->along};
        made->source_bytes += t->bytes;
        organ_rows_passed();
    }
    return ORGAN_OK;
}

static organ_status plan_files(remake_work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    if (m->replaced)
        return list_replaced(w, error);
    const char *const name = w->made.output.single ? organ_output_name(&w->made.output) : NULL;
    if (m->gguf)
        return organ_resharding_plan_gguf(m->model, m->pieces, m->piece_count, name, m->gguf, &w->made.plan, error);
    return organ_resharding_plan(m->model, m->pieces, m->piece_count, m->most, name, w->made.output.single,
                                 &w->made.plan, error);
}

static organ_status edit_config(remake_work *w, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    if (!(w->config_path = organ_format("%s/" CONFIG, w->root)))
        return organ_fail_memory(error, w->remake->path);
    if (access(w->config_path, F_OK)) {
        free(w->config_path);
        w->config_path = NULL;
        return ORGAN_OK;
    }
    if (organ_input_load(w->config_path, w->config_path, ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK &&
        organ_json_edit_begin(&w->config, w->config_path, bytes, length, error) == ORGAN_OK &&
        organ_leftovers_strip(w->remake->model, &w->config, &w->stripped, error) == ORGAN_OK && w->remake->edit)
        w->remake->edit(w->remake->context, &w->config, error);
    free(bytes);
    return error->status;
}

static organ_status prepare_evaluation(remake_work *w, organ_error *error)
{
    const organ_remake *const m = w->remake;
    w->evaluation = (organ_evaluation){.options = m->evaluate,
                                       .engine = m->engine,
                                       .progress = m->progress,
                                       .before = m->model->path,
                                       .before_is = m->model_is,
                                       .made_as = m->made_as,
                                       .output = m->path};
    if (m->evaluate && w->made.output.single && !m->gguf && m->repacked)
        return organ_fail(error, ORGAN_USAGE,
                          "--evaluate: %s would be tensors alone, and the config.json of %s tells of packed weights: "
                          "name a directory",
                          m->path, m->model->path);
    return organ_evaluation_prepare(&w->evaluation, error);
}

static organ_status remake_prepare(remake_work *w, organ_error *error)
{
    if (remake_check_place(w, error) || plan_files(w, error))
        return error->status;
    if (!w->made.output.single && !w->remake->replaced &&
        (organ_beside_list(w->remake->model, &w->root, &w->beside, error) || edit_config(w, error)))
        return error->status;
    if (!w->made.output.single && w->remake->replaced &&
        organ_leftovers_strip_copy(w->remake->model, NULL, &w->stripped, error))
        return error->status;
    organ_leftovers_note(w->remake->progress, w->stripped);
    w->made.beside_bytes = w->beside.bytes;
    return prepare_evaluation(w, error);
}

/* ---- the files beside the tensors ---- */

/* One of the files of tensors. */
static bool is_planned(const remake_work *w, const char *name)
{
    for (size_t f = 0; f < organ_resharding_files(w->made.plan); f++)
        if (strcmp(name, organ_resharding_file(w->made.plan, f, NULL)) == 0)
            return true;
    return false;
}

/* Neither made anew nor unwanted: an index of old shards, say. */
static bool goes_along(const remake_work *w, const char *name)
{
    const organ_model *const model = w->remake->model;
    if (strcmp(name, CONFIG) == 0 || strcmp(name, ORGAN_INDEX_NAME) == 0 ||
        (model->index && strcmp(name, model->index) == 0))
        return false;
    for (const char *const *out = w->remake->left_out; out && *out; out++)
        if (strcmp(name, *out) == 0)
            return false;
    return !is_planned(w, name);
}

/* Reports about the donor stay readable beside those about the output. */
static organ_status copy_beside(const remake_work *w, const char *to, organ_error *error)
{
    for (size_t k = 0; k < w->beside.count && !error->status; k++) {
        const char *const name = w->beside.names[k];
        const bool record = strncmp(name, "organ/", 6) == 0;
        char *new_name = NULL;
        if (!goes_along(w, name))
            continue;
        if (asprintf(&new_name, "%s%s", record ? "organ/donor/" : "", record ? name + 6 : name) < 0)
            return organ_fail_memory(error, w->remake->path);
        organ_copy_file(w->root, name, to, new_name, error);
        free(new_name);
    }
    return error->status;
}

static organ_status write_config(const remake_work *w, const char *to, organ_error *error)
{
    char *const path = organ_format("%s/" CONFIG, to);
    if (!path)
        return organ_fail_memory(error, w->remake->path);
    organ_text_write(path, w->config.bytes, error);
    free(path);
    return error->status;
}

/* ---- the run ---- */

static organ_status begin_remake(void *context, const char *to, organ_error *error)
{
    const remake_work *const w = context;
    if (w->config_path && write_config(w, to, error))
        return error->status;
    return copy_beside(w, to, error);
}

static organ_status fill_remake(void *context, organ_unit_run *run, organ_error *error)
{
    const remake_work *const w = context;
    const organ_remake *const m = w->remake;
    const organ_row_pass pass = {m->model, m->replaced, w->cuts, m->engine, m->progress, m->rows, m->context};
    return m->rows ? organ_row_pass_run(&pass, run, error) : m->fill(m->context, run, error);
}

static bool recall_remake(void *context, size_t item, const json_t *results)
{
    const remake_work *const w = context;
    const organ_remake *const m = w->remake;
    return m->rows ? organ_row_pass_recall(m->rows, w->cuts, item, results) : m->recall(m->context, item, results);
}

/* What the output opens by, while it grows. Shards of new names open as a directory, whatever the model was named by.
 */
static char *path_of(const remake_work *w)
{
    const organ_output *const output = &w->made.output;
    const char *const to = organ_output_directory(output), *const single =
                                                               output->single ? organ_output_name(output) : NULL;
    return single || w->remake->replaced ? organ_output_copy_path(to, w->remake->model, single) : strdup(to);
}

/* Digests of tensors that nobody has seen whole, and then the sums of all. */
static organ_status settle_cuts(const remake_work *w, const char *path, organ_error *error)
{
    organ_model *written = NULL;
    if (w->cuts->count > w->cuts->tensor_count && organ_model_open(path, &written, error) == ORGAN_OK)
        organ_cuts_complete(w->cuts, written, w->remake->engine->ranks, error);
    organ_model_close(written);
    if (!error->status && w->remake->rows)
        organ_row_pass_fold(w->remake->rows, w->cuts);
    return error->status;
}

static organ_status finish_remake(void *context, const char *to, organ_error *error)
{
    const remake_work *const w = context;
    const organ_remake *const m = w->remake;
    if (organ_model_unchanged(m->model, error))
        return error->status;
    char *const path = path_of(w);
    if (!path)
        organ_fail_memory(error, w->remake->path);
    else if ((!w->cuts || settle_cuts(w, path, error) == ORGAN_OK) && m->check)
        m->check(m->context, to, path, error);
    free(path);
    size_t again = 0;
    if (!error->status && m->replaced && w->stripped && organ_ranks_first(w->made.output.ranks))
        organ_leftovers_strip_copy(m->model, to, &again, error);
    return error->status;
}

static void evaluate_remake(remake_work *w)
{
    char *const path = path_of(w);
    organ_evaluation_run(&w->evaluation, path);
    free(path);
}

/* What all documents of remakes have stands around what the verb tells. NULL without memory. */
static json_t *remake_document_of(const remake_work *w)
{
    const organ_remake *const m = w->remake;
    json_t *const told = m->document(m->context, &w->made);
    organ_leftovers_tell(told, w->stripped);
    if (!m->schema)
        return told;
    const uint64_t bytes = w->made.plan ? organ_resharding_bytes(w->made.plan) : w->made.source_bytes;
    json_t *const made = organ_json_joined(
        ORGAN_OBJECT(SET_HEAD(m->schema, m->definition), SET_FLAG("dry_run", m->dry_run),
                     SET(m->model_is, organ_model_json(m->model)), SET("parameters", m->parameters(m->context))),
        told);
    ORGAN_ADD(made, SET_IF(!json_object_get(made, "run"), "run",
                           organ_output_run_on(&w->made.output, bytes, m->model->path, m->engine)));
    return made;
}

/* Adds the predictions of a dry run to the document: "plan", and the time in "run". Returns -1 if there is no memory.
 */
static int tell_plan(const remake_work *w, json_t *report)
{
    const organ_remake *const m = w->remake;
    if (!m->dry_run || !m->plan)
        return 0;
    organ_plan all = *m->plan;
    uint64_t bytes = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        bytes += m->model->tensors[t].bytes;
    all.output_bytes = w->made.plan ? organ_resharding_total(w->made.plan) : bytes;
    organ_plan_memory(&all, ORGAN_PLAN_LEAST, 0);
    all.bytes += (double)bytes + (double)all.output_bytes;
    json_t *const run = json_incref(json_object_get(report, "run")); /* which stands last */
    json_object_del(report, "run");
    const int failed = json_object_set_new(report, "plan", organ_plan_json(&all)) ||
                       json_object_set_new(run, "plan", organ_plan_time_json(&all, m->engine));
    return json_object_set_new(report, "run", run) || failed ? -1 : 0;
}

static organ_status tell_remake(void *context, json_t **report, organ_error *error)
{
    remake_work *const w = context;
    const organ_remake *const m = w->remake;
    organ_output *const output = &w->made.output;
    const organ_report_files files = files_of(m);
    if (!m->dry_run)
        evaluate_remake(w);
    if (!(*report = organ_evaluated_json(&w->evaluation, remake_document_of(w))) ||
        (m->settle && m->settle(m->context, *report)) || tell_plan(w, *report))
        return organ_fail_memory(error, w->remake->path);
    if (!m->dry_run && organ_ranks_first(output->ranks) &&
        organ_output_reports_write(output, &files, *report, error) == ORGAN_OK && !output->single)
        organ_output_sync(output, error);
    return error->status;
}

/* NULL without memory. */
static json_t *identity_of_remake(void *context)
{
    const remake_work *const w = context;
    const organ_remake *const m = w->remake;
    json_t *made = ORGAN_OBJECT(SET("parameters", m->parameters(m->context)));
    char *config = NULL;
    if (m->identity)
        made = organ_json_joined(made, m->identity(m->context));
    config = organ_format("%s/" CONFIG, m->model->directory);
    if (!config || json_object_set_new(made, m->model_is, organ_run_files(m->model, config))) {
        json_decref(made);
        made = NULL;
    }
    free(config);
    return made;
}

/* What the driver is told, but for the plan. */
static organ_unit_output output_of_remake(const organ_remake *m)
{
    uint64_t bytes = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        bytes += m->model->tensors[t].bytes;
    return (organ_unit_output){.output = {.path = m->path,
                                          .single = organ_output_is_file(m->path),
                                          .like = organ_output_like(m->model),
                                          .force = m->force,
                                          .choice = m->choice,
                                          .resume = m->resume,
                                          .ranks = m->engine->ranks},
                               .dry_run = m->dry_run,
                               .pieces = m->pieces,
                               .piece_count = m->piece_count,
                               .units = m->units,
                               .unit_count = m->unit_count,
                               .model = m->model,
                               .replaced = m->replaced,
                               .source_bytes = bytes,
                               .definition = m->definition,
                               .stage = m->stage,
                               .progress = m->progress,
                               .stop = m->engine->stop,
                               .identity = identity_of_remake,
                               .begin = begin_remake,
                               .fill = fill_remake,
                               .recall = recall_remake,
                               .finish = finish_remake,
                               .tell = tell_remake};
}

organ_status organ_remake_run(const organ_remake *remake, json_t **report, organ_error *error)
{
    const organ_memory_work json = organ_memory_work_begin();
    remake_work w = {.remake = remake, .made = output_of_remake(remake)};
    *report = NULL;
    organ_rows_rest();
    w.made.context = &w;
    if (remake_prepare(&w, error) == ORGAN_OK && organ_unit_output_make(&w.made, report, error) == ORGAN_OK)
        organ_evaluation_end(&w.evaluation, error);
    organ_evaluation_release(&w.evaluation);
    organ_resharding_free(w.made.plan);
    if (remake->rows)
        organ_rows_free(remake->rows->results);
    organ_cuts_free(&w.own);
    free(w.tensors);
    organ_rows_free(w.pieces);
    organ_rows_free(w.units);
    organ_list_free(&w.beside);
    organ_json_edit_release(&w.config);
    free(w.root);
    free(w.config_path);
    return organ_memory_work_end(&json, report, remake->path, error);
}
