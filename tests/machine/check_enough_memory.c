/* SPDX-License-Identifier: MIT
 * Tests of the error about too little memory: the named memory is enough, and one unit (K or M) less is not, for every
 * verb with --memory whose need may be below the smallest value of the command line. tests/cli/check_cli_memory.sh has
 * the others. */
#include "orchestrator/stream/memory.h"
#include <organ/machine.h>
#include <organ/inspect.h>
#include <organ/lora.h>
#include <organ/measure.h>
#include <organ/quantize.h>
#include <organ/prune.h>
#include <organ/purify.h>
#include "tests/kit/run_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "fixtures/tiny-qwen2"
#define LORA  "fixtures/tiny-lora"
#define SHARD ((uint64_t)1 << 30)

typedef organ_status verb_run(const char *output, const organ_engine *engine, json_t **report, organ_error *error);

static const organ_progress quiet = {0};

static organ_status prune(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_prune_options o = {.donor = MODEL,
                                   .write.output = output,
                                   .block_size = 64,
                                   .iterations = 3,
                                   .beta = 2,
                                   .coupling = 1,
                                   .sparsity = -1};
    return organ_prune(&o, engine, &quiet, report, error);
}

static organ_status audit(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_audit_options o = {.donor = MODEL, .pruned = MODEL};
    (void)output;
    return organ_audit(&o, engine, &quiet, report, error);
}

static organ_status measure(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const char *const models[] = {MODEL};
    const organ_measure_options o = {.models = models, .model_count = 1, .output = output};
    return organ_measure(&o, engine, &quiet, report, error);
}

static organ_status haar(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_purify_options o = {
        .model = MODEL, .write.output = output, .method = "haar", .threshold = -1, .strength = 1};
    return organ_purify(&o, engine, &quiet, report, error);
}

static organ_status fft(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_purify_options o = {
        .model = MODEL, .write.output = output, .method = "fft", .threshold = -1, .strength = 1};
    return organ_purify(&o, engine, &quiet, report, error);
}

static organ_status quantize(const char *scheme, const char *output, const organ_engine *engine, json_t **report,
                             organ_error *error)
{
    const organ_quantize_options o = {
        .model = MODEL, .write.output = output, .scheme = scheme, .write.max_shard_size = SHARD};
    return organ_quantize(&o, engine, &quiet, report, error);
}

static organ_status blocks(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    return quantize("fp8-block128", output, engine, report, error);
}

static organ_status whole(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    return quantize("fp8-tensor", output, engine, report, error);
}

static organ_status groups(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    return quantize("int4-group64", output, engine, report, error);
}

static organ_status dequantize(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_dequantize_options o = {
        .model = scratch_path("packed"), .write.output = output, .dtype = "bf16", .write.max_shard_size = SHARD};
    return organ_dequantize(&o, engine, &quiet, report, error);
}

static organ_status autopsy(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_autopsy_options o = {.model = scratch_path("packed"), .other = MODEL};
    (void)output;
    return organ_autopsy(&o, engine, &quiet, report, error);
}

/* Extracts an adapter of layer 1 only: all layers have one shape and need the same memory. */
static organ_status extract(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_lora_extract_options o = {.base = scratch_path("packed"),
                                          .tuned = MODEL,
                                          .write.output = output,
                                          .rank = 2,
                                          .dtype = "f32",
                                          .modules = "model.layers.1.*",
                                          .save_full = true};
    return organ_lora_extract(&o, engine, &quiet, report, error);
}

static organ_status merge(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_lora_merge_options o = {
        .base = MODEL, .adapter = LORA, .write.output = output, .scale = 1, .write.max_shard_size = SHARD};
    return organ_lora_merge(&o, engine, &quiet, report, error);
}

static organ_status noise(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_orthogonality_options o = {.clean = MODEL,
                                           .noisy = scratch_path("packed"),
                                           .adapter = scratch_path("adapter"),
                                           .output = output,
                                           .draws = 2};
    return organ_orthogonality(&o, engine, &quiet, report, error);
}

