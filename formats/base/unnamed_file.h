/* SPDX-License-Identifier: MIT
 * Files without a name, for data that would need more memory than --memory allows. They are created in the folder
 * TMPDIR, or in /var/tmp if that variable is not set; the system removes a file when its last descriptor and mapping
 * are closed. */
#ifndef ORGAN_UNNAMED_FILE_H
#define ORGAN_UNNAMED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Allows or forbids the process to create such files. Until the first call they are forbidden: organ_unnamed_file
 * then creates none and records no fault. */
void organ_unnamed_files_use(bool use);
bool organ_unnamed_files_used(void);

/* Returns the errno with which the first file could not be created or extended, and sets *folder to the folder of the
 * files; no further file is created after such an error. Returns 0 if there was no error. */
int organ_unnamed_files_fault(const char **folder);
void organ_unnamed_files_fail(int reason);

/* Returns a descriptor that the caller closes, or -1. Thread-safe. */
int organ_unnamed_file(void);

/* Allocates disk space for `bytes` bytes from `from` on. Without it, a write to a mapped page for which the disk has
 * no space ends the process with SIGBUS. */
bool organ_unnamed_file_extend(int fd, off_t from, size_t bytes);

#endif
