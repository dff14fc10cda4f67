/* SPDX-License-Identifier: MIT
 * Removal of files and directories. Allocates nothing, so it works also when memory has run out. */
#ifndef ORGAN_REMOVE_TREE_H
#define ORGAN_REMOVE_TREE_H

/* Removes a file, or a directory with everything below it, without following links. Returns 0, or -1 with errno; some
 * files may then remain. */
int organ_remove_tree(const char *path);

#endif
