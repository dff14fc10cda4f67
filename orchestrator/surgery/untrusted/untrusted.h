/* SPDX-License-Identifier: MIT
 * Room surgery/untrusted: what is in a download that could harm who loads it. In goes the path of a directory or a
 * file, out comes a list of findings. Nothing of the model is run, unpickled, rendered or decompressed, and links out
 * of the directory are not followed: headers, configuration and the first bytes of files are read, and names looked at.
 * A fault in one file does not end the search. */
#ifndef ORGAN_UNTRUSTED_H
#define ORGAN_UNTRUSTED_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>

ORGAN_API_BEGIN

typedef struct organ_untrusted_options {
    const char *model; /* a directory, whatever is in it, or one file */
} organ_untrusted_options;

/* *report has the schema organ.untrusted/1; the caller releases it. ORGAN_CHECK_FAILED, with the report, where there is
 * a finding. ORGAN_USAGE for a URL, ORGAN_IO where the path cannot be looked at or memory is short; *report is NULL
 * then. */
organ_status organ_untrusted(const organ_untrusted_options *options, json_t **report, organ_error *error);

ORGAN_API_END

#endif
