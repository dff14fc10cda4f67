/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/inspect/inspect_parts.h"

#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"

#include <stdlib.h>
#include <string.h>

bool organ_inspect_selects(const organ_inspect_lists *lists, const char *name, const organ_anatomy *anatomy)
{
    return organ_selection_has_name(lists->selection, name, anatomy, /*otherwise=*/true) &&
           organ_selection_has_layer(lists->selection, anatomy->layer);
}

bool organ_inspect_has_room(const organ_inspect_lists *lists, const char *list, size_t rows)
{
    if (lists->max == 0 || rows < lists->max)
        return true;
    const char *const last = json_string_value(json_array_get(lists->truncated, json_array_size(lists->truncated) - 1));
    if (!last || strcmp(last, list) != 0)
        json_array_append_new(lists->truncated, json_string(list));
    return false;
}

typedef struct inspect_weights_kind {
    const organ_weight *first;         /* one of them */
    char text[128];                    /* their common description, from organ_weight_text: "int4, group 128" */
    uint64_t weights, elements, bytes; /* their number, their elements, and the bytes of their tensors */
} inspect_weights_kind;

static bool is_packed(const organ_weight *weight) { return weight->scheme != ORGAN_SCHEME_PLAIN; }

static bool selected_weight(const organ_inspect_lists *lists, const organ_weight *weight)
{
    return is_packed(weight) && (organ_inspect_selects(lists, weight->name, &weight->anatomy) ||
                                 organ_inspect_selects(lists, weight->codes->name, &weight->anatomy));
}

/* ---- kinds ---- */

static json_t *block_of(const organ_weight *weight)
{
    return organ_counts_json(2, (const uint64_t[]){weight->block_rows, weight->block_cols});
}

static json_t *describe_kind(const inspect_weights_kind *one)
{
    const organ_weight *const w = one->first;
    /* "symmetric": codes have no zero points. It is null for float codes, for which it has no meaning, and for GPTQ,
     * for which it depends on the values of the zero points. */
    const bool reported = w->scheme == ORGAN_SCHEME_INT8 || w->scheme == ORGAN_SCHEME_PACKED ||
                          w->scheme == ORGAN_SCHEME_AWQ_GEMM || w->scheme == ORGAN_SCHEME_AWQ_GEMV ||
                          w->scheme == ORGAN_SCHEME_QUARK4 || w->scheme == ORGAN_SCHEME_BNB8 ||
                          w->scheme == ORGAN_SCHEME_INT4_ROWS;
    return ORGAN_OBJECT(
        SET_TEXT("scheme", organ_scheme_name(w->scheme)), SET_TEXT("text", one->text), SET_COUNT("bits", w->bits),
        SET("block", block_of(w)), SET_DTYPE("codes_dtype", w->codes->dtype), SET_DTYPE("scale_dtype", w->scale->dtype),
        SET("symmetric", reported ? json_boolean(!w->zero) : json_null()), SET_FLAG("zero_points", w->zero),
        SET_FLAG("biases", w->bias), SET_FLAG("group_index", w->g_idx), SET_COUNT("weights", one->weights),
        SET_COUNT("elements", one->elements), SET_COUNT("bytes", one->bytes));
}

static void count_weight(inspect_weights_kind *one, const organ_weight *weight)
{
    one->weights++;
    one->elements += weight->elements;
    one->bytes += organ_weight_bytes(weight);
}

/* A kind is a description such as "int4, group 128". If memory runs out, returns no rows and counts the failure in
 * organ_memory_refusals. */
static json_t *describe_kinds(const organ_inspect_lists *lists, const organ_weights *weights)
{
    json_t *const rows = json_array();
    ORGAN_OWNED inspect_weights_kind *const kinds = calloc(weights->packed + 1, sizeof *kinds);
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table texts = {0};
    size_t used = 0;
    bool complete = kinds != NULL;
    for (size_t k = 0; complete && k < weights->count; k++) {
        const organ_weight *const weight = &weights->weights[k];
        if (!selected_weight(lists, weight))
            continue;
        organ_weight_text(weight, kinds[used].text, sizeof kinds[used].text);
        const size_t *const at = organ_name_table_put(&texts, kinds[used].text, used);
        complete = at != NULL;
        if (at && *at == used)
            kinds[used++].first = weight;
        if (at)
            count_weight(&kinds[*at], weight);
    }
    if (!complete)
        organ_memory_count_refusal();
    for (size_t k = 0; complete && k < used && organ_inspect_has_room(lists, "schemes", k); k++)
        json_array_append_new(rows, describe_kind(&kinds[k]));
    return rows;
}

