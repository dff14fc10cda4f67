/* SPDX-License-Identifier: MIT
 * Tests of Method A and Method B on a real model, tuned by a seeded product of low rank and noise, and quantised. On
 * the quantised base the adapter made for it must be closer to the tuned model in every module. */
#include <organ/quantize.h>
#include "tests/verbs/lora/lora_extract_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODEL "fixtures/tiny-qwen2"

static void copy_model(const char *to)
{
    DIR *folder = opendir(MODEL);
    ck_assert_ptr_nonnull(folder);
    ck_assert_int_eq(mkdir(to, 0777), 0);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char *from, *name;
        size_t size;
        ck_assert(asprintf(&from, MODEL "/%s", entry->d_name) > 0 && asprintf(&name, "%s/%s", to, entry->d_name) > 0);
        if (strncmp(entry->d_name, "model", 5) == 0 || strcmp(entry->d_name, "config.json") == 0) {
            char *data = slurp(from, &size);
            spill(name, data, size);
            free(data);
        }
        free(from);
        free(name);
    }
    closedir(folder);
}

static void quantise(const char *scheme, const char *to)
{
    run_engine room;
    json_t *report = NULL;
    organ_error error = {0};
    const organ_quantize_options options = {.model = MODEL,
                                            .write.output = scratch_path("%s", to),
                                            .scheme = scheme,
                                            .write.max_shard_size = (uint64_t)1 << 40};
    run_engine_open(&room, (run_way){0});
    ck_assert_msg(organ_quantize(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    run_engine_close(&room);
    json_decref(report);
}

static void compare(const char *scheme, unsigned rank)
{
    const size_t pairs = sampled(28, 7);
    const organ_lora_extract_options options = {.rank = rank, .modules = pairs == 28 ? NULL : "model.layers.1.*"};
    quantise(scheme, "quantised");
    const lora_way a = {.base = MODEL, .tuned = scratch_path("tuned"), .options = options},
                   b = {.base = scratch_path("quantised"), .tuned = scratch_path("tuned"), .options = options};
    must_lora_extract("A", a);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(lora_result, "method"), "name")), "A");
    must_lora_extract("B", b);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(lora_result, "method"), "name")), "B");
    organ_adapter *plain = lora_open("A"), *made = lora_open("B");
    ck_assert(plain->pair_count == pairs && made->pair_count == pairs);
    for (size_t k = 0; k < made->pair_count; k++) {
        double change;
        const char *module = made->pairs[k].module;
        const double by_a = lora_gap(scratch_path("quantised"), scratch_path("tuned"), plain, module, &change);
        const double by_b = lora_gap(scratch_path("quantised"), scratch_path("tuned"), made, module, &change);
        ck_assert_msg(by_b < by_a && by_a < change, "%s: %s: without %g, A %g, B %g", scheme, module, change, by_a,
                      by_b);
    }
    organ_adapter_close(plain);
    organ_adapter_close(made);
}

START_TEST(b_is_closer_than_a_on_fp8)
{
    copy_model(scratch_path("tuned"));
    lora_tune(scratch_path("tuned"), "_proj.weight", 8, 0.1, 0.01);
    compare("fp8-channel", 16);
}
END_TEST

START_TEST(b_is_closer_than_a_on_int4)
{
    copy_model(scratch_path("tuned"));
    lora_tune(scratch_path("tuned"), "_proj.weight", 8, 0.1, 0.01);
    compare("int4-group32", 16);
}
END_TEST

Suite *lora_methods_suite(void)
{
    const suite_case cases[] = {{"methods", {b_is_closer_than_a_on_fp8, b_is_closer_than_a_on_int4}}};
    return suite_of("lora_methods", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}
