/* SPDX-License-Identifier: MIT
 * organ merge, and what follows the merge: an output of GGUF or of quantised weights is made from the merged model,
 * which is first written into a hidden directory next to the output and is removed at the end. Before that, the last
 * step is tried on an outline of the merged model, a directory with holes in place of the tensors.
 *
 * Ranks: the merged model must have its name before a rank opens it, and all ranks must have closed it before it is
 * removed. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/run_names.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/verbs/quantize/quantize_source.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct merge_steps {
    const organ_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    merge_made made;
    char *stem;                  /* name of the merged model, which GGUF files repeat */
    organ_run_names names;       /* the output, reserved for this run */
    organ_hidden_folder sketch;  /* hidden directory of the outline */
    char *outline;               /* the outline in it */
    char *folder;                /* hidden directory of the merged model */
    organ_hidden_folder entered; /* the same, locked by this run */
    char *path, *partial;        /* of the merged model in it, complete and not */
    bool begun;                  /* the ranks have begun to use that directory */
    bool whole;                  /* the output has its name */
    bool refused;                /* the merged model there is of another run and stays */
} merge_steps;

/* ---- options and paths ---- */

static bool has_steps(const organ_merge_options *o)
{
    return o->then || (o->write.output && organ_ends_with(o->write.output, ".gguf"));
}

static organ_status check_scheme(const organ_merge_options *o, organ_error *error)
{
    const organ_encoding *const encoding = o->then ? organ_encoding_named(o->then) : NULL;
    const char *needs = NULL;
    if (o->then && strcasecmp(o->then, "mixed") == 0)
        needs = "a text and a budget";
    else if (encoding && organ_encoding_kind(encoding) == ORGAN_KIND_MLX)
        needs = "--format mlx";
    return needs ? organ_fail(error, ORGAN_USAGE,
                              "`then` %s needs %s: merge to a directory without `then`, then organ quantize DIRECTORY "
                              "--scheme %s",
                              o->then, needs, o->then)
                 : ORGAN_OK;
}

static organ_status name_paths(merge_steps *s, organ_error *error)
{
    const char *const output = s->options->write.output ? s->options->write.output : "merged";
    const size_t length = organ_path_length(output);
    const char *name = output + length;
    while (name > output && name[-1] != '/')
        name--;
    const int own = (int)(output + length - name);
    const bool single = organ_output_is_file(output);
    const int stem = single ? (int)(strrchr(name, '.') - name) : own;
    s->stem = organ_format("%.*s", stem, name);
    s->folder = organ_hidden_path(output, "organ-merged");
    return s->stem && s->folder ? organ_hidden_path_check(s->folder, error) : organ_fail_memory(error, output);
}

/* ---- the outline ---- */

static organ_status make_outline(merge_steps *s, organ_error *error)
{
    organ_merge_options inner = *s->options;
    organ_engine engine = *s->engine;
    json_t *report = NULL;
    if (organ_outline_folder_open(s->options->write.output, "organ-merge-outline", s->engine->ranks, &s->sketch, error))
        return error->status;
    if (!(s->outline = organ_format("%s/%s", s->sketch.path, s->stem)))
        return organ_fail_memory(error, s->sketch.path);
    inner.write = (organ_write_options){.output = s->outline, .max_shard_size = s->options->write.max_shard_size};
    engine.ranks = NULL;
    s->made = (merge_made){.outline = true, .last = s->options->write.output};
    organ_error own = {0}; /* without a note that the outline is complete */
    if (organ_merge_once(&inner, &s->made, &engine, NULL, &report, &own))
        *error = own;
    json_decref(report);
    s->path = error->status ? NULL : organ_format("%s/%s/%s", s->folder, s->made.print, s->stem);
    s->partial = s->path ? organ_publish_partial(s->path) : NULL;
    return error->status || s->partial ? error->status : organ_fail_memory(error, s->folder);
}

static organ_status drop_outline(merge_steps *s, organ_error *error)
{
    free(s->outline);
    s->outline = NULL;
    return organ_hidden_folder_remove(&s->sketch, error);
}

