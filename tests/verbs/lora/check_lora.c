/* SPDX-License-Identifier: MIT
 * Tests of LoRA verbs: a failure leaves no incomplete output under its final name. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"

#include <organ/quantize.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const lora_way ways[] = {{.verb = LORA_MERGE, .output = "out"},
                                {.verb = LORA_SANITIZE, .output = "out"},
                                {.verb = LORA_RESIZE, .rank = 2, .output = "out"},
                                {.verb = LORA_COMBINE, .rank = 2, .output = "out"}};

static void touch_adapter(void)
{
    const struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path("adapter/adapter_model.safetensors"), then, 0), 0);
}

static void cut_adapter(void)
{
    ck_assert_int_eq(truncate(scratch_path("adapter/adapter_model.safetensors"), 3000), 0);
}

START_TEST(changed_under_the_run)
{
    static void (*const changes[])(void) = {touch_adapter, cut_adapter, touch_donor};
    for (size_t k = 0; k < (ways[_i].verb == LORA_MERGE ? 3u : 2u); k++) {
        lora_teardown();
        lora_setup();
        fault_at(FAULT_PREAD, 14, 0, false, changes[k]);
        lora_refused(ways[_i], ORGAN_BAD_INPUT,
                     k == 2 ? "model-00001-of-00002.safetensors" : "adapter_model.safetensors");
        fault_clear();
    }
}
END_TEST

static const struct poison {
    const char *tensor;
    size_t at;
    uint32_t bits;
    const char *text;
} poisons[] = {{LORA_PREFIX "model.layers.1.mlp.down_proj.lora_B.weight", 77, 0x7fc00000, "value 77 is nan"},
               {LORA_PREFIX "model.layers.1.mlp.down_proj.lora_A.weight", 0, 0x7f800000, "value 0 is inf"},
               {LORA_PREFIX "model.layers.0.self_attn.q_proj.lora_B.weight", 287, 0xff800000, "value 287 is -inf"}};

START_TEST(factors_that_are_not_finite)
{
    char text[256];
    for (size_t k = 0; k < COUNT(poisons); k++) {
        lora_teardown();
        lora_setup();
        lora_poison(poisons[k].tensor, poisons[k].at, poisons[k].bits);
        snprintf(text, sizeof text, "tensor '%s': %s", poisons[k].tensor, poisons[k].text);
        lora_refused(ways[_i], ORGAN_BAD_INPUT, text);
    }
    if (ways[_i].verb == LORA_SANITIZE)
        lora_refused((lora_way){.verb = LORA_SANITIZE, .check = true}, ORGAN_BAD_INPUT, text);
}
END_TEST

/* Rejects an output that exists, is an input, is inside an input or contains one. */
START_TEST(bad_places)
{
    lora_way way = ways[_i];
    size_t size;
    mkdir(scratch_path("there"), 0777);
    spill(scratch_path("there/file"), "x", 1);
    organ_error error;
    static const char *const places[] = {"there", "adapter", "adapter/inside", "donor", "."};
    for (size_t k = 0; k < COUNT(places); k++) {
        way.output = places[k];
        way.force = k > 0;
        if (strcmp(places[k], "donor") == 0 && way.verb != LORA_MERGE)
            continue;
        ck_assert_msg(lora_run(way, &error) == ORGAN_USAGE, "%s: %s", places[k], error.message);
    }
    free(slurp(scratch_path("there/file"), &size));
    ck_assert_uint_eq(size, 1);
    ck_assert(exists(scratch_path("adapter/adapter_model.safetensors")) && exists(scratch_path("donor/config.json")));
    way.output = "there";
    way.force = true;
    ck_assert_int_eq(lora_run(way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "'file'") && exists(scratch_path("there/file")), "%s", error.message);
}
END_TEST

/* ---- interrupted and resumed runs ---- */

/* Two merges, then verbs that write an adapter. */
static const struct {
    lora_way way;
    const char *report;
} runs[] = {{{.max = 20000}, "lora_merge.json"},
            {{.base = "packed", .scale = 0.5, .max = 40000}, "lora_merge.json"},
            {{.verb = LORA_SANITIZE, .rank = 3}, "lora_sanitize.json"},
            {{.verb = LORA_RESIZE, .rank = 2}, "lora_resize.json"},
            {{.verb = LORA_COMBINE, .rank = 2}, "lora_combine.json"}};

static organ_status run_once_more(const void *way, const char *output, bool resume, size_t threads,
                                  organ_stop *requested, organ_error *error)
{
    lora_way here = *(const lora_way *)way;
    here.output = output;
    here.resume = resume;
    here.threads = threads;
    here.stop = requested;
    return lora_run(here, error);
}

static resumed_verb run_of(int k)
{
    organ_error error = {0};
    json_t *report = NULL;
    run_engine room;
    run_engine_open(&room, (run_way){.threads = 2});
    const organ_quantize_options pack = {.model = scratch_path("donor"),
                                         .write.output = scratch_path("packed"),
                                         .scheme = "fp8-channel",
                                         .write.max_shard_size = 60000};
    ck_assert_msg(organ_quantize(&pack, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    run_engine_close(&room);
    json_decref(report);
    return (resumed_verb){.run = run_once_more, .way = &runs[k].way, .report = runs[k].report, .threads = k > 1};
}

START_TEST(resume_refuses_another_merge)
{
    const resumed_verb verb = run_of(_i);
    lora_way other = runs[_i].way;
    const resumed_verb changed = {.run = run_once_more, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    other.scale = 0.25;
    is_refused(&changed, "out", "its parameters was ");
    other.scale = runs[_i].way.scale;
    other.dtype = "f32";
    is_refused(&changed, "out", "its parameters was ");
    other.dtype = NULL;
    other.base = _i ? "donor" : "packed";
    is_refused(&changed, "out", "its base '");
    touch_adapter();
    is_refused(&verb, "out", "its adapter '");
}
END_TEST

START_TEST(resume_refuses_another_rank)
{
    const resumed_verb verb = run_of(_i);
    lora_way other = runs[_i].way;
    const resumed_verb changed = {.run = run_once_more, .way = &other, .report = verb.report};
    leaves_unfinished(&verb, "out");
    other.rank = 1;
    is_refused(&changed, "out", "its parameters was ");
    touch_adapter();
    is_refused(&verb, "out", "its adapter '");
}
END_TEST

Suite *lora_faults_suite(void)
{
    Suite *const suite = suite_create("lora_faults");
    TCase *const all = tcase_create("all verbs");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, lora_setup, lora_teardown);
    tcase_add_loop_test(all, changed_under_the_run, 0, COUNT(ways));
    tcase_add_loop_test(all, factors_that_are_not_finite, 0, COUNT(ways));
    tcase_add_loop_test(all, bad_places, 0, COUNT(ways));
    tcase_add_loop_test(all, resume_refuses_another_merge, 0, 2);
    tcase_add_loop_test(all, resume_refuses_another_rank, 2, COUNT(runs));
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    return run_suites((Suite *const[]){lora_merge_suite(), lora_peft_suite(), lora_rank_suite(), lora_combine_suite(),
                                       lora_served_suite(), lora_faults_suite(), NULL});
}
