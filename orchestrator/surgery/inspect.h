/* SPDX-License-Identifier: MIT
 * What is in a model, from its headers alone. */
#ifndef ORGAN_INSPECT_H
#define ORGAN_INSPECT_H

#include "formats/api.h"
#include "formats/status.h"

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

typedef struct organ_inspect_options {
    const char *model;
    bool tensors;      /* list every tensor */
    const char *match; /* glob on tensor names: only these are counted and listed; NULL for all */
} organ_inspect_options;

/* *report has the schema organ.inspect/1; the caller releases it. A model with faults that leave it readable gives ORGAN_BAD_INPUT with
 * *report set and the faults in report.problems; *report is NULL where nothing could be read. */
organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error);

ORGAN_API_END

#endif
