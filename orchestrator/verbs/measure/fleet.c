/* SPDX-License-Identifier: MIT
 * Runs organ fleet. Ranks: an error in one model does not end the run, so all ranks exchange their status after each
 * model and continue without it. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <limits.h>
#include <organ/organs.h>
#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fleet {
    const organ_fleet_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_ranks *ranks;
    organ_fleet_list list;
    json_t *before; /* results of the last run that are still valid: name -> {"identity", "dissection", "measure"} */
    json_t *state;  /* results of the members so far, in the same form, whether of this run or reused from `before` */
    json_t *times;  /* name -> {"name", "seconds", "measure_seconds"} of the models that this run has processed */
    size_t failed;  /* members with an error in their entry */
    size_t reused;  /* members whose entry of the last run is still valid */
    size_t others;  /* members that are no models (organ_fleet_kind) */
} fleet;

static char *path_in(const fleet *f, const char *name) { return organ_format("%s/%s", f->options->output, name); }

enum { IDENTITY_ROOM = 32 }; /* at least the bytes of "-IDENTITY" */

/* The folder for "a/b.gguf" is "organs/a__b". If another model in f->state already has this folder, the member's
 * identity is appended. Returns NULL if memory runs out. */
static char *folder_of(const fleet *f, const organ_fleet_member *member)
{
    static const char *const endings[] = {".gguf", ".safetensors"};
    char folder[PATH_MAX];
    const char *name, *from = strcmp(member->name, ".") ? member->name : "model";
    json_t *entry;
    size_t used = (size_t)snprintf(folder, sizeof folder, "organs/");
    for (const char *c = from; *c && used + 2 < sizeof folder - IDENTITY_ROOM; c++) {
        if (*c == '/')
            folder[used++] = '_';
        folder[used++] = *c == '/' ? '_' : *c;
    }
    folder[used] = '\0';
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        organ_cut_end(folder, &used, endings[k]);
    folder[used] = '\0';
    json_object_foreach(f->state, name, entry)
    {
        if (strcmp(organ_json_text(entry, "dissection.folder"), folder) == 0)
            return organ_format("%s-%016llx", folder, (unsigned long long)member->identity);
    }
    return strdup(folder);
}

static json_t *groups_json(const organ_model *model)
{
    json_t *groups = json_object();
    for (int g = 0; g <= ORGAN_GROUP_OTHER; g++) {
        json_int_t tensors = 0, bytes = 0;
        for (size_t t = 0; t < model->tensor_count; t++)
            if (model->tensors[t].anatomy.group == (organ_group)g) {
                tensors++;
                bytes += (json_int_t)model->tensors[t].bytes;
            }
        json_object_set_new(groups, organ_group_name((organ_group)g),
                            ORGAN_OBJECT(SET_COUNT("tensors", tensors), SET_COUNT("bytes", bytes)));
    }
    return groups;
}

/* An interrupted extraction continues. It starts over if organ_extract rejects the continuation with ORGAN_USAGE:
 * the model has changed, or a finished output was not published. */
static organ_status dissect_member(const fleet *f, const organ_fleet_member *member, const char *folder,
                                   double *seconds, organ_error *error)
{
    ORGAN_OWNED char *output = path_in(f, folder);
    ORGAN_OWNED_JSON json_t *report = NULL;
    const double started = organ_seconds_now();
    organ_extract_options options = {.model = member->path,
                                     .write.output = output,
                                     .write.resume = true,
                                     .write.force = true,
                                     .resumed_by = "the same command",
                                     .ranks = f->ranks,
                                     .engine = f->engine};
    if (!output)
        organ_fail_memory(error, member->name);
    else
        organ_extract(&options, f->progress, f->engine->stop, &report, error);
    if (organ_ranks_sync_status(f->ranks, "extracting a model", error) == ORGAN_USAGE && output) {
        organ_ranks_overcome(f->ranks);
        *error = (organ_error){0};
        options.write.resume = false;
        if (organ_ranks_first(f->ranks))
            organ_publish_give_up(output, error);
        if (organ_ranks_agree(f->ranks, "removing a partial extraction", error) == ORGAN_OK)
            organ_extract(&options, f->progress, f->engine->stop, &report, error);
    }
    *seconds = organ_seconds_now() - started;
    return error->status;
}

