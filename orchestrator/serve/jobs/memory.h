/* SPDX-License-Identifier: MIT
 * The memory limit of jobs: RLIMIT_DATA, which counts the private memory of a process. RLIMIT_AS would also count
 * mapped files, libraries and address space that is only reserved: for a perplexity with 8 threads and --memory 64M
 * that is 1,517 MB instead of 893 MB. A control group would count pages in use, but creating one requires rights
 * that a user who starts a server rarely has. */
#ifndef ORGAN_JOB_MEMORY_H
#define ORGAN_JOB_MEMORY_H

#include "orchestrator/command/options.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Memory that a process needs in addition to --memory: for the program with its libraries and the lists of a model; and
 * for each thread, for its stack, its part of the heap and scratch memory. */
#define ORGAN_JOB_BASE_BYTES   ((uint64_t)256 << 20)
#define ORGAN_JOB_THREAD_BYTES ((uint64_t)128 << 20)

/* Returns the bytes of memory that the command line requests: --memory, its default for this verb, or 512 MiB for verbs
 * without this option and for NULL. */
uint64_t organ_job_memory(const organ_verb *verb, const json_t *argv);

/* False in a program with a sanitizer: its jobs run without a memory limit. */
extern const bool organ_job_memory_limited;

/* Returns the memory limit (RLIMIT_DATA) of a job's process in bytes: `memory` + ORGAN_JOB_BASE_BYTES +
 * ORGAN_JOB_THREAD_BYTES for each thread. The number of threads is --threads in `argv` (NULL: not given), at most one
 * per processor, which is also the default. Returns 0, no limit, if organ_job_memory_limited is false. */
uint64_t organ_job_memory_limit(uint64_t memory, const json_t *argv);

#endif
