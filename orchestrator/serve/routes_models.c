/* SPDX-License-Identifier: MIT
 * /api/v1/models: which there are, what is in them, and their tensors. */
#include "orchestrator/serve/http/desk.h"
#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/models/shelf.h"
#include "orchestrator/serve/models/tensor_page.h"
#include "orchestrator/serve/route_parts.h"

#include <errno.h>
#include <string.h>

enum { MOST_A_PAGE = 1000, USUAL_PAGE = 100 };

/* Seconds after which a list is answered with what is known by then, and one model with 503. */
static const double list_patience = 1, model_patience = 120;

static bool read_page(const organ_http_request *request, organ_http_reply *reply, uint64_t *offset, uint64_t *limit)
{
    return organ_http_query_count(request, reply, "limit", 1, MOST_A_PAGE, USUAL_PAGE, limit) &&
           organ_http_query_count(request, reply, "offset", 0, INT64_MAX, 0, offset);
}

/* ---- the list ---- */

static void get_models(const organ_http_request *request, organ_http_reply *reply)
{
    uint64_t offset, limit;
    organ_shelf_page page;
    organ_error error = {0};
    if (!read_page(request, reply, &offset, &limit))
        return;
    if (organ_shelf_list(organ_http_app(request)->shelf, organ_http_query(request, "q"), (size_t)offset, (size_t)limit, &page, &error) !=
        ORGAN_OK) {
        organ_http_problem_of(reply, &error);
        return;
    }
    if (page.looking && organ_http_waited(request) < list_patience)
        organ_http_reply_later(reply, list_patience);
    else
        organ_http_reply_json(reply, 200,
                              json_pack("{s:I, s:I, s:b, s:b, s:O}", "total", (json_int_t)page.total, "offset", (json_int_t)offset, "cut",
                                        (int)page.cut, "looking", (int)page.looking, "models", page.models));
    json_decref(page.models);
}

/* ---- one model ---- */

/* The model that the path names, to be given back; NULL after a reply, or after saying that there will be one later. */
static const organ_catalog *find_model(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_catalog *model;
    organ_error error = {0};
    const unsigned status = organ_shelf_model(organ_http_app(request)->shelf, organ_http_parameter(request, "path"), &model, &error);
    if (status == 202 && organ_http_waited(request) < model_patience)
        organ_http_reply_later(reply, model_patience);
    else if (status == 202 || status == 503) {
        organ_http_problem(reply, 503, "%s", status == 503 ? error.message : "the model is still being read");
        organ_http_reply_header(reply, "Retry-After", "2");
    } else if (status)
        organ_http_problem(reply, status, "%s", error.message);
    return model;
}

static void get_model(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_catalog *const model = find_model(request, reply);
    if (model)
        organ_http_reply_text(reply, 200, "application/json", strdup(model->portrait), model->portrait_length);
    organ_shelf_release(organ_http_app(request)->shelf, model);
}

/* ---- tensors ---- */

static bool read_wish(const organ_http_request *request, organ_http_reply *reply, organ_tensor_wish *w)
{
    uint64_t layer, offset, limit;
    const char *const sort = organ_http_query(request, "sort");
    if (!read_page(request, reply, &offset, &limit) || !organ_http_query_count(request, reply, "layer", 0, INT32_MAX, UINT64_MAX, &layer))
        return false;
    *w = (organ_tensor_wish){.match = organ_http_query(request, "match"),
                             .role = organ_http_query(request, "role"),
                             .group = organ_http_query(request, "group"),
                             .layer = (int64_t)layer,
                             .down = sort && *sort == '-',
                             .offset = offset,
                             .limit = limit};
    for (int k = 0; sort && k < ORGAN_TENSOR_KEYS; k++)
        if (strcmp(sort + w->down, organ_tensor_keys[k]) == 0) {
            w->key = (organ_tensor_key)k;
            return true;
        }
    if (!sort)
        return true;
    organ_http_problem(reply, 400,
                       "sort is '%s'; allowed are file, name, bytes, elements and layer, with a '-' in front for the other way round",
                       sort + w->down);
    return false;
}

static void get_tensors(const organ_http_request *request, organ_http_reply *reply)
{
    organ_tensor_wish wish;
    organ_error error = {0};
    char *json = NULL;
    if (!read_wish(request, reply, &wish))
        return;
    const organ_catalog *const model = find_model(request, reply);
    if (model && organ_tensor_page(model, &wish, &json, &error) == ORGAN_OK)
        organ_http_reply_text(reply, 200, "application/json", json, strlen(json));
    else if (model)
        organ_http_problem_of(reply, &error);
    organ_shelf_release(organ_http_app(request)->shelf, model);
}

/* ---- the area ---- */

static void tell_desk(void *context) { organ_desk_recall(((const organ_app *)context)->desk); }

