/* SPDX-License-Identifier: MIT
 * The steps of organ quantize. From safetensors to GGUF the model is first converted to a GGUF file, in a hidden
 * directory next to the output or in --scratch, which is removed at the end. A dry run, and the check of the options
 * before a conversion, use a file with the same header and a hole instead of the data. With --smooth a smoothed copy of
 * the model takes the place of that file; since it has the same tensors, the donor serves for a dry run.
 *
 * Ranks: the file must have its name before a rank opens it, and all ranks must have closed it before it is removed. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/base/text.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/report/view/views.h"

#include <organ/convert.h>
#include <string.h>
#include <unistd.h>

/* ---- the first step ---- */

static organ_convert_options conversion(const organ_quantize_source *s)
{
    organ_convert_options c = organ_convert_defaults();
    c.mmproj = "none";
    c.model = s->model;
    c.to = "gguf";
    c.write.output = s->hidden.path;
    return c;
}

static organ_status outline_converted(void *context, const organ_progress *progress, organ_error *error)
{
    organ_quantize_source *const s = context;
    const organ_convert_options c = conversion(s);
    return organ_convert_outline(&c, s->opened, s->engine, progress, s->hidden.outline, &s->bytes, error);
}

static organ_status convert(void *context, bool resume, json_t **report, organ_error *error)
{
    const organ_quantize_source *const s = context;
    char size[16];
    organ_convert_options c = conversion(s);
    c.write.resume = resume;
    c.write.force = !resume;
    organ_progress_note_once(s->progress, "the model is first converted to %s (%s), which is removed at the end",
                             s->hidden.path, organ_quantity_text(s->bytes, size));
    return organ_convert_from(&c, /*origin=*/NULL, s->opened, s->engine, s->progress, report, error);
}

/* Finds errors of the smoothing, such as a model without folds, before it begins. */
static organ_status check_smoothing(void *context, const organ_progress *progress, organ_error *error)
{
    const organ_quantize_source *const s = context;
    ORGAN_OWNED_JSON json_t *checked = NULL;
    ORGAN_OWNED char *const planned = organ_format("%s.planned", s->hidden.folder);
    organ_smooth_options smoothing = organ_quantize_smoothing(s->call.options);
    (void)progress;
    smoothing.write = (organ_write_options){.output = planned, .dry_run = true};
    return planned ? organ_smooth(&smoothing, s->engine, /*progress=*/NULL, &checked, error)
                   : organ_fail_memory(error, s->model);
}

static organ_status smooth(void *context, bool resume, json_t **report, organ_error *error)
{
    const organ_quantize_source *const s = context;
    organ_smooth_options o = organ_quantize_smoothing(s->call.options);
    o.write = (organ_write_options){.output = s->hidden.path, .resume = resume, .force = !resume};
    organ_progress_note_once(s->progress, "the model is first smoothed to %s, which is removed at the end",
                             s->hidden.path);
    return organ_smooth(&o, s->engine, s->progress, report, error);
}

static const organ_steps converts = {.key = "converted",
                                     .report = &organ_convert_view,
                                     .sketch = "organ-source-outline",
                                     .outline = outline_converted,
                                     .make = convert};
static const organ_steps smooths = {
    .key = "smoothed", .report = &organ_smooth_view, .outline = check_smoothing, .make = smooth};

/* ---- whether there is one ---- */

static bool writes_gguf(const organ_quantize_options *o)
{
    const bool named = o->write.output && organ_ends_with(o->write.output, ".gguf");
    const organ_encoding *const encoding =
        named ? organ_quantize_type_named(o->scheme) : organ_encoding_named(o->scheme);
    return organ_quantize_types_wanted(o) || organ_recipe_named(o->scheme) ||
           (encoding && organ_encoding_is_gguf(encoding));
}

static organ_status name_paths(organ_quantize_source *s, const organ_model *model, organ_error *error)
{
    const organ_quantize_options *const o = s->call.options;
    const char *const output = o->write.output ? o->write.output : "model.gguf";
    const char *const scratch = o->calibration.scratch;
    char fingerprint[17];
    if (organ_model_fingerprint(model, fingerprint, error) != ORGAN_OK)
        return error->status;
    const char *const own = organ_path_name(model->directory);
    const bool converted = s->first == &converts;
    ORGAN_OWNED char *const ending = organ_format(converted ? "organ-source-%s" : "organ-smooth-%s", fingerprint);
    ORGAN_OWNED char *const at = scratch ? organ_format("%s/%s", scratch, organ_path_name(output)) : strdup(output);
    s->name = organ_format("%s%s", *own && *own != '.' ? own : "model", converted ? ".gguf" : "");
    s->partial = organ_publish_partial(output);
    return ending && at && s->name && s->partial ? organ_hidden_model_name(&s->hidden, at, ending, s->name, error)
                                                 : organ_fail_memory(error, model->path);
}

