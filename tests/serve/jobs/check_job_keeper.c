/* SPDX-License-Identifier: MIT
 * Tests of jobs with their processes: queue, conflicts, cancelling, restarts, crashes, confinement to the root. The
 * processes are this program itself, which acts as the name of its model says (job_actor.h). */
#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/jobs/jobs_parts.h"
#include "tests/serve/jobs/job_actor.h"
#include "tests/serve/jobs/keeper_rig.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- one job ---- */

START_TEST(jobs_end_as_their_programs_do)
{
    static const struct {
        const char *model, *state, *error;
        int code;
    } rows[] = {{"done", "done", "", 0},
                {"check", "done", "it does not hold", 1},
                {"fail", "failed", "the model is broken", 3},
                {"crash", "failed", "ended by signal 9 (Killed)", -1}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        char id[ID];
        ck_assert_uint_eq(keeper_add(rows[k].model, rows[k].model, id), 201);
        json_t *const view = keeper_await(id, rows[k].state);
        const json_t *const code = json_object_get(view, "exit_code");
        ck_assert_str_eq(organ_json_text(view, "error"), rows[k].error);
        ck_assert(rows[k].code < 0 ? json_is_null(code) : json_integer_value(code) == rows[k].code);
        ck_assert_int_eq(json_is_true(json_object_get(view, "result")), strcmp(rows[k].state, "done") == 0);
        ck_assert(*organ_json_text(view, "started") && *organ_json_text(view, "finished"));
        json_decref(view);
    }
}
END_TEST

START_TEST(a_job_stays_below_the_root)
{
    static const char *const yes[] = {"read_inside", "write_inside", "rename_inside", "leader"};
    static const char *const no[] = {"read_link", "read_outside", "read_passwd", "write_outside",
                                     "write_up",  "execute",      "secret"};
    char id[ID];
    /* This test needs Landlock, which the kernels of test machines have had since 2022. */
    ck_assert_int_ge(organ_confinement_of_kernel().landlock, 2);
    ck_assert(organ_jobs_confinement(jobs).landlock >= 2 && organ_jobs_confinement(jobs).seccomp);
    ck_assert_uint_eq(keeper_add("peek", "peek", id), 201);
    keeper_becomes(id, "done");
    json_t *const result = keeper_result_of(id);
    for (size_t k = 0; k < LENGTH(yes); k++)
        ck_assert_msg(organ_json_count(result, yes[k]) == 1, "%s", yes[k]);
    for (size_t k = 0; k < LENGTH(no); k++)
        ck_assert_msg(organ_json_count(result, no[k]) == 0, "%s", no[k]);
    ck_assert_uint_eq(organ_json_count(result, "files"), 3);
    static const char *const forbidden[] = {"socket",   "pair",    "mount",       "bpf",         "io_uring",
                                            "keyctl",   "unshare", "userfaultfd", "init_module", "fork",
                                            "execveat", "limit",   "tiocsti"};
    for (size_t k = 0; k < LENGTH(forbidden); k++)
        ck_assert_msg(organ_json_count(result, forbidden[k]) == EPERM, "%s", forbidden[k]);
    ck_assert_uint_eq(organ_json_count(result, "unknown"), ENOSYS);
    if (organ_confinement_of_kernel().landlock >= 4)
        ck_assert_uint_eq(organ_json_count(result, "tcp"), 0);
    if (organ_confinement_of_kernel().landlock >= 6)
        ck_assert_uint_eq(organ_json_count(result, "signal"), 0);
    json_decref(result);
    ck_assert_int_ne(access("/tmp/organ-escaped", F_OK), 0);
}
END_TEST

START_TEST(a_cancelled_job_can_go_on)
{
    char id[ID];
    ck_assert_uint_eq(keeper_add("wait", "w", id), 201);
    keeper_is_at(id, "waiting");
    json_t *const running = keeper_view_of(id);
    ck_assert(organ_json_real(running, "progress.fraction") == 0.4);
    ck_assert_str_eq(organ_json_text(running, "progress.tensor"), "first");
    json_decref(running);
    ck_assert_uint_eq(keeper_resume(id), 409);
    ck_assert_uint_eq(keeper_delete(id), 202);
    json_t *const view = keeper_await(id, "cancelled");
    ck_assert(json_is_true(json_object_get(view, "resumable")) &&
              json_integer_value(json_object_get(view, "exit_code")) == 130);
    json_decref(view);
    ck_assert_uint_eq(keeper_resume(id), 202);
    keeper_becomes(id, "done");
    json_t *const result = keeper_result_of(id);
    ck_assert_uint_eq(organ_json_count(result, "resumed"), 1);
    json_decref(result);
    ck_assert_uint_eq(keeper_resume(id), 409);
    ck_assert_uint_eq(keeper_delete(id), 204);
    ck_assert_uint_eq(keeper_delete(id), 404);
    ck_assert_uint_eq(keeper_resume(id), 404);
    ck_assert_int_eq(access(scratch_path("root/models/wait"), F_OK), 0);
}
END_TEST

