/* SPDX-License-Identifier: MIT
 * For tests: jobs in a scratch root whose processes are the test program itself (tests/serve/jobs/job_actor.h). */
#ifndef ORGAN_TEST_KEEPER_RIG_H
#define ORGAN_TEST_KEEPER_RIG_H

#include "orchestrator/serve/jobs/jobs_parts.h"

#include <check.h>
#include <sys/types.h>

enum { ID = 1000 }; /* size of an id, or of an error message */

extern organ_jail *jail;
extern organ_jobs *jobs;
extern organ_jobs_setup way; /* the options of keeper_open_jobs */

void keeper_setup(void);
void keeper_teardown(void);
void keeper_open_jobs(void);

/* Requests a prune of models/MODEL to out/OUTPUT; returns the status, and the id if that is 201. */
unsigned keeper_add(const char *model, const char *output, char id[ID]);
json_t *keeper_view_of(const char *id);
/* Waits until the job is in that state; returns its view, which the caller releases. */
json_t *keeper_await(const char *id, const char *state);
void keeper_becomes(const char *id, const char *state);
/* Waits until the job has reported that stage. */
void keeper_is_at(const char *id, const char *stage);
void keeper_forgets(const char *id); /* waits until the job is removed */
unsigned keeper_delete(const char *id);
unsigned keeper_resume(const char *id);
json_t *keeper_result_of(const char *id);
pid_t keeper_process_of(const char *id);

/* A suite of this program, in check_job_limits.c. */
Suite *job_limits_suite(void);

#endif
