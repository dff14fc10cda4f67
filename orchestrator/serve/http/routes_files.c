/* SPDX-License-Identifier: MIT
 * /files: files below the root. */
#include <organ/report.h>
#include "orchestrator/serve/http/http.h"

#include <string.h>

enum { MAX_ENTRIES = 100000 };

static json_t *entry_json(const organ_jail_entry *entry)
{
    return json_pack("{s:s, s:s, s:o*, s:I}", "name", entry->name, "type", entry->directory ? "directory" : "file",
                     "bytes", entry->directory ? NULL : json_integer((json_int_t)entry->bytes), "modified",
                     (json_int_t)entry->modified);
}

static json_t *entries_page(const char *path, const organ_jail_entry *entries, size_t count, const char *cursor,
                            uint64_t limit)
{
    json_t *const page = json_array();
    size_t from = 0;
    bool complete = page != NULL;
    while (cursor && from < count && strcmp(entries[from].name, cursor) <= 0)
        from++;
    size_t k = from;
    for (; k < count && k - from < limit; k++)
        complete = json_array_append_new(page, entry_json(&entries[k])) == 0 && complete;
    json_t *const next = k < count ? json_string(entries[k - 1].name) : json_null();
    json_t *const document =
        json_pack("{s:s, s:I, s:o, s:o}", "path", path, "total", (json_int_t)count, "entries", page, "next", next);
    if (complete)
        return document;
    json_decref(document);
    return NULL;
}

static void reply_directory(const organ_server_request *request, organ_http_reply *reply, const char *path)
{
    organ_jail_entry *entries;
    size_t count;
    uint64_t limit;
    bool cut;
    organ_error error = {0};
    if (!organ_http_query_count(request, reply, "limit", 1, 10000, 1000, &limit))
        return;
    const unsigned status =
        organ_jail_list(organ_http_app(request)->jail, path, MAX_ENTRIES, &entries, &count, &cut, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else if (cut)
        organ_http_problem(reply, 422, "'%s' has more than %d entries, too many to list", path, MAX_ENTRIES);
    else
        organ_http_reply_json(reply, 200,
                              entries_page(path, entries, count, organ_http_query(request, "cursor"), limit));
    organ_jail_list_free(entries, count);
}

static void get_root(const organ_server_request *request, organ_http_reply *reply)
{
    reply_directory(request, reply, "");
}

static void get_file(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    const char *const path = organ_http_parameter(request, "path"), *const slash = strrchr(path, '/');
    struct stat about;
    int fd;
    organ_error error = {0};
    unsigned status = organ_jail_stat(app->jail, path, &about, &error);
    if (!status && S_ISDIR(about.st_mode)) {
        reply_directory(request, reply, path);
        return;
    }
    status = status ? status : organ_jail_file(app->jail, path, &fd, NULL, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else
        organ_http_reply_file(reply, request, fd, slash ? slash + 1 : path);
}

static const organ_http_route routes[] = {{ORGAN_HTTP_GET, "/files", get_root, .waits = true},
                                          {ORGAN_HTTP_GET, "/files/{path...}", get_file, .waits = true}};

const organ_area organ_area_files = {ORGAN_ROUTES(routes)};