static organ_status pairs(const char *output, const organ_engine *engine, json_t **report, organ_error *error)
{
    const organ_noise_pairs_options o = {.clean = {MODEL, scratch_path("whole")},
                                         .noisy = {scratch_path("packed"), scratch_path("blocks")},
                                         .output = output,
                                         .draws = 2};
    return organ_noise_pairs(&o, engine, &quiet, report, error);
}

static const struct {
    const char *name;
    verb_run *run;
} verbs[] = {{"prune", prune},           {"audit", audit},      {"measure", measure},  {"purify haar", haar},
             {"purify fft", fft},        {"fp8-block", blocks}, {"fp8-tensor", whole}, {"int4", groups},
             {"dequantize", dequantize}, {"autopsy", autopsy},  {"extract", extract},  {"merge", merge},
             {"orthogonality", noise},   {"pairs", pairs}};

/* Runs with that memory; a failed run must leave no output. */
static organ_status run_with(verb_run *verb, uint64_t memory, organ_error *error)
{
    run_engine room;
    json_t *report = NULL;
    char command[4200];
    run_engine_open(&room, (run_way){.threads = 3, .memory = memory});
    *error = (organ_error){0};
    verb(scratch_path("out"), &room.engine, &report, error);
    json_decref(report);
    run_engine_close(&room);
    snprintf(command, sizeof command, "rm -rf '%s'", scratch_path("out"));
    ck_assert_int_eq(system(command), 0);
    return error->status == ORGAN_CHECK_FAILED ? ORGAN_OK : error->status;
}

