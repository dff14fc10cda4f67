/* SPDX-License-Identifier: MIT
 * /api/v1/models: which there are, what is in them, and their tensors. */
#include "orchestrator/serve/http_exchange.h"
#include "orchestrator/serve/model_shelf.h"
#include "orchestrator/serve/route_parts.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_A_PAGE = 1000, USUAL_PAGE = 100 };

static bool read_page(const organ_http_request *request, organ_http_reply *reply, uint64_t *offset, uint64_t *limit)
{
    return organ_http_query_count(request, reply, "limit", 1, MOST_A_PAGE, USUAL_PAGE, limit) &&
           organ_http_query_count(request, reply, "offset", 0, INT64_MAX, 0, offset);
}

/* ---- the list ---- */

static bool add_summaries(organ_shelf *shelf, json_t *list)
{
    size_t k;
    json_t *row;
    json_array_foreach(list, k, row)
    {
        json_t *const summary = organ_shelf_summary(shelf, json_string_value(json_object_get(row, "path")));
        const bool good = summary && json_object_update(row, summary) == 0;
        json_decref(summary);
        if (!good)
            return false;
    }
    return true;
}

static void get_models(const organ_http_request *request, organ_http_reply *reply)
{
    organ_shelf *const shelf = organ_http_app(request)->shelf;
    uint64_t offset, limit;
    size_t total;
    bool cut;
    organ_error error = {0};
    if (!read_page(request, reply, &offset, &limit))
        return;
    json_t *const list = organ_shelf_list(shelf, organ_http_query(request, "q"), (size_t)offset, (size_t)limit, &total, &cut, &error);
    if (!list)
        organ_http_problem_of(reply, &error);
    else if (!add_summaries(shelf, list))
        organ_http_reply_json(reply, 200, NULL);
    else
        organ_http_reply_json(
            reply, 200,
            json_pack("{s:I, s:I, s:b, s:O}", "total", (json_int_t)total, "offset", (json_int_t)offset, "cut", (int)cut, "models", list));
    json_decref(list);
}

/* ---- one model ---- */

/* What the shelf keeps is read by several threads at once. A reference to a part of it would be counted by all of them, so parts are
 * copied. */
static json_t *without_list(json_t *model)
{
    json_t *const shown = json_object();
    bool whole = shown != NULL;
    for (void *at = json_object_iter(model); at && whole; at = json_object_iter_next(model, at))
        if (strcmp(json_object_iter_key(at), "list") != 0)
            whole = json_object_set_new(shown, json_object_iter_key(at), json_deep_copy(json_object_iter_value(at))) == 0;
    if (whole)
        return shown;
    json_decref(shown);
    return NULL;
}

static void get_model(const organ_http_request *request, organ_http_reply *reply)
{
    json_t *model;
    organ_error error = {0};
    const unsigned status = organ_shelf_model(organ_http_app(request)->shelf, organ_http_parameter(request, "path"), &model, &error);
    if (status) {
        organ_http_problem(reply, status, "%s", error.message);
        return;
    }
    organ_http_reply_json(reply, 200, without_list(model));
    organ_shelf_release(organ_http_app(request)->shelf, model);
}

/* ---- tensors ---- */

static const char *const sorts[] = {"file", "name", "bytes", "elements", "layer"};

typedef struct wish {
    const char *match, *role, *group;
    int64_t layer; /* -1: any */
    const char *sort;
    bool down;
} wish;

static bool read_wish(const organ_http_request *request, organ_http_reply *reply, wish *w)
{
    uint64_t layer;
    if (!organ_http_query_count(request, reply, "layer", 0, INT32_MAX, UINT64_MAX, &layer))
        return false;
    *w = (wish){organ_http_query(request, "match"), organ_http_query(request, "role"),
                organ_http_query(request, "group"), (int64_t)layer,
                organ_http_query(request, "sort"),  false};
    w->down = w->sort && *w->sort == '-';
    w->sort = w->sort ? w->sort + w->down : "file";
    for (size_t k = 0; k < COUNT_OF(sorts); k++)
        if (strcmp(w->sort, sorts[k]) == 0)
            return true;
    organ_http_problem(reply, 400,
                       "sort is '%s'; allowed are file, name, bytes, elements and layer, with a '-' in front for the other way round",
                       w->sort);
    return false;
}

