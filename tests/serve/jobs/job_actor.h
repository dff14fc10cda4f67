/* SPDX-License-Identifier: MIT
 * The process of a job as tests want it. */
#ifndef ORGAN_TEST_JOB_ACTOR_H
#define ORGAN_TEST_JOB_ACTOR_H

/* Does what the last component of the last word says, as a verb would: "done", "check" (exit code 1), "fail" (3),
 * "crash", "wait" (for SIGINT; not with --resume), "stubborn" (ends at SIGKILL only), "long" (prints 4 MB, and says as
 * much), "hungry" (takes memory until there is none), "gate" (until the file "go" is there), "peek" (reports what it
 * can reach). Returns the exit code. */
int act_as_job(int argc, char **argv);

#endif
