/* SPDX-License-Identifier: MIT
 * organ quantize from safetensors to GGUF: the model is first converted to a GGUF file, in a hidden directory next to
 * the output or in --scratch, which is removed at the end. A dry run, and the check of the options before a conversion,
 * use a file with the same header and a hole instead of the data. With --smooth a smoothed copy of the model takes the
 * place of that file; since it has the same tensors, the donor serves for a dry run.
 *
 * Ranks: the file must have its name before a rank opens it, and all ranks must have closed it before it is removed. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/quantize_source.h"

#include "formats/base/text.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/report/view/views.h"

#include <organ/convert.h>
#include <string.h>
#include <unistd.h>

/* ---- whether a conversion is needed ---- */

static bool writes_gguf(const organ_quantize_options *o)
{
    const bool named = o->write.output && organ_ends_with(o->write.output, ".gguf");
    const organ_encoding *const encoding =
        named ? organ_quantize_type_named(o->scheme) : organ_encoding_named(o->scheme);
    return organ_quantize_types_wanted(o) || organ_recipe_named(o->scheme) ||
           (encoding && organ_encoding_is_gguf(encoding));
}

static organ_status name_paths(organ_quantize_source *s, const organ_quantize_options *o, const organ_model *model,
                               organ_error *error)
{
    const char *const output = o->write.output ? o->write.output : "model.gguf";
    const char *const scratch = o->calibration.scratch;
    char fingerprint[17];
    if (organ_model_fingerprint(model, fingerprint, error) != ORGAN_OK)
        return error->status;
    const char *const own = organ_path_name(model->directory);
    ORGAN_OWNED char *const ending = organ_format(s->smooths ? "organ-smooth-%s" : "organ-source-%s", fingerprint);
    ORGAN_OWNED char *const at = scratch ? organ_format("%s/%s", scratch, organ_path_name(output)) : strdup(output);
    s->name = organ_format("%s%s", *own && *own != '.' ? own : "model", s->smooths ? "" : ".gguf");
    s->partial = organ_publish_partial(output);
    return ending && at && s->name && s->partial ? organ_hidden_model_name(&s->hidden, at, ending, s->name, error)
                                                 : organ_fail_memory(error, model->path);
}

