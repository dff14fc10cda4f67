/* SPDX-License-Identifier: MIT
 * The composition of a model: sizes of its parts, and of the roles in each layer. */
#ifndef ORGAN_VIEW_ANATOMY_H
#define ORGAN_VIEW_ANATOMY_H

#include "orchestrator/report/view/view_parts.h"

/* Returns the report's rows that have "bytes", as {"name", "bytes", "percent" of all}; the row's member `key` is its
 * name. */
json_t *organ_size_rows(const json_t *rows, const char *key);

/* Returns the cells of report.by_layer that have elements: {"layer", "role", "bytes", "bits" of an element, "percent"
 * of its elements grafted}. */
json_t *organ_layer_cells(const json_t *report);

/* A bar for each of such rows, under `path`. */
#define SIZE_BARS(if_, path, heading, text)                                                                            \
    BARS(if_, path,                                                                                                    \
         .style = {.title = (heading),                                                                                 \
                   .description =                                                                                      \
                       "A bar for each part: its size and its share of the whole. The table has the numbers.",         \
                   .value_label = "size",                                                                              \
                   .series = {"size", NULL},                                                                           \
                   .digits = 3},                                                                                       \
         .name = "name", .values = {"bytes"}, .bytes = true, .remark = "{percent:percent}", .caption = (text))
#define ANATOMY_BARS                                                                                                   \
    SIZE_BARS("sizes", "sizes", "Anatomy",                                                                             \
              "Parts of the model: skeleton is attention, organs are feed-forward networks.")

/* Of such cells, under "cells". */
#define BYTES_MAP                                                                                                      \
    MAP("cells", "cells",                                                                                              \
        .style = {.title = "Size by layer and role",                                                                   \
                  .description = "The bytes of the tensors of each role in each layer.",                               \
                  .value_label = "size"},                                                                              \
        .role = "role", .value = "bytes", .bytes = true, .zero = true, .inside = true,                                 \
        .caption = "Bytes by layer and role; tensors outside the layers are not shown.")

#endif
