/* SPDX-License-Identifier: MIT
 * Computes the totals, percentages and rows of documents that count killed weights. */
#include "orchestrator/output/facts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/format_rest.h"
#include "formats/base/plain_numbers.h"

#include <math.h>
#include <organ/report.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of a group are those of one module, of one layer, or all. */
typedef struct tally_group {
    uint64_t tensors, elements, killed;
    double sum, least, max; /* of the percentage of killed weights of each tensor */
} tally_group;

double organ_percent(uint64_t part, uint64_t whole)
{
    return whole ? round(100.0 * (double)part / (double)whole * 1e6) / 1e6 : 0.0;
}

double organ_millionth(double x) { return round(x * 1e6) / 1e6; }
double organ_billionth(double x) { return round(x * 1e9) / 1e9; }
double organ_ratio(double part, double whole) { return whole > 0 ? organ_millionth(part / whole) : 0.0; }

json_t *organ_anatomy_rows_json(organ_json_row *row, const void *context)
{
    return organ_json_rows(ORGAN_ANATOMY_ROWS, row, context);
}

uint64_t organ_model_elements(const organ_model *model)
{
    uint64_t elements = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        elements += model->tensors[t].elements;
    return elements;
}

uint64_t organ_model_tensor_bytes(const organ_model *model)
{
    uint64_t bytes = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        bytes += model->tensors[t].bytes;
    return bytes;
}

uint64_t organ_model_bytes(const organ_model *model)
{
    uint64_t bytes = 0;
    for (size_t f = 0; f < model->file_count; f++)
        bytes += model->files[f].size;
    return bytes;
}

/* A model in the Hugging Face cache has the path .../models--ORG--NAME/snapshots/COMMIT. `last` is the last part of
 * `path`. Returns NULL for other paths. */
static json_t *cached_name(const char *path, const char *last)
{
    static const char folder[] = "/snapshots/", entry[] = "models--";
    if (last - path < (long)sizeof folder || strncmp(last - strlen(folder), folder, strlen(folder)) != 0)
        return NULL;
    const char *const end = last - strlen(folder);
    const char *begin = end;
    while (begin > path && begin[-1] != '/')
        begin--;
    const char *const own = begin + strlen(entry), *const dashes = strstr(own, "--");
    if (strncmp(begin, entry, strlen(entry)) != 0 || !dashes || dashes >= end)
        return NULL;
    char name[256];
    const int length =
        snprintf(name, sizeof name, "%.*s/%.*s", (int)(dashes - own), own, (int)(end - dashes - 2), dashes + 2);
    return length < (int)sizeof name ? organ_document_string(name) : NULL;
}

json_t *organ_name_json(const char *path)
{
    const char *const slash = strrchr(path, '/'), *const last = slash && slash[1] ? slash + 1 : path;
    json_t *const cached = cached_name(path, last);
    if (cached)
        return cached;
    ORGAN_OWNED char *const whole = strcmp(last, ".") == 0 || strcmp(last, "..") == 0 ? realpath(path, NULL) : NULL;
    return organ_document_string(whole && whole[1] ? strrchr(whole, '/') + 1 : last);
}

/* Of a block for multi-token prediction that continues the layers, only its projection has the role. */
static bool has_role(const organ_model *model, int32_t trunk, const organ_tensor *tensor, organ_role role)
{
    return tensor->anatomy.role == role || (role == ORGAN_ROLE_MTP && organ_mtp_type_of(model->config.model_type) &&
                                            organ_mtp_block_of(tensor->name, &tensor->anatomy, trunk) >= 0);
}

/* The forward pass does not run vision, audio and draft layers. */
static json_t *not_run_json(const organ_model *model)
{
    static const organ_role roles[] = {ORGAN_ROLE_VISION, ORGAN_ROLE_AUDIO, ORGAN_ROLE_MTP};
    const int32_t trunk = organ_mtp_trunk_layers(model);
    json_t *const list = json_array();
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
        uint64_t tensors = 0, bytes = 0;
        for (size_t t = 0; t < model->tensor_count; t++)
            if (has_role(model, trunk, &model->tensors[t], roles[k])) {
                tensors++;
                bytes += model->tensors[t].bytes;
            }
        if (tensors)
            json_array_append_new(list, ORGAN_OBJECT(SET_TEXT("role", organ_role_describe(roles[k])->name),
                                                     SET_COUNT("tensors", tensors), SET_COUNT("bytes", bytes)));
    }
    return list;
}