START_TEST(who_does_not_end_is_killed)
{
    char id[ID];
    organ_jobs_close(jobs);
    way.patience = 0.2;
    keeper_open_jobs();
    ck_assert_uint_eq(keeper_add("stubborn", "s", id), 201);
    keeper_is_at(id, "waiting");
    const pid_t pid = keeper_process_of(id);
    ck_assert_int_gt(pid, 0);
    ck_assert_uint_eq(keeper_delete(id), 202);
    ck_assert_uint_eq(keeper_delete(id), 202);
    json_t *const view = keeper_await(id, "cancelled");
    ck_assert_str_eq(organ_json_text(view, "error"), "ended by signal 9 (Killed)");
    json_decref(view);
    ck_assert(kill(pid, 0) != 0 && errno == ESRCH);
}
END_TEST

/* ---- many jobs ---- */

START_TEST(jobs_wait_their_turn)
{
    char first[ID], second[ID], third[ID], other[ID];
    ck_assert_uint_eq(keeper_add("gate", "a", first), 201);
    ck_assert_uint_eq(keeper_add("done", "b", second), 201);
    ck_assert_uint_eq(keeper_add("done", "c", third), 201);
    keeper_becomes(first, "running");
    ck_assert_uint_eq(keeper_add("done", "a", other), 409);
    ck_assert_ptr_nonnull(strstr(other, "out/a belongs to job"));
    mkdir(scratch_path("root/out/a"), 0755);
    ck_assert_uint_eq(keeper_add("done", "a/b", other), 409);
    keeper_becomes(second, "queued");
    ck_assert_uint_eq(keeper_delete(third), 202);
    json_t *const view = keeper_await(third, "cancelled");
    ck_assert(!json_is_true(json_object_get(view, "resumable")));
    json_decref(view);
    ck_assert_uint_eq(keeper_resume(third), 409);
    json_t *const list = organ_jobs_list(jobs, ORGAN_JOB_STATES, 1, 1), *const queued = organ_jobs_list(
                                                                            jobs, ORGAN_JOB_QUEUED, 0, 10);
    ck_assert_uint_eq(organ_json_count(list, "total"), 3);
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(list, "jobs"), 0), "id"), second);
    ck_assert_uint_eq(organ_json_count(queued, "total"), 1);
    json_decref(list);
    json_decref(queued);
    scratch_text("root/go", "");
    keeper_becomes(first, "done");
    keeper_becomes(second, "done");
    ck_assert_uint_eq(keeper_add("done", "a", other), 201);
    keeper_becomes(other, "done");
}
END_TEST

START_TEST(the_queue_has_an_end)
{
    char id[ID], name[32];
    ck_assert_uint_eq(keeper_add("gate", "a", id), 201);
    keeper_becomes(id, "running");
    for (int k = 0; k < 4; k++) {
        snprintf(name, sizeof name, "b%d", k);
        ck_assert_uint_eq(keeper_add("done", name, id), 201);
    }
    ck_assert_uint_eq(keeper_add("done", "c", id), 429);
    scratch_text("root/go", "");
}
END_TEST

START_TEST(the_oldest_records_go)
{
    char id[6][ID];
    organ_jobs_close(jobs);
    way.kept = 3;
    keeper_open_jobs();
    for (int k = 0; k < 6; k++) {
        ck_assert_uint_eq(keeper_add("done", "a", id[k]), 201);
        keeper_becomes(id[k], "done");
    }
    for (int k = 0; k < 3; k++)
        keeper_forgets(id[k]);
    json_t *const list = organ_jobs_list(jobs, ORGAN_JOB_STATES, 0, 10);
    ck_assert_uint_eq(organ_json_count(list, "total"), 3);
    json_decref(list);
    json_decref(keeper_view_of(id[3]));
}
END_TEST

/* ---- restarts of the server ---- */

