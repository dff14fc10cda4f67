/* SPDX-License-Identifier: MIT
 * Tests of wrong arguments and failures of autopsy: ranges, pairs of models, failing reads, stops. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"
#include "tests/verbs/autopsy/autopsy_rig.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q    "model.layers.0.self_attn.q_proj.weight"
#define UP   "model.layers.0.mlp.up_proj.weight"
#define NORM "model.norm.weight"
#define HEAD "lm_head.weight"

enum { EDGE = 64, N = EDGE * EDGE };

static float values[N], ones[EDGE];

static void write_model(const char *name, const char *const *names, size_t count)
{
    rig_tensor tensors[8];
    float *const v = rig_normal(11, N, 0.03f);
    memcpy(values, v, sizeof values);
    free(v);
    for (size_t k = 0; k < EDGE; k++)
        ones[k] = 1 + (float)k / EDGE;
    for (size_t k = 0; k < count; k++)
        tensors[k] = strcmp(names[k], NORM) == 0 ? (rig_tensor){names[k], ORGAN_F32, 1, {EDGE}, ones}
                                                 : (rig_tensor){names[k], ORGAN_F32, 2, {EDGE, EDGE}, values};
    rig_write(scratch_path("%s", name), tensors, count);
}

static void setup(void)
{
    static const char *const names[] = {Q, UP, NORM};
    autopsy_setup();
    write_model("m.safetensors", names, 3);
}

/* ---- files of ranges ---- */

#define SCHEMA "\"schema\": \"organ.ranges/1\""

static const struct {
    const char *text, *says;
} malformed[] = {
    {"", "ranges.json"},
    {"[]", "must be an object"},
    {"{", "ranges.json"},
    {"{\"q_proj\": {}}", "schema must be \"organ.ranges/1\", it is missing"},
    {"{\"schema\": \"organ.ranges/2\"}", "it is \"organ.ranges/2\""},
    {"{\"schema\": 1}", "schema must be"},
    {"{" SCHEMA ", " SCHEMA "}", "schema"},
    {"{" SCHEMA ", \"q_prj\": {}}", "'q_prj' is not a role, a group or \"default\""},
    {"{" SCHEMA ", \"q_proj\": []}", "q_proj: must be an object"},
    {"{" SCHEMA ", \"q_proj\": {\"mean\": \"0\"}}", "q_proj.mean: must be a number"},
    {"{" SCHEMA ", \"q_proj\": {\"mean\": -1}}", "q_proj.mean: -1: the largest |mean| cannot be negative"},
    {"{" SCHEMA ", \"q_proj\": {\"mean\": 1, \"mean\": 2}}", "mean"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": 1}}", "q_proj.std: must be two numbers"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": [1]}}", "q_proj.std: must be two numbers"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": [1, 2, 3]}}", "q_proj.std: must be two numbers"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": [0, null]}}", "q_proj.std: must be a number"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": [2, 1]}}", "q_proj.std: [2, 1] must be at least 0 and in increasing order"},
    {"{" SCHEMA ", \"q_proj\": {\"std\": [-1, 1]}}", "q_proj.std: [-1, 1]"},
    {"{" SCHEMA ", \"q_proj\": {\"min\": null}}", "q_proj.min: must be a number"},
    {"{" SCHEMA ", \"q_proj\": {\"min\": 2, \"max\": 1}}", "q_proj: min 2 is above max 1"},
    {"{" SCHEMA ", \"q_proj\": {\"max\": -1000}}", "q_proj: min -100 is above max -1000"},
    {"{" SCHEMA ", \"q_proj\": {\"expected\": 1}}", "q_proj.expected: must be an object"},
    {"{" SCHEMA ", \"q_proj\": {\"expected\": {\"expected\": {}}}}",
     "q_proj.expected.expected: unknown; a range has mean, std, min, max"},
    {"{" SCHEMA ", \"q_proj\": {\"expected\": {\"std\": [3, 2]}}}", "q_proj.expected.std: [3, 2]"},
    {"{" SCHEMA ", \"q_proj\": {\"spread\": 1}}",
     "q_proj.spread: unknown; a range has mean, std, min, max and expected"},
    {"{" SCHEMA ", \"default\": {\"mean\": 1e999}}", "ranges.json"},
};

START_TEST(malformed_ranges_are_refused)
{
    organ_error error;
    for (size_t k = 0; k < sizeof malformed / sizeof *malformed; k++) {
        spill(scratch_path("ranges.json"), malformed[k].text, strlen(malformed[k].text));
        ck_assert_int_eq(
            autopsy(scratch_path("m.safetensors"), (autopsy_way){.ranges = scratch_path("ranges.json")}, &error),
            ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, malformed[k].says) && strstr(error.message, "ranges.json"), "%s: %s",
                      malformed[k].text, error.message);
    }
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){.ranges = scratch_path("no.json")}, &error),
                     ORGAN_IO);
}
END_TEST

