/* SPDX-License-Identifier: MIT
 * /files: what lies below the root. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/route_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ENTRIES = 100000 };

static json_t *entry_json(const organ_jail_entry *entry)
{
    return json_pack("{s:s, s:s, s:o*, s:I}", "name", entry->name, "type", entry->directory ? "directory" : "file", "bytes",
                     entry->directory ? NULL : json_integer((json_int_t)entry->bytes), "modified", (json_int_t)entry->modified);
}

static json_t *page_of(const char *path, const organ_jail_entry *entries, size_t count, const char *cursor, uint64_t limit)
{
    json_t *const page = json_array();
    size_t from = 0;
    bool whole = page != NULL;
    while (cursor && from < count && strcmp(entries[from].name, cursor) <= 0)
        from++;
    size_t k = from;
    for (; k < count && k - from < limit; k++)
        whole = json_array_append_new(page, entry_json(&entries[k])) == 0 && whole;
    json_t *const next = k < count ? json_string(entries[k - 1].name) : json_null();
    json_t *const document = json_pack("{s:s, s:I, s:o, s:o}", "path", path, "total", (json_int_t)count, "entries", page, "next", next);
    if (whole)
        return document;
    json_decref(document);
    return NULL;
}

static void list(const organ_http_request *request, organ_http_reply *reply, const char *path)
{
    organ_jail_entry *entries;
    size_t count;
    uint64_t limit;
    bool cut;
    organ_error error = {0};
    if (!organ_http_query_count(request, reply, "limit", 1, 10000, 1000, &limit))
        return;
    const unsigned status = organ_jail_list(organ_http_app(request)->jail, path, MOST_ENTRIES, &entries, &count, &cut, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else if (cut)
        organ_http_problem(reply, 422, "'%s' has more than %d entries, too many to list", path, MOST_ENTRIES);
    else
        organ_http_reply_json(reply, 200, page_of(path, entries, count, organ_http_query(request, "cursor"), limit));
    organ_jail_list_free(entries, count);
}

static void get_root(const organ_http_request *request, organ_http_reply *reply) { list(request, reply, ""); }

static void get_file(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    const char *const path = organ_http_parameter(request, "path"), *const slash = strrchr(path, '/');
    struct stat about;
    int fd;
    organ_error error = {0};
    unsigned status = organ_jail_look(app->jail, path, &about, &error);
    if (!status && S_ISDIR(about.st_mode)) {
        list(request, reply, path);
        return;
    }
    status = status ? status : organ_jail_file(app->jail, path, &fd, NULL, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else
        organ_http_reply_file(reply, request, fd, slash ? slash + 1 : path);
}

/* clang-format off: tables are laid out by hand */

#define PAGING                                                                                                                             \
    {"limit", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 10000, \"default\": 1000}",                     \
     "of a directory: how many entries at most"},                                                                                          \
    {                                                                                                                                      \
        "cursor", ORGAN_IN_QUERY, false, ORGAN_LINE_SCHEMA, "of a directory: the entries behind this name; \"next\" of the page before"    \
    }
static const organ_http_parameter_row root_parameters[] = {PAGING};
static const organ_http_parameter_row file_parameters[] = {
    {"path", ORGAN_IN_PATH, true, ORGAN_PATH_SCHEMA, "relative to the root"},
    {"Range", ORGAN_IN_HEADER, false, ORGAN_TEXT_SCHEMA, "one range of bytes: bytes=0-1023"},
    {"If-Range", ORGAN_IN_HEADER, false, ORGAN_TEXT_SCHEMA, "the range only if the file still has this ETag or date"},
    {"If-None-Match", ORGAN_IN_HEADER, false, ORGAN_TEXT_SCHEMA, "nothing is sent (304) if the file still has one of these ETags"},
    PAGING};
static const organ_http_answer root_answers[] = {
    {200, "application/json", "{\"$ref\": \"#/components/schemas/Directory\"}", "the entries, by name"}};
static const organ_http_answer file_answers[] = {
    {200, "*/*", NULL, "the file; a directory is application/json as at /files"},
    {206, "*/*", NULL, "the range that was asked for"},
    {304, NULL, NULL, "the client has this file already"},
    {404, "application/problem+json", ORGAN_PROBLEM_REF, "there is no such file"},
    {416, "application/problem+json", ORGAN_PROBLEM_REF, "the range begins behind the end of the file"}};
static const organ_http_route routes[] = {
    {.method = ORGAN_HTTP_GET,
     .pattern = "/files",
     .handle = get_root,
     .operation = "listRoot",
     .tag = "files",
     .summary = "Lists the root",
     .about = "Hidden files and links are left out.",
     .parameters = root_parameters,
     .parameter_count = COUNT_OF(root_parameters),
     .answers = root_answers,
     .answer_count = COUNT_OF(root_answers),
     .waits = true},
    {.method = ORGAN_HTTP_GET,
     .pattern = "/files/{path...}",
     .handle = get_file,
     .operation = "getFile",
     .tag = "files",
     .summary = "Downloads a file, or lists a directory",
     .about = "With ETag, Last-Modified and single ranges. HTML is shown in a sandbox, everything else is an attachment.",
     .parameters = file_parameters,
     .parameter_count = COUNT_OF(file_parameters),
     .answers = file_answers,
     .answer_count = COUNT_OF(file_answers),
     .waits = true}};
static const organ_http_schema schemas[] = {
    {"Directory",
     "{\"type\": \"object\", \"required\": [\"path\", \"total\", \"entries\", \"next\"], \"properties\": {\"path\": {\"type\": \"string\"},"
     "\"total\": {\"type\": \"integer\"}, \"next\": {\"type\": [\"string\", \"null\"]}, \"entries\": {\"type\": \"array\", \"items\": "
     "{\"type\": \"object\", \"required\": [\"name\", \"type\", \"modified\"], \"properties\": {\"name\": {\"type\": \"string\"}, "
     "\"type\": "
     "{\"enum\": [\"file\", \"directory\"]}, \"bytes\": {\"type\": \"integer\"}, \"modified\": {\"type\": \"integer\", \"description\": "
     "\"seconds since 1970\"}}}}}}"}};

const organ_area organ_area_files = {
    .name = "files", .routes = routes, .route_count = COUNT_OF(routes), .schemas = schemas, .schema_count = COUNT_OF(schemas)};