START_TEST(what_ran_is_watched_on)
{
    char running[ID], queued[ID];
    ck_assert_uint_eq(keeper_add("gate", "a", running), 201);
    ck_assert_uint_eq(keeper_add("done", "b", queued), 201);
    keeper_becomes(running, "running");
    organ_jobs_close(jobs);
    keeper_open_jobs();
    keeper_becomes(running, "running");
    keeper_becomes(queued, "queued");
    scratch_text("root/go", "");
    json_t *const view = keeper_await(running, "done");
    ck_assert(json_is_true(json_object_get(view, "result")) &&
              json_integer_value(json_object_get(view, "exit_code")) == 0);
    json_decref(view);
    keeper_becomes(queued, "done");
    organ_jobs_close(jobs);
    keeper_open_jobs();
    keeper_becomes(running, "done");
}
END_TEST

START_TEST(an_adopted_job_can_be_cancelled)
{
    char id[ID];
    ck_assert_uint_eq(keeper_add("wait", "a", id), 201);
    keeper_is_at(id, "waiting");
    organ_jobs_close(jobs);
    keeper_open_jobs();
    keeper_is_at(id, "waiting");
    ck_assert_uint_eq(keeper_delete(id), 202);
    json_t *const view = keeper_await(id, "cancelled");
    ck_assert_int_eq(json_integer_value(json_object_get(view, "exit_code")), 130);
    json_decref(view);
}
END_TEST

START_TEST(who_died_meanwhile_was_interrupted)
{
    char id[ID];
    ck_assert_uint_eq(keeper_add("stubborn", "a", id), 201);
    keeper_is_at(id, "waiting");
    const pid_t pid = keeper_process_of(id);
    organ_jobs_close(jobs);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    keeper_open_jobs();
    json_t *const view = keeper_await(id, "interrupted");
    ck_assert(json_is_true(json_object_get(view, "resumable")));
    ck_assert(json_is_null(json_object_get(view, "exit_code")));
    json_decref(view);
}
END_TEST

/* A process that got the number of an ended job is not that job. */
START_TEST(another_process_of_that_number_is_not_ours)
{
    static const char *const changes[] = {"{\"born\": 1}", "{\"boot\": \"another\"}"};
    for (size_t k = 0; k < LENGTH(changes); k++) {
        char id[ID], path[1100], name[32];
        snprintf(name, sizeof name, "o%zu", k);
        ck_assert_uint_eq(keeper_add("stubborn", name, id), 201);
        keeper_is_at(id, "waiting");
        const pid_t pid = keeper_process_of(id);
        organ_jobs_close(jobs);
        snprintf(path, sizeof path, "root/.organ/jobs/%s/job.json", id);
        json_t *const record = json_load_file(scratch_path(path), 0, NULL), *const change =
                                                                                json_loads(changes[k], 0, NULL);
        json_object_update(json_object_get(record, "process"), change);
        ck_assert_int_eq(json_dump_file(record, scratch_path(path), 0), 0);
        json_decref(record);
        json_decref(change);
        keeper_open_jobs();
        keeper_becomes(id, "interrupted");
        ck_assert_int_eq(kill(pid, 0), 0);
        ck_assert_uint_eq(keeper_delete(id), 204);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    }
}
END_TEST

/* The record is a file in the served directory, so its content is checked like a request. */
START_TEST(a_queued_record_is_read_as_a_request)
{
    char running[ID], queued[ID], path[1100];
    ck_assert_uint_eq(keeper_add("gate", "a", running), 201);
    ck_assert_uint_eq(keeper_add("done", "b", queued), 201);
    keeper_becomes(running, "running");
    organ_jobs_close(jobs);
    snprintf(path, sizeof path, "root/.organ/jobs/%s/job.json", queued);
    json_t *const record = json_load_file(scratch_path(path), 0, NULL);
    json_object_set_new(json_object_get(record, "arguments"), "DONOR", json_string("leak"));
    ck_assert_int_eq(json_dump_file(record, scratch_path(path), 0), 0);
    json_decref(record);
    keeper_open_jobs();
    json_t *const view = keeper_await(queued, "failed");
    ck_assert_ptr_nonnull(strstr(organ_json_text(view, "error"), "/arguments/DONOR"));
    json_decref(view);
    scratch_text("root/go", "");
    keeper_becomes(running, "done");
}
END_TEST