static void with_ranges(const char *text, organ_status status)
{
    organ_error error;
    spill(scratch_path("ranges.json"), text, strlen(text));
    ck_assert_msg(
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.ranges = scratch_path("ranges.json")}, &error) == status,
        "%s: %d %s", text, (int)error.status, error.message);
}

/* A role precedes its group, and the group the default, in any order in the file. */
START_TEST(the_nearest_range_counts)
{
    with_ranges("{" SCHEMA "}", ORGAN_OK);
    with_ranges("{" SCHEMA ", \"q_proj\": {\"std\": [0.1, 0.2]}}", ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(Q), "range");
    ck_assert_str_eq(found(UP), "");
    with_ranges("{" SCHEMA ", \"skeleton\": {\"std\": [0.1, 0.2]}}", ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(Q), "range");
    ck_assert_str_eq(found(UP), "");
    with_ranges("{" SCHEMA ", \"default\": {\"std\": [0.001, 0.002]}}", ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(Q), "range");
    ck_assert_str_eq(found(UP), "range");
    ck_assert_str_eq(found(NORM), "range");
    with_ranges("{" SCHEMA ", \"q_proj\": {\"std\": [0.01, 0.2]}, \"skeleton\": {\"std\": [0.1, 0.2]}}", ORGAN_OK);
    with_ranges("{" SCHEMA ", \"skeleton\": {\"max\": 0.01}, \"default\": {\"max\": 9}}", ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(Q), "range");
    with_ranges("{" SCHEMA ", \"default\": {\"mean\": 9, \"std\": [0, 9], \"min\": -9, \"max\": 9}}", ORGAN_OK);
    ck_assert_uint_eq(json_array_size(json_object_get(autopsy_result, "remarks")), 0);
    with_ranges("{" SCHEMA ", \"up_proj\": {\"expected\": {\"std\": [0.5, 0.6]}}}", ORGAN_OK);
    ck_assert_str_eq(remarked(UP), "expected");
}
END_TEST

START_TEST(printed_ranges_are_the_defaults)
{
    organ_error error = {0};
    organ_ranges read;
    const organ_ranges defaults = organ_ranges_default();
    json_t *const ranges = organ_autopsy_ranges();
    ck_assert_int_eq(json_dump_file(ranges, scratch_path("ranges.json"), 0), 0);
    ck_assert_msg(organ_ranges_read(scratch_path("ranges.json"), &read, &error) == ORGAN_OK, "%s", error.message);
    for (int role = 0; role < ORGAN_ROLE_COUNT; role++) {
        ck_assert_mem_eq(&read.of[role].faulty, &defaults.of[role].faulty, sizeof read.of[role].faulty);
        ck_assert_mem_eq(&read.of[role].expected, &defaults.of[role].expected, sizeof read.of[role].expected);
    }
    json_decref(ranges);
}
END_TEST

/* ---- pairs of models ---- */

START_TEST(missing_extra_and_misshapen_weights_are_named)
{
    static const char *const fewer[] = {Q, NORM, HEAD};
    const rig_tensor tensors[] = {{Q, ORGAN_F32, 2, {EDGE / 2, 2 * EDGE}, values},
                                  {UP, ORGAN_F32, 2, {EDGE, EDGE}, values},
                                  {NORM, ORGAN_F32, 1, {EDGE}, ones}};
    organ_error error;
    write_model("fewer.safetensors", fewer, 3);
    rig_write(scratch_path("shape.safetensors"), tensors, 3);
    ck_assert_int_eq(
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.other = scratch_path("fewer.safetensors")}, &error),
        ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(UP), "missing");
    ck_assert_str_eq(found(HEAD), "extra");
    ck_assert_str_eq(found(Q), "");
    ck_assert_uint_eq(json_array_size(json_object_get(autopsy_result, "only_in_other")), 1);
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"),
                             (autopsy_way){.other = scratch_path("fewer.safetensors"), .match = Q}, &error),
                     ORGAN_OK);
    ck_assert_int_eq(
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.other = scratch_path("shape.safetensors")}, &error),
        ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(Q), "shape");
    ck_assert_str_eq(json_string_value(json_object_get(finding_of(Q, "shape"), "value")),
                     "[64, 64] here, [32, 128] there");
    ck_assert_ptr_null(json_object_get(numbers_of(Q), "against_other"));
    ck_assert_ptr_nonnull(json_object_get(numbers_of(UP), "against_other"));
}
END_TEST

static double relative(const char *tensor)
{
    return json_number_value(json_object_get(json_object_get(numbers_of(tensor), "against_other"), "relative_error"));
}

