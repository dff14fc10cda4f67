/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/anatomy_html.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/document.h"
#include "orchestrator/report/layer_map.h"
#include "orchestrator/report/report_parts.h"
#include "orchestrator/report/svg_ranking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BARS = 60 };

const char *organ_anatomy_unit(double most, double *factor)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t k = 0;
    for (*factor = 1; most * *factor >= 1000 && k + 1 < sizeof units / sizeof *units; k++)
        *factor /= 1000;
    return units[k];
}

/* "skeleton" -> "skeleton (attention)" */
static const char *full_name(const char *name)
{
    static const char *const names[][2] = {
        {"skeleton", "skeleton (attention)"}, {"organ", "organs (feed-forward)"}, {"embed", "embedding"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcmp(names[k][0], name) == 0)
            return names[k][1];
    return name;
}

void organ_anatomy_html_bars(organ_html *html, const json_t *rows, const char *key, const char *title, const char *caption)
{
    organ_ranking_bar bars[MOST_BARS];
    char shares[MOST_BARS][32], label[32], unit[16];
    double most = 0, sum = 0, factor;
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const double bytes = (double)organ_json_count(json_array_get(rows, k), "bytes");
        most = bytes > most ? bytes : most;
        sum += bytes;
    }
    snprintf(unit, sizeof unit, " %s", organ_anatomy_unit(most, &factor));
    snprintf(label, sizeof label, "size,%s", unit);
    for (size_t k = 0; k < json_array_size(rows) && count < MOST_BARS; k++) {
        const json_t *const row = json_array_get(rows, k);
        const double bytes = (double)organ_json_count(row, "bytes");
        if (bytes <= 0)
            continue;
        organ_percent_text(100 * bytes / sum, shares[count]);
        bars[count] =
            (organ_ranking_bar){.name = strcmp(key, "group") == 0 ? full_name(organ_json_text(row, key)) : organ_json_text(row, key),
                                .value = {factor * bytes, NAN},
                                .remark = shares[count]};
        count++;
    }
    if (count == 0)
        return;
    const organ_ranking ranking = {.title = title,
                                   .description = "A bar for each part: its size and its share of the whole. The table has the numbers.",
                                   .value_label = label,
                                   .series = {"size", NULL},
                                   .digits = 3,
                                   .unit = unit,
                                   .bars = bars,
                                   .count = count};
    char *svg = NULL;
    organ_ranking_svg(&ranking, &svg, &(organ_error){0});
    organ_html_chart(html, svg, caption);
}

void organ_anatomy_html_groups(organ_html *html, const json_t *groups)
{
    organ_anatomy_html_bars(html, groups, "group", "Anatomy",
                            "What the model consists of: the skeleton is its attention, the organs are its feed-forward networks.");
}

/* ---- by layer ---- */

static double highest_of(const organ_layer_map *map)
{
    double most = 0;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        most = map->value[k] > most ? map->value[k] : most;
    return most;
}

static organ_layer_map *layers_of(const json_t *report, const char *key, const char *over, double factor)
{
    organ_layer_map *const map = organ_layer_map_create();
    organ_layer_map_add_matrix(map, json_object_get(report, "by_layer"), key, over, factor, false);
    if (!organ_layer_map_settle(map) || map->layers * map->roles < 2) {
        organ_layer_map_destroy(map);
        return NULL;
    }
    return map;
}

void organ_anatomy_html_bytes(organ_html *html, const json_t *report)
{
    double factor;
    char label[32];
    organ_layer_map *const map = layers_of(report, "bytes", NULL, 1);
    if (!map)
        return;
    const double most = highest_of(map);
    snprintf(label, sizeof label, "size, %s", organ_anatomy_unit(most, &factor));
    for (size_t k = 0; k < map->layers * map->roles; k++)
        map->value[k] *= factor;
    organ_html_chart(html,
                     organ_layer_map_svg(map, &(organ_heat_map){.title = "Size by layer and role",
                                                                .description = "The bytes of the tensors of each role in each layer.",
                                                                .value_label = label,
                                                                .high = factor * most,
                                                                .plain = map->layers * map->roles > 1500}),
                     "Where the bytes of the layers are; what stands in no layer is not shown.");
    organ_layer_map_destroy(map);
}

void organ_anatomy_html_bits(organ_html *html, const json_t *report)
{
    organ_layer_map *const map = layers_of(report, "bytes", "elements", 8);
    if (map)
        organ_html_chart(html,
                         organ_layer_map_svg(map, &(organ_heat_map){.title = "Bits per weight by layer and role",
                                                                    .description = "How many bits each weight of a role in a layer "
                                                                                   "takes in the file, scales of blocks included.",
                                                                    .value_label = "bits per weight",
                                                                    .high = highest_of(map),
                                                                    .plain = map->layers * map->roles > 1500}),
                         "How finely each weight is stored, the scales of its block included.");
    organ_layer_map_destroy(map);
}
