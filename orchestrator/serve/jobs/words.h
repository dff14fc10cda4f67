/* SPDX-License-Identifier: MIT
 * Turns a request (JSON) into the words of a command line. No value of a client can become an option, and no path can
 * leave the root. */
#ifndef ORGAN_JOB_WORDS_H
#define ORGAN_JOB_WORDS_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/http.h"

#include <jansson.h>

typedef struct organ_job_words {
    const organ_verb *verb;
    json_t *arguments; /* as they were given */
    json_t *argv; /* ["organ", "prune", "--output=out", "--json", "--progress=json", "--", "donor"]; paths are relative
                     to the root */
    json_t *reads, *writes; /* those paths, as other jobs' paths are compared with them */
    json_t *made;           /* the paths of `writes` that did not exist before the job */
    char *command;          /* the same for a shell at the root, without what only machines need */
    bool resumes;           /* the verb has --resume */
} organ_job_words;

/* Reads {"verb": "prune", "arguments": {"DONOR": "models/a", "output": "out/b", "sparsity": 30, "dry-run": true}}:
 * operands by their names, repeated ones and words as arrays, flags as true or false, amounts of memory as numbers or
 * as "512M". Paths are relative to the root. 0 if it is a job. Otherwise the HTTP status: 422 for what could never be a
 * job, else what the jail says of the first path (404: there is none); *faults is then an array of {"field":
 * "/arguments/sparsity", "detail": "..."} with all that is wrong, to be released; 500 and NULL without memory. */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults);

/* The same words with --resume: an array as argv is. NULL without memory. */
json_t *organ_job_words_resumed(const json_t *argv);

/* Whether a job that reads and writes these would get into the way of another: *path is then the path they both want.
 */
bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path);

void organ_job_words_release(organ_job_words *words);

#endif