static organ_status measure_member(const fleet *f, const organ_model *model, json_t **entry, double *seconds,
                                   organ_error *error)
{
    ORGAN_OWNED_ROWS organ_z *measured = organ_rows_take(model->tensor_count + 1, sizeof *measured);
    ORGAN_RELEASED_BY(organ_z_subjects_release) organ_z_subjects subjects = {0};
    const organ_z_options options = {.subjects = &subjects};
    const double started = organ_seconds_now();
    if (!measured)
        organ_fail_memory(error, model->path);
    else if (organ_z_subjects_find(model, &subjects, error) == ORGAN_OK &&
             organ_measure_tensors(model, &options, f->engine, f->progress, measured, error) == ORGAN_OK &&
             !(*entry = organ_measure_model_json(&(organ_measured){model, &subjects, measured})))
        organ_fail_memory(error, model->path);
    *seconds = organ_seconds_now() - started;
    return error->status;
}

static bool needs_extract(const fleet *f, const organ_model *model)
{
    return !f->options->no_extract && strcmp(model->format, "organ directory") != 0;
}

/* Extracts and measures the model. After an error the result is NULL or an incomplete entry. A file that is not a
 * model, such as an adapter, is only described; *z is then unchanged. */
static json_t *dissect_and_measure_member(const fleet *f, const organ_fleet_member *member, json_t **z,
                                          organ_error *error)
{
    organ_model *model = NULL;
    json_t *dissection = NULL;
    ORGAN_OWNED char *folder = folder_of(f, member);
    double extracting = 0, measuring = 0;
    if (!folder)
        organ_fail_memory(error, member->name);
    else if (organ_model_open(member->path, &model, error) == ORGAN_OK && organ_fleet_kind(model))
        dissection = ORGAN_OBJECT(SET_TEXT("status", "apart"), SET_TEXT("kind", organ_fleet_kind(model)),
                                  SET("model", organ_model_json(model)), SET_TEXT("folder", ""));
    else if (!error->status) {
        const bool extract = needs_extract(f, model);
        if ((!extract || dissect_member(f, member, folder, &extracting, error) == ORGAN_OK) &&
            measure_member(f, model, z, &measuring, error) == ORGAN_OK)
            dissection = ORGAN_OBJECT(SET_TEXT("status", "ok"), SET("model", organ_model_json(model)),
                                      SET("organs", groups_json(model)), SET_TEXT("folder", extract ? folder : ""),
                                      SET("error", json_null()));
        if (dissection &&
            json_object_set_new(f->times, member->name,
                                ORGAN_OBJECT(SET_BYTES("name", member->name),
                                             SET_IF(extract, "seconds", json_real(organ_rounded_seconds(extracting))),
                                             SET_REAL("measure_seconds", organ_rounded_seconds(measuring)))))
            organ_fail_memory(error, member->name);
        if (dissection)
            ORGAN_ADD(dissection, SET("pruning", organ_fleet_pruning(model)));
    }
    organ_model_close(model);
    return dissection;
}

/* The run can continue without a single model, but lack of memory and a full or read-only disk would stop all
 * models. */
static bool is_of_model(const organ_error *fault)
{
    static const int systemwide[] = {ENOMEM, ENOSPC, EDQUOT, EROFS};
    for (size_t k = 0; k < sizeof systemwide / sizeof *systemwide; k++)
        if (fault->status == ORGAN_IO && fault->errnum == systemwide[k])
            return false;
    return fault->status == ORGAN_BAD_INPUT || fault->status == ORGAN_IO || fault->status == ORGAN_USAGE;
}

/* An earlier version of organ wrote no "pruning", and it wrote the times that are now in "run". */
static void renew_entry(const organ_fleet_member *member, json_t *entry)
{
    json_t *const dissection = json_object_get(entry, "dissection");
    json_object_del(dissection, "seconds");
    json_object_del(dissection, "measure_seconds");
    organ_error ignored = {0};
    organ_model *model = NULL;
    if (!json_object_get(dissection, "pruning") && organ_model_open(member->path, &model, &ignored) == ORGAN_OK)
        ORGAN_ADD(dissection, SET("pruning", organ_fleet_pruning(model)));
    organ_model_close(model);
}

