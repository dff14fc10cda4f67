/* SPDX-License-Identifier: MIT
 * Sums the sizes of tensors by layer and role. */
#include "orchestrator/surgery/facts/by_layer.h"

#include <organ/base.h>
#include "orchestrator/report/text/members.h"

#include <stdlib.h>

/* The cast makes layer -1, of tensors outside of layers, the last. */
static int by_cell(const void *a, const void *b)
{
    const organ_anatomy *const x = &((const organ_layer_amount *)a)->anatomy, *const y =
                                                                                  &((const organ_layer_amount *)b)
                                                                                       ->anatomy;
    const uint32_t l = (uint32_t)x->layer, m = (uint32_t)y->layer;
    return l != m ? (l > m) - (l < m) : (int)organ_anatomy_row(x) - (int)organ_anatomy_row(y);
}

static void sum_layer(const organ_layer_amount *rows, size_t count, organ_layer_amount sums[ORGAN_ANATOMY_ROWS])
{
    for (int r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        sums[r] = (organ_layer_amount){0};
    for (size_t k = 0; k < count; k++) {
        organ_layer_amount *const sum = &sums[organ_anatomy_row(&rows[k].anatomy)];
        sum->elements += rows[k].elements;
        sum->bytes += rows[k].bytes;
        sum->grafted += rows[k].grafted;
    }
}

/* `used` marks the rows of the anatomy that occur in the model. `offset` is that of the member in
 * organ_layer_amount. */
static json_t *by_layer_line_of(const organ_layer_amount sums[ORGAN_ANATOMY_ROWS], const bool used[ORGAN_ANATOMY_ROWS],
                                size_t offset)
{
    json_t *const line = json_array();
    for (int r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        if (used[r])
            json_array_append_new(
                line, json_integer((json_int_t) * (const uint64_t *)(const void *)((const char *)&sums[r] + offset)));
    return line;
}

json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted)
{
    organ_layer_amount sums[ORGAN_ANATOMY_ROWS];
    bool used[ORGAN_ANATOMY_ROWS] = {false};
    if (!rows) {
        organ_memory_count_refusal();
        return NULL;
    }
    json_t *const roles = json_array(), *const layers = json_array(), *const elements = json_array(),
                  *const bytes = json_array(), *const grafts = grafted ? json_array() : NULL;
    qsort(rows, count, sizeof *rows, by_cell);
    for (size_t k = 0; k < count; k++)
        used[organ_anatomy_row(&rows[k].anatomy)] = true;
    for (unsigned r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        if (used[r])
            json_array_append_new(roles, json_string(organ_anatomy_row_name(r)));
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && rows[to].anatomy.layer == rows[from].anatomy.layer; to++)
            ;
        sum_layer(&rows[from], to - from, sums);
        json_array_append_new(layers, json_integer(rows[from].anatomy.layer));
        json_array_append_new(elements, by_layer_line_of(sums, used, offsetof(organ_layer_amount, elements)));
        json_array_append_new(bytes, by_layer_line_of(sums, used, offsetof(organ_layer_amount, bytes)));
        if (grafts)
            json_array_append_new(grafts, by_layer_line_of(sums, used, offsetof(organ_layer_amount, grafted)));
    }
    return ORGAN_OBJECT(SET("roles", roles), SET("layers", layers), SET("elements", elements), SET("bytes", bytes),
                        SET_IF(grafted, "grafted", grafts));
}
