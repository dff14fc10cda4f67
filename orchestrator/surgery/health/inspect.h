/* SPDX-License-Identifier: MIT
 * What is in a model, from its headers alone. */
#ifndef ORGAN_INSPECT_H
#define ORGAN_INSPECT_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "formats/remote/access.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

struct organ_model;
struct organ_tensor;

typedef struct organ_inspect_options {
    const char *model;
    bool tensors;      /* list every tensor */
    const char *match; /* glob on tensor names: only these are counted and listed; NULL for all */
    size_t most; /* rows at most of each list in the report, but for that of tensors; layers from this number on are
                    left out. 0: no limit. "cut" in the report then names the lists that are longer than shown */
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_inspect_options;

/* *report has the schema organ.inspect/1; the caller releases it. A model with faults that leave it readable gives
 * ORGAN_BAD_INPUT with *report set and the faults in report.problems; *report is NULL where nothing could be read. */
organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error);

/* The same of a model that is open; options->model is not looked at. */
organ_status organ_inspect_model(const organ_inspect_options *options, const struct organ_model *model, json_t **report,
                                 organ_error *error);

/* One tensor as a row of the report: {"name", "dtype", "shape", "elements", "bytes", "role", "group", "layer",
 * "expert", "file", "offset"}; `file` is the name of its file. NULL without memory. */
json_t *organ_inspect_tensor(const struct organ_tensor *tensor, const char *file);

ORGAN_API_END

#endif