/* A kill or a power cut may have left parts of the extraction of an unchanged member after the output had its name.
 * A failure is ignored: the note that remains changes no result. */
static void finish_extraction(const fleet *f, const json_t *entry)
{
    organ_error ignored = {0};
    const char *const folder = json_string_value(json_object_get(json_object_get(entry, "dissection"), "folder"));
    ORGAN_OWNED char *const path =
        folder && *folder && organ_ranks_first(f->ranks) ? organ_format("%s/%s", f->options->output, folder) : NULL;
    if (path)
        organ_publish_finish(path, &ignored);
}

/* An error that concerns only this model (is_of_model) is recorded in the entry; other errors end the run. */
static organ_status do_member(fleet *f, const organ_fleet_member *member, organ_error *error)
{
    json_t *entry = json_incref(json_object_get(f->before, member->name)), *z = NULL;
    char identity[17];
    if (entry) {
        finish_extraction(f, entry);
        f->reused++;
        renew_entry(member, entry);
        organ_progress_note(f->progress, "%s: unchanged", member->name);
    } else {
        organ_error fault = {0};
        json_t *dissection = dissect_and_measure_member(f, member, &z, &fault);
        organ_ranks_sync_status(f->ranks, "finishing a model of the fleet", &fault);
        if (fault.status && !is_of_model(&fault)) {
            json_decref(dissection);
            json_decref(z);
            *error = fault;
            return error->status;
        }
        if (fault.status) {
            f->failed++;
            organ_ranks_overcome(f->ranks);
            json_decref(dissection);
            organ_clear_json(&z);
            organ_progress_note(f->progress, "%s: %s", member->name, fault.message);
            dissection =
                ORGAN_OBJECT(SET_TEXT("status", "failed"), SET_BYTES("error", organ_ranks_message(f->ranks, &fault)),
                             SET_TEXT("folder", ""));
        }
        snprintf(identity, sizeof identity, "%016llx", (unsigned long long)member->identity);
        entry = ORGAN_OBJECT(SET_TEXT("identity", identity), SET("dissection", dissection),
                             SET("measure", z ? z : json_null()));
    }
    f->others += organ_fleet_is_other(entry);
    if (!entry || json_object_set_new(f->state, member->name, entry))
        return organ_fail_memory(error, member->name);
    return ORGAN_OK;
}

static json_t *other_json(const void *context, size_t k)
{
    const fleet *const f = context;
    const json_t *const member = json_object_get(f->state, f->list.members[k].name);
    if (!organ_fleet_is_other(member))
        return NULL;
    return ORGAN_OBJECT(SET_BYTES("name", f->list.members[k].name),
                        SET_TEXT("kind", organ_json_text(member, "dissection.kind")),
                        SET_COUNT("bytes", organ_json_count(member, "dissection.model.bytes")));
}

static json_t *others_json(const fleet *f) { return organ_json_rows(f->list.count, other_json, f); }

static json_t *times_json(const void *context, size_t k)
{
    const fleet *const f = context;
    return json_incref(json_object_get(f->times, f->list.members[k].name));
}

static json_t *dissection_report(const fleet *f, double seconds)
{
    json_t *models = json_array();
    json_int_t bytes = 0, tensors = 0;
    for (size_t k = 0; k < f->list.count; k++) {
        const json_t *member = json_object_get(f->state, f->list.members[k].name),
                     *dissection = json_object_get(member, "dissection");
        json_t *theta = json_object_get(json_object_get(member, "measure"), "theta_mean");
        if (organ_fleet_is_other(member))
            continue;
        json_t *entry = ORGAN_OBJECT(SET_BYTES("name", f->list.members[k].name), SET_HELD("theta_mean", theta));
        if (!entry || json_object_update(entry, (json_t *)dissection) || json_array_append_new(models, entry)) {
            json_decref(models);
            return NULL;
        }
        organ_json_add_count(&bytes, dissection, "model.bytes");
        organ_json_add_count(&tensors, dissection, "model.tensors");
    }
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.fleet/1"), SET_TEXT("organ", ORGAN_VERSION), SET("models", models),
        SET("others", others_json(f)),
        SET("totals",
            ORGAN_OBJECT(SET_COUNT("models", (f->list.count - f->others)), SET_COUNT("others", f->others),
                         SET_COUNT("failed", f->failed), SET_COUNT("bytes", bytes), SET_COUNT("tensors", tensors))),
        SET("run", ORGAN_OBJECT(SET_BYTES("directory", f->options->directory), SET_BYTES("output", f->options->output),
                                SET_FLAG("extracted", !f->options->no_extract), SET_COUNT("unchanged", f->reused),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)),
                                SET("models", organ_json_rows(f->list.count, times_json, f)), SET_ENGINE(f->engine))));
}