/* ---- single weights and remaining tensors ---- */

static json_t *describe_weight(const organ_weight *weight)
{
    char text[128];
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("name", weight->name), SET_TEXT("scheme", organ_scheme_name(weight->scheme)),
                     SET_TEXT("text", organ_weight_text(weight, text, sizeof text)),
                     SET("shape", organ_counts_json(weight->rank, weight->shape)), SET("block", block_of(weight)),
                     SET_FLAG("transposed", weight->transposed));
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const tensor = organ_weight_tensor(weight, k);
        ORGAN_ADD(row, SET(organ_weight_tensor_name(k), tensor ? json_string(tensor->name) : json_null()));
    }
    ORGAN_ADD(row, SET_TEXT("role", organ_anatomy_role_name(&weight->anatomy)));
    return row;
}

static json_t *describe_unmatched(const organ_inspect_lists *lists, const organ_weights *weights)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < weights->unmatched_count; k++) {
        const organ_unmatched_tensor *const one = &weights->unmatched[k];
        if (!organ_inspect_selects(lists, one->tensor->name, &one->tensor->anatomy))
            continue;
        if (!organ_inspect_has_room(lists, "strays", json_array_size(rows)))
            break;
        json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("name", one->tensor->name), SET_FLAG("dropped", one->dropped),
                                                 SET_TEXT("why", one->why)));
    }
    return rows;
}

static json_t *selected_weights(const organ_inspect_lists *lists, const organ_weights *weights)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < weights->count; k++)
        if (selected_weight(lists, &weights->weights[k]))
            json_array_append_new(rows, describe_weight(&weights->weights[k]));
    return rows;
}

json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights)
{
    if (!weights)
        return ORGAN_OBJECT(SET_BYTES("method", model->config.quant_method), SET_FLAG("found", false));
    if (weights->packed == 0 && weights->unmatched_count == 0 && weights->note_count == 0 && !*weights->method)
        return json_null();
    return ORGAN_OBJECT(SET_BYTES("method", weights->method), SET_FLAG("found", true),
                        SET_COUNT("packed", weights->packed), SET_COUNT("plain", weights->count - weights->packed),
                        SET("schemes", describe_kinds(lists, weights)),
                        SET("strays", describe_unmatched(lists, weights)),
                        SET("notes", organ_json_texts(weights->note_count, (const char *const *)weights->notes)),
                        SET_IF(lists->tensors, "weights", selected_weights(lists, weights)));
}

/* A weight of several tensors counts once: the part of its codes gets the anatomy, shape and elements of the weight.
 * The parts of its companions (scales, zero points, ...) get the anatomy but no elements, and are no weights. */
static void mark_companions(const organ_model *model, organ_inspect_part *parts, const organ_weight *weight)
{
    organ_inspect_part *const codes = &parts[weight->codes - model->tensors];
    codes->anatomy = weight->anatomy;
    codes->rank = weight->rank;
    codes->shape = weight->shape;
    codes->elements = weight->elements;
    for (size_t k = 1; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const companion = organ_weight_tensor(weight, k);
        if (companion) {
            organ_inspect_part *const part = &parts[companion - model->tensors];
            part->anatomy = weight->anatomy;
            part->weight = false;
            part->elements = 0;
        }
    }
}

/* Tensors that belong to no weight and are marked as dropped are no weights and have no elements. */
organ_inspect_part *organ_inspect_parts_of(const organ_model *model, const organ_weights *weights)
{
    organ_inspect_part *const parts = organ_rows_take(model->tensor_count + 1, sizeof *parts);
    for (size_t k = 0; parts && k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        parts[k] = (organ_inspect_part){t, t->anatomy, true, t->rank, t->shape, t->elements};
    }
    for (size_t k = 0; parts && weights && k < weights->count; k++)
        mark_companions(model, parts, &weights->weights[k]);
    for (size_t k = 0; parts && weights && k < weights->unmatched_count; k++)
        if (weights->unmatched[k].dropped) {
            parts[weights->unmatched[k].tensor - model->tensors].weight = false;
            parts[weights->unmatched[k].tensor - model->tensors].elements = 0;
        }
    return parts;
}
