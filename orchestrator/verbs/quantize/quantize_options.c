/* SPDX-License-Identifier: MIT
 * Checks the options of organ quantize that do not depend on the model, and finds the encoding of --scheme. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/base/text.h"
#include "orchestrator/output/verb_requirements.h" /* declares the table that a macro defines */

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *organ_quantize_scheme_named(const char *typed, char name[ORGAN_SCHEME_ROOM])
{
    const size_t length = strlen(typed);
    for (const char *at = ORGAN_QUANTIZE_SCHEMES; *at; at += strcspn(at, "|"), at += *at == '|')
        if (length < ORGAN_SCHEME_ROOM && strcspn(at, "|") == length && strncasecmp(at, typed, length) == 0) {
            snprintf(name, ORGAN_SCHEME_ROOM, "%.*s", (int)length, at);
            return name;
        }
    return typed;
}

/* ---- what options have a meaning with ---- */

#define OPTION(path, ...) ORGAN_REQUIREMENT(organ_quantize_options, path, __VA_ARGS__)
/* A text is read by these. Of static scales and NVFP4 the inputs are measured. */
#define MEASURING "method=gptq|activations.scale=static|activations.like_weights=nvfp4|kv_cache|scheme=mixed"
#define READING   MEASURING "|smooth.alpha"

/* The names of the files decide about schemes that exist for several kinds of output. */
static const char *kind_of_output(const organ_quantize_options *o)
{
    static const char *const words[] = {
        [ORGAN_KIND_TENSORS] = "compressed-tensors", [ORGAN_KIND_GGUF] = "GGUF", [ORGAN_KIND_MLX] = "MLX"};
    const bool gguf = organ_quantize_names_gguf(o);
    const organ_encoding *const encoding = organ_quantize_encoding_requested(o, o->scheme, gguf);
    if (organ_quantize_types_wanted(o) || organ_recipe_named(o->scheme))
        return "GGUF";
    return encoding ? words[o->format ? ORGAN_KIND_MLX : organ_encoding_kind(encoding)] : NULL;
}

static void find_facts(const void *options, organ_facts *facts)
{
    const organ_quantize_options *const o = options;
    const bool none = o->scheme && strcmp(o->scheme, "none") == 0;
    const bool measures = o->scheme && organ_quantize_measures(o);
    const organ_recipe *const recipe = o->scheme ? organ_recipe_named(o->scheme) : NULL;
    const char *const kind = none || !o->scheme || !o->model ? NULL : kind_of_output(o);
    const bool converts = kind && strcmp(kind, "GGUF") == 0 && !organ_ends_with(o->model, ".gguf");
    snprintf(facts->text, sizeof facts->text, "scheme %.32s%s%s", o->scheme ? o->scheme : "",
             none ? ", which quantises nothing" : "", recipe ? ", which decides about every tensor" : "");
    organ_facts_add(facts, "scheme", recipe ? "recipe:" : o->scheme, facts->text);
    organ_facts_add(facts, "outputs in", none ? "none" : kind, o->format ? "`format` mlx" : facts->text);
    organ_facts_add(facts, "method", none ? "none" : o->method, none ? facts->text : NULL);
    organ_facts_assume(facts, "method", none || o->method ? NULL : "nearest", "nearest, the default method");
    organ_facts_add(facts, "activations.like_weights", o->activations.like_weights && measures ? o->scheme : NULL,
                    NULL);
    organ_facts_add(facts, "a conversion to GGUF", converts ? "" : NULL, NULL);
}

