/* SPDX-License-Identifier: MIT
 * Reading of untrusted files: never a device or a pipe, never past what was asked, never through a mapping that can
 * vanish. */
#ifndef ORGAN_INPUT_FILE_H
#define ORGAN_INPUT_FILE_H

#include "formats/base/status.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Opens a regular file, symbolic links followed, for reading. ORGAN_IO if the system refuses, ORGAN_BAD_INPUT if it is
 * something else than a file. */
organ_status organ_input_open(const char *path, int *fd, struct stat *info, organ_error *error);

/* Exactly `size` bytes from `offset`. ORGAN_BAD_INPUT if the file ends before: it was cut after its size was looked at.
 * `label` names it in messages. */
organ_status organ_input_read(int fd, const char *label, void *buffer, size_t size, uint64_t offset,
                              organ_error *error);

/* The whole number in `count` bytes, at most 8, the least significant first. */
uint64_t organ_little_endian(const void *bytes, size_t count);

/* A whole file of at most `limit` bytes, to be freed by the caller. A NUL follows the last byte. */
organ_status organ_input_load(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                              organ_error *error);

#endif
