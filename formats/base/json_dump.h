/* SPDX-License-Identifier: MIT
 * Serialises JSON to a string that free releases. */
#ifndef ORGAN_JSON_DUMP_H
#define ORGAN_JSON_DUMP_H

#include <jansson.h>

/* Returns the JSON as text like json_dumps. The caller releases it with free, whichever allocation functions jansson
 * uses. Returns NULL if memory is exhausted, which counts as a refusal (memory_watch.h). */
char *organ_json_dump(const json_t *json, size_t flags);

#endif
