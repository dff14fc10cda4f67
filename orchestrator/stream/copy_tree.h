/* SPDX-License-Identifier: MIT
 * Copies the files of a directory that are not operated on: tokenizer, configuration, whatever else is there. */
#ifndef ORGAN_COPY_TREE_H
#define ORGAN_COPY_TREE_H

#include "formats/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct organ_file_list {
    size_t count;
    char **names;   /* relative paths, in byte order */
    uint64_t bytes; /* of all of them */
} organ_file_list;

/* All regular files below `directory` (links to files are followed as files; links to directories, sockets and devices
 * are left out), except the names in `skip`, unfinished outputs (".*.organ-partial"), notes of finished outputs
 * (".*.organ-finished") and the mark of an unfinished output (ORGAN_GROWING_MARK). ORGAN_IO if a directory cannot be
 * read or a link leads nowhere. */
organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list,
                              organ_error *error);
void organ_list_free(organ_file_list *list);

/* Makes every folder on the way to `path`, but for its first `root` bytes, which are there. */
organ_status organ_make_folders(char *path, size_t root, organ_error *error);

/* Copies directory/name to to_directory/to_name with its permissions, making the folders it needs, and synchronises it
 * with the disk. */
organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name,
                             organ_error *error);

#endif
