/* SPDX-License-Identifier: MIT
 * Permissions of outputs: a file that is made from others is never more open than these. */
#ifndef ORGAN_CLOSED_MODES_H
#define ORGAN_CLOSED_MODES_H

/* Returns the permission bits of group and others that files made from the file or directory at `path` must not have.
 * All files below a directory count, except hidden ones. Follows links, in a directory only those to files. 0 if there
 * is nothing at `path`. */
unsigned organ_closed_modes(const char *path);

/* Removes the bits `closed` from the permissions of an open directory and of everything below it. Returns 0 or an
 * errno. */
int organ_close_modes(int folder, unsigned closed);

#endif
