/* SPDX-License-Identifier: MIT
 * Tests of the OpenAPI description. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/report.h>
#include "orchestrator/serve/serve.h"
#include "orchestrator/serve/page/serve_page.h"
#include "orchestrator/version.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

Suite *open_api_suite(void);

START_TEST(the_interface_describes_itself)
{
    organ_error error = {0};
    json_t *const document = organ_open_api(organ_all_verbs.verbs, organ_all_verbs.count, &error);
    ck_assert_msg(document != NULL, "%s", error.message);
    ck_assert_str_eq(organ_json_text(document, "info.version"), ORGAN_VERSION);
    ck_assert_ptr_nonnull(
        organ_json_at(document, "components.schemas.JobOfLoraExtract.properties.arguments.properties.output"));
    ck_assert_str_eq(organ_json_text(document, "components.schemas.JobOfPrune.properties.verb.const"), "prune");
    ck_assert_uint_eq(json_array_size(organ_json_at(document, "components.schemas.JobRequest.oneOf")),
                      json_object_size(organ_json_at(document, "components.schemas.JobRequest.discriminator.mapping")));
    json_decref(document);
}
END_TEST

/* Checks that every "$ref" has a target. */
static void refers_well(const json_t *document, const json_t *value)
{
    const char *const target = json_string_value(json_object_get(value, "$ref"));
    const char *key;
    json_t *member;
    size_t k;
    if (target) {
        char path[200] = "";
        ck_assert_msg(strncmp(target, "#/", 2) == 0, "%s", target);
        for (const char *at = target + 2; *at && strlen(path) < sizeof path - 1; at++)
            path[strlen(path)] = *at == '/' ? '.' : *at;
        ck_assert_msg(organ_json_at(document, path) != NULL, "%s", target);
    }
    json_object_foreach((json_t *)value, key, member) refers_well(document, member);
    json_array_foreach(value, k, member) refers_well(document, member);
}

/* Checks that OpenAPI describes "/a/{path...}/b" as "/a/{path}/b", and that each name in braces is a required
 * parameter. */
static void pattern_is_described(const json_t *document, const json_t *operation, const char *pattern,
                                 char described[100])
{
    size_t in_path = 0, k;
    json_t *row;
    const char *const dots = strstr(pattern, "...");
    snprintf(described, 100, "%.*s%s", dots ? (int)(dots - pattern) : (int)strlen(pattern), pattern,
             dots ? dots + 3 : "");
    for (const char *at = pattern; (at = strchr(at, '{')); at++)
        in_path++;
    json_array_foreach(json_object_get(operation, "parameters"), k, row)
    {
        const char *const shared = json_string_value(json_object_get(row, "$ref"));
        const json_t *const meant =
            shared ? json_object_get(organ_json_at(document, "components.parameters"), strrchr(shared, '/') + 1) : row;
        char name[40];
        ck_assert_msg(meant != NULL, "%s: %s", pattern, shared);
        if (strcmp(organ_json_text(meant, "in"), "path") != 0)
            continue;
        snprintf(name, sizeof name, "{%s}", organ_json_text(meant, "name"));
        ck_assert_msg(strstr(described, name) && json_is_true(json_object_get(meant, "required")), "%s: %s", pattern,
                      name);
        in_path--;
    }
    ck_assert_msg(!operation || in_path == 0, "%s", pattern);
}

/* The description is written by hand: it must have the server's routes, and say for each whether it takes a body and
 * needs a token. */
START_TEST(what_is_served_is_described)
{
    static const char *const methods[ORGAN_HTTP_METHODS] = {"get", "post", "delete"};
    organ_error error = {0};
    size_t served = 0, described = 0;
    const char *key;
    json_t *path;
    json_t *const document = organ_open_api(organ_all_verbs.verbs, organ_all_verbs.count, &error);
    ck_assert_msg(document != NULL, "%s", error.message);
    refers_well(document, document);
    const json_t *const paths = json_object_get(document, "paths");
    for (const organ_area *const *area = organ_areas; *area; area++)
        for (size_t k = 0; k < (*area)->route_count; k++) {
            const organ_http_route *const route = &(*area)->routes[k];
            char name[100];
            if (strcmp(route->pattern, "/") == 0 || strncmp(route->pattern, "/page/", 6) == 0)
                continue; /* files of the page */
            served++;
            pattern_is_described(document, NULL, route->pattern, name);
            const json_t *const operation = json_object_get(json_object_get(paths, name), methods[route->method]);
            ck_assert_msg(operation != NULL, "%s %s", methods[route->method], name);
            pattern_is_described(document, operation, route->pattern, name);
            ck_assert_msg(*organ_json_text(operation, "operationId") && *organ_json_text(operation, "summary"), "%s",
                          name);
            ck_assert_msg((json_object_get(operation, "requestBody") != NULL) == route->body, "%s", name);
            ck_assert_msg((json_object_get(operation, "security") != NULL) == route->open, "%s", name);
            ck_assert_msg(json_object_get(json_object_get(operation, "responses"), "5XX") != NULL, "%s", name);
        }
    json_object_foreach((json_t *)paths, key, path) described += json_object_size(path);
    ck_assert_uint_eq(served, described);
    json_decref(document);
}
END_TEST

Suite *open_api_suite(void)
{
    const suite_case cases[] = {{"description", {the_interface_describes_itself, what_is_served_is_described}}};
    return suite_of("open api", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
