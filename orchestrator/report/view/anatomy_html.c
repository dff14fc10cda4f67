/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/anatomy_html.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/blocks/layer_map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BARS = 60 };

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
    snprintf(unit, sizeof unit, " %s", organ_quantity_unit(most, &factor));
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

/* A heat map of a matrix by elements, if there is more than one cell of it. `unit`: bytes become what suits the largest. */
static void put_map(organ_html *html, organ_layer_map *map, bool unit, organ_heat_map look, const char *caption)
{
    char label[32];
    double factor = 1;
    organ_layer_map_settle(map);
    if (map && !map->failed && map->layers * map->roles < 2)
        return;
    const double most = map && !map->failed ? highest_of(map) : 0;
    if (unit) {
        snprintf(label, sizeof label, "size, %s", organ_quantity_unit(most, &factor));
        look.value_label = label;
    }
    for (size_t k = 0; map && k < map->layers * map->roles && !map->failed; k++)
        map->value[k] *= factor;
    look.high = most * factor;
    look.plain = map && map->layers * map->roles > 1500;
    organ_html_chart(html, organ_layer_map_svg(map, &look), caption);
}

void organ_anatomy_html_bytes(organ_html *html, const json_t *report)
{
    organ_layer_map *const map = organ_layer_map_create();
    organ_layer_map_add_matrix(map, json_object_get(report, "by_layer"), "bytes", NULL, 1, false);
    put_map(html, map, true,
            (organ_heat_map){.title = "Size by layer and role", .description = "The bytes of the tensors of each role in each layer."},
            "Where the bytes of the layers are; what stands in no layer is not shown.");
    organ_layer_map_destroy(map);
}

void organ_anatomy_html_bits(organ_html *html, const json_t *report)
{
    organ_layer_map *const map = organ_layer_map_create();
    organ_layer_map_add_matrix(map, json_object_get(report, "by_layer"), "bytes", "elements", 8, false);
    put_map(html, map, false,
            (organ_heat_map){.title = "Bits per weight by layer and role",
                             .description = "How many bits each weight of a role in a layer takes in the file, scales of blocks included.",
                             .value_label = "bits per weight"},
            "How finely each weight is stored, the scales of its block included.");
    organ_layer_map_destroy(map);
}
