/* SPDX-License-Identifier: MIT
 * The files of an output that many threads write at the same time. A file is opened when it is first written, and stays
 * open while a thread uses it; of the files that no thread uses, some are kept open, because an organ directory has
 * more files than a process can have open.
 *
 * With direct I/O, parts of a unit usually begin and end inside a page. The kernel reports EIO at fsync if it cannot
 * drop the cached pages of a direct write. An end that is written through the page cache can cause this error in the
 * direct write of the pages next to it. Therefore the pieces of a page inside of a unit are collected in memory, and
 * whoever has the last piece writes the page directly. The pages at the ends of a unit are shared with other units,
 * which another process or an earlier run may write, so their pieces are written at once through the page cache. */
#ifndef ORGAN_STREAM_SHARED_FILES_H
#define ORGAN_STREAM_SHARED_FILES_H

#include "orchestrator/stream/direct_file.h"

typedef struct organ_shared_files organ_shared_files;

/* Prepares to write `count` files; opens none. paths[f] must be set when file f is first used, and outlive the files.
 * Returns ORGAN_IO if memory runs out; *files is then NULL. */
organ_status organ_shared_files_create(char *const *paths, size_t count, organ_shared_files **files,
                                       organ_error *error);
void organ_shared_files_destroy(organ_shared_files *files); /* closes all files; NULL is allowed */

/* Opens file f, unless it is open, until organ_shared_files_drop. Returns ORGAN_IO if it cannot be opened. Thread-safe.
 */
organ_status organ_shared_files_hold(organ_shared_files *files, size_t f, organ_direct_file **file, organ_error *error);
void organ_shared_files_drop(organ_shared_files *files, organ_direct_file *file);

/* Writes `bytes` bytes at `offset` of file f, which belong to the unit of the bytes [unit, unit + unit_bytes). When all
 * bytes of the unit are written, all are in the file; until then pieces of pages may be in memory. Thread-safe; no byte
 * of a unit may be written twice at the same time. */
organ_status organ_shared_files_write(organ_shared_files *files, size_t f, const void *data, size_t bytes,
                                      uint64_t offset, uint64_t unit, uint64_t unit_bytes, organ_error *error);

/* Writes those bytes that are still in memory of the unit [unit, unit + unit_bytes) of file f: nothing if all its
 * bytes were written once. A unit that was written again in part has pages that lack bytes. Thread-safe. */
organ_status organ_shared_files_settle(organ_shared_files *files, size_t f, uint64_t unit, uint64_t unit_bytes,
                                       organ_error *error);

/* Reads `bytes` bytes from `offset` of file f, including pieces that are still in memory. Thread-safe. */
organ_status organ_shared_files_read(organ_shared_files *files, size_t f, void *data, size_t bytes, uint64_t offset,
                                     organ_error *error);

#endif
