/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/inspect_weights.h"

#include "formats/base/name_table.h"
#include "orchestrator/report/text/document.h"

#include <stdlib.h>
#include <string.h>

/* Weights that are packed in the same way. */
typedef struct kind {
    const organ_weight *first;
    char text[128];
    uint64_t weights, elements, bytes;
} kind;

static void set(json_t *object, const char *key, json_t *value, bool *whole)
{
    *whole = json_object_set_new(object, key, value) == 0 && *whole;
}

static void append(json_t *array, json_t *value, bool *whole) { *whole = json_array_append_new(array, value) == 0 && *whole; }

static json_t *count_of(uint64_t count) { return json_integer((json_int_t)count); }

static bool is_packed(const organ_weight *weight) { return weight->scheme != ORGAN_SCHEME_PLAIN; }

static bool selected_weight(const organ_inspect_lists *lists, const organ_weight *weight)
{
    return is_packed(weight) && (organ_inspect_selects(lists, weight->name) || organ_inspect_selects(lists, weight->codes->name));
}

/* ---- kinds ---- */

static const char *const companion_keys[] = {"codes", "scale", "zero", "g_idx", "global", "shape_tensor", "biases"};
#define COMPANIONS (sizeof companion_keys / sizeof *companion_keys)

/* [rows, columns] of the plain weight that share a scale; for whole rows or matrices its own size, as the first of a kind has it. */
static json_t *block_of(const organ_weight *weight, bool *whole)
{
    json_t *const block = json_array();
    append(block, count_of(weight->block_rows), whole);
    append(block, count_of(weight->block_cols), whole);
    return block;
}

static json_t *describe_kind(const kind *one, bool *whole)
{
    const organ_weight *const w = one->first;
    /* Floats are neither; of GPTQ the values of the zero points would tell. */
    const bool told = w->scheme == ORGAN_SCHEME_INT8 || w->scheme == ORGAN_SCHEME_PACKED || w->scheme == ORGAN_SCHEME_AWQ_GEMM ||
                      w->scheme == ORGAN_SCHEME_AWQ_GEMV;
    json_t *const row = json_object();
    set(row, "scheme", json_string(organ_scheme_name(w->scheme)), whole);
    set(row, "text", json_string(one->text), whole);
    set(row, "bits", count_of(w->bits), whole);
    set(row, "block", block_of(w, whole), whole);
    set(row, "codes_dtype", json_string(organ_dtype_describe(w->codes->dtype)->name), whole);
    set(row, "scale_dtype", json_string(organ_dtype_describe(w->scale->dtype)->name), whole);
    set(row, "symmetric", told ? json_boolean(!w->zero) : json_null(), whole);
    set(row, "zero_points", json_boolean(w->zero != NULL), whole);
    set(row, "biases", json_boolean(w->bias != NULL), whole);
    set(row, "group_index", json_boolean(w->g_idx != NULL), whole);
    set(row, "weights", count_of(one->weights), whole);
    set(row, "elements", count_of(one->elements), whole);
    set(row, "bytes", count_of(one->bytes), whole);
    return row;
}

static void count(kind *one, const organ_weight *weight)
{
    one->weights++;
    one->elements += weight->elements;
    one->bytes += organ_weight_bytes(weight);
}

static json_t *describe_kinds(const organ_inspect_lists *lists, const organ_weights *weights, bool *whole)
{
    json_t *const rows = json_array();
    kind *const kinds = calloc(weights->packed + 1, sizeof *kinds);
    organ_name_table texts = {0};
    size_t used = 0;
    *whole = *whole && kinds;
    for (size_t k = 0; *whole && k < weights->count; k++) {
        const organ_weight *const weight = &weights->weights[k];
        if (!selected_weight(lists, weight))
            continue;
        organ_weight_text(weight, kinds[used].text, sizeof kinds[used].text);
        const size_t *const at = organ_name_table_put(&texts, kinds[used].text, used);
        *whole = at != NULL;
        if (at && *at == used)
            kinds[used++].first = weight;
        if (at)
            count(&kinds[*at], weight);
    }
    for (size_t k = 0; *whole && k < used && organ_inspect_has_room(lists, "schemes", k); k++)
        append(rows, describe_kind(&kinds[k], whole), whole);
    organ_name_table_release(&texts);
    free(kinds);
    return rows;
}

/* ---- single weights and what is left ---- */

static json_t *describe_weight(const organ_weight *weight, bool *whole)
{
    char text[128];
    json_t *const row = json_object(), *const shape = json_array();
    for (unsigned axis = 0; axis < weight->rank; axis++)
        append(shape, count_of(weight->shape[axis]), whole);
    set(row, "name", json_string(weight->name), whole);
    set(row, "scheme", json_string(organ_scheme_name(weight->scheme)), whole);
    set(row, "text", json_string(organ_weight_text(weight, text, sizeof text)), whole);
    set(row, "shape", shape, whole);
    set(row, "block", block_of(weight, whole), whole);
    set(row, "transposed", json_boolean(weight->transposed), whole);
    for (size_t k = 0; k < COMPANIONS; k++) {
        const organ_tensor *const tensor = organ_weight_tensor(weight, k);
        set(row, companion_keys[k], tensor ? json_string(tensor->name) : json_null(), whole);
    }
    set(row, "role", json_string(organ_anatomy_role_name(&weight->anatomy)), whole);
    return row;
}

static json_t *describe_strays(const organ_inspect_lists *lists, const organ_weights *weights, bool *whole)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < weights->stray_count; k++) {
        const organ_stray *const stray = &weights->strays[k];
        if (!organ_inspect_selects(lists, stray->tensor->name))
            continue;
        if (!organ_inspect_has_room(lists, "strays", json_array_size(rows)))
            break;
        json_t *const row = json_object();
        set(row, "name", json_string(stray->tensor->name), whole);
        set(row, "dropped", json_boolean(stray->dropped), whole);
        set(row, "why", json_string(stray->why), whole);
        append(rows, row, whole);
    }
    return rows;
}

json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights, bool *whole)
{
    if (weights && weights->packed == 0 && weights->stray_count == 0 && weights->note_count == 0 && !*weights->method)
        return json_null();
    json_t *const object = json_object(), *const notes = json_array();
    set(object, "method", organ_document_string(weights ? weights->method : model->config.quant_method), whole);
    set(object, "found", json_boolean(weights != NULL), whole);
    if (!weights) {
        json_decref(notes);
        return object;
    }
    set(object, "packed", count_of(weights->packed), whole);
    set(object, "plain", count_of(weights->count - weights->packed), whole);
    set(object, "schemes", describe_kinds(lists, weights, whole), whole);
    set(object, "strays", describe_strays(lists, weights, whole), whole);
    for (size_t k = 0; k < weights->note_count; k++)
        append(notes, organ_document_string(weights->notes[k]), whole);
    set(object, "notes", notes, whole);
    if (!lists->tensors)
        return object;
    json_t *const rows = json_array();
    for (size_t k = 0; k < weights->count; k++)
        if (selected_weight(lists, &weights->weights[k]))
            append(rows, describe_weight(&weights->weights[k], whole), whole);
    set(object, "weights", rows, whole);
    return object;
}
