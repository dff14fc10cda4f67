/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_anatomy.h"

#include "orchestrator/report/text/members.h"

#include <string.h>

static const char *full_name(const char *name)
{
    static const char *const names[][2] = {
        {"skeleton", "skeleton (attention)"}, {"organ", "organs (feed-forward)"}, {"embed", "embedding"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcmp(names[k][0], name) == 0)
            return names[k][1];
    return name;
}

json_t *organ_size_rows(const json_t *rows, const char *key)
{
    json_t *const sizes = json_array();
    double all = 0;
    for (size_t k = 0; k < json_array_size(rows); k++)
        all += (double)organ_json_count(organ_json_row_at(rows, k), "bytes");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        const char *const name = organ_json_text(row, key);
        const unsigned long long bytes = organ_json_count(row, "bytes");
        if (bytes > 0)
            json_array_append_new(
                sizes, ORGAN_OBJECT(SET_TEXT("name", strcmp(key, "group") == 0 ? full_name(name) : name),
                                    SET_COUNT("bytes", bytes), SET_REAL("percent", 100 * (double)bytes / all)));
    }
    return sizes;
}

static double number_in(const json_t *by_layer, const char *matrix, size_t layer, size_t role)
{
    return json_number_value(organ_json_row_at(organ_json_row_at(json_object_get(by_layer, matrix), layer), role));
}

json_t *organ_layer_cells(const json_t *report)
{
    const json_t *const by_layer = json_object_get(report, "by_layer"),
                        *const roles = json_object_get(by_layer, "roles"),
                        *const layers = json_object_get(by_layer, "layers");
    json_t *const cells = json_array();
    for (size_t l = 0; l < json_array_size(layers); l++)
        for (size_t r = 0; r < json_array_size(roles); r++) {
            const double elements = number_in(by_layer, "elements", l, r), bytes = number_in(by_layer, "bytes", l, r);
            if (elements > 0)
                json_array_append_new(
                    cells, ORGAN_OBJECT(SET_HELD("layer", organ_json_row_at(layers, l)),
                                        SET_HELD("role", organ_json_row_at(roles, r)), SET_REAL("bytes", bytes),
                                        SET_REAL("bits", 8 * bytes / elements),
                                        SET_REAL("percent", 100 * number_in(by_layer, "grafted", l, r) / elements)));
        }
    return cells;
}