/* ---- the last step ---- */

static organ_status run_last(const merge_steps *s, const char *model, bool dry, const organ_write_origin *origin,
                             const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_write_options write = s->options->write;
    const bool begun = write.output && organ_publish_is_begun(write.output);
    write.dry_run = dry;
    if (s->options->then) {
        organ_quantize_options q = organ_quantize_defaults();
        q.model = model;
        q.scheme = s->options->then;
        q.write = write;
        q.write.resume = write.resume && (begun || (write.output && organ_output_is_file(write.output)));
        return organ_quantize_from(&q, origin, s->engine, progress, report, error);
    }
    organ_convert_options c = organ_convert_defaults();
    c.model = model;
    c.to = "gguf";
    c.write = write;
    c.write.resume = write.resume && begun;
    return organ_convert_from(&c, origin, s->engine, progress, report, error);
}

/* Finds errors of options, models, paths and memory before the merge, which may take long. */
static organ_status try_last(const merge_steps *s, json_t **report, organ_error *error)
{
    const organ_write_origin origin = {.scored = s->made.base, .name = ORGAN_MERGE_RECIPE_NAME, .text = s->made.recipe};
    const bool dry = s->options->write.dry_run;
    if (run_last(s, s->outline, true, &origin, dry ? s->progress : NULL, report, error) || dry)
        return error->status;
    const json_t *const plan = json_object_get(*report, "plan");
    return organ_memory_claim(s->engine, (uint64_t)json_integer_value(json_object_get(plan, "memory_enough")), error,
                              "the step after the merge");
}

/* ---- reports ---- */

static uint64_t count_of(const json_t *report, const char *object, const char *member)
{
    return (uint64_t)json_integer_value(json_object_get(json_object_get(report, object), member));
}

static double real_of(const json_t *report, const char *member)
{
    return json_number_value(json_object_get(json_object_get(report, "run"), member));
}

static uint64_t bytes_of_files(const json_t *last)
{
    uint64_t bytes = 0;
    size_t k;
    const json_t *file;
    json_array_foreach(json_object_get(last, "files"), k, file) bytes +=
        (uint64_t)json_integer_value(json_object_get(file, "bytes"));
    return bytes;
}

/* The merged model, and the GGUF file that is quantised. */
static uint64_t temporary_bytes(const merge_steps *s, const json_t *last)
{
    return s->made.bytes + count_of(last, "converted", "bytes");
}

static bool put(json_t *report, const char *object, const char *member, json_t *value)
{
    return value && json_object_set_new(json_object_get(report, object), member, value) == 0;
}

/* The times of a dry run are in run.plan. */
static bool add_plan(const merge_steps *s, json_t *report, const json_t *last)
{
    json_t *const run = json_object_get(report, "run"), *const time = json_object_get(run, "plan");
    static const char *const larger[] = {"memory_enough", "memory_good"}, *const sums[] = {"products", "bytes"},
                             *const times[] = {"seconds", "processor_seconds"};
    bool done = put(report, "plan", "output_bytes", json_integer((json_int_t)count_of(last, "plan", "output_bytes"))) &&
                put(report, "plan", "temporary_bytes", json_integer((json_int_t)temporary_bytes(s, last)));
    for (size_t k = 0; k < 2 && done; k++) {
        const json_t *const mine = json_object_get(report, "plan"), *const other = json_object_get(last, "plan");
        const uint64_t a = count_of(report, "plan", larger[k]), b = count_of(last, "plan", larger[k]);
        const double sum = json_number_value(json_object_get(mine, sums[k])) +
                           json_number_value(json_object_get(other, sums[k])),
                     wait = json_number_value(json_object_get(time, times[k])) +
                            json_number_value(
                                json_object_get(json_object_get(json_object_get(last, "run"), "plan"), times[k]));
        done = put(report, "plan", larger[k], json_integer((json_int_t)(a > b ? a : b))) &&
               put(report, "plan", sums[k], json_real(sum)) && put(run, "plan", times[k], json_real(wait));
    }
    return done;
}

