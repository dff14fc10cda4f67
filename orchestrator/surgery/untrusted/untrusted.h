/* SPDX-License-Identifier: MIT
 * Room surgery/untrusted: finds content of a download that could harm a user who loads it. Input is a directory or a
 * file; output is a list of findings. The search reads headers, configuration and the first bytes of files, and
 * checks names. It does not run, unpickle, render or decompress any part of the model, and does not follow links out
 * of the directory. An error in one file does not end the search. */
#ifndef ORGAN_UNTRUSTED_H
#define ORGAN_UNTRUSTED_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>

ORGAN_API_BEGIN

typedef struct organ_untrusted_options {
    const char *model; /* a directory with any content, or one file */
} organ_untrusted_options;

/* Examines a download without loading it and creates the report of schema organ.untrusted/1, which the caller releases.
 * If there is a finding, returns ORGAN_CHECK_FAILED together with the report. Returns ORGAN_USAGE for a URL, and
 * ORGAN_IO if the path cannot be read or memory is insufficient, both without a report. */
organ_status organ_untrusted(const organ_untrusted_options *options, json_t **report, organ_error *error);

ORGAN_API_END

#endif
