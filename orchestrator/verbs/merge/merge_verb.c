/* SPDX-License-Identifier: MIT
 * The verb organ merge, and what follows a merge: an output of GGUF or of quantised weights is made from the merged
 * model, which is first written into a hidden directory next to the output and is removed at the end. Before that, the
 * last step is tried on an outline of the merged model, a directory with holes in place of the tensors.
 *
 * Ranks: the merged model must have its name before a rank opens it, and all ranks must have closed it before it is
 * removed. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
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
    char *stem;               /* name of the merged model, which GGUF files repeat */
    organ_hidden_model model; /* the merged model */
    json_t *merged;           /* report of the merge */
    uint64_t needs;           /* bytes of all that the steps write; known when the last one is tried */
    bool whole;               /* the output has its name */
} merge_steps;

/* ---- options and paths ---- */

static bool has_steps(const organ_merge_options *o)
{
    return o->then || (o->write.output && organ_ends_with(o->write.output, ".gguf"));
}

/* Refuses schemes that need options of organ quantize which organ merge lacks. organ quantize refuses unknown schemes
 * when the last step is tried. */
static organ_status check_then(const organ_merge_options *o, organ_error *error)
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
    s->model.folder = organ_hidden_path(output, "organ-merged");
    return s->stem && s->model.folder ? organ_hidden_path_check(s->model.folder, error)
                                      : organ_fail_memory(error, output);
}

/* ---- the outline ---- */