/* The report of the merge becomes that of all steps. */
static organ_status join_reports(const merge_steps *s, json_t *report, json_t *last, organ_error *error)
{
    const organ_merge_options *const o = s->options;
    const json_t *const loss = json_object_get(json_object_get(last, "totals"), "relative_error"),
                        *const evaluation = json_object_get(last, "evaluation");
    const uint64_t bytes = bytes_of_files(last);
    json_object_del(last, "merge");
    bool done = ORGAN_ADD_BEFORE_RUN(
        report,
        SET("then", ORGAN_OBJECT(SET_TEXT("format", o->then ? "quantised" : "gguf"),
                                 SET_IF(o->then, "scheme", organ_document_string(o->then)), SET_COUNT("bytes", bytes),
                                 SET_IF(loss && !o->write.dry_run, "relative_error", json_incref((json_t *)loss)),
                                 SET("report", json_incref(last)))));
    if (evaluation)
        done = done && ORGAN_ADD_BEFORE_RUN(report, SET("evaluation", json_incref((json_t *)evaluation)));
    if (o->write.dry_run)
        done = done && add_plan(s, report, last);
    else
        done = done && put(report, "output", "bytes", json_integer((json_int_t)bytes)) &&
               put(report, "run", "output", organ_document_string(o->write.output)) &&
               put(report, "run", "seconds", json_real(real_of(last, "seconds")));
    return done ? ORGAN_OK : organ_fail_memory(error, s->stem);
}

/* ---- a dry run ---- */

/* The name of the merged model, which is not written, is free in the directory of the outline. */
static organ_status plan_steps(merge_steps *s, json_t **report, organ_error *error)
{
    organ_merge_options inner = *s->options;
    json_t *last = NULL;
    char *const planned = organ_format("%s/%s.planned", s->sketch.path, s->stem);
    inner.write.output = planned;
    inner.write.evaluate = NULL;
    if (!planned)
        organ_fail_memory(error, s->stem);
    else if (try_last(s, &last, error) == ORGAN_OK &&
             organ_merge_once(&inner, NULL, s->engine, s->progress, report, error) == ORGAN_OK)
        join_reports(s, *report, last, error);
    json_decref(last);
    free(planned);
    return error->status;
}

/* ---- a run ---- */

/* The hidden directory of an interrupted run stays with --resume and is removed with --force. */
static organ_status settle_folder(const merge_steps *s, organ_error *error)
{
    const organ_write_options *const w = &s->options->write;
    if (!w->force && organ_ranks_first(s->engine->ranks)) {
        if (s->options->then && access(w->output, F_OK) == 0)
            organ_quantize_source_tidy(s->path, w->output, s->options->then);
        organ_publish_tidy(w->output, s->folder, s->path);
    }
    if (organ_ranks_agree(s->engine->ranks, "what an earlier run has left", error))
        return error->status;
    const bool left = access(s->folder, F_OK) == 0, begun = organ_publish_is_begun(w->output);
    char *const mine = organ_format("%s/%s", s->folder, s->made.print);
    if (!mine)
        organ_fail_memory(error, s->folder);
    else if ((left || begun) && !w->resume && !w->force)
        organ_fail(error, ORGAN_USAGE,
                   "%s: an unfinished run was found%s%s: `resume` continues it, `force` starts over", w->output,
                   left ? " in " : "", left ? s->folder : "");
    else if (left && w->resume && access(mine, F_OK))
        organ_fail(error, ORGAN_USAGE,
                   "%s: the unfinished run in %s had another recipe or other options: `force` starts over", w->output,
                   s->folder);
    else if (left && !w->resume && organ_ranks_first(s->engine->ranks) && organ_remove_tree(s->folder))
        organ_fail_errno(error, errno, "%s: cannot be removed", s->folder);
    free(mine);
    return organ_ranks_agree(s->engine->ranks, "the check of the merge", error);
}

