/* SPDX-License-Identifier: MIT
 * How servers round the inputs of quantised matrices (--activations, --activation-type, --activation-scale): the choice
 * of a row of formats/weights/served.c, its members of quantization_config, and notes about loaders. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* ---- the choice ---- */

static bool has_scheme(const organ_quantize_inputs *kind, const char *scheme)
{
    for (size_t k = 0; k < sizeof kind->schemes / sizeof *kind->schemes && kind->schemes[k]; k++)
        if (fnmatch(kind->schemes[k], scheme, 0) == 0)
            return true;
    return false;
}

/* Returns the word of --activation-type. */
static const char *type_of(const organ_input_rounding *rounding)
{
    static const char *const words[] = {
        [ORGAN_INPUTS_INT8] = "int8", [ORGAN_INPUTS_E4M3] = "fp8", [ORGAN_INPUTS_E2M1] = "fp4"};
    return words[rounding->codes];
}

/* Without --activation-type, static scales are of the type that the scheme declares. */
static bool is_wanted(const organ_quantize_inputs *kind, const organ_quantize_options *o)
{
    if (o->activations.like_weights)
        return kind->flag;
    if (!o->activations.type && !o->activations.scale)
        return kind->declared;
    return !kind->flag && !kind->unasked &&
           (!o->activations.type || strcmp(o->activations.type, type_of(&kind->rounding)) == 0) &&
           (kind->rounding.span == ORGAN_INPUTS_TENSOR) == organ_quantize_static(o);
}

static void append(char *text, size_t room, const char *more)
{
    const size_t length = strlen(text);
    snprintf(text + length, room - length, "%s%s", length ? ", " : "", more);
}

static organ_status refuse_kind(const organ_quantize_options *o, organ_error *error)
{
    char same[200] = "", other[200] = "";
    const organ_quantize_inputs *kind;
    for (size_t k = 0; (kind = organ_served_at(k)); k++) {
        if (has_scheme(kind, o->scheme) && kind->asked)
            append(same, sizeof same, kind->asked);
        for (size_t s = 0; s < 2 && kind->schemes[s] && is_wanted(kind, o); s++)
            append(other, sizeof other, strchr(kind->schemes[s], '*') ? "int4-group128" : kind->schemes[s]);
    }
    return organ_fail(error, ORGAN_USAGE,
                      "no loader multiplies weights of scheme %s by activations of %s%s%s scales; this scheme has %s; "
                      "schemes with such activations: %s",
                      o->scheme, o->activations.type ? o->activations.type : "", o->activations.type ? " with " : "",
                      organ_quantize_static(o) ? "static" : "dynamic", *same ? same : "none", *other ? other : "none");
}

