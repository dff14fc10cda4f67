/* SPDX-License-Identifier: MIT
 * What a file is by its first bytes and its name. */
#ifndef ORGAN_UNTRUSTED_CONTENT_H
#define ORGAN_UNTRUSTED_CONTENT_H

#include "orchestrator/surgery/untrusted/findings.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum organ_content {
    ORGAN_CONTENT_OTHER,
    ORGAN_CONTENT_SAFETENSORS,
    ORGAN_CONTENT_GGUF,
    ORGAN_CONTENT_JSON,     /* by its name */
    ORGAN_CONTENT_TEMPLATE, /* likewise */
    ORGAN_CONTENT_YAML      /* likewise */
} organ_content;

/* What the open file of `size` bytes is. Pickles, programs and archives are findings: by their first bytes, whatever
 * they are called, and by their names. Nothing is unpacked. Of `bare` numbers, whose first bytes can be any, only what
 * no numbers are by chance is a finding. */
organ_content organ_content_check(organ_findings *findings, const char *name, int fd, uint64_t size, bool bare);

#endif
