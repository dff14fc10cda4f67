/* SPDX-License-Identifier: MIT
 * Reads untrusted files. The functions reject devices and pipes, bound the bytes that they read, and use pread: a
 * mapping of a file that another process truncates would raise SIGBUS. */
#ifndef ORGAN_INPUT_FILE_H
#define ORGAN_INPUT_FILE_H

#include <organ/base.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Opens a regular file for reading and fills in *info; symbolic links are followed. The caller closes *fd. Returns
 * ORGAN_IO if the system refuses, ORGAN_BAD_INPUT if the path is not a regular file. */
organ_status organ_input_open(const char *path, int *fd, struct stat *info, organ_error *error);

/* Reads exactly `size` bytes from `offset`. Returns ORGAN_BAD_INPUT if the file ends earlier, which means that it
 * was truncated after its size was read. `label` is the name of the file in messages. */
organ_status organ_input_read(int fd, const char *label, void *buffer, size_t size, uint64_t offset,
                              organ_error *error);

/* Returns the unsigned little-endian integer in `count` bytes; count <= 8. */
uint64_t organ_little_endian(const void *bytes, size_t count);

/* Reads a whole file of at most `limit` bytes and appends a NUL. The caller frees *bytes. Returns ORGAN_BAD_INPUT if
 * the file is longer. `label` is the name of the file in messages. */
organ_status organ_input_load(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                              organ_error *error);

/* Like organ_input_load, but *bytes is an array of paged_rows.h, which the caller releases with organ_rows_free: a
 * large file then takes about a megabyte of memory. */
organ_status organ_input_load_rows(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                                   organ_error *error);

#endif