/* The directory is made, or was made by an earlier run or another rank. */
static organ_status make_folder(const char *path, organ_error *error)
{
    if (organ_make_folder(path, 0700) && errno != EEXIST)
        return organ_fail_errno(error, errno, "%s: cannot be made", path);
    return organ_hidden_path_check(path, error);
}

static organ_status enter_folder(merge_steps *s, const json_t *last, organ_error *error)
{
    char *const mine = organ_format("%s/%s", s->folder, s->made.print);
    const bool begun = access(s->folder, F_OK) == 0;
    s->begun = true;
    if (!mine)
        organ_fail_memory(error, s->folder);
    else
        organ_hidden_folder_open(s->folder, s->options->write.output, s->engine->ranks, &s->entered, error);
    if (organ_ranks_agree(s->engine->ranks, "the directory of the steps", error) == ORGAN_OK &&
        make_folder(mine, error) == ORGAN_OK && !begun)
        organ_transfer_room(s->folder, s->options->write.output, "the merged model and the output need",
                            temporary_bytes(s, last) + count_of(last, "plan", "output_bytes"), error);
    free(mine);
    return organ_ranks_agree(s->engine->ranks, "the directory of the merged model", error);
}

#define MERGED "merged" /* the merged model in its record */

/* The report of a merge that an earlier run has finished. */
static organ_status read_merged(const merge_steps *s, json_t **report, organ_error *error)
{
    organ_model *model = NULL;
    if (organ_model_open(s->path, &model, error) == ORGAN_OK &&
        !(*report = organ_own_report(model, &organ_merge_view, error)) && !error->status)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has no report of its merge: `force` starts over", s->path);
    if (*report)
        json_object_del(*report, "file"); /* as the run that finished the merge had it */
    organ_warnings_repeat(*report, s->progress);
    organ_model_close(model);
    return error->status;
}

/* The merged model is not the output that a later error would call complete. */
static organ_status merge_into(const merge_steps *s, const organ_merge_options *inner, json_t **report,
                               organ_error *error)
{
    organ_error own = {0};
    if (organ_merge_once(inner, NULL, s->engine, s->progress, report, &own))
        *error = own;
    return error->status;
}

/* A merged model that is not in the record of its inputs is removed. */
static organ_status settle_merged(merge_steps *s, const char *record, bool *whole, organ_error *error)
{
    organ_run_record_check(record, &s->made.inputs, json_object(), s->options->write.output, MERGED, s->path, whole,
                           error);
    s->refused = error->status == ORGAN_USAGE;
    if (!error->status && !*whole && organ_ranks_first(s->engine->ranks)) {
        if (access(s->path, F_OK) == 0 && organ_remove_tree(s->path))
            organ_fail_errno(error, errno, "%s: cannot be removed", s->path);
        organ_run_record_begin(record, &s->made.inputs, json_object(), error);
    }
    return organ_ranks_agree(s->engine->ranks, "the record of the merge", error);
}

static organ_status merge_recorded(merge_steps *s, const char *record, json_t **report, organ_error *error)
{
    organ_merge_options inner = *s->options;
    char size[16];
    bool whole = false;
    if (settle_merged(s, record, &whole, error) || whole)
        return error->status ? error->status : read_merged(s, report, error);
    inner.write.output = s->path;
    inner.write.evaluate = NULL;
    inner.write.resume = organ_publish_is_begun(s->path);
    inner.write.force = false;
    organ_progress_note_once(s->progress, "the merged model is first written to %s (%s), which is removed at the end",
                             s->folder, organ_quantity_text(s->made.bytes, size));
    if (merge_into(s, &inner, report, error) == ORGAN_OK && organ_ranks_first(s->engine->ranks))
        organ_run_record_end(record, MERGED, s->path, error);
    return error->status;
}

static organ_status make_merged(merge_steps *s, json_t **report, organ_error *error)
{
    char *const record = organ_format("%s/inputs.json", s->folder);
    if (!record)
        organ_fail_memory(error, s->folder);
    else
        merge_recorded(s, record, report, error);
    free(record);
    return error->status;
}