static bool is(const json_t *tensor, const char *key, const char *wanted)
{
    const char *const text = json_string_value(json_object_get(tensor, key));
    return !wanted || (text && strcmp(text, wanted) == 0);
}

static bool wanted(const wish *w, const json_t *tensor)
{
    const json_t *const layer = json_object_get(tensor, "layer");
    return is(tensor, "role", w->role) && is(tensor, "group", w->group) &&
           (w->layer < 0 || (json_is_integer(layer) && json_integer_value(layer) == w->layer)) &&
           (!w->match || fnmatch(w->match, json_string_value(json_object_get(tensor, "name")), 0) == 0);
}

/* By a key, then by the place in the files, so that pages fit together. */
typedef struct ranked {
    json_t *tensor;
    const char *text;
    json_int_t number;
    size_t place;
    bool down;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *const x = a, *const y = b;
    int order = x->text && y->text ? strcmp(x->text, y->text) : (x->number > y->number) - (x->number < y->number);
    order = order ? order : (x->place > y->place) - (x->place < y->place);
    return x->down ? -order : order;
}

static size_t rank(const wish *w, const json_t *list, ranked *found, json_int_t *bytes)
{
    const bool by_name = strcmp(w->sort, "name") == 0, by_place = strcmp(w->sort, "file") == 0;
    size_t count = 0;
    *bytes = 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *const tensor = json_array_get(list, k);
        if (!wanted(w, tensor))
            continue;
        const json_t *const key = json_object_get(tensor, w->sort);
        found[count++] = (ranked){tensor, by_name ? json_string_value(key) : NULL,
                                  by_place || by_name    ? 0
                                  : json_is_integer(key) ? json_integer_value(key)
                                                         : -1,
                                  k, w->down};
        *bytes += json_integer_value(json_object_get(tensor, "bytes"));
    }
    if (count && (!by_place || w->down))
        qsort(found, count, sizeof *found, by_rank);
    return count;
}

static json_t *tensors_page(const wish *w, const json_t *list, uint64_t offset, uint64_t limit)
{
    ranked *const found = malloc((json_array_size(list) + 1) * sizeof *found);
    json_t *const page = found ? json_array() : NULL;
    json_int_t bytes = 0;
    const size_t count = page ? rank(w, list, found, &bytes) : 0;
    bool whole = page != NULL;
    for (size_t k = (size_t)offset; offset < count && k < count && k - offset < limit; k++)
        whole = json_array_append_new(page, json_deep_copy(found[k].tensor)) == 0 && whole;
    free(found);
    json_t *const document =
        json_pack("{s:I, s:I, s:I, s:O?}", "total", (json_int_t)count, "offset", (json_int_t)offset, "bytes", bytes, "tensors", page);
    json_decref(page);
    if (whole)
        return document;
    json_decref(document);
    return NULL;
}

static void get_tensors(const organ_http_request *request, organ_http_reply *reply)
{
    uint64_t offset, limit;
    wish w;
    json_t *model;
    organ_error error = {0};
    if (!read_page(request, reply, &offset, &limit) || !read_wish(request, reply, &w))
        return;
    const unsigned status = organ_shelf_model(organ_http_app(request)->shelf, organ_http_parameter(request, "path"), &model, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else
        organ_http_reply_json(reply, 200, tensors_page(&w, json_object_get(model, "list"), offset, limit));
    organ_shelf_release(organ_http_app(request)->shelf, model);
}

/* ---- the area ---- */

static organ_status start(organ_app *app, organ_error *error)
{
    app->shelf = organ_shelf_create(app->jail);
    return app->shelf ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "the list of models");
}

static void stop(organ_app *app)
{
    organ_shelf_destroy(app->shelf);
    app->shelf = NULL;
}

/* clang-format off: tables are laid out by hand */

#define PAGING                                                                                                                             \
    {"limit", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"default\": 100}", "how many at most"},  \
    {                                                                                                                                      \
        "offset", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 0, \"default\": 0}", "how many are left out before them"    \
    }
