/* SPDX-License-Identifier: MIT
 * Failures that an audit found, one sentence each, up to a limit for reports. */
#ifndef ORGAN_OUTPUT_PROBLEMS_H
#define ORGAN_OUTPUT_PROBLEMS_H

#include <jansson.h>
#include <stddef.h>

typedef struct organ_problems {
    json_t *sentences; /* an array, of the owner */
    size_t more;       /* in addition to those listed */
} organ_problems;

void organ_problem_add(organ_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t organ_problems_count(const organ_problems *problems);

/* Returns the sentences, and a last one that counts the failures beyond the limit. Call it after the last failure was
 * added. The caller releases the result. */
json_t *organ_problems_json(organ_problems *problems);

#endif
