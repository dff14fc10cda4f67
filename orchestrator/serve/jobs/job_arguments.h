/* SPDX-License-Identifier: MIT
 * Converts the JSON of a request to the words of a command line. No value from a client can become an option, and no
 * path can lead out of the root. */
#ifndef ORGAN_JOB_ARGUMENTS_H
#define ORGAN_JOB_ARGUMENTS_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/http.h"

#include <jansson.h>

typedef struct organ_job_words {
    const organ_verb *verb;
    json_t *arguments; /* from the request, unchanged */
    json_t *argv; /* ["organ", "prune", "--output=out", "--json", "--progress=json", "--", "donor"]; paths are relative
                     to the root, those of models in stores absolute */
    json_t *reads, *writes; /* these paths in the form that organ_job_words_clash compares */
    json_t *made;           /* the paths of `writes` that did not exist before the job */
    char *command;          /* the command for a shell in the root, without the options that only programs need */
    bool resumes;           /* the verb has --resume */
} organ_job_words;

/* Reads {"verb": "prune", "arguments": {"DONOR": "models/a", "output": "out/b", "sparsity": 30, "dry-run": true}}:
 * operands by their names, repeated ones and words as arrays, flags as true or false, amounts of memory as numbers or
 * as "512M". Paths are relative to the root, or names of models in stores.
 *
 * Returns 0 if the request is a valid job. Otherwise returns 422 if it could never be one, or the HTTP status of the
 * first path that the jail refuses (404: there is none). *faults is then an array with all faults, {"field":
 * "/arguments/sparsity", "detail": "..."}, for the caller to release. Without memory returns 500 and sets it to NULL.
 */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults);

/* Returns a copy of argv with --resume. NULL without memory. */
json_t *organ_job_words_resumed(const json_t *argv);

/* Returns true if two jobs with these paths conflict; *path is then the path that both use. */
bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path);

void organ_job_words_release(organ_job_words *words);

#endif
