/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/model_portrait.h"

#include "orchestrator/report/document.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of one layer and role. */
typedef struct cell {
    const json_t *first; /* one of them, whose names the cell has */
    json_int_t layer;    /* -1: none */
    json_int_t tensors, elements, bytes;
} cell;

static const char *text_of(const json_t *object, const char *key)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static json_int_t layer_of(const json_t *tensor)
{
    const json_t *const layer = json_object_get(tensor, "layer");
    return json_is_integer(layer) ? json_integer_value(layer) : -1;
}

static int by_layer_and_role(const void *a, const void *b)
{
    const json_t *const x = *(const json_t *const *)a, *const y = *(const json_t *const *)b;
    const json_int_t p = layer_of(x), q = layer_of(y);
    if (p != q)
        return p < q ? -1 : 1;
    const int group = strcmp(text_of(x, "group"), text_of(y, "group"));
    return group ? group : strcmp(text_of(x, "role"), text_of(y, "role"));
}

static json_t *cell_json(const cell *c)
{
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I}", "layer", c->layer < 0 ? json_null() : json_integer(c->layer), "role",
                     text_of(c->first, "role"), "group", text_of(c->first, "group"), "tensors", c->tensors, "elements", c->elements,
                     "bytes", c->bytes);
}

static json_t *anatomy_of(const json_t *tensors)
{
    const size_t count = json_array_size(tensors);
    const json_t **const sorted = malloc((count + 1) * sizeof *sorted);
    json_t *const anatomy = sorted ? json_array() : NULL;
    bool whole = anatomy != NULL;
    for (size_t k = 0; whole && k < count; k++)
        sorted[k] = json_array_get(tensors, k);
    if (whole && count)
        qsort(sorted, count, sizeof *sorted, by_layer_and_role);
    for (size_t k = 0; whole && k < count;) {
        cell c = {.first = sorted[k], .layer = layer_of(sorted[k])};
        for (; k < count && by_layer_and_role(&c.first, &sorted[k]) == 0; k++) {
            c.tensors++;
            c.elements += json_integer_value(json_object_get(sorted[k], "elements"));
            c.bytes += json_integer_value(json_object_get(sorted[k], "bytes"));
        }
        whole = json_array_append_new(anatomy, cell_json(&c)) == 0;
    }
    free(sorted);
    if (whole)
        return anatomy;
    json_decref(anatomy);
    return NULL;
}

static json_t *dtypes_of(const json_t *report)
{
    json_t *const names = json_array(), *const rows = json_object_get(report, "dtypes");
    for (size_t k = 0; k < json_array_size(rows); k++)
        json_array_append(names, json_object_get(json_array_get(rows, k), "dtype"));
    return names;
}

static json_int_t layers_of(const json_t *tensors)
{
    json_int_t layers = 0;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_int_t layer = layer_of(json_array_get(tensors, k));
        layers = layer >= layers ? layer + 1 : layers;
    }
    return layers;
}

json_t *organ_model_portrait(json_t *report, const char *path)
{
    json_t *const facts = json_object_get(report, "model"), *const list = json_incref(json_object_get(report, "tensors"));
    json_t *const anatomy = anatomy_of(list), *const dtypes = dtypes_of(report);
    static const char *const taken[] = {"format", "architecture", "model_type", "tensors", "elements", "bytes", "files"};
    json_t *const portrait = json_pack("{s:s, s:O?}", "path", path, "problems", json_object_get(report, "problems"));
    bool whole = portrait && list && anatomy && dtypes;
    for (size_t k = 0; whole && k < sizeof taken / sizeof *taken; k++) {
        json_t *const value = json_object_get(facts, taken[k]);
        whole = json_object_set_new(portrait, taken[k], value ? json_incref(value) : json_null()) == 0;
    }
    whole = whole && json_object_set_new(portrait, "layers", json_integer(layers_of(list))) == 0;
    whole = whole && json_object_set(portrait, "dtypes", dtypes) == 0 && json_object_set(portrait, "anatomy", anatomy) == 0;
    /* Where the root is on this machine is nobody's business. */
    whole = whole && json_object_set_new(report, "run", json_pack("{s:s}", "model", path)) == 0;
    whole = whole && json_object_del(report, "tensors") == 0;
    whole = whole && json_object_set(portrait, "inspect", report) == 0 && json_object_set(portrait, "list", list) == 0;
    json_decref(anatomy);
    json_decref(dtypes);
    json_decref(list);
    if (whole)
        return portrait;
    json_decref(portrait);
    return NULL;
}