START_TEST(a_link_planted_meanwhile_stops_a_resume)
{
    char id[ID];
    ck_assert_uint_eq(keeper_add("wait", "a", id), 201);
    keeper_is_at(id, "waiting");
    ck_assert_uint_eq(keeper_delete(id), 202);
    keeper_becomes(id, "cancelled");
    ck_assert_int_eq(unlink(scratch_path("root/models/wait")), 0);
    ck_assert_int_eq(symlink("../../outside", scratch_path("root/models/wait")), 0);
    ck_assert_uint_eq(keeper_resume(id), 422);
    keeper_becomes(id, "cancelled");
}
END_TEST

START_TEST(broken_records_do_not_stop_the_server)
{
    char id[ID];
    organ_jobs_close(jobs);
    mkdir(scratch_path("root/.organ/jobs/20260101-000000-000000"), 0700);
    scratch_text("root/.organ/jobs/20260101-000000-000000/job.json.7.tmp", "{\"schema\": ");
    mkdir(scratch_path("root/.organ/jobs/20260101-000000-000001"), 0700);
    scratch_text("root/.organ/jobs/20260101-000000-000001/job.json", "{\"schema\": ");
    mkdir(scratch_path("root/.organ/jobs/20260101-000000-000002"), 0700);
    ck_assert_int_eq(mkfifo(scratch_path("root/.organ/jobs/20260101-000000-000002/job.json"), 0600), 0);
    mkdir(scratch_path("root/.organ/jobs/20260101-000000-000003"), 0700);
    ck_assert_int_eq(symlink("/dev/zero", scratch_path("root/.organ/jobs/20260101-000000-000003/job.json")), 0);
    keeper_open_jobs();
    /* A job that was begun and not recorded is removed; other files are left alone. */
    ck_assert_int_ne(access(scratch_path("root/.organ/jobs/20260101-000000-000000"), F_OK), 0);
    ck_assert_int_eq(access(scratch_path("root/.organ/jobs/20260101-000000-000002/job.json"), F_OK), 0);
    ck_assert_uint_eq(keeper_add("done", "a", id), 201);
    keeper_becomes(id, "done");
}
END_TEST

/* A FIFO in place of a record is not opened. */
START_TEST(what_is_no_file_is_not_waited_for)
{
    char id[ID], path[ID + 100];
    int fd;
    json_t *result = NULL;
    organ_error error = {0};
    ck_assert_uint_eq(keeper_add("done", "a", id), 201);
    keeper_becomes(id, "done");
    static const char *const names[] = {"result.json", "events.jsonl"};
    for (size_t k = 0; k < LENGTH(names); k++) {
        snprintf(path, sizeof path, "root/.organ/jobs/%s/%s", id, names[k]);
        ck_assert_int_eq(unlink(scratch_path(path)), 0);
        ck_assert_int_eq(mkfifo(scratch_path(path), 0600), 0);
        ck_assert_uint_eq(organ_jobs_file(jobs, id, names[k], &fd, &error), 409);
    }
    ck_assert_uint_eq(organ_jobs_result(jobs, id, &result, &error), 409);
}
END_TEST

/* The error about the directory of jobs does not contain the path of the root. */
START_TEST(a_job_that_cannot_be_written_down)
{
    char message[ID];
    organ_jobs_close(jobs);
    keeper_open_jobs();
    ck_assert_int_eq(rename(scratch_path("root/.organ/jobs"), scratch_path("root/.organ/gone")), 0);
    ck_assert_uint_eq(keeper_add("done", "a", message), 500);
    ck_assert_msg(strstr(message, "cannot be created") && !strstr(message, scratch_path("")), "%s", message);
    ck_assert_int_eq(rename(scratch_path("root/.organ/gone"), scratch_path("root/.organ/jobs")), 0);
    ck_assert_uint_eq(keeper_add("done", "a", message), 201);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        return act_as_job(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const suite_case cases[] = {
        {"one",
         {jobs_end_as_their_programs_do, a_job_stays_below_the_root, a_cancelled_job_can_go_on,
          who_does_not_end_is_killed}},
        {"many", {jobs_wait_their_turn, the_queue_has_an_end, the_oldest_records_go}},
        {"restart",
         {what_ran_is_watched_on, an_adopted_job_can_be_cancelled, who_died_meanwhile_was_interrupted,
          another_process_of_that_number_is_not_ours, a_queued_record_is_read_as_a_request,
          a_link_planted_meanwhile_stops_a_resume, broken_records_do_not_stop_the_server}},
        {"disk", {what_is_no_file_is_not_waited_for, a_job_that_cannot_be_written_down}}};
    Suite *const suites[] = {suite_of("job keeper", cases, LENGTH(cases), keeper_setup, keeper_teardown),
                             job_limits_suite(), NULL};
    return run_suites(suites);
}
