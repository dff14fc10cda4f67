/* SPDX-License-Identifier: MIT
 * Lists the experts that were calibrated on all tokens of their layer, for documents. */
#include "formats/base/json_spool.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/calibration/calibration_job.h"

#include <stdio.h>
#include <stdlib.h>

/* The number is the one in the tensor's name or, for a stack, `matrix`. */
void organ_calibration_note_expert(json_t **experts, const organ_tensor *tensor, uint64_t matrix)
{
    const json_int_t expert = tensor->anatomy.expert >= 0 ? tensor->anatomy.expert : (json_int_t)matrix;
    size_t at = 0;
    if (!*experts)
        *experts = json_array();
    while (at < json_array_size(*experts) && json_integer_value(json_array_get(*experts, at)) < expert)
        at++;
    if (at == json_array_size(*experts) || json_integer_value(json_array_get(*experts, at)) != expert)
        json_array_insert_new(*experts, at, json_integer(expert));
}

void organ_calibration_note_fallback(json_t **experts, const organ_calibration_matrix *matrix)
{
    if (matrix->fallback)
        organ_calibration_note_expert(experts, matrix->layer->calib->targets->tensors[matrix->target], matrix->matrix);
}

typedef struct fallback_place {
    int32_t layer, expert;
} fallback_place;

static int fallback_by_place(const void *a, const void *b)
{
    const fallback_place *const x = a, *const y = b;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer)
                                : (x->expert > y->expert) - (x->expert < y->expert);
}

/* organ_json_spool_visit must be called before JSON memory in the spool is read. Returns `experts`. */
static const json_t *spool_visited(const json_t *experts)
{
    organ_json_spool_visit(experts);
    return experts;
}

/* The places are sorted and without duplicates: gate, up and down of an expert are rows of their own. The caller
 * frees *places. Returns 0 also if memory cannot be allocated. */
static size_t list_places(organ_calibration_fallback_row *row, const void *context, size_t count,
                          fallback_place **places)
{
    size_t all = 0, used = 0;
    const organ_tensor *tensor;
    for (size_t k = 0; k < count; k++)
        all += json_array_size(spool_visited(row(context, k, &tensor)));
    fallback_place *const list = *places = all ? malloc(all * sizeof *list) : NULL;
    for (size_t k = 0; list && k < count; k++) {
        const json_t *const experts = spool_visited(row(context, k, &tensor));
        for (size_t e = 0; e < json_array_size(experts); e++)
            list[used++] =
                (fallback_place){tensor->anatomy.layer, (int32_t)json_integer_value(json_array_get(experts, e))};
    }
    if (used)
        qsort(list, used, sizeof *list, fallback_by_place);
    size_t once = 0;
    for (size_t k = 0; k < used; k++)
        if (k == 0 || fallback_by_place(&list[k], &list[k - 1]) != 0)
            list[once++] = list[k];
    return once;
}

/* `places` has the `count` listed experts of one layer. The text in `names`, such as "layer 2: 5, 7", ends with
 * "..." if it becomes too long. */
static void add_layer(const fallback_place *places, size_t count, json_t *layers, json_t *names)
{
    char text[200];
    json_t *const experts = json_array();
    size_t used = (size_t)snprintf(text, sizeof text, "layer %d:", (int)places->layer);
    for (size_t k = 0; k < count; k++) {
        json_array_append_new(experts, json_integer(places[k].expert));
        if (used + 24 < sizeof text) /* room for ", ", a number and ", ..." */
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %d", k ? "," : "", (int)places[k].expert);
        else if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, ", ...") + sizeof text; /* nothing more fits */
    }
    json_array_append_new(layers, ORGAN_OBJECT(SET_COUNT("layer", places->layer), SET("experts", experts)));
    json_array_append_new(names, json_string(text));
}

json_t *organ_calibration_fallback_json(organ_calibration_fallback_row *row, const void *context, size_t count)
{
    fallback_place *places = NULL;
    const size_t experts = list_places(row, context, count, &places);
    json_t *const layers = json_array(), *const names = json_array();
    for (size_t from = 0, to; from < experts; from = to) {
        for (to = from; to < experts && places[to].layer == places[from].layer; to++)
            ;
        add_layer(places + from, to - from, layers, names);
    }
    free(places);
    json_t *const object = ORGAN_OBJECT(SET_COUNT("experts", experts), SET("layers", layers), SET("names", names));
    if (experts)
        return object;
    json_decref(object);
    return NULL;
}
