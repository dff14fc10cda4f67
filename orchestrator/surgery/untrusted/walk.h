/* SPDX-License-Identifier: MIT
 * The files of a download, looked at one after the other. */
#ifndef ORGAN_UNTRUSTED_WALK_H
#define ORGAN_UNTRUSTED_WALK_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdint.h>

typedef struct organ_walked {
    uint64_t files, directories, links, bytes;
    uint64_t weights; /* files of weights that could be looked into, among the files */
    uint64_t passed;  /* directories of version control, which were passed over */
} organ_walked;

/* Looks at every entry of the directory, or at the one file, and adds what it finds. Links are followed only to files
 * of the store that a download of Hugging Face keeps beside it. ORGAN_IO where the path itself cannot be looked at. */
organ_status organ_walk(const char *path, organ_findings *findings, organ_walked *walked, organ_error *error);

#endif
