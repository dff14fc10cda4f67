/* SPDX-License-Identifier: MIT
 * Tests of measuring models behind URLs: finished measurements survive failures of the server and of the run. */
#include "orchestrator/verbs/measure/z_measure.h"
#include "formats/base/files.h"
#include <organ/measure.h>
#include "tests/formats/remote/check_http.h"
#include "tests/kit/effort.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/served_model.h"
#include "tests/kit/suite_table.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX "model.safetensors.index.json"

static served_model served;
static http_server *server;
static organ_stop stop;
static char notes[16384];

static void setup(void)
{
    unsetenv("http_proxy");
    scratch_make();
    stop = (organ_stop){0};
    notes[0] = '\0';
    served = served_model_make(4, 8, 320, 200, 3);
    server = http_start(served.files, served.file_count, 0);
}

static void teardown(void)
{
    http_stop(server);
    served_model_free(&served);
    scratch_remove();
}

static void keep_note(void *context, const char *text)
{
    (void)context;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

static size_t stop_after;
static void count_down(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    (void)context, (void)bytes, (void)remark;
    if (tensor && stop_after && --stop_after == 0)
        organ_stop_request(&stop);
}

/* Measures the served model; without `output`, a name in the scratch directory, there is no journal. */
static organ_status measure(const char *output, size_t threads, const char *header, json_t **report, organ_error *error)
{
    run_engine room;
    const char *url = http_url(server, INDEX);
    const organ_progress progress = {.note = keep_note, .advance = count_down};
    const organ_measure_options options = {.models = &url,
                                           .model_count = 1,
                                           .output = output ? scratch_path("%s", output) : NULL,
                                           .headers = &header,
                                           .header_count = header != NULL};
    *error = (organ_error){0};
    run_engine_open(&room, (run_way){.threads = threads, .stop = &stop});
    const organ_status status = organ_measure(&options, &room.engine, &progress, report, error);
    run_engine_close(&room);
    return status;
}

static json_t *must_measure(const char *output, size_t threads)
{
    organ_error error;
    json_t *report;
    ck_assert_msg(measure(output, threads, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_object_del(report, "run");
    return report;
}

/* Counts the journals in an output's organ/ folder. */
static size_t journals(const char *output)
{
    size_t count = 0;
    DIR *folder = opendir(scratch_path("%s/organ", output));
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        count += strncmp(entry->d_name, "measure-", 8) == 0;
    if (folder)
        closedir(folder);
    return count;
}

START_TEST(an_interrupted_run_goes_on)
{
    organ_error error;
    json_t *report, *whole = must_measure(NULL, 2);
    const uint64_t once = http_sent(server);
    stop_after = 60;
    ck_assert_int_eq(measure("out", 2, NULL, &report, &error), ORGAN_INTERRUPTED);
    ck_assert_uint_eq(journals("out"), 1);
    stop = (organ_stop){0};
    stop_after = 0;
    const uint64_t before = http_sent(server);
    report = must_measure("out", 7);
    ck_assert_msg(strstr(notes, "continuing: 6"), "%s", notes);
    ck_assert(http_sent(server) - before < once);
    ck_assert(json_equal(whole, report));
    ck_assert_uint_eq(journals("out"), 0);
    ck_assert(exists(scratch_path("out/z_report.json")) && !exists(scratch_path("out/organ")));
    json_decref(report);
    json_decref(whole);
}
END_TEST

START_TEST(a_dead_server_costs_nothing_but_time)
{
    organ_error error;
    json_t *report, *whole = must_measure(NULL, 2);
    http_behave(server, (http_manners){.after = 9, .oddity = HTTP_STATUS, .code = 403, .count = -1});
    ck_assert_int_eq(measure("out", 1, NULL, &report, &error), ORGAN_IO);
    ck_assert_msg(strstr(error.message, "status 403"), "%s", error.message);
    http_behave(server, (http_manners){0});
    report = must_measure("out", 2);
    ck_assert(json_equal(whole, report));
    json_decref(report);
    json_decref(whole);
}
END_TEST

/* Measures 61 blocks of experts while the server is killed halfway and restarted. */
START_TEST(a_large_model_over_a_dead_server)
{
    teardown();
    scratch_make();
    const size_t blocks = sampled(61, 16), experts = 48;
    served = served_model_make(blocks, experts, 64, 220, 13);
    server = http_start(served.files, served.file_count, 0);
    json_t *whole = must_measure(NULL, 2);
    served_model_interrupt(&server, &served, http_sent(server) + served.bytes / 2);
    json_t *report = must_measure(NULL, 2);
    ck_assert(served_model_was_interrupted());
    ck_assert_ptr_nonnull(strstr(notes, "trying again"));
    ck_assert_uint_eq(
        json_array_size(json_object_get(json_array_get(json_object_get(report, "models"), 0), "per_tensor")),
        blocks * (2 + 3 * experts));
    ck_assert(json_equal(whole, report));
    json_decref(report);
    json_decref(whole);
}
END_TEST

START_TEST(another_version_is_measured_anew)
{
    organ_error error;
    json_t *report;
    stop_after = 60;
    ck_assert_int_eq(measure("out", 2, NULL, &report, &error), ORGAN_INTERRUPTED);
    stop = (organ_stop){0};
    stop_after = 0;
    const char *const etag = http_set_etag(server, &served.files[1], "\"new\"");
    report = must_measure("out", 2);
    http_set_etag(server, &served.files[1], etag);
    ck_assert_msg(strstr(notes, "is measured again") && !strstr(notes, "continuing"), "%s", notes);
    json_decref(report);
}
END_TEST

START_TEST(tokens_are_sent_and_told_nobody)
{
    organ_error error;
    json_t *report;
    ck_assert_int_eq(measure("out", 2, "Authorization: Bearer hushhush", &report, &error), ORGAN_OK);
    ck_assert_str_eq(http_last_header(server, "Authorization"), "Bearer hushhush");
    char *text = json_dumps(report, 0);
    ck_assert_ptr_null(strstr(text, "hush"));
    free(text);
    json_decref(report);
}
END_TEST

/* The window of this memory has less than a quarter of a tensor, which is larger than what the reader of URLs keeps. */
START_TEST(a_server_sends_every_byte_once)
{
    uint64_t sent[2], digests[2], grown;
    teardown();
    scratch_make();
    served = served_model_make(1, 1, 4096, 1024, 1);
    server = http_start(served.files, served.file_count, 0);
    for (int spooled = 0; spooled < 2; spooled++) {
        const uint64_t before = http_sent(server);
        organ_unnamed_files_use(spooled);
        const char *const fault =
            served_model_measure(http_url(server, INDEX), (uint64_t)4 << 20, 1, &digests[spooled], &grown);
        organ_unnamed_files_use(false);
        ck_assert_msg(!fault, "%s", fault);
        sent[spooled] = http_sent(server) - before;
    }
    ck_assert_uint_gt(sent[0], served.bytes / 2 * 3); /* without files, twice */
    ck_assert_uint_lt(sent[1], served.bytes + ((uint64_t)1 << 20));
    ck_assert_uint_eq(digests[0], digests[1]);
}
END_TEST

START_TEST(what_is_written_down_is_exact)
{
    organ_z z = {.done = true,
                 .e = 0.1,
                 .theta = 1.0 / 3,
                 .moments = {.n = UINT64_C(1) << 60, .mean = -0x1.fffffffffffffp-1000},
                 .levels = 65537};
    z.moments.min = -INFINITY;
    z.moments.max = INFINITY;
    z.moments.m4 = 5e-324;
    z.information[4] = 12345.678901234567;
    json_t *json = organ_z_json(&z);
    char *text = json_dumps(json, JSON_COMPACT);
    json_error_t fault;
    json_t *again = json_loads(text, 0, &fault);
    const organ_z back = organ_z_of_json(again);
    ck_assert(memcmp(&z, &back, sizeof z) == 0);
    json_decref(json);
    json_decref(again);
    free(text);
}
END_TEST

Suite *http_measure_suite(void)
{
    const suite_case cases[] = {
        {"measure",
         {an_interrupted_run_goes_on, a_dead_server_costs_nothing_but_time, a_large_model_over_a_dead_server,
          another_version_is_measured_anew, tokens_are_sent_and_told_nobody, a_server_sends_every_byte_once,
          what_is_written_down_is_exact}},
    };
    return suite_of("http measure", cases, sizeof cases / sizeof *cases, setup, teardown);
}
