/* SPDX-License-Identifier: MIT
 * organ quantize from safetensors to GGUF: the model is first converted to a GGUF file, in a hidden directory next to
 * the output or in --scratch, which is removed at the end. A dry run, and the check of the options before a conversion,
 * use a file with the same header and a hole instead of the data.
 *
 * Ranks: the file must have its name before a rank opens it, and all ranks must have closed it before it is removed. */
#include "orchestrator/verbs/quantize/quantize_source.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/output/run_inputs.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <organ/convert.h>
#include <stdio.h>
#include <stdlib.h>
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
    char *const ending = organ_format("organ-source-%s", fingerprint);
    char *const at = scratch ? organ_format("%s/%s", scratch, organ_path_name(output)) : strdup(output);
    s->folder = ending && at ? organ_hidden_path(at, ending) : NULL;
    free(ending);
    free(at);
    if (asprintf(&s->name, "%s.gguf", *own && *own != '.' ? own : "model") < 0)
        s->name = NULL;
    return s->folder && s->name ? organ_hidden_path_check(s->folder, error) : organ_fail_memory(error, model->path);
}

organ_status organ_quantize_source_find(const organ_quantize_options *o, organ_quantize_source *s, organ_error *error)
{
    organ_model *model = NULL;
    *s = (organ_quantize_source){
        .model = o->model, .output = o->write.output, .measures = organ_quantize_types_wanted(o)};
    if (!writes_gguf(o) || o->format) /* organ_quantize_check_options refuses such a --format */
        return ORGAN_OK;
    if (organ_model_open(o->model, &model, error) == ORGAN_OK && !model->gguf &&
        organ_model_is_here(model, "quantised", error) == ORGAN_OK &&
        organ_run_inputs_add_model(&s->inputs, "model", model, error) == ORGAN_OK) {
        if (!o->write.dry_run && !organ_output_is_file(o->write.output))
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

/* A run with --force begins again and removes it later. */
static void tidy(const organ_quantize_source *s, const organ_quantize_outputs *outputs)
{
    char *const path = organ_format("%s/%s", s->folder, s->name);
    bool whole = path && outputs->count > 0;
    for (size_t k = 0; k < outputs->count && whole; k++)
        whole = access(outputs->of[k], F_OK) == 0;
    if (whole)
        organ_publish_tidy(outputs->of[outputs->count - 1], s->folder, path);
    free(path);
}

void organ_quantize_source_tidy(const char *model, const char *output, const char *scheme)
{
    organ_quantize_options o = organ_quantize_defaults();
    organ_quantize_source s;
    organ_quantize_outputs outputs = {0};
    o.model = model;
    o.scheme = scheme;
    o.write.output = output;
    if (organ_quantize_source_find(&o, &s, &(organ_error){0}) == ORGAN_OK && s.folder &&
        organ_quantize_outputs_list(&o, &outputs, &(organ_error){0}) == ORGAN_OK)
        tidy(&s, &outputs);
    organ_quantize_outputs_release(&outputs);
    organ_quantize_source_close(&s, NULL, &(organ_error){0});
}

organ_status organ_quantize_source_reserve(const organ_quantize_options *o, organ_quantize_source *s,
                                           organ_ranks *ranks, organ_error *error)
{
    organ_quantize_outputs outputs = {0};
    const bool early = !o->write.dry_run && (s->folder || s->measures || o->repair_rank);
    if (early)
        organ_quantize_outputs_list(o, &outputs, error);
    outputs.of[outputs.count] = outputs.record;
    organ_run_names_reserve(&s->names, (const char *const *)outputs.of, outputs.count + 1,
                            o->write.force && (s->folder || s->measures), ranks, error);
    s->waits = !error->status && early && organ_publish_waits(o->write.output);
    if (!error->status && early && s->folder && !o->write.force && organ_ranks_first(ranks))
        tidy(s, &outputs);
    if (!error->status && (outputs.record || s->folder))
        organ_quantize_outputs_check(o, &outputs, s->waits, error);
    if (!error->status && early && s->folder && outputs.count == 1)
        organ_output_check(o->write.output, s->like, o->write.force || o->write.resume, error);
    organ_quantize_outputs_release(&outputs);
    return error->status;
}

/* ---- the file ---- */

#define CONVERTED "converted" /* the file in the record */

static organ_convert_options conversion(const organ_quantize_source *s)
{
    organ_convert_options c = organ_convert_defaults();
    c.model = s->model;
    c.to = "gguf";
    c.write.output = s->path;
    return c;
}

/* The directory is made, or was made by an earlier run. The names of unfinished files are made before,
 * because memory may have run out when they are needed. */
static organ_status enter_folder(organ_quantize_source *s, organ_ranks *ranks, organ_error *error)
{
    if (organ_ranks_agree(ranks, "the end of the outline", error))
        return error->status;
    char *path = organ_format("%s/%s", s->folder, s->name);
    s->begun = true;
    s->partials[0] = path ? organ_publish_partial(path) : NULL;
    s->partials[1] = organ_publish_partial(s->output);
    if (!path || !s->partials[0] || !s->partials[1])
        organ_fail_memory(error, s->folder);
    else if (organ_hidden_folder_open(s->folder, s->output, ranks, &s->entered, error) == ORGAN_OK) {
        s->path = path;
        path = NULL;
    }
    free(path);
    return organ_ranks_agree(ranks, "the directory of the converted model", error);
}

organ_status organ_quantize_source_outline(organ_quantize_source *s, const organ_engine *engine,
                                           const organ_progress *progress, organ_error *error)
{
    if (organ_outline_folder_open(s->output, "organ-source-outline", engine->ranks, &s->sketch, error))
        return error->status;
    if (!(s->outline = organ_format("%s/%s", s->sketch.path, s->name)))
        return organ_fail_memory(error, s->model);
    const organ_convert_options c = conversion(s);
    return organ_convert_outline(&c, engine, progress, s->outline, &s->bytes, error);
}

organ_status organ_quantize_source_drop_outline(organ_quantize_source *s, organ_error *error)
{
    free(s->outline);
    s->outline = NULL;
    return organ_hidden_folder_remove(&s->sketch, error);
}

static organ_status convert(organ_quantize_source *s, bool resume, const char *record, const organ_engine *engine,
                            const organ_progress *progress, organ_error *error)
{
    json_t *report = NULL;
    char size[16];
    organ_convert_options c = conversion(s);
    /* a file that has its name, but is not in the record, is made again */
    c.write.resume = resume && organ_publish_is_begun(s->path) && access(s->path, F_OK);
    c.write.force = !c.write.resume;
    organ_progress_note_once(progress, "the model is first converted to %s (%s), which is removed at the end", s->path,
                             organ_quantity_text(s->bytes, size));
    organ_error own = {0}; /* the file is not the output that a later error would call complete */
    if (organ_convert(&c, engine, progress, &report, &own))
        *error = own;
    else if (organ_ranks_first(engine->ranks))
        organ_run_record_end(record, CONVERTED, s->path, error);
    json_decref(report);
    return organ_ranks_agree(engine->ranks, "the end of the conversion", error);
}

static organ_status repeat_warnings(const organ_quantize_source *s, const organ_progress *progress, organ_error *error)
{
    organ_model *model = NULL;
    json_t *report = NULL;
    if (organ_model_open(s->path, &model, error) == ORGAN_OK)
        report = organ_own_report(model, &organ_convert_view, error);
    organ_warnings_repeat(report, progress);
    json_decref(report);
    organ_model_close(model);
    return error->status;
}

/* A file that an earlier run has converted is used if the record next to it has the same inputs. */
organ_status organ_quantize_source_make(organ_quantize_source *s, bool resume, const organ_engine *engine,
                                        const organ_progress *progress, organ_error *error)
{
    bool whole = false;
    if (enter_folder(s, engine->ranks, error))
        return error->status;
    char *const record = organ_format("%s/inputs.json", s->folder);
    if (!record)
        organ_fail_memory(error, s->folder);
    else if (resume)
        organ_run_record_check(record, &s->inputs, json_object(), s->output, CONVERTED, s->path, &whole, error);
    s->refused = error->status == ORGAN_USAGE;
    if (!error->status && !whole && organ_ranks_first(engine->ranks))
        organ_run_record_begin(record, &s->inputs, json_object(), error);
    if (organ_ranks_agree(engine->ranks, "the record of the conversion", error) == ORGAN_OK && whole)
        repeat_warnings(s, progress, error);
    else if (!error->status)
        convert(s, resume, record, engine, progress, error);
    free(record);
    return error->status;
}

void organ_quantize_source_close(organ_quantize_source *s, organ_ranks *ranks, organ_error *error)
{
    const bool stopped = error->status == ORGAN_INTERRUPTED || error->status == ORGAN_IO;
    organ_error met = *error;
    organ_quantize_source_drop_outline(s, error);
    if (s->begun)
        organ_ranks_agree(ranks, "the end of the quantisation", &met);
    if (s->path) {
        const bool begun = access(s->partials[0], F_OK) == 0 || organ_partial_is_begun(s->partials[1]),
                   measured = s->measures && access(s->path, F_OK) == 0;
        if (!s->refused && (!stopped || (!begun && !measured)))
            organ_hidden_folder_remove(&s->entered, error);
    }
    organ_hidden_folder_leave(&s->entered);
    organ_run_names_release(&s->names);
    organ_run_inputs_release(&s->inputs);
    free(s->folder);
    free(s->like);
    free(s->name);
    free(s->path);
    free(s->partials[0]);
    free(s->partials[1]);
    *s = (organ_quantize_source){0};
}
