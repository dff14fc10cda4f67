/* SPDX-License-Identifier: MIT
 * Tests of the options of all verbs: a zeroed structure is refused with the name of the member that it needs or used
 * with defaults, and so is a structure of another size. */
#include <organ/organ.h>
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "fixtures/tiny-qwen2"

static organ_engine *engine;

static void start_engine(void)
{
    organ_error error = {0};
    ck_assert_msg(organ_engine_create(NULL, 1, 0, &engine, &error) == ORGAN_OK, "%s", error.message);
}

static void end_engine(void) { organ_engine_destroy(engine); }

/* A function that is no verb leaves the fault of an earlier call, and needs no error. */
START_TEST(functions)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_topology *topology = NULL;
    ck_assert_int_eq(organ_model_open("nowhere", &model, NULL), ORGAN_IO);
    ck_assert_int_eq(organ_model_open(MODEL, &model, NULL), ORGAN_OK);
    organ_model_close(model);
    ck_assert_int_eq(organ_model_open("nowhere", &model, &error), ORGAN_IO);
    ck_assert_int_eq(organ_fail(&error, ORGAN_USAGE, "another"), ORGAN_IO);
    ck_assert_int_eq(organ_fail(NULL, ORGAN_USAGE, "none"), ORGAN_USAGE);
    ck_assert_int_eq(organ_fail_errno(NULL, 1, "none"), ORGAN_IO);
    ck_assert_int_eq(organ_fail_memory(NULL, "none"), ORGAN_IO);
    organ_error_set_output(NULL, "none");
    ck_assert_int_eq(organ_topology_import("nowhere", &topology, NULL), ORGAN_IO);
}
END_TEST

/* Runs `call`, which uses `report` and `error`, with results whose memory holds anything, and without results. Requires
 * ORGAN_USAGE, no report and `told` in the message. */
#define REFUSED(told, call)                                                                                            \
    do {                                                                                                               \
        organ_error result, *error = memset(&result, 0xA5, sizeof result);                                             \
        json_t *other = json_true(), **report = &other;                                                                \
        ck_assert_msg((call) == ORGAN_USAGE, "%s: %s", told, result.message);                                          \
        ck_assert_msg(strstr(result.message, told), "'%s' lacks '%s'", result.message, told);                          \
        ck_assert_int_eq(result.status, ORGAN_USAGE);                                                                  \
        ck_assert_ptr_null(other);                                                                                     \
        error = NULL, report = NULL;                                                                                   \
        ck_assert_int_eq((call), ORGAN_USAGE);                                                                         \
    } while (0)

/* Runs `call` likewise and requires a report. */
#define REPORTS(call)                                                                                                  \
    do {                                                                                                               \
        organ_error result, *error = memset(&result, 0xA5, sizeof result);                                             \
        json_t *other = NULL, **report = &other;                                                                       \
        ck_assert_msg((call) == ORGAN_OK, "%s", result.message);                                                       \
        ck_assert_int_eq(result.status, ORGAN_OK);                                                                     \
        ck_assert_ptr_nonnull(other);                                                                                  \
        json_decref(other);                                                                                            \
        error = NULL, report = NULL;                                                                                   \
        ck_assert_int_eq((call), ORGAN_OK);                                                                            \
    } while (0)

/* Runs a dry run with options `o` likewise, with and without the name of an output. */
#define DRY_RUN(call)                                                                                                  \
    do {                                                                                                               \
        REPORTS(call);                                                                                                 \
        o.write.output = NULL;                                                                                         \
        REPORTS(call);                                                                                                 \
    } while (0)

#define ENGINE engine, NULL, report, error