organ_status organ_quantize_source_find(const organ_quantize_options *o, organ_quantize_source *s, organ_error *error)
{
    organ_model *model = NULL;
    *s = (organ_quantize_source){
        .model = o->model, .options = o, .hidden.output = o->write.output, .measures = organ_quantize_types_wanted(o)};
    s->smooths = o->smooth != 0;
    if (!s->smooths && (!writes_gguf(o) || o->format)) /* organ_quantize_check_options refuses such a --format */
        return ORGAN_OK;
    if (organ_model_open(o->model, &model, error) == ORGAN_OK && (s->smooths || !model->gguf) &&
        organ_model_is_here(model, "quantised", error) == ORGAN_OK &&
        organ_run_inputs_add_model(&s->inputs, "model", model, error) == ORGAN_OK) {
        if (!s->smooths && !o->write.dry_run && !organ_output_is_file(o->write.output))
            organ_fail(error, ORGAN_USAGE, "%s: the output of scheme %s is one GGUF file: name a .gguf",
                       o->write.output, o->scheme);
        else if (name_paths(s, o, model, error) == ORGAN_OK && !o->write.dry_run &&
                 organ_output_check_not_input(o->write.output, model, error) == ORGAN_OK && organ_output_like(model) &&
                 !(s->like = strdup(organ_output_like(model))))
            organ_fail_memory(error, model->path);
    }
    organ_model_close(model);
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

void organ_quantize_source_tidy(const char *model, const char *output, const char *scheme)
{
    organ_quantize_options o = organ_quantize_defaults();
    organ_quantize_source s;
    ORGAN_RELEASED_BY(organ_quantize_outputs_release) organ_quantize_outputs outputs = {0};
    o.model = model;
    o.scheme = scheme;
    o.write.output = output;
    if (organ_quantize_source_find(&o, &s, &(organ_error){0}) == ORGAN_OK && s.hidden.folder &&
        organ_quantize_outputs_list(&o, &outputs, &(organ_error){0}) == ORGAN_OK)
        tidy(&s, &outputs);
    organ_quantize_source_close(&s, &(organ_error){0});
}

organ_status organ_quantize_source_reserve(const organ_quantize_options *o, organ_quantize_source *s,
                                           organ_ranks *ranks, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_quantize_outputs_release) organ_quantize_outputs outputs = {0};
    s->hidden.ranks = ranks;
    const bool early = !o->write.dry_run && (s->hidden.folder || s->measures || o->repair_rank);
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

/* ---- the file ---- */

static organ_convert_options conversion(const organ_quantize_source *s)
{
    organ_convert_options c = organ_convert_defaults();
    c.model = s->model;
    c.to = "gguf";
    c.write.output = s->hidden.path;
    return c;
}

organ_status organ_quantize_source_outline(organ_quantize_source *s, const organ_engine *engine,
                                           const organ_progress *progress, organ_error *error)
{
    const organ_convert_options c = conversion(s);
    if (s->smooths)
        return error->status;
    return organ_hidden_model_sketch(&s->hidden, "organ-source-outline", s->name, error)
               ? error->status
               : organ_convert_outline(&c, engine, progress, s->hidden.outline, &s->bytes, error);
}

typedef struct converting {
    const organ_quantize_source *source;
    const organ_engine *engine;
    const organ_progress *progress;
} converting;

static organ_status convert(void *context, bool resume, json_t **report, organ_error *error)
{
    const converting *const run = context;
    const organ_quantize_source *const s = run->source;
    char size[16];
    organ_convert_options c = conversion(s);
    c.write.resume = resume;
    c.write.force = !resume;
    organ_progress_note_once(run->progress, "the model is first converted to %s (%s), which is removed at the end",
                             s->hidden.path, organ_quantity_text(s->bytes, size));
    return organ_convert(&c, run->engine, run->progress, report, error);
}

static organ_status smooth(void *context, bool resume, json_t **report, organ_error *error)
{
    const converting *const run = context;
    const organ_quantize_source *const s = run->source;
    organ_smooth_options o = organ_quantize_smoothing(s->options);
    o.write = (organ_write_options){.output = s->hidden.path, .resume = resume, .force = !resume};
    organ_progress_note_once(run->progress, "the model is first smoothed to %s, which is removed at the end",
                             s->hidden.path);
    return organ_smooth(&o, run->engine, run->progress, report, error);
}

organ_status organ_quantize_source_make(organ_quantize_source *s, bool resume, const organ_engine *engine,
                                        const organ_progress *progress, organ_error *error)
{
    json_t *report = NULL;
    const organ_hidden_making making = {.inputs = &s->inputs,
                                        .resume = resume,
                                        .key = s->smooths ? "smoothed" : "converted",
                                        .report = s->smooths ? &organ_smooth_view : &organ_convert_view,
                                        .context = &(converting){s, engine, progress},
                                        .make = s->smooths ? smooth : convert};
    organ_hidden_model_make(&s->hidden, &making, progress, &report, error);
    json_decref(s->smoothed);
    s->smoothed = report;
    if (report)
        json_object_del(report, "run"); /* a report has one, at its end */
    return error->status;
}

void organ_quantize_source_close(organ_quantize_source *s, organ_error *error)
{
    const organ_hidden_model *const m = &s->hidden;
    const bool begun = s->partial && (access(m->partial, F_OK) == 0 || organ_partial_is_begun(s->partial)),
               measured = s->measures && m->path && access(m->path, F_OK) == 0;
    organ_hidden_model_close(&s->hidden, begun || measured, error);
    organ_run_inputs_release(&s->inputs);
    ORGAN_FREE_ARRAYS(s->like, s->name, s->partial);
    json_decref(s->smoothed);
    *s = (organ_quantize_source){0};
}
