/* SPDX-License-Identifier: MIT
 * The composition of a model: sizes of its parts (skeleton, organs, embedding, norms), and of each role in each
 * layer. */
#ifndef ORGAN_VIEW_ANATOMY_H
#define ORGAN_VIEW_ANATOMY_H

#include "orchestrator/report/view/view_parts.h"

/* Returns {"name", "bytes", "percent" of the bytes of all rows} for each of `rows` with more than 0 bytes. "name" is
 * the row's member `key`; for the key "group" a name for readers ("skeleton (attention)"). */
json_t *organ_size_rows(const json_t *rows, const char *key);

/* Returns an array with a row for each layer and role that has elements by report.by_layer: {"layer", "role", "bytes",
 * "bits" (bits per element), "percent" (share of the elements that `organ graft` took from another model; 0 in the
 * reports of other verbs)}. The caller owns the array. */
json_t *organ_layer_cells(const json_t *report);

/* Bars for rows of organ_size_rows, which the view has stored at `path`; `heading` is the title, `text` the caption. */
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

/* A heat map of the bytes of the cells of organ_layer_cells, which the view has stored as "cells". */
#define BYTES_MAP                                                                                                      \
    MAP("cells", "cells",                                                                                              \
        .style = {.title = "Size by layer and role",                                                                   \
                  .description = "The bytes of the tensors of each role in each layer.",                               \
                  .value_label = "size"},                                                                              \
        .role = "role", .value = "bytes", .bytes = true, .zero = true, .inside = true,                                 \
        .caption = "Bytes by layer and role; tensors outside the layers are not shown.")

#endif