/* Makes packed models and an adapter of tiny-qwen2, which the fixtures lack. */
static void make_inputs(void)
{
    run_engine room;
    json_t *report = NULL;
    organ_error error = {0};
    scratch_make();
    run_engine_open(&room, (run_way){.threads = 2});
    const char *const packed[][2] = {{"int4-group64", "packed"}, {"fp8-tensor", "whole"}, {"fp8-block128", "blocks"}};
    for (size_t k = 0; k < sizeof packed / sizeof *packed; k++) {
        const char *const to = scratch_path("%s", packed[k][1]);
        ck_assert_msg(quantize(packed[k][0], to, &room.engine, &report, &error) == ORGAN_OK, "%s", error.message);
        json_decref(report);
    }
    const organ_lora_sanitize_options o = {.adapter = LORA, .output = scratch_path("adapter")};
    ck_assert_msg(organ_lora_sanitize(&o, &room.engine, &quiet, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    run_engine_close(&room);
}

START_TEST(what_is_named_is_the_least)
{
    organ_error error;
    char option[24] = "";
    uint64_t enough = 0;
    ck_assert_int_eq(run_with(verbs[_i].run, 1000, &error), ORGAN_USAGE);
    const char *const named = strstr(error.message, "; --memory ");
    ck_assert_msg(strstr(error.message, "--memory 1000 is too little for ") && named, "%s: %s", verbs[_i].name,
                  error.message);
    ck_assert_int_eq(sscanf(named, "; --memory %23[0-9KM] is enough", option), 1);
    ck_assert(organ_quantity_parse(option, &enough));
    ck_assert_msg(run_with(verbs[_i].run, enough, &error) == ORGAN_OK, "%s with %s: %s", verbs[_i].name, option,
                  error.message);
    enough -= strchr(option, 'K') ? 1 << 10 : 1 << 20;
    ck_assert_msg(run_with(verbs[_i].run, enough, &error) == ORGAN_USAGE, "%s also runs below %s", verbs[_i].name,
                  option);
    ck_assert_msg(strstr(error.message, option), "%s with less than %s: %s", verbs[_i].name, option, error.message);
}
END_TEST

static bool at_least(void *least, uint64_t memory) { return memory >= *(const uint64_t *)least; }

START_TEST(the_least_is_found)
{
    const uint64_t leasts[] = {1, 2, 3, 1000, 1001, 4096, ((uint64_t)1 << 40) + 1, (uint64_t)1 << 61};
    for (size_t k = 0; k < sizeof leasts / sizeof *leasts; k++) {
        uint64_t least = leasts[k];
        ck_assert_uint_eq(organ_memory_enough(0, at_least, &least), least);
        ck_assert_uint_eq(organ_memory_enough(least - 1, at_least, &least), least);
    }
    uint64_t never = UINT64_MAX;
    ck_assert_uint_eq(organ_memory_enough(5, at_least, &never), (uint64_t)1 << 62);
}
END_TEST

START_TEST(amounts_are_told_as_they_are_written)
{
    const struct {
        uint64_t given;
        const char *text;
    } amounts[] = {{1000, "--memory 1000 is"},
                   {1024, "--memory 1K is"},
                   {(uint64_t)16 << 20, "--memory 16M is"},
                   {(uint64_t)3 << 30, "--memory 3G is"},
                   {((uint64_t)3 << 30) + 1024, "--memory 3145729K is"},
                   {0, "--memory 0 is"}};
    for (size_t k = 0; k < sizeof amounts / sizeof *amounts; k++) {
        organ_error error = {0};
        ck_assert_int_eq(organ_memory_refuse(&error, amounts[k].given, (uint64_t)12 << 30, "tensor '%s'", "x"),
                         ORGAN_USAGE);
        ck_assert_msg(strncmp(error.message, amounts[k].text, strlen(amounts[k].text)) == 0, "%s", error.message);
        ck_assert(strstr(error.message, " too little for tensor 'x'; --memory 12G is enough"));
    }
}
END_TEST

START_TEST(of_two_refusals_the_greater_stays)
{
    const uint64_t mega = (uint64_t)1 << 20;
    organ_error few = {0}, many = {0}, fault = {0}, none = {0}, seen;
    organ_memory_refuse(&few, mega, 12 * mega, "one part");
    organ_memory_refuse(&many, mega, 30 * mega, "another; --memory 7M is no more");
    organ_fail(&fault, ORGAN_USAGE, "no --memory 99M is enough");
    ck_assert_uint_eq(organ_memory_named(&few), 12 * mega);
    ck_assert_uint_eq(organ_memory_named(&many), 30 * mega);
    ck_assert_uint_eq(organ_memory_named(&fault), 0);
    ck_assert_uint_eq(organ_memory_named(&none), 0);
    const struct {
        const organ_error *first, *second, *stays;
    } cases[] = {{&few, &many, &many},    {&many, &few, &many}, {&few, &fault, &few},
                 {&none, &fault, &fault}, {&few, &none, &few},  {&none, &none, &none}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        seen = *cases[k].first;
        ck_assert_int_eq(organ_memory_refuse_both(&seen, cases[k].second), cases[k].stays->status);
        ck_assert_str_eq(seen.message, cases[k].stays->message);
    }
}
END_TEST

/* If a run needs both a layer and a window, the memory that the message names is the larger one. */
START_TEST(what_a_scratch_directory_spares_is_told)
{
    const uint64_t mega = (uint64_t)1 << 20;
    organ_error states = {0}, more = {0}, fixed = {0}, seen;
    organ_memory_refuse(&states, mega, 90 * mega, "states");
    organ_memory_offer_scratch(&states, 18 * mega);
    ck_assert_str_eq(states.message,
                     "--memory 1M is too little for states; --memory 90M is enough, or 18M with --scratch DIR");
    ck_assert_uint_eq(organ_memory_named(&states), 90 * mega);
    organ_memory_refuse(&more, mega, 60 * mega, "more states");
    organ_memory_offer_scratch(&more, 30 * mega);
    organ_memory_refuse(&fixed, mega, 40 * mega, "weights");
    organ_memory_offer_scratch(&fixed, 40 * mega);
    ck_assert_str_eq(fixed.message, "--memory 1M is too little for weights; --memory 40M is enough");
    const struct {
        const organ_error *first, *second;
        const char *told;
    } cases[] = {{&states, &more, "states; --memory 90M is enough, or 30M with --scratch DIR"},
                 {&more, &states, "states; --memory 90M is enough, or 30M with --scratch DIR"},
                 {&states, &fixed, "states; --memory 90M is enough, or 40M with --scratch DIR"},
                 {&fixed, &more, "more states; --memory 60M is enough, or 40M with --scratch DIR"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        seen = *cases[k].first;
        ck_assert_int_eq(organ_memory_refuse_both(&seen, cases[k].second), ORGAN_USAGE);
        ck_assert_ptr_nonnull(strstr(seen.message, " too little for "));
        ck_assert_str_eq(strstr(seen.message, " too little for ") + strlen(" too little for "), cases[k].told);
    }
    seen = states;
    organ_error large = {0};
    organ_memory_refuse(&large, mega, 200 * mega, "weights");
    organ_memory_refuse_both(&seen, &large);
    ck_assert_str_eq(seen.message, large.message);
    large = (organ_error){0};
    organ_memory_refuse(&large, mega, 80 * mega, "weights");
    seen = states;
    organ_memory_refuse_both(&seen, &large);
    ck_assert_ptr_nonnull(strstr(seen.message, "90M is enough, or 80M with --scratch DIR"));
}
END_TEST

static bool fits_from(void *context, uint64_t memory) { return memory >= *(const uint64_t *)context; }

START_TEST(only_memory_that_does_not_fit_is_refused)
{
    const uint64_t mega = (uint64_t)1 << 20;
    uint64_t needed = 48 * mega;
    organ_error error = {0};
    ck_assert_int_eq(
        organ_memory_require(&(organ_engine){.memory = needed}, fits_from, &needed, &error, "%d windows", 3), ORGAN_OK);
    ck_assert_int_eq(error.status, ORGAN_OK);
    ck_assert_int_eq(
        organ_memory_require(&(organ_engine){.memory = needed - 1}, fits_from, &needed, &error, "%d windows", 3),
        ORGAN_USAGE);
    ck_assert_str_eq(error.message, "--memory 50331647 is too little for 3 windows; --memory 48M is enough");
}
END_TEST

/* Refuses 60M, or fails with another fault if `context` is an error. */
static organ_status check_part(void *context, organ_error *error)
{
    const organ_error *const fault = context;
    if (fault)
        *error = *fault;
    else
        organ_memory_refuse(error, 1, (uint64_t)60 << 20, "part");
    return error->status;
}

START_TEST(another_part_is_checked_unless_there_is_a_fault)
{
    organ_error error = {0}, fault = {0};
    ck_assert_int_eq(organ_memory_check_also(check_part, NULL, &error), ORGAN_USAGE);
    ck_assert_uint_eq(organ_memory_named(&error), (uint64_t)60 << 20);
    error = (organ_error){0};
    organ_memory_refuse(&error, 1, (uint64_t)90 << 20, "all");
    organ_memory_check_also(check_part, NULL, &error);
    ck_assert_str_eq(error.message, "--memory 1 is too little for all; --memory 90M is enough");
    organ_fail(&fault, ORGAN_BAD_INPUT, "model: malformed");
    error = fault;
    ck_assert_int_eq(organ_memory_check_also(check_part, NULL, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "model: malformed");
    error = (organ_error){0};
    ck_assert_int_eq(organ_memory_check_also(check_part, &fault, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "model: malformed");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("enough_memory");
    TCase *sums = tcase_create("sums"), *all = tcase_create("verbs");
    tcase_add_test(sums, the_least_is_found);
    tcase_add_test(sums, amounts_are_told_as_they_are_written);
    tcase_add_test(sums, of_two_refusals_the_greater_stays);
    tcase_add_test(sums, what_a_scratch_directory_spares_is_told);
    tcase_add_test(sums, only_memory_that_does_not_fit_is_refused);
    tcase_add_test(sums, another_part_is_checked_unless_there_is_a_fault);
    tcase_add_unchecked_fixture(all, make_inputs, scratch_remove);
    tcase_add_loop_test(all, what_is_named_is_the_least, 0, sizeof verbs / sizeof *verbs);
    tcase_set_timeout(all, 120);
    suite_add_tcase(suite, sums);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
