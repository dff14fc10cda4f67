/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/page/open_api.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/serve/http/guard.h"
#include "orchestrator/serve/jobs/verb_catalog.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REFERENCE "#/components/schemas/"

/* A schema of a table; NULL after a fault. */
static json_t *parse(const char *what, const char *schema, organ_error *error)
{
    json_error_t fault;
    bool no_memory;
    json_t *const json = organ_json_load(schema, strlen(schema), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault, &no_memory);
    if (no_memory)
        organ_fail(error, ORGAN_IO, "no memory for the schema of %s", what);
    else if (!json)
        organ_fail(error, ORGAN_BAD_INPUT, "schema of %s: %s at byte %d", what, fault.text, fault.position);
    return json;
}

/* ---- one operation ---- */

static json_t *parameters_of(const organ_http_route *route, organ_error *error)
{
    static const char *const places[] = {[ORGAN_IN_PATH] = "path", [ORGAN_IN_QUERY] = "query", [ORGAN_IN_HEADER] = "header"};
    json_t *const list = json_array();
    for (size_t k = 0; k < route->parameter_count; k++) {
        const organ_http_parameter_row *const row = &route->parameters[k];
        json_t *const schema = parse(row->name, row->schema, error);
        if (schema)
            json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", row->name, "in", places[row->in], "required",
                                                  row->required || row->in == ORGAN_IN_PATH, "description", row->about ? row->about : "",
                                                  "schema", schema));
    }
    return list;
}

static json_t *content_of(const char *type, const char *schema, const char *what, organ_error *error)
{
    json_t *const media = json_object(), *const content = json_object();
    json_t *const parsed = schema ? parse(what, schema, error) : NULL;
    if (parsed)
        json_object_set_new(media, "schema", parsed);
    json_object_set_new(content, type, media);
    return content;
}

static json_t *responses_of(const organ_http_route *route, organ_error *error)
{
    json_t *const responses = json_object();
    for (size_t k = 0; k < route->answer_count; k++) {
        const organ_http_answer *const answer = &route->answers[k];
        json_t *const response = json_pack("{s:s}", "description", answer->about ? answer->about : "");
        char status[8];
        snprintf(status, sizeof status, "%u", answer->status);
        if (answer->type)
            json_object_set_new(response, "content", content_of(answer->type, answer->schema, route->operation, error));
        /* Answers of one status that differ in their type are one response. */
        json_t *const before = json_object_get(json_object_get(responses, status), "content");
        if (before)
            json_object_update(before, json_object_get(response, "content"));
        else
            json_object_set(responses, status, response);
        json_decref(response);
    }
    json_object_set_new(responses, "4XX", json_pack("{s:s}", "$ref", "#/components/responses/Problem"));
    json_object_set_new(responses, "5XX", json_pack("{s:s}", "$ref", "#/components/responses/Problem"));
    return responses;
}

static json_t *operation_of(const organ_http_route *route, organ_error *error)
{
    json_t *const operation = json_pack("{s:s, s:[s], s:s, s:o, s:o}", "operationId", route->operation, "tags", route->tag, "summary",
                                        route->summary, "parameters", parameters_of(route, error), "responses", responses_of(route, error));
    if (route->about)
        json_object_set_new(operation, "description", json_string(route->about));
    if (route->body)
        json_object_set_new(
            operation, "requestBody",
            json_pack("{s:b, s:o}", "required", 1, "content", content_of("application/json", route->body, route->operation, error)));
    if (route->open)
        json_object_set_new(operation, "security", json_array());
    return operation;
}

/* "{path...}" takes several segments, which OpenAPI cannot say. */
static void plain_pattern(const char *pattern, char *out, size_t size)
{
    const char *const dots = strstr(pattern, "...}");
    snprintf(out, size, "%.*s%s", dots ? (int)(dots - pattern) : (int)strlen(pattern), pattern, dots ? dots + 3 : "");
}

