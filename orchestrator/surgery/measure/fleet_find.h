/* SPDX-License-Identifier: MIT
 * Which models lie under a directory. */
#ifndef ORGAN_FLEET_FIND_H
#define ORGAN_FLEET_FIND_H

#include "formats/base/status.h"

#include <stdint.h>

/* One model, or what looks like one. */
typedef struct organ_fleet_member {
    char *path;        /* to open it */
    char *name;        /* its path below the directory; for a split GGUF without the part */
    uint64_t identity; /* digest over names, sizes and modification times of its files */
} organ_fleet_member;

typedef struct organ_fleet_list {
    size_t count;
    organ_fleet_member *members; /* ordered by name */
} organ_fleet_list;

/* Walks `directory`: a folder with model.safetensors.index.json, model.safetensors or manifest.json is one model; of
 * other folders every .gguf (a split set once) and every .safetensors is one. Nothing is looked for in an organ
 * directory, which is one model. Hidden entries, unfinished outputs, links to directories and `skip` (a real path, may
 * be NULL) are passed over; a folder that cannot be read is ORGAN_IO.
 */
organ_status organ_fleet_find(const char *directory, const char *skip, organ_fleet_list *list, organ_error *error);
void organ_fleet_free(organ_fleet_list *list);

#endif
