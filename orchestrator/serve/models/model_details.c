/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/model_details.h"

#include <organ/report.h>
#include "orchestrator/report/text/members.h"
#include <organ/inspect.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = ORGAN_GROUP_OTHER + 1, CELLS_OF_LAYER = GROUPS * ORGAN_ANATOMY_ROWS };

typedef struct cell {
    json_int_t tensors, elements, bytes;
} cell;

/* Sets a member of the result to the member of `facts` with the same key. */
#define FACT(key) SET_HELD(key, json_object_get(facts, key))

/* "layer" is null if `layer` is -1: tensors outside all layers. `group` is an organ_group, `role` a row of the
 * anatomy. */
static json_t *cell_json(const cell *c, json_int_t layer, size_t group, size_t role)
{
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I}", "layer", layer < 0 ? json_null() : json_integer(layer), "role",
                     organ_anatomy_row_name((unsigned)role), "group", organ_group_name((organ_group)group), "tensors",
                     c->tensors, "elements", c->elements, "bytes", c->bytes);
}

/* The cells are cells[line][group][row]. Line 0 is for tensors outside all layers, line k + 1 for layer k. Returns
 * true if it has left out tensors of layers from ORGAN_DETAILS_MAX on. */
static bool count_cells(const organ_model *model, cell *cells)
{
    bool more = false;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (t->anatomy.layer >= (int32_t)ORGAN_DETAILS_MAX) {
            more = true;
            continue;
        }
        const size_t line = (size_t)(t->anatomy.layer + 1);
        cell *const c = &cells[line * CELLS_OF_LAYER + (size_t)t->anatomy.group * ORGAN_ANATOMY_ROWS +
                               organ_anatomy_row(&t->anatomy)];
        c->tensors++;
        c->elements += (json_int_t)t->elements;
        c->bytes += (json_int_t)t->bytes;
    }
    return more;
}

static json_t *anatomy_cells(const organ_model *model, json_t *cut)
{
    const size_t count = (size_t)(ORGAN_DETAILS_MAX + 1) * CELLS_OF_LAYER;
    cell *const cells = calloc(count, sizeof *cells);
    json_t *const anatomy = cells ? json_array() : NULL;
    bool complete = anatomy != NULL;
    if (complete && count_cells(model, cells))
        complete = json_array_append_new(cut, json_string("anatomy")) == 0;
    for (size_t k = 0; complete && k < count; k++)
        if (cells[k].tensors)
            complete = json_array_append_new(anatomy, cell_json(&cells[k], (json_int_t)(k / CELLS_OF_LAYER) - 1,
                                                                k % CELLS_OF_LAYER / ORGAN_ANATOMY_ROWS,
                                                                k % ORGAN_ANATOMY_ROWS)) == 0;
    free(cells);
    if (complete)
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

static json_int_t count_layers(const organ_model *model)
{
    json_int_t layers = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        layers = model->tensors[k].anatomy.layer >= layers ? (json_int_t)model->tensors[k].anatomy.layer + 1 : layers;
    return layers;
}

/* The report (organ.inspect/1) becomes the member "inspect"; the caller keeps its own reference. Moves "cut" from
 * the report to the description. NULL if memory runs out. */
static json_t *details_of(const organ_model *model, json_t *report, const char *path)
{
    const json_t *const facts = json_object_get(report, "model");
    /* Clients must not learn where the root is on this machine. */
    if (!ORGAN_ADD(report, SET("run", ORGAN_OBJECT(SET_TEXT("model", path)))))
        return NULL;
    json_t *const cut = json_incref(json_object_get(report, "cut")), *const anatomy = anatomy_cells(model, cut);
    json_object_del(report, "cut");
    return ORGAN_OBJECT(FACT("format"), FACT("architecture"), FACT("model_type"), FACT("tensors"), FACT("elements"),
                        FACT("bytes"), FACT("files"), SET_TEXT("path", path),
                        SET_HELD("problems", json_object_get(report, "problems")),
                        SET_COUNT("layers", count_layers(model)), SET("dtypes", dtypes_of(report)),
                        SET("anatomy", anatomy), SET("cut", cut), SET_HELD("inspect", report));
}

/* An inspection that finds faults but makes a report is no error: the report lists the faults. */
organ_status organ_model_details(const organ_model *model, const char *path, char **details, char **summary,
                                 organ_error *error)
{
    const organ_inspect_options options = {.opened = model, .max = ORGAN_DETAILS_MAX};
    organ_error fault = {0};
    json_t *report = NULL;
    *details = *summary = NULL;
    if (organ_inspect(&options, &report, &fault) != ORGAN_OK && !report) {
        *error = fault;
        return error->status;
    }
    const json_t *const facts = json_object_get(report, "model");
    json_t *const shorter = ORGAN_OBJECT(FACT("format"), FACT("architecture"), FACT("tensors"), FACT("elements"),
                                         FACT("bytes"), FACT("files"));
    json_t *const shown = details_of(model, report, path);
    const bool complete = shown && shorter;
    *details = complete ? json_dumps(shown, JSON_COMPACT) : NULL;
    *summary = complete ? json_dumps(shorter, JSON_COMPACT) : NULL;
    json_decref(shown);
    json_decref(shorter);
    json_decref(report);
    if (*details && *summary)
        return ORGAN_OK;
    free(*details);
    free(*summary);
    *details = *summary = NULL;
    return organ_fail_errno(error, ENOMEM, "'%s': its details", path);
}
