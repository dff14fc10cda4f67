/* SPDX-License-Identifier: MIT
 * Reads files of a model at an http(s) URL by ranges. Small reads are served from a span that was read ahead, large
 * ones are received directly in the caller's buffer; failed requests are repeated. URLs may contain credentials, so
 * messages show a URL without user, password, query and fragment. */
#ifndef ORGAN_REMOTE_H
#define ORGAN_REMOTE_H

#include "formats/base/arena.h"
#include <organ/base.h>
#include <organ/models.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* ---- URLs ---- */

/* Returns true if the text begins with http:// or https://. */
bool organ_http_is_url(const char *path);

/* Sets the parts of a URL that messages may contain: *shown is the whole URL without secrets and without slashes at
 * its end, *directory its directory, *name the decoded last segment of its path. If that segment is not the name of
 * a file that contains a model, the URL names a directory: then *name is NULL, and *shown equals *directory. Returns
 * ORGAN_USAGE if the text is not the URL of a file or a directory. */
organ_status organ_http_place(const char *url, organ_arena *arena, const char **shown, const char **directory,
                              const char **name, organ_error *error);

/* Returns the URL without user, password, query and fragment, which the caller frees with organ_curl.free; NULL if
 * the text is not a URL, or if memory is exhausted. */
char *organ_http_without_secrets(const char *url);

/* Returns true if the last segment of the text, a URL from organ_http_without_secrets, is the name of a model file, or
 * of a file that a user may take for one. */
bool organ_http_names_file(const char *text);

/* ---- files of a server ---- */

typedef struct organ_http organ_http; /* the directory of a URL, and one connection for all that is read there */
typedef struct organ_http_file organ_http_file; /* one file in it */

/* Creates a source for the files in one directory: the directory of the URL if it names a file, else the directory that
 * the URL names. The query of the URL is repeated for every file. `access` (NULL for the defaults) must outlive the
 * source. Sends no request. */
organ_status organ_http_create(const char *url, const organ_model_access *access, organ_http **http,
                               organ_error *error);
/* Allows names of files to be paths from now on: '/' separates folders below the URL. Before, '/' is part of a name. */
void organ_http_take_paths(organ_http *http);
void organ_http_destroy(organ_http *http); /* its files must be closed; NULL is allowed */

/* Opens the file `name` of the directory: requests its size and first bytes. Returns ORGAN_IO if the server cannot be
 * reached, lacks the file or forbids access; ORGAN_BAD_INPUT if it does not serve ranges, or the file is empty. Sets
 * *missing (`missing` may be NULL) to true if the server answers that there is no such file, else to false. */
organ_status organ_http_open(organ_http *http, const char *name, organ_http_file **file, bool *missing,
                             organ_error *error);
void organ_http_close(organ_http_file *file); /* NULL is allowed */

uint64_t organ_http_size(const organ_http_file *file); /* bytes */
/* Returns ETag or Last-Modified, "" if the server sends neither; valid as long as the file is open. */
const char *organ_http_validator(const organ_http_file *file);

/* Reads exactly `bytes` bytes from `offset`, on any thread. Returns ORGAN_BAD_INPUT if the file was changed since it
 * was opened, or if the server does not answer with the requested range; ORGAN_IO after too many tries without
 * progress; ORGAN_INTERRUPTED if access->stopped returned true. */
organ_status organ_http_read(organ_http_file *file, void *to, size_t bytes, uint64_t offset, organ_error *error);

/* Requests the file's last byte. Returns ORGAN_BAD_INPUT if the file's size or validator differs from that at its
 * opening. */
organ_status organ_http_unchanged(organ_http_file *file, organ_error *error);

/* Reads the whole file `name`, a path below the directory, of at most `limit` bytes, and appends a NUL; the caller
 * frees *bytes. If there is no such file, *bytes is NULL and the result ORGAN_OK. Returns ORGAN_BAD_INPUT if the file
 * is longer. */
organ_status organ_http_load(organ_http *http, const char *name, size_t limit, char **bytes, size_t *length,
                             organ_error *error);

/* ---- files of a model, on this machine or at a URL ---- */

/* Records size, time of modification, device and inode of a local file, to detect changes. */
void organ_model_file_take(organ_model_file *file, const struct stat *info);

/* Opens file->path for reading, sets file->fd, and records its size, time, device and inode. */
organ_status organ_model_file_open_here(organ_model_file *file, organ_error *error);

/* Opens file->path again for reading and sets *fd. Returns ORGAN_BAD_INPUT if it is not the file that was opened
 * before: device, inode or size differ. */
organ_status organ_model_file_open_again(const organ_model_file *file, int *fd, organ_error *error);

/* Reads exactly `bytes` bytes from `offset` of an open file, local or remote. Returns ORGAN_BAD_INPUT if the file ends
 * before the last of these bytes or, at a URL, was changed or is not served by ranges; ORGAN_IO if it cannot be read;
 * ORGAN_INTERRUPTED if access->stopped returned true. */
organ_status organ_model_file_read(const organ_model_file *file, void *to, size_t bytes, uint64_t offset,
                                   organ_error *error);

/* Returns ORGAN_BAD_INPUT if the file was changed, shortened, replaced or removed since it was opened. */
organ_status organ_model_file_unchanged(const organ_model_file *file, organ_error *error);

#endif