static organ_status check_words(const organ_quantize_options *o, organ_error *error)
{
    const struct {
        const char *given, *option, *words[3];
    } options[] = {{o->activations.type, "`activations.type`", {"int8", "fp8"}},
                   {o->activations.scale, "`activations.scale`", {"dynamic", "static"}},
                   {o->activations.observer, "`activations.observer`", {"extremes", "mse"}}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        if (options[k].given && !organ_is_one_of(options[k].given, options[k].words))
            return organ_fail(error, ORGAN_USAGE, "%s '%s' is unknown: %s or %s", options[k].option, options[k].given,
                              options[k].words[0], options[k].words[1]);
    return ORGAN_OK;
}

organ_status organ_quantize_inputs_check(const organ_quantize_options *o, organ_error *error)
{
    if (check_words(o, error))
        return error->status;
    if (organ_quantize_static(o) && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`activations.scale` static needs `calibration.text` FILE, a text on which the activations "
                          "are measured");
    if (o->activations.like_weights && organ_quantize_measures(o) && !o->calibration.text)
        return organ_fail(
            error, ORGAN_USAGE,
            "`activations.like_weights` needs `calibration.text` FILE, a text on which the inputs are measured");
    return ORGAN_OK;
}

const organ_quantize_inputs *organ_quantize_inputs_wanted(const organ_quantize_options *o)
{
    const organ_quantize_inputs *kind = NULL;
    for (size_t k = 0; !o->format && (kind = organ_served_at(k)); k++)
        if (has_scheme(kind, o->scheme) && is_wanted(kind, o))
            break;
    return kind;
}

organ_status organ_quantize_inputs_find(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    job->inputs = NULL;
    if (organ_encoding_kind(job->encoding) != ORGAN_KIND_TENSORS)
        return ORGAN_OK;
    job->inputs = organ_quantize_inputs_wanted(o);
    return job->inputs || (!o->activations.type && !o->activations.scale) ? ORGAN_OK : refuse_kind(o, error);
}

/* ---- quantization_config ---- */

static const char *strategy_of(const organ_input_rounding *rounding)
{
    if (rounding->span != ORGAN_INPUTS_GROUP)
        return rounding->span == ORGAN_INPUTS_TOKEN ? "token" : "tensor";
    return rounding->scales == ORGAN_INPUT_SCALES_E4M3 ? "tensor_group" : "group";
}

/* The members are those of the presets of compressed-tensors. NVFP4 computes the scale of a group at run time and
 * multiplies it by input_global_scale. */
json_t *organ_quantize_inputs_json(const organ_quantize_job *job, const organ_quantize_inputs *kind)
{
    const organ_input_rounding *const r = kind && !kind->unasked ? &kind->rounding : NULL;
    if (!r)
        return json_null();
    const bool both = r->scales == ORGAN_INPUT_SCALES_E4M3, fixed = r->span == ORGAN_INPUTS_TENSOR;
    json_t *const made = organ_compressed_arguments(
        r->codes == ORGAN_INPUTS_E2M1 ? 4 : 8, r->codes == ORGAN_INPUTS_INT8 ? "int" : "float", strategy_of(r),
        r->group ? json_integer((json_int_t)r->group) : json_null(), /*dynamic=*/!fixed && !both);
    const char *const bytes = both ? "torch.float8_e4m3fn" : "torch.uint8";
    const char *const observer = organ_quantize_by_error(job->options) ? "mse" : "static_minmax";
    return organ_json_joined(made, ORGAN_OBJECT(SET_IF(r->group, "scale_dtype", json_string(bytes)),
                                                SET_IF(r->group, "zp_dtype", json_string(bytes)),
                                                SET_IF(both, "dynamic", json_string("local")),
                                                SET_IF(both || fixed, "observer", json_string(observer))));
}

json_t *organ_quantize_inputs_document(const organ_quantize_job *job)
{
    const organ_quantize_inputs *const kind = job->inputs;
    char text[ORGAN_INPUT_TEXT];
    if (!kind)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("rounding", organ_input_text(&kind->rounding, text, sizeof text)),
                        SET_TEXT("loaders", kind->loaders));
}

/* ---- loaders ---- */

static bool has_experts(const organ_quantize_job *job)
{
    for (size_t k = 0; k < job->list.part_count; k++)
        if (organ_modules_is_routed(&organ_quantize_next_part(job, k)->weight->codes->anatomy))
            return true;
    return false;
}

organ_status organ_quantize_inputs_check_experts(organ_quantize_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->list.part_count && !error->status; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        const organ_tensor *const tensor = part->weight->codes;
        const organ_quantize_inputs *const kind =
            organ_quantize_has_own_scheme(job, tensor) ? job->block.inputs : job->inputs;
        if (organ_modules_is_routed(&tensor->anatomy) && kind && kind->instead)
            organ_fail(error, ORGAN_USAGE,
                       "%s: no loader multiplies experts of scheme %s by activations with %s scales: use %s, or "
                       "`targets` without the experts",
                       job->model->path, part->encoding->name,
                       kind->rounding.span == ORGAN_INPUTS_TENSOR ? "static" : "dynamic", kind->instead);
    }
    return error->status;
}

void organ_quantize_inputs_note(const organ_quantize_job *job)
{
    const organ_quantize_inputs *const kind = job->inputs;
    const organ_quantize_options *const o = job->options;
    char text[ORGAN_INPUT_TEXT];
    if (!kind || (!kind->unasked && !o->activations.type && !o->activations.scale && !o->activations.like_weights))
        return;
    organ_input_text(&kind->rounding, text, sizeof text);
    if (kind->unasked)
        organ_progress_note(job->progress,
                            "config.json declares no rounding of activations, but servers differ: they are rounded to "
                            "%s by %s. evaluate and perplexity --activations on round them, too",
                            text, kind->loaders);
    else
        organ_progress_note(job->progress, "servers round activations to %s; loaders of %s with them: %s", text,
                            job->encoding->name, kind->loaders);
    if (kind->one_group && job->list.regrouped)
        organ_progress_warn(job->progress,
                            "vLLM multiplies by FP8 inputs only groups of 128, and %zu tensor%s smaller ones: use "
                            "`activations.type` int8",
                            job->list.regrouped, job->list.regrouped == 1 ? " has" : "s have");
    if (kind->experts && has_experts(job))
        organ_progress_warn(job->progress, "%s", kind->experts);
}