/* clang-format off */
ORGAN_REQUIREMENTS(quantize, find_facts,
    OPTION(scheme),
    OPTION(method, .never = "scheme=none"),
    OPTION(targets, .never = "scheme=none,recipe:*", .why = "`type_of` 'GLOB=keep' leaves tensors unchanged"),
    OPTION(format, .never = "scheme=none"),
    OPTION(readers, .never = "scheme=none"),
    OPTION(gguf.imatrix, .with = "outputs in=GGUF"),
    OPTION(gguf.type_of, .with = "outputs in=GGUF"),
    OPTION(calibration.text, .with = READING),
    OPTION(calibration.samples, .with = READING),
    OPTION(calibration.context, .with = READING),
    OPTION(calibration.compute, .with = READING),
    OPTION(calibration.scratch, .with = READING "|a conversion to GGUF"),
    OPTION(gptq.all_experts, .with = MEASURING),
    OPTION(gptq.moments, .with = "method=gptq|scheme=mixed"),
    OPTION(gptq.no_refit, .with = "method=gptq"),
    OPTION(gptq.repair_rank, .never = "scheme=mixed,nvfp4|format=mlx"),
    OPTION(gptq.repair_rank, .with = "method=gptq",
        .why = "codes and adapter are chosen together, on the calibration text; for finished models see organ "
               "lora extract --repair"),
    OPTION(activations.like_weights, .with = "outputs in=compressed-tensors"),
    OPTION(activations.like_weights, .with = "scheme=nvfp4,mxfp4", .why = "other schemes have `activations.type`"),
    OPTION(activations.type, .with = "outputs in=compressed-tensors", .never = "activations.like_weights"),
    OPTION(activations.scale, .with = "outputs in=compressed-tensors", .never = "activations.like_weights"),
    OPTION(activations.observer, .with = "activations.scale=static", .why = "dynamic scales are computed at run time"),
    OPTION(smooth.alpha, .never = "outputs in=GGUF", .why = "its loaders do not quantise activations"),
    OPTION(smooth.factors, .with = "smooth.alpha"),
    OPTION(kv_cache, .with = "outputs in=compressed-tensors"),
    OPTION(kv_cache, .never = "scheme=fp8-block128",
        .why = "its configuration (that of DeepSeek-V3) declares no KV cache: use fp8-channel"),
    OPTION(mtp_scheme, .never = "scheme=none"),
    OPTION(mtp_scheme, .never = "scheme=mixed", .why = "mixed chooses the width or type of each matrix"),
    OPTION(gguf.target_size, .with = "scheme=mixed"),
    OPTION(gguf.types, .with = "scheme=mixed"),
    OPTION(allocate.allocate, .with = "scheme=mixed"),
    OPTION(allocate.rounds, .never = "outputs in=GGUF"),
    ORGAN_ALLOCATE_NEEDS(organ_quantize_options, allocate, "scheme=mixed"),
    OPTION(one_width, .with = "scheme=mixed", .never = "outputs in=GGUF", .why = "llama.cpp reads any types"))
/* clang-format on */

/* ---- checks of values ---- */

static organ_status check_method(const organ_quantize_options *o, organ_error *error)
{
    if (organ_quantize_by_text(o) && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "`method` gptq needs `calibration.text` FILE, a text");
    if (o->method && !organ_quantize_by_text(o) && strcmp(o->method, "nearest") != 0)
        return organ_fail(error, ORGAN_USAGE, "`method` '%s' is unknown: nearest or gptq", o->method);
    return o->calibration.text ? organ_calibration_run_check(o->calibration.samples, o->calibration.context, error)
                               : ORGAN_OK;
}

/* Some schemes exist for several kinds of output. */
const organ_encoding *organ_quantize_encoding_requested(const organ_quantize_options *o, const char *name, bool gguf)
{
    const organ_kind other = gguf ? ORGAN_KIND_GGUF : ORGAN_KIND_TENSORS;
    const organ_encoding *const found = organ_encoding_for(name, o->format ? ORGAN_KIND_MLX : other);
    return found ? found : organ_encoding_named(name);
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

static organ_status check_format(const organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const bool mlx = organ_quantize_is_mlx(job);
    if (o->format && !mlx)
        return organ_fail(error, ORGAN_USAGE,
                          "scheme %s has no meaning with `format` mlx; those of MLX: " ORGAN_MLX_SCHEMES_TEXT,
                          o->scheme);
    if (o->format && organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "`format` mlx writes a directory, not one file: %s", o->write.output);
    return mlx && !o->format ? organ_fail(error, ORGAN_USAGE, "scheme %s is one of `format` mlx", o->scheme) : ORGAN_OK;
}

static organ_status check_repair(const organ_quantize_options *o, organ_error *error)
{
    return o->gptq.repair_rank && o->write.evaluate
               ? organ_fail(error, ORGAN_USAGE,
                            "`evaluate` would score the model without its adapter: use organ lora merge, "
                            "then organ evaluate")
               : ORGAN_OK;
}

static organ_status check_widths(const organ_quantize_options *o, bool mixed, organ_error *error)
{
    const organ_allocate_options *const a = &o->allocate;
    organ_budget budget;
    if (!mixed)
        return ORGAN_OK;
    if (!a->allocate || !a->budget)
        return organ_fail(
            error, ORGAN_USAGE,
            "scheme %s needs `allocate.allocate` global and `allocate.budget`, bits per weight (3.5bpw) or bytes (9GB)",
            o->scheme);
    if (!o->method || strcmp(o->method, "gptq") != 0)
        return organ_fail(
            error, ORGAN_USAGE,
            "scheme %s needs `method` gptq: the cost of each width is measured on a part of the calibration text",
            o->scheme);
    if (organ_budget_parse(a->budget, &budget, error) != ORGAN_OK)
        return error->status;
    return budget.unit != ORGAN_BUDGET_PERCENT
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE,
                            "`allocate.budget` %s: quantize needs bits per weight (3.5bpw) or bytes (9GB)", a->budget);
}

