/* SPDX-License-Identifier: MIT
 * Describes the verbs that can be jobs as JSON: for the forms of the server's page, and for the OpenAPI document. The
 * descriptions are derived from the tables that also define the command line (orchestrator/command/options.h). */
#ifndef ORGAN_VERB_CATALOG_H
#define ORGAN_VERB_CATALOG_H

#include "orchestrator/command/options.h"

#include <jansson.h>

/* Returns whether the verb can be a job: it has --json, and organ_verb.no_job is not set. */
bool organ_verb_is_job(const organ_verb *verb);
/* Returns the verb with this name among the `count` verbs, NULL if there is none or it cannot be a job. */
const organ_verb *organ_job_verb(const organ_verb *const *verbs, size_t count, const char *name);

/* Returns the k-th of those options of the verb that a client may set, NULL after the last. Omits options that the
 * server sets itself (--json, --progress, ...), --html and --header. */
const organ_option *organ_job_option(const organ_verb *verb, size_t k);

/* Writes to `key` the name of the member of "arguments" for the operand, "MODEL" for "MODEL...", and returns `key`. */
const char *organ_operand_key(const organ_operand *operand, char key[64]);

/* Returns an option that describes the operand. Its name is the text that organ_operand_key writes to `key`. */
organ_option organ_job_operand(const organ_operand *operand, char key[64]);

/* Returns {"name", "summary", "resumable", "dry_run", "section"} of every verb that can be a job, in the order of the
 * table; "section" is the title under which `organ help` lists the verb. NULL if out of memory. */
json_t *organ_verb_list(const organ_verb_table *table);

/* Returns {"name", "summary", "resumable", "dry_run", "about", "exits", "operands", "groups", "examples", "schema"}:
 * "groups" contains the options, "schema" is the JSON Schema of "arguments". NULL if out of memory. */
json_t *organ_verb_describe(const organ_verb *verb);

/* Returns the JSON Schema of a request for a job of this verb, {"verb": ..., "arguments": ...}. NULL if out of memory.
 */
json_t *organ_verb_request_schema(const organ_verb *verb);

#endif