static organ_status make_outline(void *context, const organ_progress *progress, organ_error *error)
{
    merge_steps *const s = context;
    organ_hidden_model *const m = &s->model;
    organ_merge_options inner = *s->options;
    organ_engine engine = *s->engine;
    ORGAN_OWNED_JSON json_t *report = NULL;
    (void)progress;
    inner.write = (organ_write_options){.output = m->outline, .max_shard_size = s->options->write.max_shard_size};
    engine.ranks = NULL;
    s->made = (merge_made){.outline = true, .last = s->options->write.output};
    organ_error own = {0}; /* without a note that the outline is complete */
    if (organ_merge_once(&inner, &s->made, &engine, NULL, &report, &own))
        *error = own;
    m->path = error->status ? NULL : organ_format("%s/%s/%s", m->folder, s->made.print, s->stem);
    m->partial = m->path ? organ_publish_partial(m->path) : NULL;
    return error->status || m->partial ? error->status : organ_fail_memory(error, m->folder);
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
    c.mmproj = "none";
    c.model = model;
    c.to = "gguf";
    c.write = write;
    c.write.resume = write.resume && begun;
    return organ_convert_from(&c, origin, /*opened=*/NULL, s->engine, progress, report, error);
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

/* ---- the merge ---- */

/* The hidden directory of an interrupted run stays with --resume and is removed with --force. */
static organ_status settle_folder(const merge_steps *s, organ_error *error)
{
    const organ_write_options *const w = &s->options->write;
    if (!w->force && organ_ranks_first(s->engine->ranks)) {
        if (s->options->then && access(w->output, F_OK) == 0)
            organ_quantize_source_tidy(s->model.path, w->output, s->options->then);
        organ_publish_tidy(w->output, s->model.folder, s->model.path);
    }
    if (organ_ranks_agree(s->engine->ranks, "what an earlier run has left", error))
        return error->status;
    const bool left = access(s->model.folder, F_OK) == 0, begun = organ_publish_is_begun(w->output);
    ORGAN_OWNED char *const mine = organ_format("%s/%s", s->model.folder, s->made.print);
    if (!mine)
        organ_fail_memory(error, s->model.folder);
    else if ((left || begun) && !w->resume && !w->force)
        organ_fail(error, ORGAN_USAGE,
                   "%s: an unfinished run was found%s%s: `resume` continues it, `force` starts over", w->output,
                   left ? " in " : "", left ? s->model.folder : "");
    else if (left && w->resume && access(mine, F_OK))
        organ_fail(error, ORGAN_USAGE,
                   "%s: the unfinished run in %s had another recipe or other options: `force` starts over", w->output,
                   s->model.folder);
    else if (left && !w->resume && organ_ranks_first(s->engine->ranks) && organ_remove_tree(s->model.folder))
        organ_fail_errno(error, errno, "%s: cannot be removed", s->model.folder);
    return organ_ranks_agree(s->engine->ranks, "the check of the merge", error);
}

/* The directory is made, or was made by an earlier run or another rank. */
static organ_status make_folder(const char *path, organ_error *error)
{
    if (organ_make_folder(path, 0700) && errno != EEXIST)
        return organ_fail_errno(error, errno, "%s: cannot be made", path);
    return organ_hidden_path_check(path, error);
}

static organ_status enter_folder(void *context, bool begun, organ_error *error)
{
    const merge_steps *const s = context;
    ORGAN_OWNED char *const mine = organ_format("%s/%s", s->model.folder, s->made.print);
    if (!mine)
        return organ_fail_memory(error, s->model.folder);
    return make_folder(mine, error) || begun
               ? error->status
               : organ_transfer_room(s->model.folder, s->model.output, "the merged model and the output need", s->needs,
                                     error);
}

static organ_status merge_hidden(void *context, bool resume, json_t **report, organ_error *error)
{
    const merge_steps *const s = context;
    organ_merge_options inner = *s->options;
    char size[16];
    inner.write.output = s->model.path;
    inner.write.evaluate = NULL;
    inner.write.resume = resume;
    inner.write.force = false;
    organ_progress_note_once(s->progress, "the merged model is first written to %s (%s), which is removed at the end",
                             s->model.folder, organ_quantity_text(s->made.bytes, size));
    return organ_merge_once(&inner, NULL, s->engine, s->progress, report, error);
}

/* ---- the last step with an outline or the merged model ---- */

/* The name of the merged model, which is not written, is free in the directory of the outline. */
static organ_status plan_merge(merge_steps *s, const organ_progress *progress, json_t *last, json_t **report,
                               organ_error *error)
{
    organ_merge_options inner = *s->options;
    ORGAN_OWNED char *const planned = organ_format("%s/%s.planned", s->model.sketch.path, s->stem);
    inner.write.output = planned;
    inner.write.evaluate = NULL;
    if (!planned)
        organ_fail_memory(error, s->stem);
    else if (organ_merge_once(&inner, NULL, s->engine, progress, report, error) == ORGAN_OK)
        join_reports(s, *report, last, error);
    return error->status;
}

static organ_status try_last(merge_steps *s, const organ_progress *progress, json_t **report, organ_error *error)
{
    const organ_write_origin origin = {.scored = s->made.base, .name = ORGAN_MERGE_RECIPE_NAME, .text = s->made.recipe};
    const bool dry = s->options->write.dry_run;
    ORGAN_OWNED_JSON json_t *last = NULL;
    if ((!dry && settle_folder(s, error)) ||
        run_last(s, s->model.outline, /*dry=*/true, &origin, progress, &last, error))
        return error->status;
    s->needs = temporary_bytes(s, last) + count_of(last, "plan", "output_bytes");
    return dry ? plan_merge(s, progress, last, report, error)
               : organ_memory_claim(s->engine, count_of(last, "plan", "memory_enough"), error,
                                    "the step after the merge");
}

static organ_status make_last(void *context, const char *path, bool try, const organ_progress *progress,
                              json_t **report, organ_error *error)
{
    merge_steps *const s = context;
    if (try)
        return try_last(s, progress, report, error);
    ORGAN_OWNED_JSON json_t *const document = json_copy(s->merged);
    const organ_write_origin origin = {.scored = s->made.base,
                                       .name = ORGAN_MERGE_RECIPE_NAME,
                                       .text = s->made.recipe,
                                       .document = document,
                                       .member = "merge"};
    if (!document)
        return organ_fail_memory(error, s->stem);
    json_object_del(document, "run"); /* a report has one, at its end */
    run_last(s, path, /*dry=*/false, &origin, progress, report, error);
    s->whole = !error->status || *report; /* with a report and an error, the evaluation failed */
    return error->status;
}

/* If only the evaluation of the output failed, there is a report too. */
static organ_status make_steps(merge_steps *s, json_t **report, organ_error *error)
{
    const organ_write_options *const w = &s->options->write;
    ORGAN_OWNED_JSON json_t *last = NULL;
    const organ_steps steps = {.inputs = &s->made.inputs,
                               .resume = w->resume,
                               .key = "merged",
                               .report = &organ_merge_view,
                               .sketch = "organ-merge-outline",
                               .name = s->stem,
                               .tries = true,
                               .dry = w->dry_run,
                               .context = s,
                               .outline = make_outline,
                               .enter = enter_folder,
                               .make = merge_hidden,
                               .last = make_last};
    organ_steps_run(&s->model, &steps, s->progress, &s->merged, &last, error);
    if (last && w->dry_run)
        *report = json_incref(last);
    else if (last) {
        join_reports(s, s->merged, last, error);
        *report = json_incref(s->merged);
    }
    return error->status;
}

/* ---- the verb ---- */

static void close_steps(merge_steps *s, organ_error *error)
{
    const bool left = s->model.partial && (access(s->model.path, F_OK) == 0 || access(s->model.partial, F_OK) == 0);
    organ_hidden_model_close(&s->model, left && !s->whole, error);
    json_decref(s->merged);
    ORGAN_FREE_ARRAYS(s->stem, s->made.recipe);
    organ_run_inputs_release(&s->made.inputs);
    free(s->made.base);
}

static organ_status run_steps(const void *given, const organ_engine *engine, const organ_progress *progress,
                              json_t **report, organ_error *error)
{
    merge_steps s = {.options = given, .engine = engine, .progress = progress, .model.ranks = engine->ranks};
    const organ_report_work work = organ_report_begin(report);
    s.model.output = s.options->write.output;
    if (check_then(s.options, error) == ORGAN_OK)
        name_paths(&s, error);
    if (organ_run_names_reserve(&s.model.names, &s.options->write.output, !s.options->write.dry_run,
                                s.options->write.force, engine->ranks, error) == ORGAN_OK)
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
