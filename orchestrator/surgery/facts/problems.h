/* SPDX-License-Identifier: MIT
 * Failures that an audit found, one sentence each, up to a limit for reports. */
#ifndef ORGAN_OUTPUT_PROBLEMS_H
#define ORGAN_OUTPUT_PROBLEMS_H

#include <jansson.h>
#include <stddef.h>

/* The failures that one audit found. */
typedef struct organ_problems {
    json_t *sentences; /* JSON array of at most 100 failures, which the caller creates and releases */
    size_t more;       /* number of failures that the array does not list */
} organ_problems;

/* Adds a failure: appends its sentence, or counts it in `more` if the array is full. */
void organ_problem_add(organ_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Returns the number of failures, listed or not. */
size_t organ_problems_count(const organ_problems *problems);

/* Returns problems->sentences with a new reference; if there are failures beyond its limit, first appends a sentence
 * with their number. Call it once, after the last organ_problem_add. */
json_t *organ_problems_json(organ_problems *problems);

#endif