static organ_status make_output(merge_steps *s, const json_t *tried, json_t **report, json_t **last, organ_error *error)
{
    if (enter_folder(s, tried, error))
        return error->status;
    make_merged(s, report, error);
    if (organ_ranks_agree(s->engine->ranks, "the end of the merge", error))
        return error->status;
    json_t *const document = json_copy(*report);
    const organ_write_origin origin = {.scored = s->made.base,
                                       .name = ORGAN_MERGE_RECIPE_NAME,
                                       .text = s->made.recipe,
                                       .document = document,
                                       .member = "merge"};
    if (!document)
        return organ_fail_memory(error, s->stem);
    json_object_del(document, "run"); /* a report has one, at its end */
    run_last(s, s->path, false, &origin, s->progress, last, error);
    json_decref(document);
    s->whole = !error->status || *last; /* with a report and an error, the evaluation failed */
    return error->status;
}

/* If only the evaluation of the output failed, there is a report too. */
static organ_status make_steps(merge_steps *s, json_t **report, organ_error *error)
{
    json_t *tried = NULL, *last = NULL;
    try_last(s, &tried, error);
    drop_outline(s, error);
    if (organ_ranks_agree(s->engine->ranks, "the try of the last step", error) == ORGAN_OK)
        make_output(s, tried, report, &last, error);
    if (last)
        join_reports(s, *report, last, error);
    else {
        json_decref(*report);
        *report = NULL;
    }
    json_decref(tried);
    json_decref(last);
    return error->status;
}

/* ---- the verb ---- */

/* After an error with which the run can be continued, the merged model stays. Allocates nothing: memory may have run
 * out. */
static void leave_folder(merge_steps *s, organ_error *error)
{
    const bool stopped = error->status == ORGAN_INTERRUPTED || error->status == ORGAN_IO;
    organ_error met = *error;
    organ_ranks_agree(s->engine->ranks, "the end of the steps", &met);
    if (s->refused) {
        organ_hidden_folder_leave(&s->entered);
        return;
    }
    if (!stopped || s->whole || (access(s->path, F_OK) && access(s->partial, F_OK)))
        organ_hidden_folder_remove(&s->entered, error);
    else if (!strstr(error->message, "--resume")) {
        met = *error;
        *error = (organ_error){0};
        organ_fail(error, met.status, "%.700s; %.200s stays: `resume` continues the run", met.message, s->folder);
        error->errnum = met.errnum;
    }
    organ_hidden_folder_leave(&s->entered);
}

static void close_steps(merge_steps *s, organ_error *error)
{
    if (s->begun)
        leave_folder(s, error);
    drop_outline(s, error);
    organ_run_names_release(&s->names);
    free(s->stem);
    free(s->folder);
    free(s->path);
    free(s->partial);
    free(s->made.recipe);
    organ_run_inputs_release(&s->made.inputs);
    free(s->made.base);
}

static organ_status run_steps(const void *given, const organ_engine *engine, const organ_progress *progress,
                              json_t **report, organ_error *error)
{
    merge_steps s = {.options = given, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    const bool dry = s.options->write.dry_run;
    if (check_scheme(s.options, error) == ORGAN_OK)
        name_paths(&s, error);
    if (organ_run_names_reserve(&s.names, &s.options->write.output, !dry, s.options->write.force, engine->ranks,
                                error) == ORGAN_OK)
        make_outline(&s, error);
    if (organ_ranks_agree(engine->ranks, "the outline of the merge", error) == ORGAN_OK && dry)
        plan_steps(&s, report, error);
    else if (!error->status && settle_folder(&s, error) == ORGAN_OK)
        make_steps(&s, report, error);
    organ_report_end_partial(&work, s.options->write.output, error);
    close_steps(&s, error);
    return error->status;
}

organ_status organ_merge(const organ_merge_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_merge_options, options, report, error, "missing", options->missing, "match_experts",
                         options->match_experts, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(has_steps(options) ? run_steps : organ_merge_plain, options, options->write.dry_run, engine,
                          progress, report, error);
}
