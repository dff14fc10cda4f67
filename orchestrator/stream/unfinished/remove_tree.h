/* SPDX-License-Identifier: MIT
 * Removal of files and directories, and a look at whether a directory is empty. Allocates nothing, so it works also
 * when memory has run out. */
#ifndef ORGAN_REMOVE_TREE_H
#define ORGAN_REMOVE_TREE_H

#include <stdbool.h>

/* Returns whether the open directory has no entries; false also if it cannot be read. */
bool organ_is_empty_folder(int folder);

/* Removes a file, or a directory with everything below it, without following links. Returns 0, or -1 with errno; some
 * files may then remain. */
int organ_remove_tree(const char *path);

/* Removes everything below an open directory, without following links; the mark of an unfinished output last. Returns 0
 * or an errno; some files may then remain. Some file systems list only some entries while others are removed, so the
 * caller repeats it while rmdir fails with ENOTEMPTY, at most ORGAN_EMPTYING_ROUNDS times. */
#define ORGAN_EMPTYING_ROUNDS 4
int organ_empty_folder(int folder);

#endif
