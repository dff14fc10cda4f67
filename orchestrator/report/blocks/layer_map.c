/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/layer_map.h"

#include <organ/models.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct organ_layer_map_note {
    long long layer; /* LLONG_MAX: no layer; sorted last */
    /* number of the role in order of appearance; organ_layer_map_finish changes it to the sorted order */
    size_t role;
    double value, weight; /* weight in the mean of the cell */
    bool mark;            /* true: the note outlines the cell and has no value */
};

long long organ_row_layer(const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) ? json_integer_value(layer) : -1;
}

organ_layer_map *organ_layer_map_create(void) { return calloc(1, sizeof(organ_layer_map)); }

void organ_layer_map_destroy(organ_layer_map *map)
{
    if (!map)
        return;
    free(map->notes);
    free(map->layer);
    free(map->value);
    free(map->marked);
    free(map);
}

/* Adds a new role. If there is no room for it, returns the number of the last role or, with in_order_of_rows,
 * ORGAN_LAYER_MAP_ROLES. */
static size_t role_of(organ_layer_map *map, const char *role)
{
    for (size_t k = 0; k < map->roles; k++)
        if (strcmp(map->role[k], role) == 0)
            return k;
    if (map->roles == ORGAN_LAYER_MAP_ROLES)
        return map->in_order_of_rows ? ORGAN_LAYER_MAP_ROLES : map->roles - 1;
    map->role[map->roles] = role;
    return map->roles++;
}

static void append_layer_note(organ_layer_map *map, organ_layer_map_note note, const char *role)
{
    if (!map || map->failed || (note.role = role_of(map, role)) == ORGAN_LAYER_MAP_ROLES)
        return;
    if (map->count == map->capacity) {
        const size_t capacity = map->capacity ? 2 * map->capacity : 256;
        organ_layer_map_note *const grown = realloc(map->notes, capacity * sizeof *grown);
        if (!grown) {
            map->failed = true;
            return;
        }
        map->notes = grown;
        map->capacity = capacity;
    }
    note.layer = note.layer < 0 ? LLONG_MAX : note.layer;
    map->notes[map->count++] = note;
}

void organ_layer_map_add(organ_layer_map *map, long long layer, const char *role, double value, double weight)
{
    append_layer_note(map, (organ_layer_map_note){.layer = layer, .value = value, .weight = weight}, role);
}

void organ_layer_map_mark(organ_layer_map *map, long long layer, const char *role)
{
    append_layer_note(map, (organ_layer_map_note){.layer = layer, .value = NAN, .mark = true}, role);
}

/* ---- the finished map ---- */

/* The order is that in which a layer computes its roles (organ_anatomy_row). The role "other" is after all known
 * roles, and a name that is no role is last. */
static int layer_map_place_of(const char *role)
{
    static const organ_anatomy other = {.role = ORGAN_ROLE_OTHER};
    const unsigned row = organ_anatomy_row_named(role);
    if (row == organ_anatomy_row(&other))
        return ORGAN_ANATOMY_ROWS;
    return row == ORGAN_ANATOMY_ROWS ? ORGAN_ANATOMY_ROWS + 1 : (int)row;
}

static void order_roles(organ_layer_map *map)
{
    size_t order[ORGAN_LAYER_MAP_ROLES], place[ORGAN_LAYER_MAP_ROLES];
    const char *names[ORGAN_LAYER_MAP_ROLES];
    for (size_t k = 0; k < map->roles; k++) {
        size_t at = k;
        for (; at > 0 && layer_map_place_of(map->role[order[at - 1]]) > layer_map_place_of(map->role[k]); at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
    for (size_t k = 0; k < map->roles; k++) {
        place[order[k]] = k;
        names[k] = map->role[order[k]];
    }
    memcpy(map->role, names, map->roles * sizeof *names);
    for (size_t k = 0; k < map->count; k++)
        map->notes[k].role = place[map->notes[k].role];
}

static int by_cell(const void *a, const void *b)
{
    const organ_layer_map_note *const x = a, *const y = b;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer)
                                : (x->role > y->role) - (x->role < y->role);
}

static bool allocate_layer_map(organ_layer_map *map)
{
    for (size_t k = 0; k < map->count; k++)
        map->layers += k == 0 || map->notes[k].layer != map->notes[k - 1].layer;
    const size_t cells = map->layers * map->roles;
    map->layer = calloc(map->layers + 1, sizeof *map->layer);
    map->value = calloc(cells + 1, sizeof *map->value);
    map->marked = calloc(cells + 1, sizeof *map->marked);
    return map->layer && map->value && map->marked;
}

/* The notes of a cell are adjacent, from note `first` on; `layer` is the index of the cell's layer. Returns the
 * number of these notes. */
static size_t fold_cell(organ_layer_map *map, size_t first, size_t layer)
{
    const organ_layer_map_note *const notes = map->notes + first;
    double sum = 0, weight = 0, extreme = NAN;
    size_t count = 0;
    while (first + count < map->count && by_cell(&notes[count], notes) == 0) {
        const double value = notes[count].value;
        if (isfinite(value)) {
            sum += value * notes[count].weight;
            weight += notes[count].weight;
        }
        if (isnan(extreme) || (map->fold == ORGAN_FOLD_MIN ? value < extreme : value > extreme))
            extreme = value;
        map->marked[notes->role * map->layers + layer] |= notes[count].mark;
        count++;
    }
    const double mean = weight > 0 ? sum / weight : (double)NAN;
    map->value[notes->role * map->layers + layer] = map->fold == ORGAN_FOLD_MEAN ? mean : extreme;
    return count;
}

bool organ_layer_map_finish(organ_layer_map *map)
{
    if (!map || map->failed || map->count == 0)
        return false;
    if (!map->in_order_of_rows)
        order_roles(map);
    qsort(map->notes, map->count, sizeof *map->notes, by_cell);
    if (!allocate_layer_map(map)) {
        map->failed = true;
        map->layers = map->roles = 0;
        return false;
    }
    for (size_t k = 0; k < map->layers * map->roles; k++)
        map->value[k] = NAN;
    for (size_t k = 0, layer = 0; k < map->count; layer++) {
        const long long number = map->notes[k].layer;
        map->outside = number == LLONG_MAX;
        map->layer[layer] = (double)number;
        if (map->outside)
            map->layer[layer] = layer ? map->layer[layer - 1] + 1 : 0;
        while (k < map->count && map->notes[k].layer == number)
            k += fold_cell(map, k, layer);
    }
    return true;
}

char *organ_layer_map_svg(const organ_layer_map *map, const organ_heat_map *style)
{
    if (!map || map->failed || map->layers == 0)
        return NULL;
    enum { WIDTH = 24 };
    char(*text)[WIDTH] = calloc(map->layers, sizeof *text);
    const char **names = calloc(map->layers, sizeof *names);
    char *svg = NULL;
    organ_heat_map whole = *style;
    bool marks = false;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        marks |= map->marked[k];
    for (size_t l = 0; text && names && l < map->layers; l++) {
        organ_snprintf(text[l], WIDTH, map->outside && l + 1 == map->layers ? "none" : "%.0f", map->layer[l]);
        names[l] = text[l];
    }
    whole.rows = map->roles;
    whole.columns = map->layers;
    whole.row_label = style->row_label ? style->row_label : "role";
    whole.column_label = "layer";
    whole.row_names = map->role;
    whole.column_names = names;
    whole.values = map->value;
    whole.marked = marks ? map->marked : NULL;
    if (text && names)
        organ_heat_map_svg(&whole, &svg, &(organ_error){0});
    free(text);
    free(names);
    return svg;
}