static json_t *paths_of(const organ_area *const *areas, organ_error *error)
{
    static const char *const methods[] = {[ORGAN_HTTP_GET] = "get", [ORGAN_HTTP_POST] = "post", [ORGAN_HTTP_DELETE] = "delete"};
    json_t *const paths = json_object();
    for (; *areas; areas++)
        for (size_t k = 0; k < (*areas)->route_count; k++) {
            const organ_http_route *const route = &(*areas)->routes[k];
            char pattern[256];
            plain_pattern(route->pattern, pattern, sizeof pattern);
            if (route->hidden)
                continue;
            if (!json_object_get(paths, pattern))
                json_object_set_new(paths, pattern, json_object());
            json_object_set_new(json_object_get(paths, pattern), methods[route->method], operation_of(route, error));
        }
    return paths;
}

/* ---- what they share ---- */

/* "lora extract" -> "JobOfLoraExtract" */
static void schema_name(const char *verb, char name[80])
{
    size_t used = (size_t)snprintf(name, 80, "JobOf");
    bool first = true;
    for (; *verb && used < 79; verb++) {
        if (*verb == ' ' || *verb == '-')
            first = true;
        else {
            name[used++] = first && *verb >= 'a' && *verb <= 'z' ? (char)(*verb - 'a' + 'A') : *verb;
            first = false;
        }
    }
    name[used] = '\0';
}

static void add_requests(json_t *schemas, const organ_verb *const *verbs, size_t count)
{
    json_t *const any = json_array(), *const mapping = json_object();
    for (size_t k = 0; k < count; k++) {
        char name[80];
        if (!organ_verb_is_job(verbs[k]))
            continue;
        schema_name(verbs[k]->name, name);
        json_object_set_new(schemas, name, organ_verb_request_schema(verbs[k]));
        json_array_append_new(any, json_pack("{s:o}", "$ref", json_sprintf(REFERENCE "%s", name)));
        json_object_set_new(mapping, verbs[k]->name, json_sprintf(REFERENCE "%s", name));
    }
    json_object_set_new(schemas, "JobRequest",
                        json_pack("{s:s, s:o, s:{s:s, s:o}}", "description", "A verb and its arguments.", "oneOf", any, "discriminator",
                                  "propertyName", "verb", "mapping", mapping));
}

static json_t *components_of(const organ_area *const *areas, const organ_verb *const *verbs, size_t count, organ_error *error)
{
    json_t *const schemas = json_object();
    for (; *areas; areas++)
        for (size_t k = 0; k < (*areas)->schema_count; k++) {
            json_t *const schema = parse((*areas)->schemas[k].name, (*areas)->schemas[k].schema, error);
            if (schema)
                json_object_set_new(schemas, (*areas)->schemas[k].name, schema);
        }
    add_requests(schemas, verbs, count);
    return json_pack("{s:o, s:{s:{s:s, s:{s:{s:{s:s}}}}}, s:{s:{s:s, s:s}, s:{s:s, s:s, s:s}}}", "schemas", schemas, "responses", "Problem",
                     "description", "What was wrong, in words.", "content", "application/problem+json", "schema", "$ref",
                     REFERENCE "Problem", "securitySchemes", "token", "type", "http", "scheme", "bearer", "cookie", "type", "apiKey", "in",
                     "cookie", "name", ORGAN_SESSION_COOKIE);
}

json_t *organ_open_api(const organ_area *const *areas, const organ_verb *const *verbs, size_t count, organ_error *error)
{
    json_t *const paths = paths_of(areas, error), *const components = components_of(areas, verbs, count, error);
    json_t *const document = json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:[{}, {s:[]}, {s:[]}], s:o, s:o}", "openapi", "3.1.0", "info", "title", "organ", "version",
        ORGAN_VERSION, "description",
        "Language models below one directory: looked into, and worked on by the verbs of the program as jobs. All paths are relative to "
        "that directory. Where the server asks for a token, it comes as a bearer token or as the cookie of a login; without one, none is "
        "needed.",
        "servers", "url", "/", "security", "token", "cookie", "paths", paths, "components", components);
    if (!document)
        organ_fail_errno(error, ENOMEM, "the description of the interface");
    if (error->status == ORGAN_OK)
        return document;
    json_decref(document);
    return NULL;
}
