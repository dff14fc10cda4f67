/* SPDX-License-Identifier: MIT
 * Converts the JSON of a request to the words of a command line. No value from a client can become an option, and no
 * path can lead out of the root. */
#ifndef ORGAN_JOB_ARGUMENTS_H
#define ORGAN_JOB_ARGUMENTS_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/http.h"

#include <jansson.h>

/* The checked request of a job, and the command line made from it. */
typedef struct organ_job_words {
    const organ_verb *verb;
    json_t *arguments; /* "arguments" of the request, unchanged */
    json_t *argv; /* ["organ", "prune", "--output=out", "--json", "--progress=json", "--", "donor"]; paths are relative
                     to the root, those of models in stores (formats/names/names.h) absolute */
    json_t *reads, *writes; /* arrays of the paths that the job reads and writes, as written in the request */
    json_t *made;           /* the paths in `writes` at which nothing existed before the job; organ_jobs_add appends
                             * outputs of earlier jobs that this job replaces */
    char *command;          /* the same command for a shell in the root, without --json and --progress */
    bool resumes;           /* the verb has --resume */
} organ_job_words;

/* Reads {"verb": "prune", "arguments": {"DONOR": "models/a", "output": "out/b", "sparsity": 30, "dry-run": true}}.
 * `verbs` are the `count` verbs of the program. Members of "arguments" have the names of operands and options. Repeated
 * operands and options are arrays, flags are true or false, amounts of memory are numbers or "512M". Paths are relative
 * to the root, or names of models in stores.
 *
 * Returns 0 and fills `words`, for organ_job_words_release, if the request is a valid job. Otherwise returns an HTTP
 * status and clears `words`: 422 if the request could never be a job, else that of the first path that the jail rejects
 * (404: it does not exist; 409: an output would change a model). *faults is then an array with at most 32 faults,
 * {"field": "/arguments/sparsity", "detail": "..."}, for the caller to release. Returns 500 with *faults NULL without
 * memory. */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults);

/* Returns a copy of argv that has the option --resume, for the caller to release. NULL if memory runs out. */
json_t *organ_job_words_resumed(const json_t *argv);

/* Returns true if two jobs cannot run at the same time: a path that one writes is, contains or is inside a path that
 * the other reads or writes. *path is then the path of the first job, an item of `reads` or `writes`. */
bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path);

/* Releases the members of `words` and sets them to zero. */
void organ_job_words_release(organ_job_words *words);

#endif
