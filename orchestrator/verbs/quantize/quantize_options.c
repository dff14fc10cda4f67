/* SPDX-License-Identifier: MIT
 * Checks the options of organ quantize that do not depend on the model, and finds the encoding of --scheme. */
#include "orchestrator/verbs/quantize/quantize_types.h"
#include "orchestrator/verbs/quantize/quantize_mlx.h"

#include "formats/base/text.h"

#include <string.h>

bool organ_quantize_by_text(const organ_quantize_options *o) { return o->method && strcmp(o->method, "gptq") == 0; }

/* 128 and 512 are the defaults of --samples and --context. */
static organ_status check_method(const organ_quantize_options *o, organ_error *error)
{
    if (organ_quantize_by_text(o)) {
        if (!o->calibration.text)
            return organ_fail(error, ORGAN_USAGE, "`method` gptq needs `calibration.text` FILE, a text");
        return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
    }
    if (o->method && strcmp(o->method, "nearest") != 0)
        return organ_fail(error, ORGAN_USAGE, "`method` '%s' is unknown: nearest or gptq", o->method);
    const bool reads = organ_quantize_measures(o) || o->kv_cache; /* nearest then runs the text too */
    const struct {
        bool given;
        const char *option;
    } without_effect[] = {{!reads && o->calibration.text, "`calibration.text`"},
                          {!reads && o->calibration.samples && o->calibration.samples != 128, "`calibration.samples`"},
                          {!reads && o->calibration.context && o->calibration.context != 512, "`calibration.context`"},
                          {!reads && o->calibration.scratch, "`calibration.scratch`"},
                          {o->moments != NULL, "`moments`"},
                          {!reads && o->all_experts, "`all_experts`"},
                          {o->no_refit, "`no_refit`"}};
    for (size_t k = 0; k < sizeof without_effect / sizeof *without_effect; k++)
        if (without_effect[k].given)
            return organ_fail(error, ORGAN_USAGE,
                              o->method
                                  ? "%s has no meaning for `method` nearest%.0s"
                                  : "%s has no meaning for nearest, the default method of scheme %s: add `method` gptq",
                              without_effect[k].option, o->scheme);
    return reads ? organ_calibration_run_check(o->calibration.samples, o->calibration.context, error) : ORGAN_OK;
}

static organ_status check_safetensors(const organ_quantize_options *o, const organ_encoding *encoding,
                                      organ_error *error)
{
    if (organ_quantize_widths_check(o, organ_encoding_is_mixed(encoding), error) || check_method(o, error))
        return error->status;
    if (o->type_of)
        return organ_fail(error, ORGAN_USAGE, "`type_of` has no meaning with scheme %s: it gives types of GGUF models",
                          encoding->name);
    if (o->imatrix)
        return organ_fail(error, ORGAN_USAGE,
                          "`imatrix` has no meaning with scheme %s: it weighs the blocks of GGUF models",
                          encoding->name);
    return ORGAN_OK;
}

static organ_status check_gguf(const organ_quantize_options *o, organ_error *error)
{
    if (o->allocate.allocate)
        return organ_fail(error, ORGAN_USAGE,
                          "`allocate.allocate` has no meaning with scheme %s: it writes no blocks of GGUF", o->scheme);
    if (o->targets && organ_recipe_named(o->scheme))
        return organ_fail(error, ORGAN_USAGE,
                          "`targets` has no meaning with scheme %s, which decides about every tensor; `type_of` "
                          "'GLOB=keep' leaves tensors unchanged",
                          o->scheme);
    return organ_allocate_check(&o->allocate, error) ? error->status : check_method(o, error);
}

/* Some schemes exist for several kinds of output. */
const organ_encoding *organ_quantize_encoding_requested(const organ_quantize_options *o, const char *name, bool gguf)
{
    const organ_kind other = gguf ? ORGAN_KIND_GGUF : ORGAN_KIND_TENSORS;
    const organ_encoding *const found = organ_encoding_for(name, o->format ? ORGAN_KIND_MLX : other);
    return found ? found : organ_encoding_named(name);
}

