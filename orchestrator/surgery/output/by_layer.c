/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/by_layer.h"


#include <stdlib.h>

/* -1, in no layer, comes last. */
static int by_cell(const void *a, const void *b)
{
    const organ_anatomy *const x = &((const organ_layer_amount *)a)->anatomy, *const y = &((const organ_layer_amount *)b)->anatomy;
    const uint32_t l = (uint32_t)x->layer, m = (uint32_t)y->layer;
    return l != m ? (l > m) - (l < m) : (int)organ_anatomy_row(x) - (int)organ_anatomy_row(y);
}

/* The sums of one layer, by role. */
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

static int append(json_t *matrix, const organ_layer_amount sums[ORGAN_ANATOMY_ROWS], const bool used[ORGAN_ANATOMY_ROWS], int which)
{
    json_t *const line = json_array();
    int failed = json_array_append(matrix, line);
    for (int r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        if (used[r])
            failed |= json_array_append_new(line, json_integer((json_int_t)(which == 0   ? sums[r].elements
                                                                            : which == 1 ? sums[r].bytes
                                                                                         : sums[r].grafted)));
    json_decref(line);
    return failed;
}

/* A new array as a member of the document; the document holds it. */
static json_t *member(json_t *document, const char *key)
{
    json_t *const array = json_array();
    const bool held = json_object_set_new(document, key, array) == 0;
    return held ? array : NULL;
}

json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted)
{
    static const char *const keys[] = {"elements", "bytes", "grafted"};
    organ_layer_amount sums[ORGAN_ANATOMY_ROWS];
    bool used[ORGAN_ANATOMY_ROWS] = {false};
    json_t *const document = rows ? json_object() : NULL, *const roles = member(document, "roles"),
                  *const layers = member(document, "layers");
    json_t *matrices[3] = {NULL};
    int failed = !roles || !layers;
    for (int m = 0; m < (grafted ? 3 : 2); m++)
        failed |= !(matrices[m] = member(document, keys[m]));
    if (rows)
        qsort(rows, count, sizeof *rows, by_cell);
    for (size_t k = 0; rows && k < count; k++)
        used[organ_anatomy_row(&rows[k].anatomy)] = true;
    for (int r = 0; r < ORGAN_ANATOMY_ROWS && !failed; r++)
        if (used[r])
            failed |= json_array_append_new(roles, json_string(organ_anatomy_row_name((unsigned)r)));
    for (size_t from = 0, to; from < count && !failed; from = to) {
        for (to = from; to < count && rows[to].anatomy.layer == rows[from].anatomy.layer; to++)
            ;
        sum_layer(rows + from, to - from, sums);
        failed |= json_array_append_new(layers, json_integer(rows[from].anatomy.layer));
        for (int m = 0; m < 3 && matrices[m]; m++)
            failed |= append(matrices[m], sums, used, m);
    }
    if (failed) {
        json_decref(document);
        return NULL;
    }
    return document;
}