static json_t *z_report(const fleet *f)
{
    ORGAN_OWNED_JSON json_t *entries = json_array();
    for (size_t k = 0; k < f->list.count; k++) {
        json_t *z = json_object_get(json_object_get(f->state, f->list.members[k].name), "measure");
        if (json_is_object(z))
            json_array_append(entries, z);
    }
    json_t *ranked = organ_measure_ranked(entries);
    json_t *document = organ_measure_document(ranked);
    ORGAN_ADD(document, SET("others", others_json(f)));
    return document;
}

static organ_status write_page(const char *markdown, const json_t *report, json_t *z, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *extended = json_copy((json_t *)report);
    if (!ORGAN_ADD(extended, SET("measure", json_incref(z))))
        organ_fail_memory(error, markdown);
    else
        organ_html_report_next_to(markdown, extended, error);
    return error->status;
}

static organ_status make_markdown(const json_t *report, const json_t *z, char **markdown, organ_error *error)
{
    ORGAN_OWNED char *measured = NULL, *rest = NULL;
    if (organ_report_markdown(z, &measured, error) == ORGAN_OK &&
        organ_report_markdown(report, &rest, error) == ORGAN_OK &&
        !(*markdown = organ_format("%s%s%s", measured, *rest ? "\n" : "", rest)))
        organ_fail_errno(error, ENOMEM, "the report");
    return error->status;
}

static organ_status fleet_write_reports(const fleet *f, json_t *report, organ_error *error)
{
    enum { DISSECTION, Z, MARKDOWN, COUNT };
    char *paths[COUNT] = {path_in(f, "dissection_report.json"), path_in(f, "z_report_complete.json"),
                          path_in(f, "Z_MEASURE_REPORT.md")};
    ORGAN_OWNED_JSON json_t *z = z_report(f);
    ORGAN_OWNED char *markdown = NULL;
    if (!z || !report || !paths[DISSECTION] || !paths[Z] || !paths[MARKDOWN])
        organ_fail_memory(error, f->options->output);
    else if (organ_document_write(paths[DISSECTION], report, error) == ORGAN_OK &&
             organ_document_write(paths[Z], z, error) == ORGAN_OK &&
             make_markdown(report, z, &markdown, error) == ORGAN_OK &&
             organ_text_write(paths[MARKDOWN], markdown, error) == ORGAN_OK)
        write_page(paths[MARKDOWN], report, z, error);
    for (int k = 0; k < COUNT; k++)
        free(paths[k]);
    return error->status;
}

