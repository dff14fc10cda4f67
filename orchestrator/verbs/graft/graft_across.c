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

/* Whether the block must be converted. An organ directory is no input of a conversion. */
static bool crosses(const organ_model *source, const organ_model *target)
{
    return (source->gguf != NULL) != (target->gguf != NULL) && !source->manifest;
}

static organ_status name_block(organ_graft_across *a, const organ_graft_options *o, const organ_model *source,
                               organ_error *error)
{
    char fingerprint[17];
    if (organ_model_fingerprint(source, fingerprint, error))
        return error->status;
    ORGAN_OWNED char *const ending = organ_format("organ-block-%s", fingerprint);
    return ending ? organ_hidden_model_name(&a->hidden, o->write.output ? o->write.output : "grafted", ending,
                                            a->to_gguf ? "block.gguf" : "block", error)
                  : organ_fail_memory(error, o->source);
}

static organ_convert_options conversion_of(const organ_graft_across *a)
{
    organ_convert_options c = organ_convert_defaults();
    c.model = a->options->source;
    c.to = a->to_gguf ? "gguf" : "safetensors";
    c.mtp = "only";
    c.write.output = a->hidden.path;
    return c;
}

static organ_status convert_block(void *context, bool resume, json_t **report, organ_error *error)
{
    const organ_graft_across *const a = context;
    organ_convert_options c = conversion_of(a);
    c.write.resume = resume;
    c.write.force = !resume;
    organ_progress_note_once(a->progress, "the block is first converted to %s, which is removed at the end",
                             a->hidden.path);
    return organ_convert(&c, a->options->engine, a->progress, report, error);
}

static organ_status make_block(organ_graft_across *a, organ_error *error)
{
    const organ_graft_options *const o = a->options;
    const organ_hidden_making making = {.inputs = &a->inputs,
                                        .resume = o->write.resume,
                                        .key = "block",
                                        .report = &organ_convert_view,
                                        .context = a,
                                        .make = convert_block};
    const organ_convert_options c = conversion_of(a);
    ORGAN_OWNED_JSON json_t *report = NULL;
    uint64_t bytes = 0;
    if (o->write.dry_run) {
        a->path =
            organ_hidden_model_sketch(&a->hidden, "organ-block-outline", a->to_gguf ? "block.gguf" : "block", error)
                ? NULL
                : a->hidden.outline;
        return error->status ? error->status
                             : organ_convert_outline(&c, o->engine, a->progress, a->hidden.outline, &bytes, error);
    }
    organ_hidden_model_make(&a->hidden, &making, a->progress, &report, error);
    a->path = a->hidden.path;
    return error->status;
}

organ_status organ_graft_across_open(organ_graft_across *a, const organ_graft_options *options,
                                     const organ_progress *progress, organ_error *error)
{
    organ_model *source = NULL, *target = NULL;
    *a = (organ_graft_across){.options = options, .progress = progress, .path = options->source};
    a->hidden.output = options->write.output;
    a->hidden.ranks = options->ranks;
    if (!options->types || strcmp(options->types, "mtp") != 0)
        return ORGAN_OK;
    if (organ_model_open_with(options->source, options->access, &source, error) == ORGAN_OK &&
        organ_model_open_with(options->target, options->access, &target, error) == ORGAN_OK)
        a->converts = crosses(source, target);
    a->to_gguf = target && target->gguf;
    if (!error->status && a->converts && !options->engine)
        organ_fail(error, ORGAN_USAGE, "`engine` is missing: a block of the other format is converted first");
    else if (!error->status && a->converts &&
             organ_output_check_not_input(options->write.output, source, error) == ORGAN_OK &&
             organ_run_inputs_add_model(&a->inputs, "source", source, error) == ORGAN_OK)
        name_block(a, options, source, error);
    organ_model_close(source);
    organ_model_close(target);
    return error->status || !a->converts ? error->status : make_block(a, error);
}

void organ_graft_across_close(organ_graft_across *a, organ_error *error)
{
    const bool begun = a->converts && a->options->write.output && organ_publish_is_begun(a->options->write.output);
    if (a->converts)
        organ_hidden_model_close(&a->hidden, begun, error);
    organ_run_inputs_release(&a->inputs);
}
