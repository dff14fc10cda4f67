/* SPDX-License-Identifier: MIT
 * Tests of the limits of jobs: stored results and memory. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "orchestrator/serve/jobs/jobs_parts.h"
#include "tests/serve/jobs/keeper_rig.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static off_t size_of(const char *id, const char *name)
{
    struct stat about;
    char path[1100];
    snprintf(path, sizeof path, "root/.organ/jobs/%s/%s", id, name);
    ck_assert_msg(stat(scratch_path(path), &about) == 0, "%s", path);
    return about.st_size;
}

static void is_cut(const char *id)
{
    uint64_t cut;
    int fd;
    organ_error error = {0};
    json_t *const view = keeper_await(id, "done");
    ck_assert_uint_eq(organ_json_count(view, "cut"), 4000036);
    ck_assert_uint_eq(organ_json_count(view, "result_bytes"), 1 << 20);
    ck_assert(!json_is_true(json_object_get(view, "result")) && !json_is_true(json_object_get(view, "report")));
    json_decref(view);
    ck_assert_uint_eq(organ_jobs_printed(jobs, id, &fd, &cut, &error), 200);
    ck_assert_uint_eq(cut, 4000036);
    close(fd);
}

START_TEST(what_a_job_prints_has_a_limit)
{
    char id[ID], whole[ID], line[2000] = "";
    organ_jobs_close(jobs);
    keeper_open_jobs();
    ck_assert_uint_eq(keeper_add("long", "w", whole), 201);
    json_t *const view = keeper_await(whole, "done");
    ck_assert(json_is_null(json_object_get(view, "cut")) && json_is_true(json_object_get(view, "result")));
    ck_assert_uint_eq(organ_json_count(view, "result_bytes"), 4000036);
    json_decref(view);
    organ_jobs_close(jobs);
    way.output = 1 << 20;
    keeper_open_jobs();
    is_cut(whole); /* results stored by an earlier server are cut, too */
    ck_assert_uint_eq(keeper_add("long", "l", id), 201);
    is_cut(id);
    ck_assert_int_eq(size_of(id, "result.json"), 1 << 20);
    ck_assert_int_le(size_of(id, "events.jsonl"), 1 << 20);
    organ_jobs_close(jobs);
    keeper_open_jobs();
    is_cut(id);
    /* The log has its beginning, its end, and a line about the part left out. */
    bool first = false, left_out = false;
    char path[1100];
    snprintf(path, sizeof path, "root/.organ/jobs/%s/events.jsonl", id);
    FILE *const log = fopen(scratch_path(path), "r");
    while (fgets(line, sizeof line, log)) {
        first = first || strstr(line, "working");
        left_out = left_out || strstr(line, "bytes of the log are omitted here");
        ck_assert_int_eq(line[0], '{');
    }
    fclose(log);
    ck_assert(first && left_out && strstr(line, "0003999\"}"));
}
END_TEST

START_TEST(all_jobs_together_have_a_limit)
{
    char id[4][ID];
    organ_jobs_close(jobs);
    way.keep_bytes = 20000000; /* room for two of 8 MB each, and a little more */
    keeper_open_jobs();
    for (int k = 0; k < 4; k++) {
        ck_assert_uint_eq(keeper_add("long", "l", id[k]), 201);
        keeper_becomes(id[k], "done");
    }
    keeper_forgets(id[0]);
    keeper_forgets(id[1]);
    json_decref(keeper_view_of(id[2]));
    json_decref(keeper_view_of(id[3]));
    organ_jobs_close(jobs);
    way.keep_bytes = 10000000;
    keeper_open_jobs();
    keeper_forgets(id[2]);
    json_decref(keeper_view_of(id[3]));
}
END_TEST

/* ---- memory ---- */

static unsigned add_with_memory(const char *memory, char said[ID])
{
    organ_job_words words;
    organ_error error = {0};
    json_t *faults = NULL, *view = NULL;
    json_t *const request = json_pack("{s:s, s:{s:s, s:s, s:s, s:i}}", "verb", "prune", "arguments", "DONOR",
                                      "models/hungry", "output", "out/h", "memory", memory, "threads", 1);
    ck_assert_uint_eq(
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, &words, &faults), 0);
    json_decref(request);
    const unsigned status = organ_jobs_add(jobs, &words, &view, &error);
    snprintf(said, ID, "%s", view ? organ_json_text(view, "id") : error.message);
    json_decref(view);
    return status;
}

START_TEST(a_job_has_a_limit_of_memory)
{
    char id[ID];
    organ_jobs_close(jobs);
    way.memory = (uint64_t)1 << 30;
    keeper_open_jobs();
    ck_assert_uint_eq(add_with_memory("100M", id), 201);
    json_t *const view = keeper_await(id, organ_job_memory_limited ? "failed" : "done");
    const char *const why = organ_json_text(view, "error");
    ck_assert_int_eq(json_integer_value(json_object_get(view, "exit_code")), organ_job_memory_limited ? 4 : 0);
    /* 100 MiB plus the additional memory of a job of one thread: 256 and 128 MiB. */
    ck_assert_msg(!organ_job_memory_limited ||
                      strstr(why, "Cannot allocate memory; a job with this --memory is limited to 484M in total"),
                  "%s", why);
    ck_assert_msg(!organ_job_memory_limited || (atoi(why) >= 300 && atoi(why) < 508), "%s", why);
    json_decref(view);
    ck_assert_uint_eq(add_with_memory("1075MB", id), 422);
    ck_assert_ptr_nonnull(strstr(id, "requests 1026M (1075000000 bytes)"));
    ck_assert_uint_eq(add_with_memory("2GiB", id), 422);
    ck_assert_msg(strstr(id, "requests 2G (2147483648 bytes), but the limit of this server is 1G (--job-memory)"), "%s",
                  id);
    organ_jobs_close(jobs);
    way.memory = (uint64_t)64 << 20;
    keeper_open_jobs();
    organ_job_words words;
    organ_error error = {0};
    json_t *faults = NULL, *small = NULL;
    json_t *const inspect = json_pack("{s:s, s:{s:s}}", "verb", "inspect", "arguments", "MODEL", "models/hungry");
    ck_assert_uint_eq(
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, inspect, &words, &faults), 0);
    ck_assert_msg(organ_jobs_add(jobs, &words, &small, &error) == 201, "inspect has no --memory: %s", error.message);
    json_decref(small);
    json_decref(inspect);
    organ_jobs_close(jobs);
    way.memory = 0;
    keeper_open_jobs();
    ck_assert_uint_eq(add_with_memory("2G", id), 201);
    keeper_becomes(id, "done");
}
END_TEST

Suite *job_limits_suite(void)
{
    const suite_case cases[] = {{"kept", {what_a_job_prints_has_a_limit, all_jobs_together_have_a_limit}},
                                {"memory", {a_job_has_a_limit_of_memory}}};
    return suite_of("job limits", cases, LENGTH(cases), keeper_setup, keeper_teardown);
}
