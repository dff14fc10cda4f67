/* SPDX-License-Identifier: MIT
 * /api/v1/models: the list of models, their contents and tensors. */
#include "orchestrator/serve/models/models_parts.h"
#include "orchestrator/serve/models/serve_models.h"

#include "formats/base/files.h"
#include "orchestrator/serve/confine/confine.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <malloc.h>
#include <organ/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

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
        result = ORGAN_ORDER(x->bytes, y->bytes);
        break;
    case ORGAN_BY_ELEMENTS:
        result = ORGAN_ORDER(x->elements, y->elements);
        break;
    case ORGAN_BY_LAYER:
        result = ORGAN_ORDER(x->anatomy.layer, y->anatomy.layer);
        break;
    case ORGAN_BY_FILE:
    case ORGAN_TENSOR_KEYS:
        break;
    }
    result = result ? result : ORGAN_ORDER(i, j);
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

typedef struct tensor_page {
    const organ_catalog *model;
    FILE *out;
    uint64_t rows;  /* tensors written */
    size_t written; /* bytes written */
    bool whole;     /* no row is missing for lack of memory */
} tensor_page;

static void put_tensor(tensor_page *p, const organ_tensor *tensor)
{
    ORGAN_OWNED_JSON json_t *const row = organ_inspect_tensor(tensor, p->model->files[tensor->file]);
    ORGAN_OWNED char *const text = row ? json_dumps(row, JSON_COMPACT) : NULL;
    p->whole = p->whole && text;
    if (text) {
        fprintf(p->out, "%s%s", p->rows ? "," : "", text);
        p->written += strlen(text) + 1;
        p->rows++;
    }
}

static bool page_is_full(const tensor_page *p, const organ_tensor_query *w)
{
    return !p->whole || p->rows >= w->limit || p->written >= ORGAN_TENSOR_PAGE_BYTES;
}

/* The tensors are those of s->places from the offset of the query on; or, if `places` is NULL, those of the model
 * that pass the filters, without the first `offset` ones. */
static void put_tensor_rows(tensor_page *p, const organ_tensor_query *w, const selection *s)
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
        tensor_page p = {.model = model, .out = text.out, .whole = true};
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

enum { MAX_A_PAGE = 1000, USUAL_PAGE = 100 };

/* After these seconds a list is answered with the models found so far, and a request for a model that is still being
 * read with 503. */
static const double list_patience = 1, model_patience = 120;

