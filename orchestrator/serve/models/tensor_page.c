/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/tensor_page.h"

#include "orchestrator/report/text/text.h"
#include <organ/inspect.h>

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const organ_tensor_keys[ORGAN_TENSOR_KEYS] = {"file", "name", "bytes", "elements", "layer"};

static bool tensor_is_selected(const organ_tensor_query *w, const organ_tensor *tensor)
{
    return (!w->role || strcmp(organ_anatomy_role_name(&tensor->anatomy), w->role) == 0) &&
           (!w->group || strcmp(organ_group_name(tensor->anatomy.group), w->group) == 0) &&
           (w->layer < 0 || tensor->anatomy.layer == w->layer) &&
           (!w->match || fnmatch(w->match, tensor->name, 0) == 0);
}

/* ---- order ---- */

typedef struct order {
    const organ_tensor *tensors;
    const organ_tensor_query *query;
} order;

static int compare_numbers(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

/* The order is by the key of the query and then by index, so that it is complete and pages neither repeat nor miss a
 * tensor. */
static int by_query_order(const void *a, const void *b, void *context)
{
    const order *const o = context;
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const organ_tensor *const x = &o->tensors[i], *const y = &o->tensors[j];
    int result = 0;
    switch (o->query->key) {
    case ORGAN_BY_NAME:
        result = strcmp(x->name, y->name);
        break;
    case ORGAN_BY_BYTES:
        result = compare_numbers(x->bytes, y->bytes);
        break;
    case ORGAN_BY_ELEMENTS:
        result = compare_numbers(x->elements, y->elements);
        break;
    case ORGAN_BY_LAYER:
        result = (x->anatomy.layer > y->anatomy.layer) - (x->anatomy.layer < y->anatomy.layer);
        break;
    case ORGAN_BY_FILE:
    case ORGAN_TENSOR_KEYS:
        break;
    }
    result = result ? result : compare_numbers(i, j);
    return o->query->down ? -result : result;
}

typedef struct selection {
    uint32_t *places; /* their indices in the catalog, in the requested order; NULL: the order is that of the files */
    uint64_t total, bytes; /* their number, and their size in bytes */
} selection;

/* The caller frees s->places. */
static organ_status tensor_page_choose_tensors(const organ_catalog *model, const organ_tensor_query *w, selection *s,
                                               organ_error *error)
{
    const bool sorted = w->key != ORGAN_BY_FILE || w->down;
    *s = (selection){.places = sorted ? malloc((model->count + 1) * sizeof *s->places) : NULL};
    if (sorted && !s->places)
        return organ_fail_errno(error, ENOMEM, "the order of %zu tensors", model->count);
    for (size_t k = 0; k < model->count; k++) {
        if (!tensor_is_selected(w, &model->tensors[k]))
            continue;
        if (sorted)
            s->places[s->total] = (uint32_t)k;
        s->bytes += model->tensors[k].bytes;
        s->total++;
    }
    if (sorted && s->total)
        qsort_r(s->places, (size_t)s->total, sizeof *s->places, by_query_order, &(order){model->tensors, w});
    return ORGAN_OK;
}

/* ---- the text ---- */

typedef struct page {
    const organ_catalog *model;
    FILE *out;
    uint64_t rows;  /* tensors written */
    size_t written; /* bytes written */
    bool whole;     /* no row is missing for lack of memory */
} page;

static void put_tensor(page *p, const organ_tensor *tensor)
{
    json_t *const row = organ_inspect_tensor(tensor, p->model->files[tensor->file]);
    char *const text = row ? json_dumps(row, JSON_COMPACT) : NULL;
    p->whole = p->whole && text;
    if (text) {
        fprintf(p->out, "%s%s", p->rows ? "," : "", text);
        p->written += strlen(text) + 1;
        p->rows++;
    }
    free(text);
    json_decref(row);
}

static bool page_is_full(const page *p, const organ_tensor_query *w)
{
    return !p->whole || p->rows >= w->limit || p->written >= ORGAN_TENSOR_PAGE_BYTES;
}

/* The tensors are those of s->places from the offset of the query on; or, if `places` is NULL, those of the model
 * that pass the filters, without the first `offset` ones. */
static void put_tensor_rows(page *p, const organ_tensor_query *w, const selection *s)
{
    uint64_t seen = 0;
    for (uint64_t k = w->offset; s->places && k < s->total && !page_is_full(p, w); k++)
        put_tensor(p, &p->model->tensors[s->places[k]]);
    for (size_t k = 0; !s->places && k < p->model->count && !page_is_full(p, w); k++)
        if (tensor_is_selected(w, &p->model->tensors[k]) && seen++ >= w->offset)
            put_tensor(p, &p->model->tensors[k]);
}

organ_status organ_tensor_page(const organ_catalog *model, const organ_tensor_query *query, char **json,
                               organ_error *error)
{
    organ_text text;
    selection s;
    *json = NULL;
    if (tensor_page_choose_tensors(model, query, &s, error) != ORGAN_OK)
        return error->status;
    if (organ_text_open(&text, error) == ORGAN_OK) {
        page p = {.model = model, .out = text.out, .whole = true};
        fprintf(text.out, "{\"total\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"tensors\":[", s.total,
                query->offset, s.bytes);
        put_tensor_rows(&p, query, &s);
        if (query->offset < s.total && p.rows < s.total - query->offset)
            fprintf(text.out, "],\"next\":%" PRIu64 "}", query->offset + p.rows);
        else
            fputs("],\"next\":null}", text.out);
        if (!p.whole)
            organ_fail_errno(error, ENOMEM, "a page of tensors");
        organ_text_end(&text, json, error);
    }
    free(s.places);
    return error->status;
}
