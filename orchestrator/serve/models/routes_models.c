/* SPDX-License-Identifier: MIT
 * /api/v1/models: the list of models, their contents and tensors. */
#include "orchestrator/serve/models/serve_models.h"
#include "orchestrator/serve/models/model_cache.h"
#include "orchestrator/serve/models/tensor_page.h"

#include <string.h>

enum { MAX_A_PAGE = 1000, USUAL_PAGE = 100 };

/* After these seconds a list is answered with the models found so far, and a request for a model that is still being
 * read with 503. */
static const double list_patience = 1, model_patience = 120;

static bool read_page(const organ_server_request *request, organ_http_reply *reply, uint64_t *offset, uint64_t *limit)
{
    return organ_http_query_count(request, reply, "limit", 1, MAX_A_PAGE, USUAL_PAGE, limit) &&
           organ_http_query_count(request, reply, "offset", 0, INT64_MAX, 0, offset);
}

/* ---- the list ---- */

/* If a scan or a read may still change the page, postpones the reply, but not beyond list_patience after the request
 * began. */
static void get_models(const organ_server_request *request, organ_http_reply *reply)
{
    uint64_t offset, limit;
    organ_model_cache_page page;
    organ_error error = {0};
    if (!read_page(request, reply, &offset, &limit))
        return;
    if (organ_model_cache_list(organ_http_app(request)->cache, organ_http_query(request, "q"), (size_t)offset,
                               (size_t)limit, &page, &error) != ORGAN_OK) {
        organ_http_problem_of(reply, &error);
        return;
    }
    if (page.looking && organ_http_waited(request) < list_patience)
        organ_http_reply_later(reply, list_patience);
    else
        organ_http_reply_json(reply, 200,
                              json_pack("{s:I, s:I, s:b, s:b, s:O}", "total", (json_int_t)page.total, "offset",
                                        (json_int_t)offset, "cut", (int)page.cut, "looking", (int)page.looking,
                                        "models", page.models));
    json_decref(page.models);
}

/* ---- one model ---- */

/* Returns NULL after it has replied with a problem, or has postponed the reply until the model is read, at most
 * until model_patience after the request began. The caller releases the model. */
static const organ_catalog *find_model(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_catalog *model;
    organ_error error = {0};
    const unsigned status =
        organ_model_cache_get(organ_http_app(request)->cache, organ_http_parameter(request, "path"), &model, &error);
    if (status == 202 && organ_http_waited(request) < model_patience)
        organ_http_reply_later(reply, model_patience);
    else if (status == 202 || status == 503) {
        organ_http_problem(reply, 503, "%s", status == 503 ? error.message : "the model is still being read");
        organ_http_reply_header(reply, "Retry-After", "2");
    } else if (status)
        organ_http_problem(reply, status, "%s", error.message);
    return model;
}

static void get_model(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_catalog *const model = find_model(request, reply);
    if (model)
        organ_http_reply_text(reply, 200, "application/json", strdup(model->details), model->details_length);
    organ_model_cache_give_back(organ_http_app(request)->cache, model);
}

/* ---- tensors ---- */

static bool read_tensor_query(const organ_server_request *request, organ_http_reply *reply, organ_tensor_query *w)
{
    uint64_t layer, offset, limit;
    const char *const sort = organ_http_query(request, "sort");
    if (!read_page(request, reply, &offset, &limit) ||
        !organ_http_query_count(request, reply, "layer", 0, INT32_MAX, UINT64_MAX, &layer))
        return false;
    /* UINT64_MAX, the layer of a request without one, becomes -1: any layer. */
    *w = (organ_tensor_query){.match = organ_http_query(request, "match"),
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
    organ_http_problem(
        reply, 400,
        "sort is '%s'; allowed are file, name, bytes, elements and layer, with a leading '-' for descending order",
        sort + w->down);
    return false;
}

static void get_tensors(const organ_server_request *request, organ_http_reply *reply)
{
    organ_tensor_query query;
    organ_error error = {0};
    char *json = NULL;
    if (!read_tensor_query(request, reply, &query))
        return;
    const organ_catalog *const model = find_model(request, reply);
    if (model && organ_tensor_page(model, &query, &json, &error) == ORGAN_OK)
        organ_http_reply_text(reply, 200, "application/json", json, strlen(json));
    else if (model)
        organ_http_problem_of(reply, &error);
    organ_model_cache_give_back(organ_http_app(request)->cache, model);
}

/* ---- the area ---- */

static void call_waiting_requests(void *context) { organ_http_call_waiting(context); }

/* A separate process, this program (/proc/self/exe) run as a worker, reads the models; with options->models_here
 * this process reads them. */
static organ_status start_models(organ_app *app, organ_error *error)
{
    const organ_reader_options reading = {.program = app->options->models_here ? NULL : "/proc/self/exe",
                                          .jail = app->jail,
                                          .memory = app->options->model_memory,
                                          .seconds = app->options->model_seconds};
    return organ_model_cache_create(app->jail, &reading, (size_t)app->options->cache, call_waiting_requests, app,
                                    &app->cache, error);
}

/* Requests in progress may still use the cache, so only its threads stop. */
static void drain_models(organ_app *app)
{
    if (app->cache)
        organ_model_cache_stop(app->cache);
}

static void stop_models(organ_app *app)
{
    organ_model_cache_destroy(app->cache);
    app->cache = NULL;
}

static void print_model_metrics(const organ_app *app, FILE *out) { organ_model_cache_metrics(app->cache, out); }

static const organ_http_route routes[] = {
    {ORGAN_HTTP_GET, "/api/v1/models", get_models, .waits = true},
    {ORGAN_HTTP_GET, "/api/v1/models/{path...}/tensors", get_tensors, .waits = true},
    {ORGAN_HTTP_GET, "/api/v1/models/{path...}", get_model, .waits = true}};

const organ_area organ_area_models = {ORGAN_ROUTES(routes), .start = start_models, .drain = drain_models,
                                      .stop = stop_models, .metrics = print_model_metrics};
