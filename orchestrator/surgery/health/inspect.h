/* SPDX-License-Identifier: MIT
 * Lists the content of a model, from its headers alone. */
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

/* Options of organ_inspect. */
typedef struct organ_inspect_options {
    const char *model; /* path or URL */
    bool tensors;      /* list every tensor */
    const char *match; /* glob on tensor names: only these are counted and listed; NULL for all */
    size_t max; /* limit of the rows in each list of the report, except the list of tensors, and of the listed layers;
                 * 0: no limit. "cut" in the report names the lists that are longer */
    const organ_model_access *access; /* HTTP headers and retries for a model behind a URL; NULL: the defaults */
} organ_inspect_options;

/* Creates the report of schema organ.inspect/1, which the caller releases. For a model with faults that is still
 * readable, returns ORGAN_BAD_INPUT with *report set and the faults in its "problems"; *report is NULL if nothing could
 * be read. */
organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error);

/* Same as organ_inspect for a model that is already open; ignores options->model. */
organ_status organ_inspect_model(const organ_inspect_options *options, const struct organ_model *model, json_t **report,
                                 organ_error *error);

/* Returns one tensor as a row of the report: {"name", "dtype", "shape", "elements", "bytes", "role", "group", "layer",
 * "expert", "file", "offset"}; `file` is the name of its file. NULL if memory runs out. */
json_t *organ_inspect_tensor(const struct organ_tensor *tensor, const char *file);

ORGAN_API_END

#endif
