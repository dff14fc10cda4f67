/* SPDX-License-Identifier: MIT
 * Copies those files of a model's directory that an operation does not change: tokenizer, configuration, all other
 * files without weights. */
#ifndef ORGAN_COPY_TREE_H
#define ORGAN_COPY_TREE_H

#include <organ/base.h>

#include <stddef.h>
#include <stdint.h>

/* The files below a directory. */
typedef struct organ_file_list {
    size_t count;   /* number of files */
    char **names;   /* relative paths, in byte order */
    uint64_t bytes; /* total size of the files */
} organ_file_list;

/* Lists all regular files below `directory`, except the names in `skip`, unfinished outputs (".*.organ-partial"), notes
 * of finished outputs (".*.organ-finished") and the mark of an unfinished output (ORGAN_GROWING_MARK). Follows links to
 * files; leaves out links to directories, and all sockets and devices. Returns ORGAN_IO if a directory cannot be read
 * or a link is broken. The caller frees *list. */
organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list,
                              organ_error *error);
void organ_list_release(organ_file_list *list);

/* Creates the missing folders of the file path `path`. The first `root` bytes are a folder that exists; the last
 * component is the file and is not created. Changes `path` during the call and restores it. */
organ_status organ_make_folders(char *path, size_t root, organ_error *error);

/* Copies directory/name to to_directory/to_name with its permissions, creates missing folders, and synchronises the
 * file. */
organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name,
                             organ_error *error);

#endif
