/* SPDX-License-Identifier: MIT
 * The verbs that can be jobs, as JSON: for forms, and for the OpenAPI document. Both are derived from the tables that
 * also define the command line. */
#ifndef ORGAN_VERB_CATALOG_H
#define ORGAN_VERB_CATALOG_H

#include "orchestrator/command/options.h"

#include <jansson.h>

/* Returns whether the verb can be a job: it has --json and is not marked as no job. */
bool organ_verb_is_job(const organ_verb *verb);
const organ_verb *organ_job_verb(const organ_verb *const *verbs, size_t count,
                                 const char *name); /* NULL: no verb of that name can be a job */

/* Returns the k-th option that a client may set, NULL after the last. Omits the options that the server sets itself,
 * and headers for other servers. */
const organ_option *organ_job_option(const organ_verb *verb, size_t k);

/* Writes to `key` the member of "arguments" that contains the operand, "MODEL" for "MODEL...", and returns it. */
const char *organ_operand_key(const organ_operand *operand, char key[64]);

/* Describes the operand as an option with that name. */
organ_option organ_job_operand(const organ_operand *operand, char key[64]);

/* Returns {"name", "summary", "resumable", "dry_run", "section"} of every verb that can be a job, in the order of the
 * table; "section" is the title under which `organ help` lists the verb. NULL if out of memory. */
json_t *organ_verb_list(const organ_verb_table *table);

/* Returns {"name", "summary", "resumable", "dry_run", "about", "exits", "operands", "groups", "examples", "schema"}:
 * "groups" contains the options, "schema" the JSON Schema of "arguments". */
json_t *organ_verb_describe(const organ_verb *verb);

/* Returns the JSON Schema of {"verb": ..., "arguments": ...} for this verb. */
json_t *organ_verb_request_schema(const organ_verb *verb);

#endif
