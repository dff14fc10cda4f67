/* SPDX-License-Identifier: MIT
 * Walks the directory of a download and examines its files. */
#ifndef ORGAN_FOLDER_WALK_H
#define ORGAN_FOLDER_WALK_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdint.h>

/* Counts of the entries that the walk has visited. */
typedef struct organ_scanned_folder {
    uint64_t files, directories, links; /* regular files, directories, symbolic links */
    uint64_t bytes;                     /* sum of the sizes of the files */
    uint64_t weights;         /* safetensors and GGUF files, whose headers were checked; included in `files` */
    uint64_t git_directories; /* directories named .git, which are skipped */
} organ_scanned_folder;

/* Examines every entry of the directory `path`, or the one file `path`, and adds the findings. Follows a symbolic link
 * only to a file of the Hugging Face cache entry that contains the download. Returns ORGAN_IO if the path itself cannot
 * be opened, ORGAN_BAD_INPUT if it is a device or a pipe. */
organ_status organ_scan_folder(const char *path, organ_findings *findings, organ_scanned_folder *scanned,
                               organ_error *error);

#endif
