/* SPDX-License-Identifier: MIT
 * --select mtp between formats: the block of the source is first converted into the target's format, in a hidden
 * directory next to the output, which is removed at the end. A dry run uses an outline, the same model without data.
 *
 * Ranks: the converted block must have its name before a rank opens it, and all ranks must have closed it before it is
 * removed. */
#include "orchestrator/verbs/graft/graft_block.h"

#include "formats/base/text.h"
#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/convert/convert_across.h"

#include <string.h>
#include <unistd.h>

typedef struct graft_across {
    const organ_graft_options *options;
    const organ_progress *progress;
    organ_graft_from *graft;
    void *job;
    organ_hidden_model hidden;
    organ_run_inputs inputs;
    bool converts, to_gguf;
} graft_across;

/* Whether the block must be converted. An organ directory is no input of a conversion. */
static bool crosses(const organ_model *source, const organ_model *target)
{
    return (source->gguf != NULL) != (target->gguf != NULL) && !source->manifest;
}

static const char *name_of(const graft_across *a) { return a->to_gguf ? "block.gguf" : "block"; }

static organ_status name_block(graft_across *a, const organ_model *source, organ_error *error)
{
    const char *const output = a->options->write.output;
    char fingerprint[17];
    if (organ_model_fingerprint(source, fingerprint, error))
        return error->status;
    ORGAN_OWNED char *const ending = organ_format("organ-block-%s", fingerprint);
    return ending ? organ_hidden_model_name(&a->hidden, output ? output : "grafted", ending, name_of(a), error)
                  : organ_fail_memory(error, a->options->source);
}

/* ---- the steps ---- */

static organ_convert_options conversion_of(const graft_across *a)
{
    organ_convert_options c = organ_convert_defaults();
    c.mmproj = "none";
    c.model = a->options->source;
    c.to = a->to_gguf ? "gguf" : "safetensors";
    c.mtp = "only";
    c.write.output = a->hidden.path;
    return c;
}

static organ_status outline_block(void *context, const organ_progress *progress, organ_error *error)
{
    const graft_across *const a = context;
    const organ_convert_options c = conversion_of(a);
    uint64_t bytes = 0;
    return organ_convert_outline(&c, /*opened=*/NULL, a->options->engine, progress, a->hidden.outline, &bytes, error);
}

static organ_status convert_block(void *context, bool resume, json_t **report, organ_error *error)
{
    const graft_across *const a = context;
    organ_convert_options c = conversion_of(a);
    c.write.resume = resume;
    c.write.force = !resume;
    organ_progress_note_once(a->progress, "the block is first converted to %s, which is removed at the end",
                             a->hidden.path);
    return organ_convert(&c, a->options->engine, a->progress, report, error);
}

static organ_status graft_converted(void *context, const char *path, bool try, const organ_progress *progress,
                                    json_t **report, organ_error *error)
{
    const graft_across *const a = context;
    (void)try, (void)progress; /* those of the job */
    return a->graft(a->job, path, report, error);
}

static organ_status run_both(graft_across *a, json_t **report, organ_error *error)
{
    const organ_write_options *const w = &a->options->write;
    ORGAN_OWNED_JSON json_t *made = NULL;
    const organ_steps steps = {.inputs = &a->inputs,
                               .resume = w->resume,
                               .key = "block",
                               .report = &organ_convert_view,
                               .sketch = "organ-block-outline",
                               .name = name_of(a),
                               .dry = w->dry_run,
                               .context = a,
                               .outline = w->dry_run ? outline_block : NULL,
                               .make = convert_block,
                               .last = graft_converted};
    return organ_steps_run(&a->hidden, &steps, a->progress, &made, report, error);
}

static organ_status find_step(graft_across *a, organ_error *error)
{
    const organ_graft_options *const o = a->options;
    organ_model *source = NULL, *target = NULL;
    if (!o->types || strcmp(o->types, "mtp") != 0)
        return ORGAN_OK;
    if (organ_model_open_with(o->source, o->access, &source, error) == ORGAN_OK &&
        organ_model_open_with(o->target, o->access, &target, error) == ORGAN_OK)
        a->converts = crosses(source, target);
    a->to_gguf = target && target->gguf;
    if (!error->status && a->converts && !o->engine)
        organ_fail(error, ORGAN_USAGE, "`engine` is missing: a block of the other format is converted first");
    else if (!error->status && a->converts &&
             organ_output_check_not_input(o->write.output, source, error) == ORGAN_OK &&
             organ_run_inputs_add_model(&a->inputs, "source", source, error) == ORGAN_OK)
        name_block(a, source, error);
    organ_model_close(source);
    organ_model_close(target);
    return error->status;
}

organ_status organ_graft_across(const organ_graft_options *options, const organ_progress *progress,
                                organ_graft_from *graft, void *job, json_t **report, organ_error *error)
{
    const char *const output = options->write.output;
    graft_across a = {.options = options,
                      .progress = progress,
                      .graft = graft,
                      .job = job,
                      .hidden = {.output = output, .ranks = options->ranks}};
    if (find_step(&a, error) == ORGAN_OK)
        a.converts ? run_both(&a, report, error) : graft(job, options->source, report, error);
    if (a.converts)
        organ_hidden_model_close(&a.hidden, output && organ_publish_is_begun(output), error);
    organ_run_inputs_release(&a.inputs);
    return error->status;
}
