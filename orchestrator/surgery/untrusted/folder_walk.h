/* SPDX-License-Identifier: MIT
 * Visits the files of a download. */
#ifndef ORGAN_FOLDER_WALK_H
#define ORGAN_FOLDER_WALK_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdint.h>

/* Counts of the visited entries. */
typedef struct organ_scanned_folder {
    uint64_t files, directories, links, bytes;
    uint64_t weights; /* files of weights whose headers were checked; included in `files` */
    uint64_t passed;  /* directories named .git, which are skipped */
} organ_scanned_folder;

/* Checks every entry of the directory `path`, or the one file, and adds the findings. Follows a link only to a file of
 * the Hugging Face cache entry that contains the download. Returns ORGAN_IO if the path itself cannot be read,
 * ORGAN_BAD_INPUT if it is a device or a pipe. */
organ_status organ_scan_folder(const char *path, organ_findings *findings, organ_scanned_folder *scanned,
                               organ_error *error);

#endif