json_t *organ_model_json(const organ_model *model)
{
    ORGAN_OWNED_JSON json_t *const not_run = not_run_json(model);
    const bool all_run = json_array_size(not_run) == 0;
    return ORGAN_OBJECT(SET("name", organ_name_json(model->path)), SET_TEXT("format", model->format),
                        SET_TEXT("architecture", model->config.architecture),
                        SET_TEXT("model_type", model->config.model_type), SET_COUNT("files", model->file_count),
                        SET_COUNT("bytes", organ_model_bytes(model)), SET_COUNT("tensors", model->tensor_count),
                        SET_COUNT("elements", organ_model_elements(model)),
                        SET_IF(!all_run, "not_run", json_incref(not_run)));
}

json_t *organ_donor_json(const organ_model *model, const char *fingerprint)
{
    return organ_json_joined(organ_model_json(model), ORGAN_OBJECT(SET_TEXT("fingerprint", fingerprint)));
}

json_t *organ_run_model_json(const organ_model *model, bool blocks)
{
    json_t *const object = organ_model_json(model), *const not_run = json_object_get(object, "not_run");
    for (size_t k = json_array_size(not_run); k-- > 0 && blocks;)
        if (organ_json_is(json_object_get(json_array_get(not_run, k), "role"),
                          organ_role_describe(ORGAN_ROLE_MTP)->name))
            json_array_remove(not_run, k);
    if (not_run && json_array_size(not_run) == 0)
        json_object_del(object, "not_run");
    return object;
}

json_t *organ_counts_json(size_t count, const uint64_t *counts)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, json_integer((json_int_t)counts[k]));
    return list;
}

json_t *organ_ids_json(const uint32_t *ids, size_t count)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, json_integer((json_int_t)ids[k]));
    return list;
}

json_t *organ_shape_json(const organ_tensor *tensor) { return organ_counts_json(tensor->rank, tensor->shape); }

static void count_in(tally_group *g, const organ_tally *row)
{
    const double percent = organ_percent(row->killed, row->tensor->elements);
    g->least = g->tensors == 0 || percent < g->least ? percent : g->least;
    g->max = g->tensors == 0 || percent > g->max ? percent : g->max;
    g->sum += percent;
    g->tensors++;
    g->elements += row->tensor->elements;
    g->killed += row->killed;
}

static json_t *share_json(uint64_t elements, uint64_t killed)
{
    return ORGAN_OBJECT(SET_COUNT("elements", elements), SET_COUNT("killed", killed),
                        SET_REAL("percent", organ_percent(killed, elements)));
}

/* The module is the tensor's name without layer and expert numbers (organ_anatomy_module). */
typedef struct named {
    char module[160];
    const organ_tally *row;
} named;

