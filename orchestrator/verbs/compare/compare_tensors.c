/* SPDX-License-Identifier: MIT
 * Pairs the tensors of all models by name, across formats and layouts in the names of the form. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_read(const organ_weight *weight)
{
    return weight->elements > 0 &&
           (weight->made || weight->scheme != ORGAN_SCHEME_PLAIN || weight->codes->dtype != ORGAN_C64);
}

/* ---- rows of the report ---- */

/* Adds a row for a tensor that only some models have: those of the item, or without an item only the owner. */
static void say_only(compare_job *job, const compare_item *item, const organ_weight *weight, size_t owner)
{
    char labels[2 * COMPARE_MODELS + 1] = "", shape[ORGAN_SHAPE_TEXT];
    for (size_t k = 0; k < job->count; k++)
        if (item ? item->weights[k] != NULL : k == owner) {
            strcat(labels, *labels ? " " : "");
            strcat(labels, organ_compare_label(k));
        }
    json_t *const row = ORGAN_OBJECT(SET_TEXT("tensor", weight->name),
                                     SET_TEXT("shape", organ_shape_text(weight->rank, weight->shape, shape)),
                                     SET_TEXT("models", labels));
    job->broken |= json_array_append_new(job->only, row) != 0;
}

static void say_shape(compare_job *job, const char *name, const organ_weight *first, size_t a,
                      const organ_weight *second, size_t b)
{
    char one[ORGAN_SHAPE_TEXT], other[ORGAN_SHAPE_TEXT], text[2 * ORGAN_SHAPE_TEXT + 16];
    snprintf(text, sizeof text, "%s: %s, %s: %s", organ_compare_label(a),
             organ_shape_text(first->rank, first->shape, one), organ_compare_label(b),
             organ_shape_text(second->rank, second->shape, other));
    json_t *const row = ORGAN_OBJECT(SET_TEXT("tensor", name), SET_TEXT("shapes", text));
    job->broken |= json_array_append_new(job->shapes, row) != 0;
}

/* ---- items ---- */

static organ_status find_cell(compare_job *job, const organ_anatomy *anatomy, size_t *cell, organ_error *error)
{
    const unsigned row = organ_anatomy_row(anatomy);
    /* from the end on, because the tensors of a layer follow each other */
    for (size_t k = job->cell_count; k-- > 0;)
        if (job->cells[k].row == row && job->cells[k].layer == anatomy->layer) {
            *cell = k;
            return ORGAN_OK;
        }
    if (!organ_grow(&job->cells, job->cell_count, &job->cell_room, sizeof *job->cells))
        return organ_fail_memory(error, job->models[0].path);
    memset(&job->cells[job->cell_count], 0, sizeof *job->cells);
    job->cells[job->cell_count].layer = anatomy->layer;
    job->cells[job->cell_count].row = row;
    *cell = job->cell_count++;
    return ORGAN_OK;
}

/* A conversion to the format of model k leaves the tensor out. */
static bool is_left_out(const compare_model *m, const char *name)
{
    return m->across && organ_across_kind_of(m->across, name) == ORGAN_ACROSS_LEFT_OUT;
}

/* Finds the tensor in all models. Returns whether models lack it that could have it. */
static bool fill_item(compare_job *job, compare_item *item, size_t owner, size_t *have)
{
    const organ_weight *const like = item->like;
    bool lacking = false;
    for (size_t k = 0; k < job->count; k++) {
        char name[COMPARE_NAME];
        const organ_weight *const weight = k == owner
                                               ? like
                                               : organ_across_or_own(job->models[k].across, job->models[k].weights,
                                                                     organ_compare_name_in(job, like, owner, k, name));
        if (!weight || !is_read(weight)) {
            lacking |= !is_left_out(&job->models[k], like->name);
        } else if (!ORGAN_SAME_SHAPE(like, weight)) {
            say_shape(job, like->name, like, owner, weight, k);
        } else {
            item->weights[k] = weight;
            item->orders[k] = organ_compare_order_in(job, like, k);
            ++*have;
        }
    }
    return lacking;
}

static organ_status add_item(compare_job *job, const organ_weight *like, size_t owner, organ_error *error)
{
    const int32_t layer = like->anatomy.layer;
    compare_item item = {.like = like,
                         .experts = layer >= 0 && layer < job->order_count ? job->orders[layer].experts : 0};
    size_t have = 0;
    if (!organ_name_table_put(&job->names, like->name, job->item_count))
        return organ_fail_memory(error, like->name);
    if (fill_item(job, &item, owner, &have))
        say_only(job, &item, like, owner);
    item.all = have == job->count;
    if (have < 2)
        return ORGAN_OK;
    if (!organ_grow(&job->items, job->item_count, &job->item_room, sizeof *job->items))
        return organ_fail_memory(error, like->name);
    if (find_cell(job, &like->anatomy, &item.cell, error))
        return error->status;
    job->items[job->item_count++] = item;
    return ORGAN_OK;
}

/* Adds the tensors that a model has under the names of the form, or says that it has those alone that the form has in
 * no way. */
static organ_status add_of(compare_job *job, size_t owner, organ_error *error)
{
    const compare_model *const m = &job->models[owner];
    for (size_t k = 0; k < m->weights->count && !error->status; k++) {
        const organ_weight *const weight = &m->weights->weights[k];
        const organ_across_kind kind = m->across ? organ_across_kind_of(m->across, weight->name) : ORGAN_ACROSS_OWN;
        if (!is_read(weight))
            continue;
        if (kind == ORGAN_ACROSS_UNKNOWN || kind == ORGAN_ACROSS_UNPAIRED)
            say_only(job, /*item=*/NULL, weight, owner);
        else if (kind == ORGAN_ACROSS_OWN && !organ_name_table_find(&job->names, weight->name))
            add_item(job, weight, owner, error);
    }
    return error->status;
}

organ_status organ_compare_pair_up(compare_job *job, organ_error *error)
{
    const compare_model *const form = &job->models[job->form];
    for (size_t k = 0; k < job->count; k++)
        if (k != job->form && (organ_across_open((organ_across_side){form->model, form->weights},
                                                 (organ_across_side){job->models[k].model, job->models[k].weights},
                                                 job->engine, &job->models[k].across, error) ||
                               organ_adapted_check(&job->models[k].adapted, job->models[k].across, error)))
            return error->status;
    if (organ_compare_experts(job, error) == ORGAN_OK)
        add_of(job, job->form, error);
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (k != job->form)
            add_of(job, k, error);
    if (!error->status && job->item_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s and %s have no tensor of the same name and shape: they cannot be compared",
                          job->models[0].path, job->models[1].path);
    return error->status;
}