static organ_status check_budget_option(const organ_quantize_options *o, organ_error *error)
{
    organ_budget budget;
    if (!o->gguf.target_size == !o->allocate.budget)
        return organ_fail(
            error, ORGAN_USAGE,
            "scheme mixed needs `target_size`, the size of the file (12GB), or `allocate.budget`, bits per weight "
            "(3.5bpw) or bytes (12GB) of all tensors%s",
            o->gguf.target_size ? ", not both" : "");
    if (o->gguf.target_size)
        return ORGAN_OK; /* checked by organ_quantize_sizes */
    return organ_budget_parse(o->allocate.budget, &budget, &(organ_error){0}) == ORGAN_OK &&
                   budget.unit != ORGAN_BUDGET_PERCENT
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE,
                            "`allocate.budget` %s: quantize needs bits per weight (3.5bpw) or bytes (12GB)",
                            o->allocate.budget);
}

static organ_status check_types(const organ_quantize_options *o, organ_error *error)
{
    if (check_budget_option(o, error) || organ_allocate_check(&o->allocate, error))
        return error->status;
    if (o->write.output && !organ_ends_with(o->write.output, ".gguf"))
        return organ_fail(error, ORGAN_USAGE, "%s: the output of `target_size` is one GGUF file: name a .gguf",
                          o->write.output);
    return o->calibration.text || access(o->allocate.file, F_OK) == 0
               ? ORGAN_OK
               : organ_fail(
                     error, ORGAN_USAGE,
                     "scheme mixed needs `calibration.text` FILE, a text on which the cost of each type is measured: "
                     "%s does not exist yet",
                     o->allocate.file);
}

organ_status organ_quantize_check_options(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (organ_calibration_moments_parse(o->gptq.moments, &job->blocks, error) || check_repair(o, error) ||
        organ_quantize_inputs_check(o, error) || organ_quantize_cache_check(o, error))
        return error->status;
    if (!job->pruning && organ_quantize_types_wanted(o)) {
        job->encoding = organ_encoding_named("q6_k"); /* of tensors whose costs cannot be measured */
        return check_types(o, error) ? error->status : check_method(o, error);
    }
    job->recipe = organ_recipe_named(o->scheme);
    if (o->format && strcmp(o->format, "mlx") != 0)
        return organ_fail(error, ORGAN_USAGE, "`format` '%s' is unknown: mlx", o->format);
    job->encoding = job->recipe ? organ_quantize_type_named(job->recipe->base)
                                : organ_quantize_encoding_requested(o, o->scheme, organ_quantize_names_gguf(o));
    if (!job->encoding)
        return fail_unknown(o->scheme, error);
    if (organ_quantize_inputs_find(job, error) || check_format(job, error) || organ_quantize_block_check(job, error))
        return error->status;
    if (job->pruning && organ_encoding_is_gguf(job->encoding))
        return organ_fail(error, ORGAN_USAGE, "scheme %s has no meaning here: prune does not write blocks of GGUF",
                          o->scheme);
    return organ_allocate_check(&o->allocate, error) || check_widths(o, organ_encoding_is_mixed(job->encoding), error)
               ? error->status
               : check_method(o, error);
}