/* In options `o` of a verb, sets one member after the other; until it is set, each is asked for by its name. */
#define NEEDS(verb, member, value, ...)                                                                                \
    REFUSED("organ_" #verb "_options." #member " ", organ_##verb(&o, __VA_ARGS__));                                    \
    o.member = value

/* The initialiser of a verb states the size, and another size is refused. */
#define SIZED(verb, ...)                                                                                               \
    do {                                                                                                               \
        organ_##verb##_options sized = organ_##verb##_defaults();                                                      \
        ck_assert_uint_eq(sized.size, sizeof sized);                                                                   \
        sized.size += 8;                                                                                               \
        REFUSED("organ_" #verb "_options.size is ", organ_##verb(&sized, __VA_ARGS__));                                \
    } while (0)

/* Each choice of a set has its text, and the verb knows the text. */
#define CHOICES(set, count)                                                                                            \
    for (int k = 0; k < (count); k++) {                                                                                \
        ck_assert_int_eq(organ_##set##_from_name(organ_##set##_name((organ_##set)k)), k);                              \
        ck_assert_int_eq(organ_##set##_from_name("none"), count);                                                      \
    }

START_TEST(choices)
{
    CHOICES(prune_by, ORGAN_PRUNE_BY_COUNT)
    CHOICES(quantize_by, ORGAN_QUANTIZE_BY_COUNT)
    CHOICES(purify_by, ORGAN_PURIFY_BY_COUNT)
    CHOICES(convert_to, ORGAN_CONVERT_TO_COUNT)
    CHOICES(merge_by, ORGAN_MERGE_BY_COUNT)
    for (int k = 0; k <= ORGAN_PRUNE_BY_COUNT; k++) {
        organ_prune_options o = organ_prune_defaults();
        organ_error error;
        o.donor = MODEL, o.write.output = "build/none", o.write.dry_run = true, o.sparsity = 50;
        o.calibrated.method = k < ORGAN_PRUNE_BY_COUNT ? organ_prune_by_name((organ_prune_by)k) : "none";
        const bool known = organ_prune(&o, engine, NULL, NULL, &error) == ORGAN_OK || !strstr(error.message, "unknown");
        ck_assert_msg(known == (k < ORGAN_PRUNE_BY_COUNT), "%s: %s", o.calibrated.method, error.message);
    }
}
END_TEST

START_TEST(writers)
{
    {
        organ_prune_options o = {0};
        SIZED(prune, ENGINE);
        NEEDS(prune, donor, MODEL, ENGINE);
        NEEDS(prune, write.output, "build/none", ENGINE);
        o.write.dry_run = true;
        REFUSED("sparsity 0", organ_prune(&o, ENGINE));
        o.sparsity = 20;
        DRY_RUN(organ_prune(&o, ENGINE));
        o = organ_prune_defaults();
        o.donor = MODEL, o.write.output = "build/none", o.write.dry_run = true;
        DRY_RUN(organ_prune(&o, ENGINE));
    }
    {
        organ_quantize_options o = {0};
        SIZED(quantize, ENGINE);
        NEEDS(quantize, model, MODEL, ENGINE);
        NEEDS(quantize, scheme, "int4-group32", ENGINE);
        NEEDS(quantize, write.output, "build/none", ENGINE);
        o.write.dry_run = true;
        DRY_RUN(organ_quantize(&o, ENGINE));
    }
    {
        organ_dequantize_options o = {0};
        SIZED(dequantize, ENGINE);
        NEEDS(dequantize, model, MODEL, ENGINE);
        NEEDS(dequantize, dtype, "bf16", ENGINE);
        NEEDS(dequantize, write.output, "build/none", ENGINE);
        o.write.dry_run = true;
        DRY_RUN(organ_dequantize(&o, ENGINE));
    }
    {
        organ_convert_options o = {0};
        SIZED(convert, ENGINE);
        NEEDS(convert, model, MODEL, ENGINE);
        NEEDS(convert, to, "gguf", ENGINE);
        NEEDS(convert, type, "same", ENGINE);
        NEEDS(convert, write.output, "build/none.gguf", ENGINE);
        o.write.dry_run = true;
        DRY_RUN(organ_convert(&o, ENGINE));
    }
    {
        organ_purify_options o = {0};
        SIZED(purify, ENGINE);
        NEEDS(purify, model, MODEL, ENGINE);
        NEEDS(purify, method, "haar", ENGINE);
        NEEDS(purify, write.output, "build/none", ENGINE);
        o.write.dry_run = true;
        DRY_RUN(organ_purify(&o, ENGINE));
    }
}
END_TEST

/* Returns whether the other model has the bytes of the tensor under its name. */
static bool has_same(const organ_model *other, const organ_model *model, const organ_tensor *tensor)
{
    const organ_tensor *const its = organ_model_find(other, tensor->name);
    if (!its || its->dtype != tensor->dtype || its->bytes != tensor->bytes)
        return false;
    char *const a = malloc(tensor->bytes + 1), *const b = malloc(tensor->bytes + 1);
    ck_assert(a && b);
    ck_assert_int_eq(organ_model_read(model, tensor->file, a, tensor->bytes, tensor->offset, NULL), ORGAN_OK);
    ck_assert_int_eq(organ_model_read(other, its->file, b, its->bytes, its->offset, NULL), ORGAN_OK);
    const bool same = memcmp(a, b, tensor->bytes) == 0;
    free(a);
    free(b);
    return same;
}

/* Compares the figures of a run, dry or not, with the model and its finished output. `all`: the verb computes all
 * tensors, also those that become equal. */
static void compare_figures(const char *path, bool all, const organ_figures *figures)
{
    organ_model *model = NULL, *output = NULL;
    uint64_t weights = 0, changed = 0, bytes = 0;
    ck_assert_int_eq(organ_model_open(MODEL, &model, NULL), ORGAN_OK);
    ck_assert_int_eq(organ_model_open(path, &output, NULL), ORGAN_OK);
    for (size_t t = 0; t < model->tensor_count; t++) {
        weights += model->tensors[t].elements;
        changed += !all && has_same(output, model, &model->tensors[t]) ? 0 : model->tensors[t].elements;
    }
    for (size_t f = 0; f < output->file_count; f++)
        bytes += output->files[f].size;
    ck_assert_uint_eq(figures->weights, weights);
    ck_assert_uint_eq(figures->weights_changed, changed);
    ck_assert_uint_eq(figures->bytes, bytes);
    ck_assert(figures->seconds > 0 && figures->seconds < 1000);
    organ_model_close(model);
    organ_model_close(output);
}

/* Runs a verb with options `o`, first dry; `all` as in compare_figures. */
#define FIGURES(call, all)                                                                                             \
    do {                                                                                                               \
        organ_figures planned = {.bytes = 1}, figures = {.weights_changed = 1};                                        \
        organ_error failed;                                                                                            \
        const char *const output = o.write.output = scratch_path(#call);                                               \
        o.write.dry_run = true, o.write.figures = &planned;                                                            \
        ck_assert_msg(organ_##call(&o, engine, NULL, NULL, &failed) == ORGAN_OK, "%s", failed.message);                \
        o.write.dry_run = false, o.write.figures = &figures;                                                           \
        ck_assert_msg(organ_##call(&o, engine, NULL, NULL, &failed) == ORGAN_OK, "%s", failed.message);                \
        compare_figures(output, all, &planned);                                                                        \
        compare_figures(output, all, &figures);                                                                        \
    } while (0)

START_TEST(figures_of_outputs)
{
    scratch_begin();
    {
        organ_prune_options o = organ_prune_defaults();
        o.donor = MODEL;
        FIGURES(prune, false);
    }
    {
        organ_quantize_options o = organ_quantize_defaults();
        o.model = MODEL, o.scheme = "int4-group32";
        FIGURES(quantize, false);
    }
    {
        organ_layers_options o = organ_layers_defaults();
        o.model = MODEL, o.drop = "3-3";
        FIGURES(layers, false);
    }
    {
        organ_purify_options o = organ_purify_defaults();
        o.model = MODEL, o.method = "haar";
        FIGURES(purify, false);
    }
    {
        const char *const models[] = {MODEL, MODEL "-gguf/tiny-qwen2-Q8_0.gguf"};
        organ_merge_options o = organ_merge_defaults();
        o.models = models, o.model_count = 2, o.method = "linear";
        FIGURES(merge, true);
    }
    scratch_end();
}
END_TEST

START_TEST(cutters)
{
    {
        organ_experts_options o = {0};
        SIZED(experts, ENGINE);
        NEEDS(experts, model, MODEL, ENGINE);
        NEEDS(experts, keep, "50%", ENGINE);
        NEEDS(experts, write.output, "build/none", ENGINE);
    }
    {
        organ_layers_options o = {0};
        SIZED(layers, ENGINE);
        NEEDS(layers, model, MODEL, ENGINE);
        NEEDS(layers, drop, "1", ENGINE);
        NEEDS(layers, write.output, "build/none", ENGINE);
        o = organ_layers_defaults();
        o.model = MODEL, o.drop = "1-1", o.write.output = "build/none", o.write.dry_run = true;
        DRY_RUN(organ_layers(&o, ENGINE));
    }
    {
        organ_width_options o = {0};
        SIZED(width, ENGINE);
        NEEDS(width, model, MODEL, ENGINE);
        NEEDS(width, calibration.text, "fixtures/tiny-qwen2/config.json", ENGINE);
        NEEDS(width, score, "loss", ENGINE);
        NEEDS(width, write.output, "build/none", ENGINE);
        REFUSED("nothing to remove", organ_width(&o, ENGINE));
    }
}
END_TEST

START_TEST(adapters)
{
    {
        organ_lora_extract_options o = {0};
        SIZED(lora_extract, ENGINE);
        NEEDS(lora_extract, base, MODEL, ENGINE);
        NEEDS(lora_extract, tuned, MODEL, ENGINE);
        NEEDS(lora_extract, dtype, "bf16", ENGINE);
        NEEDS(lora_extract, write.output, "build/none", ENGINE);
        REFUSED("rank", organ_lora_extract(&o, ENGINE));
    }
    {
        organ_lora_merge_options o = {0};
        SIZED(lora_merge, ENGINE);
        NEEDS(lora_merge, base, MODEL, ENGINE);
        NEEDS(lora_merge, adapter, "nowhere", ENGINE);
        NEEDS(lora_merge, write.output, "build/none", ENGINE);
    }
    {
        organ_lora_resize_options o = {0};
        SIZED(lora_resize, ENGINE);
        NEEDS(lora_resize, adapter, "nowhere", ENGINE);
        NEEDS(lora_resize, output, "build/none", ENGINE);
        REFUSED("rank", organ_lora_resize(&o, ENGINE));
    }
    {
        organ_lora_combine_options o = {0};
        SIZED(lora_combine, ENGINE);
        NEEDS(lora_combine, method, "cat", ENGINE);
        NEEDS(lora_combine, majority_sign, "total", ENGINE);
        NEEDS(lora_combine, write.output, "build/none", ENGINE);
        REFUSED("one adapter alone", organ_lora_combine(&o, ENGINE));
    }
    {
        organ_lora_sanitize_options o = {0};
        SIZED(lora_sanitize, ENGINE);
        NEEDS(lora_sanitize, adapter, "nowhere", ENGINE);
        REFUSED("-o OUT is missing", organ_lora_sanitize(&o, ENGINE));
    }
}
END_TEST

START_TEST(movers)
{
    {
        organ_extract_options o = {0};
        SIZED(extract, NULL, NULL, report, error);
        NEEDS(extract, model, MODEL, NULL, NULL, report, error);
        NEEDS(extract, write.output, "build/none", NULL, NULL, report, error);
        o.write.dry_run = true;
        DRY_RUN(organ_extract(&o, NULL, NULL, report, error));
    }
    {
        organ_assemble_options o = {0};
        SIZED(assemble, NULL, NULL, report, error);
        NEEDS(assemble, directory, MODEL, NULL, NULL, report, error);
        NEEDS(assemble, write.output, "build/none", NULL, NULL, report, error);
    }
    {
        organ_gguf_split_options o = {0};
        SIZED(gguf_split, NULL, NULL, report, error);
        NEEDS(gguf_split, model, MODEL, NULL, NULL, report, error);
        NEEDS(gguf_split, write.output, "build/none", NULL, NULL, report, error);
    }
    {
        organ_gguf_join_options o = {0};
        SIZED(gguf_join, NULL, NULL, report, error);
        NEEDS(gguf_join, model, MODEL, NULL, NULL, report, error);
        NEEDS(gguf_join, write.output, "build/none.gguf", NULL, NULL, report, error);
    }
    {
        organ_gguf_edit_options o = {0};
        SIZED(gguf_edit, NULL, NULL, report, error);
        NEEDS(gguf_edit, model, MODEL, NULL, NULL, report, error);
        NEEDS(gguf_edit, write.output, "build/none.gguf", NULL, NULL, report, error);
    }
    {
        organ_patch_extract_options o = {0};
        SIZED(patch_extract, ENGINE);
        NEEDS(patch_extract, base, MODEL, ENGINE);
        NEEDS(patch_extract, tuned, MODEL, ENGINE);
        NEEDS(patch_extract, write.output, "build/none", ENGINE);
        o.write.dry_run = true;
        DRY_RUN(organ_patch_extract(&o, ENGINE));
    }
    {
        organ_patch_apply_options o = {0};
        SIZED(patch_apply, ENGINE);
        NEEDS(patch_apply, base, MODEL, ENGINE);
        NEEDS(patch_apply, patch, MODEL, ENGINE);
        NEEDS(patch_apply, write.output, "build/none", ENGINE);
    }
    {
        organ_graft_options o = {0};
        SIZED(graft, engine->kernels, NULL, NULL, report, error);
        NEEDS(graft, source, MODEL, engine->kernels, NULL, NULL, report, error);
        NEEDS(graft, target, MODEL, engine->kernels, NULL, NULL, report, error);
        NEEDS(graft, write.output, "build/none", engine->kernels, NULL, NULL, report, error);
        o.write.dry_run = true;
        DRY_RUN(organ_graft(&o, engine->kernels, NULL, NULL, report, error));
    }
    {
        organ_merge_options o = {0};
        SIZED(merge, ENGINE);
        NEEDS(merge, missing, "error", ENGINE);
        NEEDS(merge, match_experts, "auto", ENGINE);
        NEEDS(merge, write.output, "build/none", ENGINE);
        const char *const models[] = {MODEL};
        o.models = models, o.model_count = 1, o.method = "lineer", o.write.dry_run = true;
        REFUSED("`method` is 'lineer'", organ_merge(&o, ENGINE));
        o.method = "passthrough";
        DRY_RUN(organ_merge(&o, ENGINE));
    }
    {
        organ_merge_audit_options o = {0};
        SIZED(merge_audit, ENGINE);
        NEEDS(merge_audit, recipe, "nowhere.yaml", ENGINE);
        NEEDS(merge_audit, model, MODEL, ENGINE);
    }
}
END_TEST

START_TEST(reporters)
{
    {
        organ_audit_options o = {0};
        SIZED(audit, ENGINE);
        NEEDS(audit, donor, MODEL, ENGINE);
        NEEDS(audit, pruned, MODEL, ENGINE);
        REPORTS(organ_audit(&o, ENGINE));
    }
    {
        organ_measure_options o = {0};
        const char *const models[] = {MODEL};
        SIZED(measure, ENGINE);
        o.model_count = 1;
        NEEDS(measure, models, models, ENGINE);
        o.layers = "0";
        REPORTS(organ_measure(&o, ENGINE));
    }
    {
        organ_fleet_options o = {0};
        SIZED(fleet, ENGINE);
        NEEDS(fleet, directory, MODEL, ENGINE);
        NEEDS(fleet, output, "build/none", ENGINE);
    }
    {
        organ_inspect_options o = {0};
        SIZED(inspect, report, error);
        NEEDS(inspect, model, MODEL, report, error);
        REPORTS(organ_inspect(&o, report, error));
    }
    {
        organ_autopsy_options o = {0};
        SIZED(autopsy, ENGINE);
        NEEDS(autopsy, model, MODEL, ENGINE);
        o.match = "0";
        REPORTS(organ_autopsy(&o, ENGINE));
    }
    {
        organ_untrusted_options o = {0};
        SIZED(untrusted, report, error);
        NEEDS(untrusted, model, MODEL, report, error);
        REPORTS(organ_untrusted(&o, report, error));
    }
    {
        organ_machine_plan_options o = {0};
        SIZED(machine_plan, report, error);
        REPORTS(organ_machine_plan(&o, report, error));
    }
    {
        organ_orthogonality_options o = {0};
        SIZED(orthogonality, ENGINE);
        NEEDS(orthogonality, clean, MODEL, ENGINE);
        NEEDS(orthogonality, noisy, MODEL, ENGINE);
        NEEDS(orthogonality, adapter, "nowhere", ENGINE);
        REFUSED("0 draws", organ_orthogonality(&o, ENGINE));
    }
    {
        organ_noise_pairs_options o = {0};
        SIZED(noise_pairs, ENGINE);
        NEEDS(noise_pairs, clean[0], MODEL, ENGINE);
        NEEDS(noise_pairs, noisy[0], MODEL, ENGINE);
        NEEDS(noise_pairs, clean[1], MODEL, ENGINE);
        NEEDS(noise_pairs, noisy[1], MODEL, ENGINE);
        REFUSED("0 draws", organ_noise_pairs(&o, ENGINE));
    }
}
END_TEST

START_TEST(readers)
{
    {
        organ_perplexity_options o = {0};
        SIZED(perplexity, ENGINE);
        NEEDS(perplexity, model, MODEL, ENGINE);
        NEEDS(perplexity, experiment.text, MODEL "/heldout.txt", ENGINE);
        o.dry_run = true;
        REPORTS(organ_perplexity(&o, ENGINE));
    }
    {
        organ_evaluate_options o = {0};
        SIZED(evaluate, ENGINE);
        NEEDS(evaluate, donor, MODEL, ENGINE);
        NEEDS(evaluate, experiment.text, "nowhere", ENGINE);
        o.count = 1;
        REFUSED("organ_evaluate_options.pruned ", organ_evaluate(&o, ENGINE));
    }
    {
        organ_importance_options o = {0};
        SIZED(importance, ENGINE);
        NEEDS(importance, model, MODEL, ENGINE);
        NEEDS(importance, text, "nowhere", ENGINE);
        NEEDS(importance, output, "nowhere", ENGINE);
    }
    {
        organ_importance_merge_options o = {0};
        const char *const files[1] = {"nowhere"};
        SIZED(importance_merge, ENGINE);
        NEEDS(importance_merge, files, files, ENGINE);
        NEEDS(importance_merge, output, "nowhere", ENGINE);
    }
    {
        organ_generate_options o = {0};
        SIZED(generate, engine, NULL, NULL, report, error);
        NEEDS(generate, model, MODEL, engine, NULL, NULL, report, error);
        NEEDS(generate, prompt, "a", engine, NULL, NULL, report, error);
        o.count = 1;
        REPORTS(organ_generate(&o, engine, NULL, NULL, report, error));
    }
    {
        organ_tokenize_options o = {0};
        SIZED(tokenize, NULL, report, error);
        NEEDS(tokenize, model, MODEL, NULL, report, error);
        NEEDS(tokenize, text, MODEL "/config.json", NULL, report, error);
        REPORTS(organ_tokenize(&o, NULL, report, error));
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"options", {functions, choices, writers, figures_of_outputs, cutters, adapters, movers, reporters, readers}}};
    Suite *const suites[] = {suite_of("verb_options", cases, sizeof cases / sizeof *cases, start_engine, end_engine),
                             NULL};
    return run_suites(suites);
}
