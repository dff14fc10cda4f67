/* SPDX-License-Identifier: MIT
 * JSON as text in memory. */
#ifndef ORGAN_JSON_DUMP_H
#define ORGAN_JSON_DUMP_H

#include <jansson.h>

/* Like json_dumps, but returns memory that the caller releases with free, for any allocation functions of jansson. NULL
 * without memory. */
char *organ_json_dump(const json_t *json, size_t flags);

#endif
