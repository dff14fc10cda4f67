/* SPDX-License-Identifier: MIT
 * Removes what a run has begun, also where memory has run out: nothing is allocated. */
#ifndef ORGAN_REMOVE_TREE_H
#define ORGAN_REMOVE_TREE_H

/* Removes a file, or a directory with all below it; links are not followed. 0, or -1 with errno: the rest is left then.
 */
int organ_remove_tree(const char *path);

#endif