/* Returns false with the reply that refuses the query. */
static bool read_page(const organ_server_request *request, organ_http_reply *reply, uint64_t *offset, uint64_t *limit)
{
    return organ_http_query_count(request, reply, "limit", /*from=*/1, MAX_A_PAGE, USUAL_PAGE, limit) &&
           organ_http_query_count(request, reply, "offset", /*from=*/0, INT64_MAX, /*fallback=*/0, offset);
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
    const organ_catalog *model = NULL;
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

/* Returns false with the reply that refuses the query. */
static bool read_tensor_query(const organ_server_request *request, organ_http_reply *reply, organ_tensor_query *w)
{
    uint64_t layer, offset, limit;
    const char *const sort = organ_http_query(request, "sort");
    if (!read_page(request, reply, &offset, &limit) ||
        !organ_http_query_count(request, reply, "layer", /*from=*/0, INT32_MAX, /*fallback=*/UINT64_MAX, &layer))
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

/* Returns false at an error, and if the stream ends early. */
static bool receive_all(int fd, void *data, size_t bytes)
{
    char *to = data;
    while (bytes > 0) {
        const ssize_t got = read(fd, to, bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        bytes -= (size_t)got;
    }
    return true;
}

bool organ_worker_is_requested(int argc, char *const *argv)
{
    return argc == ORGAN_WORKER_WORDS && strcmp(argv[1], ORGAN_WORKER_WORD) == 0;
}

/* The limit is the present size plus `more` bytes (a decimal number). Sets no limit under sanitizers, whose tables
 * need terabytes. */
static bool limit_memory(const char *more)
{
#if ORGAN_SANITIZED
    return *more != '\0';
#else
    unsigned long long pages = 0;
    FILE *const file = fopen("/proc/self/statm", "re");
    const bool known = file && fscanf(file, "%llu", &pages) == 1;
    if (file)
        fclose(file);
    const rlim_t max = (rlim_t)(pages * (unsigned long long)sysconf(_SC_PAGESIZE) + strtoull(more, NULL, 10));
    return known && setrlimit(RLIMIT_AS, &(struct rlimit){max, max}) == 0;
#endif
}

/* `memory` and `folders` are arguments of the program, in decimal. The process may read only below the `folders`
 * directories that are open from ORGAN_WORKER_FOLDER on, which are closed then. A mechanism that the kernel lacks is
 * left out. Returns 0, or the errno of the call that failed. */
static int confine_worker(const char *memory, const char *folders)
{
    int fds[ORGAN_JAIL_FOLDERS];
    organ_readable readable = {.fds = fds, .count = strtoul(folders, NULL, 10)};
    if (readable.count > ORGAN_JAIL_FOLDERS)
        return EINVAL;
    for (size_t k = 0; k < readable.count; k++)
        fds[k] = ORGAN_WORKER_FOLDER + (int)k;
    const organ_confinement has = organ_confinement_of_kernel();
    json_object_seed(0); /* it reads /dev/urandom, which the process can no longer open afterwards */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    organ_raise_descriptors(UINT64_MAX); /* each shard of a model needs one */
    errno = 0;
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) != 0 || !limit_memory(memory))
        return errno ? errno : EINVAL; /* the file that has the present size may be malformed */
    if (has.landlock && !organ_confine_reading(has.landlock, readable))
        return errno;
    for (size_t k = 0; k < readable.count; k++)
        close(fds[k]);
    return has.seccomp && !organ_confine_calls(ORGAN_CALLS_OF_READERS) ? errno : 0;
}

/* Returns the next `bytes` bytes from the server as a text, which the caller frees; NULL if it is too long, the socket
 * ends early, or memory runs out. */
static char *receive_path(uint32_t bytes)
{
    char *const path = bytes < ORGAN_WORKER_LONGEST_PATH ? calloc(1, bytes + 1) : NULL;
    if (path && receive_all(ORGAN_WORKER_SOCKET, path, bytes))
        return path;
    free(path);
    return NULL;
}

/* After sending a larger block (in bytes) the worker returns free memory to the system. */
enum { LARGE_BLOCK = 1 << 20 };

/* Returns whether the answer was sent; a model that cannot be read is an answer too. */
static bool answer_question(const organ_worker_question *question, organ_catalog_reader *read_model)
{
    organ_worker_answer answer = {0};
    organ_catalog *catalog = NULL;
    organ_error error = {0};
    ORGAN_OWNED char *const absolute = receive_path(question->absolute_bytes);
    ORGAN_OWNED char *const path = absolute ? receive_path(question->path_bytes) : NULL;
    if (path) {
        answer.status = read_model(absolute, path, (size_t)question->max, &catalog, &error);
        answer.no_memory = answer.status != 0 && error.errnum == ENOMEM;
        answer.bytes = catalog ? catalog->bytes : 0;
        answer.base = (uintptr_t)catalog;
        memcpy(answer.message, error.message, sizeof answer.message);
    }
    const bool sent = path && organ_write_all(ORGAN_WORKER_SOCKET, &answer, sizeof answer) == 0 &&
                      organ_write_all(ORGAN_WORKER_SOCKET, catalog, answer.bytes) == 0;
    organ_catalog_free(catalog);
    if (answer.bytes > LARGE_BLOCK)
        malloc_trim(0); /* reading used several times the memory of the block */
    return sent;
}

int organ_worker_run(char *const *argv, organ_catalog_reader *read_model)
{
    organ_worker_question question;
    const organ_worker_answer ready = {.status = (uint32_t)confine_worker(argv[2], argv[3])};
    bool goes_on = organ_write_all(ORGAN_WORKER_SOCKET, &ready, sizeof ready) == 0 && !ready.status;
    while (goes_on)
        goes_on =
            receive_all(ORGAN_WORKER_SOCKET, &question, sizeof question) && answer_question(&question, read_model);
    _exit(0);
}

bool organ_models_worked(int argc, char *const *argv, int *code)
{
    if (!organ_worker_is_requested(argc, argv))
        return false;
    *code = organ_worker_run(argv, organ_catalog_read);
    return true;
}
