/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/portrait.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/health/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = ORGAN_GROUP_OTHER + 1, CELLS_OF_LAYER = GROUPS * ORGAN_ANATOMY_ROWS };

/* Tensors of one layer, group and role. */
typedef struct cell {
    json_int_t tensors, elements, bytes;
} cell;

static void set_member(json_t *object, const char *key, json_t *value, bool *whole)
{
    *whole = json_object_set_new(object, key, value) == 0 && *whole;
}

static json_t *cell_json(const cell *c, json_int_t layer, size_t group, size_t role)
{
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I}", "layer", layer < 0 ? json_null() : json_integer(layer), "role",
                     organ_anatomy_row_name((unsigned)role), "group", organ_group_name((organ_group)group), "tensors", c->tensors,
                     "elements", c->elements, "bytes", c->bytes);
}

/* Adds the tensors to their cells; line 0 is for those in no layer. True if there are layers beyond the last line. */
static bool count_cells(const organ_model *model, cell *cells)
{
    bool more = false;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (t->anatomy.layer >= (int32_t)ORGAN_PORTRAIT_MOST) {
            more = true;
            continue;
        }
        const size_t line = (size_t)(t->anatomy.layer + 1);
        cell *const c = &cells[line * CELLS_OF_LAYER + (size_t)t->anatomy.group * ORGAN_ANATOMY_ROWS + organ_anatomy_row(&t->anatomy)];
        c->tensors++;
        c->elements += (json_int_t)t->elements;
        c->bytes += (json_int_t)t->bytes;
    }
    return more;
}

static json_t *anatomy_of(const organ_model *model, json_t *cut)
{
    const size_t count = (size_t)(ORGAN_PORTRAIT_MOST + 1) * CELLS_OF_LAYER;
    cell *const cells = calloc(count, sizeof *cells);
    json_t *const anatomy = cells ? json_array() : NULL;
    bool whole = anatomy != NULL;
    if (whole && count_cells(model, cells))
        whole = json_array_append_new(cut, json_string("anatomy")) == 0;
    for (size_t k = 0; whole && k < count; k++)
        if (cells[k].tensors)
            whole = json_array_append_new(anatomy, cell_json(&cells[k], (json_int_t)(k / CELLS_OF_LAYER) - 1,
                                                             k % CELLS_OF_LAYER / ORGAN_ANATOMY_ROWS, k % ORGAN_ANATOMY_ROWS)) == 0;
    free(cells);
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

static json_int_t layers_of(const organ_model *model)
{
    json_int_t layers = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        layers = model->tensors[k].anatomy.layer >= layers ? (json_int_t)model->tensors[k].anatomy.layer + 1 : layers;
    return layers;
}

static json_t *pick_members(const json_t *facts, const char *const *keys, size_t count, bool *whole)
{
    json_t *const taken = json_object();
    for (size_t k = 0; k < count; k++) {
        json_t *const value = json_object_get(facts, keys[k]);
        set_member(taken, keys[k], value ? json_incref(value) : json_null(), whole);
    }
    return taken;
}

static json_t *portrait_of(const organ_model *model, json_t *report, const char *path, bool *whole)
{
    static const char *const keys[] = {"format", "architecture", "model_type", "tensors", "elements", "bytes", "files"};
    json_t *const cut = json_object_get(report, "cut");
    json_t *const portrait = pick_members(json_object_get(report, "model"), keys, sizeof keys / sizeof *keys, whole);
    set_member(portrait, "path", json_string(path), whole);
    set_member(portrait, "problems", json_incref(json_object_get(report, "problems")), whole);
    set_member(portrait, "layers", json_integer(layers_of(model)), whole);
    set_member(portrait, "dtypes", dtypes_of(report), whole);
    set_member(portrait, "anatomy", anatomy_of(model, cut), whole);
    set_member(portrait, "cut", json_incref(cut), whole);
    /* Clients must not learn where the root is on this machine. */
    set_member(report, "run", json_pack("{s:s}", "model", path), whole);
    *whole = json_object_del(report, "cut") == 0 && *whole;
    set_member(portrait, "inspect", json_incref(report), whole);
    return portrait;
}

organ_status organ_model_portrait(const organ_model *model, const char *path, char **portrait, char **summary, organ_error *error)
{
    static const char *const brief[] = {"format", "architecture", "tensors", "elements", "bytes", "files"};
    const organ_inspect_options options = {.most = ORGAN_PORTRAIT_MOST};
    organ_error fault = {0};
    json_t *report = NULL;
    bool whole = true;
    *portrait = *summary = NULL;
    /* A model with faults that leave it readable is shown with them. */
    if (organ_inspect_model(&options, model, &report, &fault) != ORGAN_OK && !report) {
        *error = fault;
        return error->status;
    }
    json_t *const shown = portrait_of(model, report, path, &whole);
    json_t *const shorter = pick_members(json_object_get(report, "model"), brief, sizeof brief / sizeof *brief, &whole);
    *portrait = whole ? json_dumps(shown, JSON_COMPACT) : NULL;
    *summary = whole ? json_dumps(shorter, JSON_COMPACT) : NULL;
    json_decref(shown);
    json_decref(shorter);
    json_decref(report);
    if (*portrait && *summary)
        return ORGAN_OK;
    free(*portrait);
    free(*summary);
    *portrait = *summary = NULL;
    return organ_fail_errno(error, ENOMEM, "'%s': what there is to tell of it", path);
}