#define MODEL_PATH                                                                                                                         \
    {                                                                                                                                      \
        "path", ORGAN_IN_PATH, true, ORGAN_PATH_SCHEMA, "of the model below the root; slashes may be written as they are, or as %2F"       \
    }

static const organ_http_parameter_row list_parameters[] = {
    {"q", ORGAN_IN_QUERY, false, ORGAN_LINE_SCHEMA, "only models whose path has this in it"}, PAGING};
static const organ_http_parameter_row model_parameters[] = {MODEL_PATH};
static const organ_http_parameter_row tensor_parameters[] = {
    MODEL_PATH,
    {"match", ORGAN_IN_QUERY, false, ORGAN_LINE_SCHEMA, "only names that match this pattern: *.mlp.*"},
    {"role", ORGAN_IN_QUERY, false, ORGAN_LINE_SCHEMA, "only this role: q_proj, norm, ..."},
    {"group", ORGAN_IN_QUERY, false,
     "{\"type\": \"string\", \"pattern\": \"^[^\\\\u0000-\\\\u001f\\\\u007f]*$\", \"examples\": "
     "[\"skeleton\", \"organ\", \"embed\", \"norm\", \"other\"]}",
     "only this part of the body"},
    {"layer", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 2147483647}", "only this layer"},
    {"sort", ORGAN_IN_QUERY, false,
     "{\"enum\": [\"file\", \"name\", \"bytes\", \"elements\", \"layer\", \"-file\", \"-name\", \"-bytes\", "
     "\"-elements\", \"-layer\"], \"default\": \"file\"}",
     "the order; '-' turns it round"},
    PAGING};
#define NO_MODEL                                                                                                                           \
    {403, "application/problem+json", ORGAN_PROBLEM_REF, "it is hidden, or a link"},                                                       \
        {404, "application/problem+json", ORGAN_PROBLEM_REF, "there is nothing at this path"},                                             \
    {                                                                                                                                      \
        422, "application/problem+json", ORGAN_PROBLEM_REF, "it is no model, or a malformed one; the detail says where"                    \
    }
static const organ_http_answer list_answers[] = {
    {200, "application/json", "{\"$ref\": \"#/components/schemas/Models\"}", "a page of models, by path"}};
static const organ_http_answer model_answers[] = {{200, "application/json", "{\"$ref\": \"#/components/schemas/Model\"}", "the model"},
                                                  NO_MODEL};
static const organ_http_answer tensor_answers[] = {
    {200, "application/json", "{\"$ref\": \"#/components/schemas/Tensors\"}", "a page of tensors"}, NO_MODEL};
static const organ_http_route routes[] = {
    {.method = ORGAN_HTTP_GET,
     .pattern = "/api/v1/models",
     .handle = get_models,
     .operation = "listModels",
     .tag = "models",
     .summary = "Lists the models below the root",
     .about =
         "Directories with safetensors, organ directories, adapters, GGUF and single safetensors files. \"fault\" stands where one cannot "
         "be read. \"cut\" is true where more lies below the root than is looked at.",
     .parameters = list_parameters,
     .parameter_count = COUNT_OF(list_parameters),
     .answers = list_answers,
     .answer_count = COUNT_OF(list_answers),
     .waits = true},
    {.method = ORGAN_HTTP_GET,
     .pattern = "/api/v1/models/{path...}/tensors",
     .handle = get_tensors,
     .operation = "listTensors",
     .tag = "models",
     .summary = "Lists the tensors of a model",
     .parameters = tensor_parameters,
     .parameter_count = COUNT_OF(tensor_parameters),
     .answers = tensor_answers,
     .answer_count = COUNT_OF(tensor_answers),
     .waits = true},
    {.method = ORGAN_HTTP_GET,
     .pattern = "/api/v1/models/{path...}",
     .handle = get_model,
     .operation = "getModel",
     .tag = "models",
     .summary = "What is in a model",
     .about = "\"anatomy\" sums its tensors by layer and role; \"inspect\" is what organ inspect --json says.",
     .parameters = model_parameters,
     .parameter_count = COUNT_OF(model_parameters),
     .answers = model_answers,
     .answer_count = COUNT_OF(model_answers),
     .waits = true}};