/* A text is also needed by --method nearest, which has none otherwise. */
static organ_status check_method_of_types(const organ_quantize_options *o, organ_error *error)
{
    organ_quantize_options without = *o;
    if (organ_quantize_by_text(o))
        return check_method(o, error);
    without.calibration = (organ_calibration_text){0};
    without.moments = NULL;
    without.all_experts = false;
    return check_method(&without, error);
}

static organ_status check_activations(const organ_quantize_options *o, bool gguf, organ_error *error)
{
    if (organ_quantize_inputs_check(o, gguf, error) || !o->activations)
        return error->status;
    if (strcmp(o->scheme, "nvfp4") != 0 && strcmp(o->scheme, "mxfp4") != 0)
        return organ_fail(error, ORGAN_USAGE,
                          "`activations` has no meaning with scheme %s: it is for nvfp4 and mxfp4; other schemes have "
                          "`activation_type`",
                          o->scheme);
    if (o->format || gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "`activations` has no meaning with %s: it is for schemes of compressed-tensors",
                          o->format ? "`format` mlx" : "GGUF models");
    if (organ_quantize_measures(o) && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`activations` needs `calibration.text` FILE, a text on which the inputs are measured");
    return ORGAN_OK;
}

/* For schemes that do not choose types. */
static organ_status check_size(const organ_quantize_options *o, organ_error *error)
{
    if (!o->target_size && !o->types)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "%s has no meaning with scheme %s: use `scheme` mixed",
                      o->target_size ? "`target_size`" : "`types`", o->scheme);
}

static organ_status fail_unknown(const char *scheme, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "scheme '%s' is unknown; the schemes are " ORGAN_TENSOR_SCHEMES(
                          ORGAN_NAME, ORGAN_COMMA_NAME) ", "
                                                        "mixed, and for GGUF models " ORGAN_GGUF_SCHEMES_TEXT
                                                        ", and recipes such as recipe:q4_k_m",
                      scheme);
}

organ_status organ_quantize_check_options(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const bool gguf =
        organ_ends_with(o->model, ".gguf") || (o->write.output && organ_ends_with(o->write.output, ".gguf"));
    if (organ_calibration_moments_parse(o->moments, &job->blocks, error) || organ_quantize_repair_check(o, error) ||
        check_activations(o, gguf, error) || organ_quantize_cache_check(o, gguf, error))
        return error->status;
    if (!job->pruning && organ_quantize_types_wanted(o)) {
        job->encoding = organ_encoding_named("q6_k"); /* of tensors whose costs cannot be measured */
        return organ_quantize_types_check(o, error) ? error->status : check_method_of_types(o, error);
    }
    if (check_size(o, error) != ORGAN_OK)
        return error->status;
    job->recipe = organ_recipe_named(o->scheme);
    if (o->format && strcmp(o->format, "mlx") != 0)
        return organ_fail(error, ORGAN_USAGE, "`format` '%s' is unknown: mlx", o->format);
    job->encoding = job->recipe ? organ_quantize_type_named(job->recipe->base)
                                : organ_quantize_encoding_requested(o, o->scheme, gguf);
    if (!job->encoding)
        return fail_unknown(o->scheme, error);
    if (organ_quantize_inputs_find(job, error) != ORGAN_OK)
        return error->status;
    if (o->format && !organ_quantize_is_mlx(job))
        return organ_fail(error, ORGAN_USAGE,
                          "scheme %s has no meaning with `format` mlx; those of MLX: " ORGAN_MLX_SCHEMES_TEXT,
                          o->scheme);
    if (o->format && organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "`format` mlx writes a directory, not one file: %s", o->write.output);
    if (!o->format && organ_quantize_is_mlx(job))
        return organ_fail(error, ORGAN_USAGE, "scheme %s is one of `format` mlx", o->scheme);
    if (o->repair_rank && (o->format || organ_encoding_has_divisor(job->encoding)))
        return organ_fail(error, ORGAN_USAGE, "`repair_rank` has no meaning with %s",
                          o->format ? "`format` mlx" : "scheme nvfp4");
    if (organ_quantize_block_check(job, error) || !organ_encoding_is_gguf(job->encoding))
        return error->status ? error->status : check_safetensors(o, job->encoding, error);
    return job->pruning ? organ_fail(error, ORGAN_USAGE,
                                     "scheme %s has no meaning here: prune does not write blocks of GGUF", o->scheme)
                        : check_gguf(o, error);
}