static organ_status check_output(organ_quantize_source *s, const organ_model *model, organ_error *error)
{
    const organ_quantize_options *const o = s->call.options;
    if (s->first == &converts && !o->write.dry_run && !organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: the output of scheme %s is one GGUF file: name a .gguf",
                          o->write.output, o->scheme);
    if (name_paths(s, model, error) || o->write.dry_run ||
        organ_output_check_not_input(o->write.output, model, error) || !organ_output_like(model))
        return error->status;
    s->like = strdup(organ_output_like(model));
    return s->like ? ORGAN_OK : organ_fail_memory(error, model->path);
}

static void close_model(organ_quantize_source *s)
{
    organ_model_close(s->opened);
    s->opened = NULL;
}

/* Sets s->first to the first step; NULL: there is none. The conversion, or the last step of a model in GGUF, takes the
 * model that this function opens. Smoothing opens it again. */
static organ_status find_step(organ_quantize_source *s, organ_error *error)
{
    const organ_quantize_options *const o = s->call.options;
    if (o->smooth.alpha != 0)
        s->first = &smooths;
    else if (!writes_gguf(o) || o->format) /* organ_quantize_check_options refuses such a --format */
        return ORGAN_OK;
    if (organ_model_open(o->model, &s->opened, error) || (!s->first && s->opened->gguf))
        return error->status;
    s->first = s->first ? s->first : &converts;
    if (organ_model_is_here(s->opened, "quantised", error) == ORGAN_OK &&
        organ_run_inputs_add_model(&s->inputs, "model", s->opened, error) == ORGAN_OK)
        check_output(s, s->opened, error);
    if (s->first == &smooths)
        close_model(s);
    return error->status;
}

/* Removes the converted file if all outputs have their names: then the run that made it was killed at its end. Not
 * called with --force, which begins again and removes the file later. */
static void tidy(const organ_quantize_source *s, const organ_quantize_outputs *outputs)
{
    bool whole = outputs->count > 0;
    for (size_t k = 0; k < outputs->count && whole; k++)
        whole = access(outputs->of[k], F_OK) == 0;
    if (whole)
        organ_publish_tidy(outputs->of[outputs->count - 1], s->hidden.folder, s->hidden.path);
}

static void close_steps(organ_quantize_source *s, organ_error *error)
{
    const organ_hidden_model *const m = &s->hidden;
    const bool begun = s->partial && (access(m->partial, F_OK) == 0 || organ_partial_is_begun(s->partial)),
               measured = s->measures && m->path && access(m->path, F_OK) == 0;
    organ_hidden_model_close(&s->hidden, begun || measured, error);
    organ_run_inputs_release(&s->inputs);
    ORGAN_FREE_ARRAYS(s->like, s->name, s->partial);
    json_decref(s->made);
    organ_model_close(s->opened);
}

void organ_quantize_source_tidy(const char *model, const char *output, const char *scheme)
{
    organ_quantize_options o = organ_quantize_defaults();
    organ_quantize_source s = {.model = model, .call.options = &o};
    ORGAN_RELEASED_BY(organ_quantize_outputs_release) organ_quantize_outputs outputs = {0};
    o.model = model;
    o.scheme = scheme;
    o.write.output = output;
    if (find_step(&s, &(organ_error){0}) == ORGAN_OK && s.hidden.folder &&
        organ_quantize_outputs_list(&o, &outputs, &(organ_error){0}) == ORGAN_OK)
        tidy(&s, &outputs);
    close_steps(&s, &(organ_error){0});
}

