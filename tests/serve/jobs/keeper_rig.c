/* SPDX-License-Identifier: MIT */
#include "tests/serve/jobs/keeper_rig.h"

#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "tests/kit/scratch_model.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

organ_jail *jail;
organ_jobs *jobs;
organ_jobs_setup way;

void keeper_open_jobs(void)
{
    organ_error error = {0};
    ck_assert_msg(organ_jobs_open(&way, NULL, &jobs, &error) == ORGAN_OK, "%s", error.message);
}

void keeper_setup(void)
{
    static const char *const models[] = {"peek",  "wait", "stubborn", "crash", "fail",
                                         "check", "done", "gate",     "long",  "hungry"};
    organ_error error = {0};
    scratch_begin();
    mkdir(scratch_path("root"), 0755);
    mkdir(scratch_path("root/models"), 0755);
    mkdir(scratch_path("root/out"), 0755);
    for (size_t k = 0; k < LENGTH(models); k++) {
        char name[64];
        snprintf(name, sizeof name, "root/models/%s", models[k]);
        scratch_text(name, models[k]);
    }
    scratch_text("outside", "not ours");
    ck_assert_int_eq(symlink("../outside", scratch_path("root/leak")), 0);
    ck_assert_msg(organ_jail_open(scratch_path("root"), &jail, &error) == ORGAN_OK, "%s", error.message);
    setenv("SECRET_TOKEN", "x", 1);
    way = (organ_jobs_setup){.jail = jail,
                             .verbs = organ_all_verbs.verbs,
                             .verb_count = organ_all_verbs.count,
                             .limit = 1,
                             .kept = 50,
                             .max_queued = 4,
                             .program = "/proc/self/exe",
                             .patience = 20};
    keeper_open_jobs();
}

void keeper_teardown(void)
{
    organ_jobs_close(jobs);
    organ_jail_close(jail);
    scratch_end();
}

/* Requests a prune of models/MODEL to out/OUTPUT; returns the status, and the id if that is 201. */
unsigned keeper_add(const char *model, const char *output, char id[ID])
{
    organ_job_words words;
    organ_error error = {0};
    json_t *faults = NULL, *view = NULL;
    json_t *const request = json_pack("{s:s, s:{s:o, s:o}}", "verb", "prune", "arguments", "DONOR",
                                      json_sprintf("models/%s", model), "output", json_sprintf("out/%s", output));
    ck_assert_uint_eq(
        organ_job_words_read(organ_all_verbs.verbs, organ_all_verbs.count, jail, request, &words, &faults), 0);
    json_decref(request);
    const unsigned status = organ_jobs_add(jobs, &words, &view, &error);
    snprintf(id, ID, "%s", view ? organ_json_text(view, "id") : error.message);
    json_decref(view);
    return status;
}

json_t *keeper_view_of(const char *id)
{
    organ_error error = {0};
    json_t *view = NULL;
    ck_assert_msg(organ_jobs_do(jobs, id, organ_job_show, &view, &error) == 200, "%s", error.message);
    return view;
}

/* Waits until the job is in that state; returns its view, which the caller releases. */
json_t *keeper_await(const char *id, const char *state)
{
    json_t *view = keeper_view_of(id);
    for (int k = 0; k < 12000 && strcmp(organ_json_text(view, "state"), state) != 0; k++) {
        json_decref(view);
        usleep(10000);
        view = keeper_view_of(id);
    }
    char *const text = json_dumps(view, JSON_COMPACT);
    ck_assert_msg(strcmp(organ_json_text(view, "state"), state) == 0, "not %s: %s", state, text);
    free(text);
    return view;
}

void keeper_becomes(const char *id, const char *state) { json_decref(keeper_await(id, state)); }

/* Waits until the job has reported that stage. */
void keeper_is_at(const char *id, const char *stage)
{
    for (int k = 0; k < 12000; k++) {
        json_t *const view = keeper_view_of(id);
        const bool there = strcmp(organ_json_text(view, "progress.stage"), stage) == 0;
        json_decref(view);
        if (there)
            return;
        usleep(10000);
    }
    ck_abort_msg("job %s is never at '%s'", id, stage);
}

/* Waits until the job is removed. */
void keeper_forgets(const char *id)
{
    unsigned status = 200;
    for (int k = 0; k < 12000 && status == 200; k++) {
        organ_error error = {0};
        json_t *view = NULL;
        status = organ_jobs_do(jobs, id, organ_job_show, &view, &error);
        json_decref(view);
        usleep(10000);
    }
    ck_assert_msg(status == 404, "%s: %u, %zu jobs", id, status, organ_jobs_count(jobs, ORGAN_JOB_DONE));
}

unsigned keeper_delete(const char *id)
{
    organ_error error = {0};
    json_t *view = NULL;
    const unsigned status = organ_jobs_do(jobs, id, organ_job_delete, &view, &error);
    json_decref(view);
    return status;
}

unsigned keeper_resume(const char *id)
{
    organ_error error = {0};
    json_t *view = NULL;
    const unsigned status = organ_jobs_do(jobs, id, organ_job_resume, &view, &error);
    json_decref(view);
    return status;
}

json_t *keeper_result_of(const char *id)
{
    organ_error error = {0};
    json_t *result = NULL;
    ck_assert_msg(organ_jobs_result(jobs, id, &result, &error) == 200, "%s", error.message);
    return result;
}

pid_t keeper_process_of(const char *id)
{
    char path[1100];
    snprintf(path, sizeof path, "root/.organ/jobs/%s/job.json", id);
    json_t *const record = json_load_file(scratch_path(path), 0, NULL);
    const pid_t pid = (pid_t)organ_json_count(record, "process.pid");
    json_decref(record);
    return pid;
}
