/* SPDX-License-Identifier: MIT
 * JSON as text in memory. */
#ifndef ORGAN_JSON_DUMP_H
#define ORGAN_JSON_DUMP_H

#include <jansson.h>

/* json_dumps into memory that free takes back, whatever the allocation functions of jansson are. NULL if memory ran out. */
char *organ_json_dump(const json_t *json, size_t flags);

#endif
