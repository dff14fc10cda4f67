/* SPDX-License-Identifier: MIT
 * Finds the models under a directory. */
#ifndef ORGAN_FLEET_FIND_H
#define ORGAN_FLEET_FIND_H

#include <organ/base.h>

#include <stdint.h>

/* A model under the searched directory, or a file that may be one. */
typedef struct organ_fleet_member {
    char *path; /* path for opening it */
    char *name; /* path relative to the searched directory, "." for itself; for a split GGUF without the part number */
    /* Digest of the names, sizes and modification times of the model's files: if it is equal in two runs, the model is
     * unchanged. */
    uint64_t identity;
} organ_fleet_member;

/* The models under a directory. */
typedef struct organ_fleet_list {
    size_t count;
    organ_fleet_member *members; /* ordered by name */
} organ_fleet_list;

/* Fills *list with the models in `directory` and its folders. A folder with model.safetensors.index.json or
 * model.safetensors is one model. In other folders every .safetensors is a model; in all folders every .gguf is a model
 * (a split set once). An organ directory is one model and is not searched. Ignores hidden entries, unfinished outputs,
 * links to directories and the folder `skip` (a real path, may be NULL). Returns ORGAN_IO if a folder cannot be read,
 * and leaves *list empty. The caller frees *list. */
organ_status organ_fleet_find(const char *directory, const char *skip, organ_fleet_list *list, organ_error *error);
void organ_fleet_release(organ_fleet_list *list);

#endif
