/* SPDX-License-Identifier: MIT
 * A calibrated pruning that was interrupted at any point and resumed writes the same bytes, also within a layer. */
#include "tests/kit/effort.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/resume_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TINY  "fixtures/tiny-qwen2"
#define SMALL "*self_attn*_proj.weight,*down_proj.weight"

#define ONE_BUDGET                                                                                                     \
    {                                                                                                                  \
        .allocate = "global", .tokens = 64                                                                             \
    }

/* A model of fixtures/forward, or fixtures/tiny-qwen2 (NULL), which has three shards, with options that keep the run
 * small. */
typedef struct resumed_way {
    const char *kind;
    method_way way;
} resumed_way;

/* Two streams; no text; an imatrix; stacks of experts; rows in another order than in the file; tiles. */
static const resumed_way ways[] = {
    {"qwen3", {.sparsity = 40, .options = {.method = "physarum-v2", .calibration = {NULL, 12, 40, NULL}, .effort = 1}}},
    {NULL,
     {.sparsity = 40,
      .targets = SMALL,
      .options = {.method = "magnitude", .calibration.samples = 128, .calibration.context = 512, .effort = 1}}},
    {NULL,
     {.sparsity = 40,
      .targets = SMALL,
      .options = {.method = "physarum-v2",
                  .calibration.samples = 128,
                  .calibration.context = 512,
                  .effort = 1,
                  .imatrix = "fixtures/imatrix/tiny-qwen2.gguf"}}},
    {"qwen3moe-stacked",
     {.sparsity = -1, .options = {.method = "physarum-v2", .calibration = {NULL, 40, 40, NULL}, .effort = 1}}},
    {"qwen3moe-stacked",
     {.sparsity = 40, .options = {.method = "physarum-v3", .calibration = {NULL, 40, 40, NULL}, .effort = 0.1}}},
    {"qwen3", {.sparsity = 40, .options = {.method = "alps", .calibration = {NULL, 12, 40, NULL}, .effort = 1}}},
    {"llama.gguf",
     {.sparsity = 40, .options = {.method = "sparsegpt", .calibration = {NULL, 12, 40, NULL}, .effort = 1}}},
    {NULL,
     {.sparsity = -1,
      .targets = SMALL,
      .options = {.method = "physarum-v1", .calibration.samples = 128, .calibration.context = 512, .effort = 1}}},
    {"qwen3",
     {.sparsity = 40,
      .options = {.method = "wanda", .calibration = {NULL, 3, 40, NULL}, .effort = 1, .allocate = ONE_BUDGET}}},
    {"qwen3",
     {.sparsity = 40,
      .targets = SMALL,
      .options = {.method = "physarum-v1", .calibration = {NULL, 3, 40, NULL}, .effort = 1, .allocate = ONE_BUDGET}}},
};
enum {
    TWO_STREAMS,
    BY_MAGNITUDE,
    BY_IMATRIX,
    OF_EXPERTS,
    OF_EXPERTS_BY_ADMM,
    BY_ALPS,
    OF_TURNED_ROWS,
    BY_TILES,
    DIVIDED,
    DIVIDED_TILES,
    WAYS
};

static organ_status prune_once(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                               organ_error *error)
{
    const resumed_way *const of = way;
    method_way here = of->way;
    *error = (organ_error){0};
    here.donor = of->kind ? scratch_path("donor") : TINY;
    here.options.calibration.text = of->kind ? scratch_path("text") : NULL;
    here.resume = resume;
    here.threads = (unsigned)threads;
    here.stop = stop;
    return method_prune(output, &here, error);
}

static resumed_verb verb_of(const resumed_way *way)
{
    if (way->kind)
        method_make_donor(way->kind);
    return (resumed_verb){.run = prune_once, .way = way, .report = "prune.json"};
}

START_TEST(killed_run_is_resumed_to_the_same_bytes)
{
    const resumed_verb verb = verb_of(&ways[_i]);
    killed_anywhere_goes_on(&verb);
    ck_assert(json_is_true(json_object_get(json_object_get(last_report, "run"), "resumed")));
}
END_TEST

START_TEST(full_disk_at_any_moment)
{
    const resumed_verb verb = verb_of(&ways[_i]);
    full_disk_goes_on(&verb);
}
END_TEST

START_TEST(interrupted_run_goes_on)
{
    const resumed_verb verb = verb_of(&ways[_i]);
    stopped_run_goes_on(&verb);
}
END_TEST

START_TEST(damaged_output_is_made_again)
{
    const resumed_verb verb = verb_of(&ways[_i]);
    damaged_output_is_mended(&verb);
}
END_TEST

static size_t lines_with(const char *output, const char *word)
{
    size_t size = 0, count = 0;
    char *const text = slurp(scratch_path(".%s.organ-partial/organ/journal.jsonl", output), &size);
    for (const char *at = text; at && (at = strstr(at, word)) != NULL; at++)
        count++;
    free(text);
    return count;
}

