/* SPDX-License-Identifier: MIT
 * Classifies a file by its first bytes and its name. */
#ifndef ORGAN_UNTRUSTED_CONTENT_H
#define ORGAN_UNTRUSTED_CONTENT_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* The format of a file, which selects its further checks. */
typedef enum organ_content {
    ORGAN_CONTENT_OTHER,       /* no further check */
    ORGAN_CONTENT_SAFETENSORS, /* by its first bytes or its name */
    ORGAN_CONTENT_GGUF,        /* by its first bytes or its name */
    ORGAN_CONTENT_JSON,        /* by its name */
    ORGAN_CONTENT_TEMPLATE,    /* by its name */
    ORGAN_CONTENT_YAML         /* by its name */
} organ_content;

/* Determines the format of the open file of `size` bytes; `name` is the name by which loaders find it. Adds a finding
 * for a pickle, program or archive, recognised by its first bytes (whatever its name) or by its name. Unpacks nothing.
 * `bare`: the file has only the numbers of a tensor, whose first bytes can have any value, so only patterns that
 * numbers do not produce by chance are findings, and the result is ORGAN_CONTENT_OTHER. */
organ_content organ_content_check(organ_findings *findings, const char *name, int fd, uint64_t size, bool bare);

#endif
