/* SPDX-License-Identifier: MIT
 * Renames finished outputs to their final names without ever losing a file that is not an output. In
 * rename_output.c, `grown` is the path at which the finished output was written. After an exchange of both names, the
 * file that the output replaces is at `grown`. */
#ifndef ORGAN_RENAME_OUTPUT_H
#define ORGAN_RENAME_OUTPUT_H

#include <organ/base.h>

/* Which existing files an output may replace. */
typedef enum organ_replace_policy {
    ORGAN_REPLACE_NOTHING,
    ORGAN_REPLACE_REPORTS, /* files that organ_check_report_place accepts */
    ORGAN_REPLACE_CACHES,  /* files that organ_check_cache_place accepts */
    ORGAN_REPLACE_OUTPUTS  /* outputs that organ_check_replaceable accepts */
} organ_replace_policy;

/* The result of organ_rename_output. */
typedef enum organ_rename_result {
    ORGAN_RENAMED,           /* renamed; no file had the name, or *error says where that file is kept */
    ORGAN_RENAMED_REPLACING, /* renamed; the replaced file is now at the temporary name, to be removed by the caller */
    ORGAN_RENAME_EXISTS,     /* a file that must not be replaced has the name */
    ORGAN_RENAME_FAILED      /* the system refused, with errno *fault */
} organ_rename_result;

/* Renames `grown`, which is complete and synchronised, to `final`. Replaces an existing file only as `way` allows;
 * `like` is passed to organ_check_replaceable. If the file of that name was changed since the run began, returns
 * ORGAN_RENAMED and sets ORGAN_IO in *error: that file is kept under another name, which the message contains. */
organ_rename_result organ_rename_output(const char *grown, const char *final, organ_replace_policy way,
                                        const char *like, int *fault, organ_error *error);

/* Keeps a file or directory that `final` has replaced and that must not be removed: renames it from `grown`, where the
 * exchange has put it, to a free name next to `final`. Sets ORGAN_IO; the message contains that name and `why`, the
 * reason for which the file is kept. */
void organ_keep_changed_file(const char *grown, const char *final, const char *why, organ_error *error);

/* Returns a shell command that renames `grown` to a free name next to `final`, for an error message. If `note` is not
 * NULL and the paths are short enough for a message, the command then also removes the file `note`. NULL if memory is
 * exhausted. The caller frees the command. Callers make it before they rename, so that the message needs no memory. */
char *organ_rename_command(const char *grown, const char *final, const char *note);

/* Reports ORGAN_IO for ORGAN_RENAME_EXISTS or ORGAN_RENAME_FAILED; the message contains the command from
 * organ_rename_command. Allocates no memory. */
organ_status organ_rename_fail(const char *grown, const char *final, const char *command, organ_rename_result naming,
                               int fault, organ_error *error);

/* Returns ORGAN_IO if `parent`, in which the output `final` is made, is not a directory. */
organ_status organ_check_parent(const char *final, const char *parent, organ_error *error);

#endif
