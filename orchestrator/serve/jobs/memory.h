/* SPDX-License-Identifier: MIT
 * What memory a job may take. The limit is RLIMIT_DATA: what a process has of memory of its own. RLIMIT_AS would count
 * mapped files, libraries and address space that is only set aside as well: for a perplexity with 8 threads and
 * --memory 64M it is 1,517 MB instead of 893 MB. A control group would count pages in use, but creating one needs
 * rights that a user who starts a server rarely has. */
#ifndef ORGAN_JOB_MEMORY_H
#define ORGAN_JOB_MEMORY_H

#include "orchestrator/command/options.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Beside --memory: the program with its libraries and the lists of a model, and for each thread its stack, its part of
 * the heap and scratch. */
#define ORGAN_JOB_BASE_BYTES   ((uint64_t)256 << 20)
#define ORGAN_JOB_THREAD_BYTES ((uint64_t)128 << 20)

/* What the command line asks for: --memory, or what the verb takes unless told; for verbs that have no such option 512
 * MiB. */
uint64_t organ_job_memory(const organ_verb *verb, const json_t *argv);

/* False in a program with a sanitizer. */
extern const bool organ_job_memory_limited;

/* The limit that follows, 0 for none: with so many threads as the job asks for, but at most one for each processor. */
uint64_t organ_job_memory_limit(uint64_t memory, const json_t *argv);

#endif