static int by_module(const void *a, const void *b)
{
    const named *x = a, *y = b;
    const int order = strcmp(x->module, y->module);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static int tally_by_layer(const void *a, const void *b)
{
    const named *x = a, *y = b;
    const int32_t l = x->row->tensor->anatomy.layer, m = y->row->tensor->anatomy.layer;
    return l != m ? (l > m) - (l < m) : (x->row > y->row) - (x->row < y->row);
}

static json_t *projections_json(named *rows, size_t count)
{
    json_t *list = json_array();
    qsort(rows, count, sizeof *rows, by_module);
    for (size_t from = 0, to; from < count; from = to) {
        tally_group g = {0};
        for (to = from; to < count && strcmp(rows[to].module, rows[from].module) == 0; to++)
            count_in(&g, rows[to].row);
        json_array_append_new(list, ORGAN_OBJECT(SET_TEXT("name", rows[from].module), SET_COUNT("tensors", g.tensors),
                                                 SET_COUNT("elements", g.elements), SET_COUNT("killed", g.killed),
                                                 SET_REAL("percent", organ_percent(g.killed, g.elements)),
                                                 SET_REAL("mean", organ_millionth(g.sum / (double)g.tensors)),
                                                 SET_REAL("min", g.least), SET_REAL("max", g.max)));
    }
    return list;
}

/* Tensors outside of layers are left out. Sorts `rows` by layer. */
static json_t *tally_layers_json(named *rows, size_t count)
{
    json_t *list = json_array();
    qsort(rows, count, sizeof *rows, tally_by_layer);
    for (size_t from = 0, to; from < count; from = to) {
        const int32_t layer = rows[from].row->tensor->anatomy.layer;
        tally_group g = {0};
        for (to = from; to < count && rows[to].row->tensor->anatomy.layer == layer; to++)
            count_in(&g, rows[to].row);
        if (layer >= 0)
            json_array_append_new(list, ORGAN_OBJECT(SET_COUNT("layer", layer), SET_COUNT("tensors", g.tensors),
                                                     SET_COUNT("elements", g.elements), SET_COUNT("killed", g.killed),
                                                     SET_REAL("percent", organ_percent(g.killed, g.elements))));
    }
    return list;
}

/* "coverage" is the counted share of the target weights; "per_tensor" has the mean, the least and the greatest
 * percentage of the tensors. Returns false if memory runs out. */
static bool add_totals(json_t *document, const organ_model *model, const organ_tally *rows, size_t count)
{
    tally_group target = {0};
    uint64_t zero_before = 0, kept = 0, accounted = 0;
    for (size_t k = 0; k < count; k++) {
        count_in(&target, &rows[k]);
        zero_before += rows[k].zero_before;
        kept += rows[k].kept;
        accounted += rows[k].zero_before + rows[k].killed + rows[k].kept;
    }
    json_t *totals = ORGAN_OBJECT(SET("target", share_json(target.elements, target.killed)),
                                  SET("full", share_json(organ_model_elements(model), target.killed)));
    json_t *coverage =
        ORGAN_OBJECT(SET_COUNT("target_elements", target.elements), SET_COUNT("processed_elements", accounted),
                     SET_REAL("percent", organ_percent(accounted, target.elements)));
    json_t *spread =
        ORGAN_OBJECT(SET_COUNT("tensors", target.tensors),
                     SET_REAL("mean", target.tensors ? organ_millionth(target.sum / (double)target.tensors) : 0.0),
                     SET_REAL("min", target.least), SET_REAL("max", target.max));
    return ORGAN_ADD(document, SET("totals", totals), SET_COUNT("zero_before", zero_before), SET_COUNT("kept", kept),
                     SET("coverage", coverage), SET("per_tensor", spread));
}

int organ_tally_add(json_t *document, const organ_model *model, const organ_tally *rows, size_t count)
{
    ORGAN_OWNED named *sorted = calloc(count + 1, sizeof *sorted);
    if (!sorted)
        return -1;
    for (size_t k = 0; k < count; k++) {
        sorted[k].row = &rows[k];
        organ_anatomy_module(rows[k].tensor->name, sorted[k].module, sizeof sorted[k].module);
    }
    const bool complete = add_totals(document, model, rows, count) &&
                          ORGAN_ADD(document, SET("projections", projections_json(sorted, count)),
                                    SET("layers", tally_layers_json(sorted, count)));
    return complete ? 0 : -1;
}

static json_t *tally_tensor_json(const organ_tally *row, bool audit)
{
    const organ_tensor *const tensor = row->tensor;
    char module[160];
    organ_anatomy_module(tensor->name, module, sizeof module);
    return ORGAN_OBJECT(SET_TEXT("name", tensor->name), SET_TEXT("module", module),
                        SET_INDEX("layer", tensor->anatomy.layer), SET_INDEX("expert", tensor->anatomy.expert),
                        SET_TEXT("dtype", organ_dtype_describe(tensor->dtype)->name),
                        SET("shape", organ_shape_json(tensor)), SET_COUNT("elements", tensor->elements),
                        SET_COUNT("zero_before", row->zero_before), SET_COUNT("killed", row->killed),
                        SET_COUNT("kept", row->kept), SET_IF(audit, "changed", json_integer((json_int_t)row->changed)),
                        SET_REAL("percent", organ_percent(row->killed, tensor->elements)));
}

/* Return the object of organ_tally_tensors for row k: pruned_json without "changed", audited_json with it. */
static json_t *pruned_json(const void *rows, size_t k)
{
    return tally_tensor_json((const organ_tally *)rows + k, /*audit=*/false);
}
static json_t *audited_json(const void *rows, size_t k)
{
    return tally_tensor_json((const organ_tally *)rows + k, /*audit=*/true);
}

json_t *organ_tally_tensors(const organ_tally *rows, size_t count, bool audit)
{
    return organ_json_rows(count, audit ? audited_json : pruned_json, rows);
}

void organ_check_add(json_t *checks, const char *check, bool ok, const char *detail, ...)
{
    char text[256];
    ORGAN_FORMAT_REST(text, detail);
    json_array_append_new(checks,
                          ORGAN_OBJECT(SET_TEXT("check", check), SET_FLAG("ok", ok), SET_BYTES("detail", text)));
}

void organ_say(json_t *sentences, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_array_append_new(sentences, organ_json_vsprintf(format, args));
    va_end(args);
}

/* ---- sums of the sizes of tensors by layer and role ---- */

/* The cast makes layer -1, of tensors outside of layers, the last. */
static int by_cell(const void *a, const void *b)
{
    const organ_anatomy *const x = &((const organ_layer_amount *)a)->anatomy;
    const organ_anatomy *const y = &((const organ_layer_amount *)b)->anatomy;
    const uint32_t l = (uint32_t)x->layer, m = (uint32_t)y->layer;
    return l != m ? (l > m) - (l < m) : (int)organ_anatomy_row(x) - (int)organ_anatomy_row(y);
}

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

/* `used` marks the rows of the anatomy that occur in the model. `offset` is that of the member in
 * organ_layer_amount. */
static json_t *by_layer_line_of(const organ_layer_amount sums[ORGAN_ANATOMY_ROWS], const bool used[ORGAN_ANATOMY_ROWS],
                                size_t offset)
{
    json_t *const line = json_array();
    for (int r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        if (used[r])
            json_array_append_new(
                line, json_integer((json_int_t) * (const uint64_t *)(const void *)((const char *)&sums[r] + offset)));
    return line;
}

json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted)
{
    organ_layer_amount sums[ORGAN_ANATOMY_ROWS];
    bool used[ORGAN_ANATOMY_ROWS] = {false};
    if (!rows) {
        organ_memory_count_refusal();
        return NULL;
    }
    json_t *const roles = json_array(), *const layers = json_array(), *const elements = json_array(),
                  *const bytes = json_array(), *const grafts = grafted ? json_array() : NULL;
    qsort(rows, count, sizeof *rows, by_cell);
    for (size_t k = 0; k < count; k++)
        used[organ_anatomy_row(&rows[k].anatomy)] = true;
    for (unsigned r = 0; r < ORGAN_ANATOMY_ROWS; r++)
        if (used[r])
            json_array_append_new(roles, json_string(organ_anatomy_row_name(r)));
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && rows[to].anatomy.layer == rows[from].anatomy.layer; to++)
            ;
        sum_layer(&rows[from], to - from, sums);
        json_array_append_new(layers, json_integer(rows[from].anatomy.layer));
        json_array_append_new(elements, by_layer_line_of(sums, used, offsetof(organ_layer_amount, elements)));
        json_array_append_new(bytes, by_layer_line_of(sums, used, offsetof(organ_layer_amount, bytes)));
        if (grafts)
            json_array_append_new(grafts, by_layer_line_of(sums, used, offsetof(organ_layer_amount, grafted)));
    }
    return ORGAN_OBJECT(SET("roles", roles), SET("layers", layers), SET("elements", elements), SET("bytes", bytes),
                        SET_IF(grafted, "grafted", grafts));
}

/* ---- failures that an audit found ---- */

#define MAX_PROBLEMS 100 /* sentences in the array */

void organ_problem_add(organ_problems *problems, const char *format, ...)
{
    char text[800];
    ORGAN_FORMAT_REST(text, format);
    if (json_array_size(problems->sentences) < MAX_PROBLEMS)
        json_array_append_new(problems->sentences, organ_document_string(text));
    else
        problems->more++;
}

size_t organ_problems_count(const organ_problems *problems)
{
    return json_array_size(problems->sentences) + problems->more;
}

organ_status organ_problems_judge(const organ_problems *problems, organ_error *error, const char *format, ...)
{
    char verdict[sizeof error->message];
    const char *const first = json_string_value(json_array_get(problems->sentences, 0));
    ORGAN_FORMAT_REST(verdict, format);
    if (!organ_problems_count(problems))
        return error->status;
    return organ_fail(error, ORGAN_CHECK_FAILED, "%s: %s", verdict, first ? first : "");
}

json_t *organ_problems_json(organ_problems *problems)
{
    if (problems->more)
        organ_say(problems->sentences, "and %zu more", problems->more);
    return json_incref(problems->sentences);
}
