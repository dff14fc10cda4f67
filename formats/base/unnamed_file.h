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
/* Returns true if files are allowed. */
bool organ_unnamed_files_used(void);

/* Returns the errno of the first failure to create, extend or map a file, or 0 if there was none. Sets *folder to the
 * folder of the files. After a failure no further file is created. */
int organ_unnamed_files_fault(const char **folder);
/* Records a failure with the errno `reason`, unless an earlier one is recorded. */
void organ_unnamed_files_fail(int reason);

/* Creates a file and returns a descriptor that the caller closes; -1 if files are forbidden or cannot be created.
 * Thread-safe. */
int organ_unnamed_file(void);

/* Allocates disk space for bytes [from, from + bytes) of the file. Returns false if that fails. Without disk space,
 * a write to a mapped page of the file would end the process with SIGBUS. */
bool organ_unnamed_file_extend(int fd, off_t from, size_t bytes);

#endif