/* Curves that an interrupted run has measured are not measured again. */
START_TEST(curves_are_measured_once)
{
    const resumed_way way = {
        "qwen3moe",
        {.sparsity = 40,
         .options = {.method = "wanda", .calibration = {NULL, 40, 40, NULL}, .effort = 1, .allocate = ONE_BUDGET}}};
    const resumed_verb verb = verb_of(&way);
    organ_error error;
    ck_assert_msg(prune_once(verb.way, "whole", false, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    const size_t curves = json_array_size(json_object_get(json_object_get(last_report, "allocation"), "tensors"));
    ck_assert_uint_gt(curves, 9);
    for (long call = 3; call < 9; call += 5) {
        const pid_t child = fork();
        if (child == 0) {
            fault_at(FAULT_WRITE, call, -1, false, NULL);
            prune_once(verb.way, "out", call > 3, 1, NULL, &error);
            _exit(0);
        }
        int how = 0;
        ck_assert_int_eq(waitpid(child, &how, 0), child);
        ck_assert(WIFSIGNALED(how));
    }
    const size_t known = lines_with("out", "curve_of");
    ck_assert_uint_gt(known, 0);
    ck_assert_uint_lt(known, curves);
    for (size_t k = 0; k < curves; k++) {
        const json_t *const tensor =
            json_array_get(json_object_get(json_object_get(last_report, "allocation"), "tensors"), k);
        ck_assert_uint_le(lines_with("out", json_string_value(json_object_get(tensor, "name"))), 1);
    }
    ck_assert_msg(prune_once(verb.way, "out", true, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    same_trees("whole", "out", "prune.json");
}
END_TEST

START_TEST(resume_refuses_another_run)
{
    const resumed_verb verb = verb_of(&ways[TWO_STREAMS]);
    resumed_way other = ways[TWO_STREAMS];
    const resumed_verb changed = {.run = prune_once, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    other.way.options.seed = 1;
    is_refused(&changed, "out", "its parameters was ");
    other = ways[TWO_STREAMS];
    other.way.options.allocate = (organ_allocate_options){.allocate = "global"};
    is_refused(&changed, "out", "its parameters was ");
    other = ways[TWO_STREAMS];
    other.way.moments = "blocks";
    is_refused(&changed, "out", "its moments was ");
    other = ways[OF_TURNED_ROWS];
    other.kind = ways[TWO_STREAMS].kind;
    is_refused(&changed, "out", "its definition was ");
    char text[600];
    memset(text, 'x', sizeof text);
    spill(scratch_path("text"), text, sizeof text);
    is_refused(&verb, "out", "its text '");
    method_make_donor("qwen3");
    change_journal("out", "\"organ\":\"", "\"organ\":\"0.");
    is_refused(&verb, "out", "its ");
    organ_error error;
    other = ways[TWO_STREAMS];
    other.way.force = true;
    ck_assert_msg(prune_once(&other, "out", false, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!exists(scratch_path(".out.organ-partial")));
}
END_TEST

/* The memory decides no byte, so another amount is not another run. */
START_TEST(resume_goes_on_with_another_memory)
{
    const resumed_verb verb = verb_of(&ways[TWO_STREAMS]);
    resumed_way other = ways[TWO_STREAMS];
    organ_error error;
    leaves_unfinished(&verb, "out");
    other.way.memory = (uint64_t)128 << 20;
    ck_assert_msg(prune_once(&other, "out", true, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    same_trees("reference", "out", "prune.json");
}
END_TEST

/* Tiles need no text, but the division of the budget does. */
START_TEST(resume_refuses_a_division_by_another_text)
{
    const resumed_verb verb = verb_of(&ways[DIVIDED_TILES]);
    char text[600];
    leaves_unfinished(&verb, "out");
    memset(text, 'x', sizeof text);
    spill(scratch_path("text"), text, sizeof text);
    is_refused(&verb, "out", "its text '");
}
END_TEST

Suite *prune_resume_suite(void)
{
    Suite *const suite = suite_create("prune_resume");
    TCase *const resumed = tcase_create("resume");
    tcase_set_timeout(resumed, 60);
    tcase_add_checked_fixture(resumed, method_setup, method_teardown);
    tcase_add_loop_test(resumed, killed_run_is_resumed_to_the_same_bytes, 0,
                        (int)sampled_unless_all(WAYS, OF_EXPERTS, OF_EXPERTS));
    tcase_add_loop_test(resumed, full_disk_at_any_moment, TWO_STREAMS, BY_MAGNITUDE + 1);
    tcase_add_loop_test(resumed, interrupted_run_goes_on, TWO_STREAMS, BY_MAGNITUDE + 1);
    tcase_add_loop_test(resumed, interrupted_run_goes_on, DIVIDED, DIVIDED + 1);
    tcase_add_loop_test(resumed, full_disk_at_any_moment, DIVIDED, DIVIDED + 1);
    tcase_add_loop_test(resumed, damaged_output_is_made_again, BY_MAGNITUDE, BY_IMATRIX + 1);
    tcase_add_test(resumed, curves_are_measured_once);
    tcase_add_test(resumed, resume_goes_on_with_another_memory);
    tcase_add_test(resumed, resume_refuses_another_run);
    tcase_add_test(resumed, resume_refuses_a_division_by_another_text);
    suite_add_tcase(suite, resumed);
    return suite;
}