#define NUMBER       "{\"type\": \"integer\"}"
#define MAYBE_NUMBER "{\"type\": [\"integer\", \"null\"]}"
#define MAYBE_TEXT   "{\"type\": [\"string\", \"null\"]}"
static const organ_http_schema schemas[] = {
    {"Models",
     "{\"type\": \"object\", \"required\": [\"total\", \"offset\", \"cut\", \"models\"], \"properties\": {\"total\": " NUMBER
     ", \"offset\": " NUMBER
     ", \"cut\": {\"type\": \"boolean\"}, \"models\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": "
     "[\"path\", \"kind\", \"bytes\", \"files\", \"modified\"], \"properties\": {\"path\": " ORGAN_TEXT_SCHEMA ", \"kind\": {\"enum\": "
     "[\"safetensors directory\", \"organ directory\", \"adapter\", \"GGUF\", \"safetensors\"]}, \"bytes\": " NUMBER ", \"files\": " NUMBER
     ", \"modified\": " NUMBER ", \"format\": " ORGAN_TEXT_SCHEMA ", \"architecture\": " MAYBE_TEXT ", \"tensors\": " NUMBER
     ", \"elements\": " NUMBER ", \"fault\": " ORGAN_TEXT_SCHEMA "}}}}}"},
    {"Model",
     "{\"type\": \"object\", \"required\": [\"path\", \"format\", \"architecture\", \"model_type\", \"dtypes\", \"layers\", \"tensors\", "
     "\"elements\", \"bytes\", \"files\", \"problems\", \"anatomy\", \"inspect\"], \"properties\": {\"path\": " ORGAN_TEXT_SCHEMA
     ", \"format\": " ORGAN_TEXT_SCHEMA ", \"architecture\": " MAYBE_TEXT ", \"model_type\": " MAYBE_TEXT ", \"dtypes\": {\"type\": "
     "\"array\", \"items\": " ORGAN_TEXT_SCHEMA "}, \"layers\": " NUMBER ", \"tensors\": " NUMBER ", \"elements\": " NUMBER
     ", \"bytes\": " NUMBER ", \"files\": " NUMBER ", \"problems\": {\"type\": \"array\", \"items\": " ORGAN_TEXT_SCHEMA
     "}, \"anatomy\": {\"type\": "
     "\"array\", \"items\": {\"type\": \"object\", \"required\": [\"layer\", \"role\", \"group\", \"tensors\", \"elements\", \"bytes\"], "
     "\"properties\": {\"layer\": " MAYBE_NUMBER ", \"role\": " ORGAN_TEXT_SCHEMA ", \"group\": " ORGAN_TEXT_SCHEMA ", \"tensors\": " NUMBER
     ", \"elements\": " NUMBER ", \"bytes\": " NUMBER "}}}, \"inspect\": {\"type\": \"object\"}}}"},
    {"Tensors",
     "{\"type\": \"object\", \"required\": [\"total\", \"offset\", \"bytes\", \"tensors\"], \"properties\": {\"total\": " NUMBER
     ", \"offset\": " NUMBER ", \"bytes\": {\"type\": \"integer\", \"description\": \"of all that match, not of the page\"}, \"tensors\": "
     "{\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"name\", \"dtype\", \"shape\", \"elements\", \"bytes\", "
     "\"role\","
     " \"group\", \"layer\", \"expert\", \"file\", \"offset\"], \"properties\": {\"name\": " ORGAN_TEXT_SCHEMA
     ", \"dtype\": " ORGAN_TEXT_SCHEMA ", \"shape\": {\"type\": \"array\", \"items\": " NUMBER "}, \"elements\": " NUMBER
     ", \"bytes\": " NUMBER ", \"role\": " ORGAN_TEXT_SCHEMA ", \"group\": " ORGAN_TEXT_SCHEMA ", \"layer\": " MAYBE_NUMBER
     ", \"expert\": " MAYBE_NUMBER ", \"file\": " ORGAN_TEXT_SCHEMA ", \"offset\": " NUMBER "}}}}}"}};

const organ_area organ_area_models = {.name = "models",
                                      .routes = routes,
                                      .route_count = COUNT_OF(routes),
                                      .schemas = schemas,
                                      .schema_count = COUNT_OF(schemas),
                                      .start = start,
                                      .stop = stop};
