/* SPDX-License-Identifier: MIT
 * The process of a job, acted by a test program. */
#ifndef ORGAN_TEST_JOB_ACTOR_H
#define ORGAN_TEST_JOB_ACTOR_H

/* Acts as a verb by the last component of the last word: "done", "check" (exit code 1), "fail" (3), "crash", "wait"
 * (for SIGINT; not with --resume), "stubborn" (ends with SIGKILL only), "long" (a result and a log of 4 MB), "hungry"
 * (allocates until an allocation fails), "gate" (waits for the file "go"), "peek" (reports its access rights). Returns
 * the exit code. */
int act_as_job(int argc, char **argv);

#endif
