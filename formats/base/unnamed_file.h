/* SPDX-License-Identifier: MIT
 * Files without a name, for data that would need more memory than --memory allows. They lie in the folder TMPDIR, or in
 * /var/tmp if that variable is not set; the system removes a file when its last descriptor and mapping are closed. */
#ifndef ORGAN_UNNAMED_FILE_H
#define ORGAN_UNNAMED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Allows the process to make such files, or forbids it again. Before the first call it is forbidden: organ_unnamed_file
 * makes none and reports no fault. */
void organ_unnamed_files_use(bool use);
bool organ_unnamed_files_used(void);

/* Returns the errno with which the first file could not be created or extended, and sets *folder to the folder of the
 * files; from then on no further file is made. Returns 0 if there was no such error. */
int organ_unnamed_files_fault(const char **folder);
void organ_unnamed_files_fail(int reason);

/* Returns a descriptor that the caller closes, or -1. Any thread. */
int organ_unnamed_file(void);

/* Reserves room for `bytes` bytes from `from` on: a write to a page of a mapping that has no room ends the process with
 * SIGBUS. */
bool organ_unnamed_file_extend(int fd, off_t from, size_t bytes);

#endif
