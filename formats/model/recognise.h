/* SPDX-License-Identifier: MIT
 * What this program reads or has made, told from everything else: only that is ever replaced. Nothing here changes a
 * file. */
#ifndef ORGAN_RECOGNISE_H
#define ORGAN_RECOGNISE_H

#include "formats/base/status.h"

#include <stdbool.h>

/* Stands in an unfinished output and is removed before the output gets its name. */
#define ORGAN_GROWING_MARK ".organ-growing"

/* How every page of a report begins. */
#define ORGAN_PAGE_START                                                                                               \
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"                                          \
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" "            \
    "content=\"light dark\">\n"                                                                                        \
    "<meta name=\"referrer\" content=\"no-referrer\">\n<meta http-equiv=\"Content-Security-Policy\" "

/* Returns ORGAN_OK if --force may replace `path`: nothing exists there, or it is an empty directory, an empty,
 *.safetensors or .gguf file,
 * a report of this program, or a directory in which every file is proven to come from an input or from this program:
 *
 *   - a record (recognise_lists.h), or the manifest of an organ directory, lists it with the size and the digest that
 *   it has;
 *   - without either, the only index lists it, or a report in organ/ does, or there is such a report and it is the file
 *   with weights or the
 *     config.json that the run wrote;
 *   - it is a report of this program;
 *   - `like` (a directory or NULL), or the input that such a report names, has the same bytes at the same place.
 *
 * The check never follows a link to a directory and reads at most a million entries. Returns ORGAN_USAGE for any other
 * file, folder with a
 * file in it, socket, device or mount point, with the first such entry in byte order in the message, and for a symbolic
 * link at `path`.
 * Returns ORGAN_IO if a file or directory cannot be read. */
organ_status organ_check_replaceable(const char *path, const char *like, organ_error *error);

/* ORGAN_OK if `path` is nothing, an empty file or a report of this program; else ORGAN_USAGE. A symbolic link is none
 * of these. */
organ_status organ_check_report_place(const char *path, organ_error *error);

/* Whether `name`, relative to the open directory `at` or to AT_FDCWD, is a regular file that is a report of this
 * program, or one with weights: by its name and its beginning. "DIR/.4711.NAME", a draft, is what "NAME" would be.
 * false with an error where it cannot be read.
 */
bool organ_is_report_at(int at, const char *name, organ_error *error);
bool organ_is_weights_at(int at, const char *name, organ_error *error);

#endif
