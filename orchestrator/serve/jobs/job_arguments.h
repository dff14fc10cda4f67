/* SPDX-License-Identifier: MIT
 * Converts a request (JSON) to the words of a command line. No value from a client can become an option, and no path
 * can leave the root. */
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
 * as "512M". Paths are relative to the root, or names of models in stores. 0 if it is a job. Otherwise the HTTP status:
 * 422 for what could never be a job, else what the jail says of the first path (404: there is none); *faults is then an
 * array of {"field":
 * "/arguments/sparsity", "detail": "..."} with all that is wrong, to be released; 500 and NULL without memory. */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults);

/* Copies argv and adds --resume. NULL without memory. */
json_t *organ_job_words_resumed(const json_t *argv);

/* Returns true if two jobs with these paths conflict; *path is then the path that both use. */
bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path);

void organ_job_words_release(organ_job_words *words);

#endif
