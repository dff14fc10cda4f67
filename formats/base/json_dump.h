/* SPDX-License-Identifier: MIT
 * Serialises JSON to a string that free releases. */
#ifndef ORGAN_JSON_DUMP_H
#define ORGAN_JSON_DUMP_H

#include <jansson.h>

/* Like json_dumps, but the caller releases the result with free, whichever allocation functions jansson uses. NULL if
 * there is no memory. */
char *organ_json_dump(const json_t *json, size_t flags);

#endif