static organ_status reserve(organ_quantize_source *s, organ_ranks *ranks, organ_error *error)
{
    const organ_quantize_options *const o = s->call.options;
    ORGAN_RELEASED_BY(organ_quantize_outputs_release) organ_quantize_outputs outputs = {0};
    const bool early = !o->write.dry_run && (s->hidden.folder || s->measures || o->gptq.repair_rank);
    if (early)
        organ_quantize_outputs_list(o, &outputs, error);
    outputs.of[outputs.count] = outputs.record;
    organ_run_names_reserve(&s->hidden.names, (const char *const *)outputs.of, outputs.count + 1,
                            o->write.force && (s->hidden.folder || s->measures), ranks, error);
    s->waits = !error->status && early && organ_publish_waits(o->write.output);
    if (!error->status && early && s->hidden.folder && !o->write.force && organ_ranks_first(ranks))
        tidy(s, &outputs);
    if (!error->status && (outputs.record || s->hidden.folder))
        organ_quantize_outputs_check(o, &outputs, s->waits, error);
    if (!error->status && early && s->hidden.folder && outputs.count == 1)
        organ_output_check(o->write.output, s->like, o->write.force || o->write.resume, error);
    return error->status;
}

/* ---- the last step ---- */

/* Without a text only the conversion uses --scratch. A smoothed model is not smoothed again, and its text may serve
 * only the smoothing. */
static organ_quantize_options options_of_last(const organ_quantize_source *s)
{
    const organ_quantize_options *const options = s->call.options;
    organ_quantize_options inner = *options;
    inner.smooth.alpha = 0;
    inner.smooth.factors = NULL;
    if (s->first == &smooths && !organ_quantize_by_text(options) && !organ_quantize_measures(options))
        inner.calibration = organ_quantize_defaults().calibration;
    if (!organ_quantize_by_text(options) && !options->calibration.text)
        inner.calibration.scratch = NULL;
    return inner;
}

/* Makes one output, or the sizes of scheme mixed. */
static organ_plan_verb *maker_of(const organ_quantize_source *s)
{
    return s->measures ? organ_quantize_sizes : s->call.one;
}

static organ_status quantize_model(void *context, const char *path, bool try, const organ_progress *progress,
                                   json_t **report, organ_error *error)
{
    organ_quantize_source *const s = context;
    const organ_write_options *const w = &s->call.options->write;
    organ_quantize_options inner = options_of_last(s);
    const organ_write_origin smoothed = {.scored = s->model, .document = s->made, .member = "smoothed"};
    organ_quantize_call call = s->call;
    call.options = &inner;
    call.source = s->first == &smooths ? NULL : s;
    inner.model = path ? path : s->model;
    if (try) {
        inner.write.dry_run = true;
        inner.write.evaluate = NULL;
    } else {
        close_model(s);
        if (s->first == &smooths)
            call.origin = &smoothed;
        json_object_del(s->made, "run"); /* a report has one, at its end */
        if (!s->measures && !organ_publish_is_begun(w->output))
            inner.write.resume = false; /* the first step was interrupted */
    }
    return try && !w->dry_run ? maker_of(s)(&call, s->engine, progress, report, error)
                              : organ_plan_run(maker_of(s), &call, w->dry_run, s->engine, progress, report, error);
}

/* Scheme mixed would measure a file without data, so that only its dry run is tried on one. The report lists the
 * warnings of both steps. */
static organ_status run_both(organ_quantize_source *s, const organ_progress *progress, json_t **report,
                             organ_error *error)
{
    organ_kept_warnings kept;
    const organ_write_options *const w = &s->call.options->write;
    organ_steps steps = *s->first;
    steps.inputs = &s->inputs;
    steps.resume = w->resume || s->waits;
    steps.name = s->name;
    steps.tries = !s->measures;
    steps.dry = w->dry_run;
    steps.context = s;
    steps.last = quantize_model;
    s->progress = organ_warnings_begin(&kept, progress);
    organ_steps_run(&s->hidden, &steps, s->progress, &s->made, report, error);
    organ_warnings_end(&kept);
    return error->status;
}

organ_status organ_quantize_steps(const organ_quantize_call *call, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = call->options;
    organ_quantize_source s = {.call = *call,
                               .model = o->model,
                               .engine = engine,
                               .measures = organ_quantize_types_wanted(o),
                               .hidden = {.output = o->write.output, .ranks = engine->ranks}};
    find_step(&s, error);
    s.call.opened = s.first ? NULL : s.opened;
    if (!error->status && reserve(&s, engine->ranks, error) == ORGAN_OK) {
        if (s.hidden.folder)
            run_both(&s, progress, report, error);
        else
            organ_plan_run(maker_of(&s), &s.call, o->write.dry_run, engine, progress, report, error);
    }
    close_steps(&s, error);
    return error->status;
}