static organ_status start(organ_app *app, organ_error *error)
{
    return organ_shelf_create(app->jail, (size_t)app->shelf_bytes, tell_desk, app, &app->shelf, error);
}

static void drain(organ_app *app)
{
    if (app->shelf)
        organ_shelf_rest(app->shelf);
}

static void stop(organ_app *app)
{
    organ_shelf_destroy(app->shelf);
    app->shelf = NULL;
}

static void metrics(const organ_app *app, FILE *out) { organ_shelf_metrics(app->shelf, out); }

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
        {422, "application/problem+json", ORGAN_PROBLEM_REF, "it is no model, or a malformed one; the detail says where"},                 \
        {503, "application/problem+json", ORGAN_PROBLEM_REF, "it is still being read after two minutes, or too many others wait"},         \
    {                                                                                                                                      \
        507, "application/problem+json", ORGAN_PROBLEM_REF, "the list of its tensors takes more memory than --shelf"                       \
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
         "be read. \"cut\" is true where more lies below the root than is looked at. No answer takes longer than two seconds: \"looking\" "
         "is true while the root is still walked, or models of this page are read, which are \"pending\" then.",
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
     .about = "A page has at most a megabyte of text and one tensor more: \"next\" is the offset of the page behind it, null behind "
              "the last.",
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
     .about = "\"anatomy\" sums its tensors by layer and role; \"inspect\" is what organ inspect --json says. Lists have at "
              "most 4096 rows, and layers are told apart up to number 4095: \"cut\" names the lists of which more is there.",
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
     "{\"type\": \"object\", \"required\": [\"total\", \"offset\", \"cut\", \"looking\", \"models\"], \"properties\": {\"total\": " NUMBER
     ", \"offset\": " NUMBER
     ", \"cut\": {\"type\": \"boolean\"}, \"looking\": {\"type\": \"boolean\"}, "
     "\"models\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": "
     "[\"path\", \"kind\", \"bytes\", \"files\", \"modified\"], \"properties\": {\"path\": " ORGAN_TEXT_SCHEMA ", \"kind\": {\"enum\": "
     "[\"safetensors directory\", \"organ directory\", \"adapter\", \"GGUF\", \"safetensors\"]}, \"bytes\": " NUMBER ", \"files\": " NUMBER
     ", \"modified\": " NUMBER ", \"format\": " ORGAN_TEXT_SCHEMA ", \"architecture\": " MAYBE_TEXT ", \"tensors\": " NUMBER
     ", \"elements\": " NUMBER ", \"pending\": {\"const\": true}, \"fault\": " ORGAN_TEXT_SCHEMA "}}}}}"},
    {"Model",
     "{\"type\": \"object\", \"required\": [\"path\", \"format\", \"architecture\", \"model_type\", \"dtypes\", \"layers\", \"tensors\", "
     "\"elements\", \"bytes\", \"files\", \"problems\", \"anatomy\", \"inspect\", \"cut\"], \"properties\": {\"path\": " ORGAN_TEXT_SCHEMA
     ", \"format\": " ORGAN_TEXT_SCHEMA ", \"architecture\": " MAYBE_TEXT ", \"model_type\": " MAYBE_TEXT ", \"dtypes\": {\"type\": "
     "\"array\", \"items\": " ORGAN_TEXT_SCHEMA "}, \"layers\": " NUMBER ", \"tensors\": " NUMBER ", \"elements\": " NUMBER
     ", \"bytes\": " NUMBER ", \"files\": " NUMBER ", \"problems\": {\"type\": \"array\", \"items\": " ORGAN_TEXT_SCHEMA
     "}, \"anatomy\": {\"type\": "
     "\"array\", \"items\": {\"type\": \"object\", \"required\": [\"layer\", \"role\", \"group\", \"tensors\", \"elements\", \"bytes\"], "
     "\"properties\": {\"layer\": " MAYBE_NUMBER ", \"role\": " ORGAN_TEXT_SCHEMA ", \"group\": " ORGAN_TEXT_SCHEMA ", \"tensors\": " NUMBER
     ", \"elements\": " NUMBER ", \"bytes\": " NUMBER "}}}, "
     "\"inspect\": {\"type\": \"object\"}, \"cut\": {\"type\": \"array\", "
     "\"items\": " ORGAN_TEXT_SCHEMA "}}}"},
    {"Tensors",
     "{\"type\": \"object\", \"required\": [\"total\", \"offset\", \"bytes\", \"next\", \"tensors\"], \"properties\": {\"total\": " NUMBER
     ", \"offset\": " NUMBER ", \"bytes\": {\"type\": \"integer\", \"description\": \"of all that match, not of the page\"}, "
     "\"next\": " MAYBE_NUMBER ", \"tensors\": "
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
                                      .drain = drain,
                                      .stop = stop,
                                      .metrics = metrics};