/* Compared with itself, twice itself, its negative and zeros. */
START_TEST(causes_of_distance)
{
    static const struct {
        float factor;
        const char *found, *says;
    } rows[] = {{1, "", NULL},
                {3, "scale_factor", "applied twice"},
                {-1, "far", "opposite direction"},
                {0, "far", "One of the two is zero"}};
    float other[N];
    organ_error error;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        for (size_t i = 0; i < N; i++)
            other[i] = rows[k].factor * values[i];
        const rig_tensor tensors[] = {{Q, ORGAN_F32, 2, {EDGE, EDGE}, values},
                                      {UP, ORGAN_F32, 2, {EDGE, EDGE}, other},
                                      {NORM, ORGAN_F32, 1, {EDGE}, ones}};
        rig_write(scratch_path("o.safetensors"), tensors, 3);
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.other = scratch_path("o.safetensors")}, &error);
        ck_assert_str_eq(found(UP), rows[k].found);
        ck_assert_str_eq(found(Q), "");
        ck_assert_double_eq(relative(Q), 0);
        if (rows[k].says)
            ck_assert_ptr_nonnull(
                strstr(json_string_value(json_object_get(finding_of(UP, rows[k].found), "cause")), rows[k].says));
    }
}
END_TEST

/* ---- wrong arguments and failing calls ---- */

START_TEST(wrong_calls_are_refused)
{
    organ_error error;
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){.match = "nothing*"}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "'nothing*'"));
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){.memory = 4096}, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "--memory"));
    ck_assert_int_eq(autopsy(scratch_path("no"), (autopsy_way){0}, &error), ORGAN_IO);
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){.other = scratch_path("no")}, &error),
                     ORGAN_IO);
    ck_assert_int_eq(
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.output = scratch_path("m.safetensors")}, &error),
        ORGAN_USAGE);
    ck_assert_int_eq(autopsy(scratch_path("m.safetensors"), (autopsy_way){.output = scratch_path("no/out")}, &error),
                     ORGAN_IO);
}
END_TEST

/* Each failing read ends the run with the system's message and leaves no report. */
START_TEST(reads_that_fail)
{
    organ_error error;
    for (long n = 1;; n++) {
        fault_at(FAULT_PREAD, n, EIO, false, NULL);
        const organ_status status =
            autopsy(scratch_path("m.safetensors"), (autopsy_way){.output = scratch_path("out"), .threads = 1}, &error);
        if (!fault_fired()) {
            ck_assert_int_eq(status, ORGAN_OK);
            ck_assert_int_gt(n, 3);
            break;
        }
        ck_assert_int_eq(status, ORGAN_IO);
        ck_assert(!exists(scratch_path("out")));
    }
    ck_assert(exists(scratch_path("out/autopsy.json")) && exists(scratch_path("out/AUTOPSY_REPORT.md")) &&
              exists(scratch_path("out/AUTOPSY_REPORT.html")));
}
END_TEST

/* If the first or the second report cannot be written, a directory that was made for them is removed. */
START_TEST(reports_that_cannot_be_written)
{
    organ_error error;
    for (int named = 0; named < 2; named++)
        for (long n = 1; n <= 2; n++) {
            fault_at(named ? FAULT_RENAMEAT2 : FAULT_FSYNC, n, ENOSPC, true, NULL);
            fault_at(FAULT_LINK, named, ENOSPC, true, NULL); /* the other way to rename a file */
            const organ_status status =
                autopsy(scratch_path("m.safetensors"), (autopsy_way){.output = scratch_path("out")}, &error);
            fault_clear();
            ck_assert_int_eq(status, ORGAN_IO);
            ck_assert(!exists(scratch_path("out")));
        }
}
END_TEST

START_TEST(a_stop_ends_it)
{
    organ_error error;
    organ_stop stop = {0};
    organ_stop_request(&stop);
    ck_assert_int_eq(
        autopsy(scratch_path("m.safetensors"), (autopsy_way){.stop = &stop, .output = scratch_path("out")}, &error),
        ORGAN_INTERRUPTED);
    ck_assert(!exists(scratch_path("out")));
}
END_TEST

Suite *autopsy_faults_suite(void)
{
    const suite_case cases[] = {
        {"ranges", {malformed_ranges_are_refused, the_nearest_range_counts, printed_ranges_are_the_defaults}},
        {"pairs", {missing_extra_and_misshapen_weights_are_named, causes_of_distance}},
        {"system", {wrong_calls_are_refused, reads_that_fail, reports_that_cannot_be_written, a_stop_ends_it}},
    };
    return suite_of("autopsy faults", cases, sizeof cases / sizeof *cases, setup, autopsy_teardown);
}