/* An existing directory is no error. `path` is NULL if the caller had no memory. */
static organ_status make_directory(const char *path, organ_error *error)
{
    if (path && mkdir(path, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", path);
    return path ? error->status : organ_fail_memory(error, "the output");
}

/* The checks come before anything is created. */
static organ_status prepare_fleet(fleet *f, organ_error *error)
{
    static const char *const names[] = {"dissection_report.json", "z_report_complete.json", "Z_MEASURE_REPORT.md",
                                        "Z_MEASURE_REPORT.html", NULL};
    const organ_fleet_options *o = f->options;
    char directory[PATH_MAX], output[PATH_MAX];
    const char *skip = realpath(o->output, output);
    if (!realpath(o->directory, directory))
        return organ_fail_errno(error, errno, "%s: cannot be listed", o->directory);
    if (skip && strcmp(skip, directory) == 0)
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: the reports cannot be written to the searched directory itself; a directory in it is allowed",
            o->output);
    if (organ_fleet_find(o->directory, skip, &f->list, error))
        return error->status;
    if (f->list.count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: it contains no model: no GGUF or safetensors file, no organ directory", o->directory);
    for (size_t k = 0; k < f->list.count && !error->status; k++)
        organ_output_check_distinct(o->output, f->list.members[k].path, error);
    if (!error->status && organ_output_check_reports(o->output, names, error) == ORGAN_OK)
        organ_fleet_state_check(o->output, error);
    return error->status;
}

static organ_status make_directories(const fleet *f, organ_error *error)
{
    if (organ_ranks_agree(f->ranks, "listing the fleet", error) || !organ_ranks_first(f->ranks))
        return error->status;
    ORGAN_OWNED char *organs = path_in(f, "organs");
    if (make_directory(f->options->output, error) == ORGAN_OK && !f->options->no_extract)
        make_directory(organs, error);
    return error->status;
}

/* If no model is finished, rank 0 removes the output and its directory "organs" if they are empty. */
static void report_unfinished(const fleet *f, size_t done, organ_error *error)
{
    const organ_error cause = *error;
    if (done > 0) {
        *error = (organ_error){0};
        organ_fail(error, cause.status,
                   "%.700s (%zu of %zu models are done and kept in %.200s; the same command continues)", cause.message,
                   done, f->list.count, f->options->output);
        error->errnum = cause.errnum;
        return;
    }
    if (!organ_ranks_first(f->ranks))
        return;
    ORGAN_OWNED char *organs = path_in(f, "organs");
    if (organs)
        rmdir(organs);
    rmdir(f->options->output);
}

/* f->state is written after each member, so that a later run continues there. */
static organ_status do_members(fleet *f, size_t *done, organ_error *error)
{
    if (organ_fleet_read_results(f->options->output, f->options->no_extract, &f->list, f->ranks, &f->before, error))
        return error->status;
    for (size_t k = 0; k < f->list.count && !error->status; k++)
        if (do_member(f, &f->list.members[k], error) == ORGAN_OK &&
            organ_fleet_state_write(f->options->output, f->state, f->ranks, error) == ORGAN_OK)
            (*done)++;
    return error->status;
}

/* Returns ORGAN_CHECK_FAILED, after the reports are written, if a model could not be processed. */
static organ_status finish_fleet(const fleet *f, json_t *report, organ_error *error)
{
    if (report && organ_fleet_report_prunings(report))
        organ_fail_memory(error, f->options->output);
    if (organ_ranks_agree(f->ranks, "reporting the fleet", error) ||
        (organ_ranks_first(f->ranks) && fleet_write_reports(f, report, error)))
        return error->status;
    organ_error_set_output(error, f->options->output);
    if (!f->failed)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_CHECK_FAILED, "%zu of %zu models under %s could not be extracted or measured",
                      f->failed, f->list.count - f->others, f->options->directory);
}

static organ_status dissect_fleet(fleet *f, json_t **report, organ_error *error)
{
    const double started = organ_seconds_now();
    size_t done = 0;
    prepare_fleet(f, error);
    if (make_directories(f, error) == ORGAN_OK && do_members(f, &done, error) == ORGAN_OK) {
        *report = dissection_report(f, organ_seconds_now() - started);
        finish_fleet(f, *report, error);
    }
    if (error->status == ORGAN_IO || error->status == ORGAN_INTERRUPTED)
        report_unfinished(f, done, error);
    return error->status;
}

static void close_fleet(fleet *f)
{
    ORGAN_DECREF(f->before, f->state, f->times);
    organ_fleet_release(&f->list);
}

organ_status organ_fleet(const organ_fleet_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_fleet_options, options, report, error, "directory", options->directory, "output",
                         options->output))
        return error->status;
    fleet f = {.options = options,
               .engine = engine,
               .progress = progress,
               .ranks = engine->ranks,
               .state = json_object(),
               .times = json_object()};
    const organ_report_work work = organ_report_begin(report);
    dissect_fleet(&f, report, error);
    close_fleet(&f);
    return organ_report_end(&work, options->directory, error);
}
