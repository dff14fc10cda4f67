/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/memory.h"

#include <organ/machine.h>
#include "orchestrator/serve/jobs/verb_catalog.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Programs with a sanitizer run without a limit, because RLIMIT_DATA counts the terabytes that sanitizers reserve. */
#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED 1
#endif
#ifdef IS_SANITIZED
const bool organ_job_memory_limited = false;
#else
const bool organ_job_memory_limited = true;
#endif

static const char *value_of(const json_t *argv, const char *name)
{
    const size_t length = strlen(name);
    for (size_t k = 0; k < json_array_size(argv); k++) {
        const char *const word = json_string_value(json_array_get(argv, k));
        if (strcmp(word, "--") == 0)
            break;
        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, length) == 0 && word[2 + length] == '=')
            return word + length + 3;
    }
    return NULL;
}

uint64_t organ_job_memory(const organ_verb *verb, const json_t *argv)
{
    const organ_option *const option = verb ? organ_verb_option(verb, "memory") : NULL;
    const char *const option_text = value_of(argv, "memory");
    uint64_t bytes = (uint64_t)512 << 20;
    if (option && !(option_text && organ_quantity_parse(option_text, &bytes)) && option->fallback)
        organ_quantity_parse(option->fallback, &bytes);
    return bytes;
}

/* A very large limit becomes 2^63 - 1, which does not overflow. */
uint64_t organ_job_memory_limit(uint64_t memory, const json_t *argv)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *const option_text = value_of(argv, "threads");
    uint64_t threads = cores > 0 ? (uint64_t)cores : 1;
    const uint64_t requested = option_text ? strtoull(option_text, NULL, 10) : 0;
    if (requested > 0 && requested < threads)
        threads = requested;
    if (!organ_job_memory_limited)
        return 0;
    const uint64_t extra = ORGAN_JOB_BASE_BYTES + threads * ORGAN_JOB_THREAD_BYTES;
    return memory > UINT64_MAX / 2 ? UINT64_MAX / 2 : memory + extra;
}
