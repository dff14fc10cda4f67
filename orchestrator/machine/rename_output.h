/* SPDX-License-Identifier: MIT
 * Renames finished outputs without ever losing a file that is not an output. */
#ifndef ORGAN_RENAME_OUTPUT_H
#define ORGAN_RENAME_OUTPUT_H

#include "formats/base/status.h"

/* Existing files that an output may replace. */
typedef enum organ_replace_policy {
    ORGAN_REPLACE_NOTHING,
    ORGAN_REPLACE_REPORTS, /* files that organ_check_report_place accepts */
    ORGAN_REPLACE_OUTPUTS  /* outputs that organ_check_replaceable accepts */
} organ_replace_policy;

typedef enum organ_rename_result {
    ORGAN_RENAMED,
    ORGAN_RENAMED_REPLACING, /* and the replaced file is now at the temporary name, to be removed */
    ORGAN_RENAME_EXISTS,     /* by a file that must not be replaced */
    ORGAN_RENAME_FAILED      /* by the system, with errno *fault */
} organ_rename_result;

/* Renames `grown`, which is complete and synchronised, to `final`. Replaces an existing file only as `way` allows;
 * `like` is passed to organ_check_replaceable. Returns ORGAN_RENAMED with ORGAN_IO in *error if the file that had
 * the name was changed since the run began: organ_rename_output keeps that file under another name, which the message
 * contains. */
organ_rename_result organ_rename_output(const char *grown, const char *final, organ_replace_policy way,
                                        const char *like, int *fault, organ_error *error);

/* Keeps a file or directory that `final` has replaced and that was changed since the run began (`why`): renames it from
 * `grown` to a free name next to `final`. Sets ORGAN_IO with that name in the message. */
void organ_keep_changed_file(const char *grown, const char *final, const char *why, organ_error *error);

/* Returns a shell command that renames `grown` to a free name next to `final` and then removes `note` (or NULL); NULL
 * without memory. Callers make the command before they rename, so that the error message, which contains it, needs no
 * memory. */
char *organ_rename_command(const char *grown, const char *final, const char *note);

/* Fails with ORGAN_IO for ORGAN_RENAME_EXISTS or ORGAN_RENAME_FAILED; the message contains the command from
 * organ_rename_command. Allocates no memory. */
organ_status organ_rename_fail(const char *grown, const char *final, const char *command, organ_rename_result naming,
                               int fault, organ_error *error);

#endif
