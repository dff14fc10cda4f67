/* SPDX-License-Identifier: MIT
 * Writes files of measured values. */
#include "orchestrator/output/cache.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

json_t *organ_cache_document(const organ_cache *cache, json_t *body)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", cache->schema),
                                      SET_IF(!cache->unversioned, "organ", json_string(ORGAN_VERSION)));
    return organ_json_joined(organ_json_joined(head, json_copy((json_t *)cache->identity)), body);
}

organ_status organ_cache_write(const organ_cache *cache, json_t *body, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *document = NULL;
    if (!cache->path || !organ_ranks_first(cache->ranks) || error->status)
        json_decref(body);
    else if ((document = organ_cache_document(cache, body)))
        organ_document_replace(cache->path, document, error);
    else
        organ_fail_memory(error, cache->path);
    return cache->meets ? organ_ranks_agree(cache->ranks, "storing measured values", error) : error->status;
}

static organ_status check_place(const char *path, const char *option, organ_error *error)
{
    const size_t length = (size_t)(organ_path_name(path) - path);
    ORGAN_OWNED char *const folder = length ? organ_format("%.*s", (int)length, path) : strdup(".");
    if (!folder)
        return organ_fail_memory(error, path);
    if (access(folder, W_OK | X_OK))
        organ_fail_errno(error, errno, "%s: cannot be created (%s)", path, option);
    return error->status;
}

organ_status organ_cache_check_place(const char *path, const char *option, organ_ranks *ranks, organ_error *error)
{
    if (path && organ_ranks_first(ranks) && !error->status)
        check_place(path, option, error);
    return organ_ranks_agree(ranks, "checking a file of measured values", error);
}

/* ---- files of measured values, and whether they belong to this run ---- */

static void value_to_text(const json_t *value, char shown[ORGAN_CACHE_SHOWN + 1])
{
    ORGAN_OWNED char *const text = value ? organ_json_dump(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(shown, ORGAN_CACHE_SHOWN + 1, "%s", text ? text : "missing");
}

static bool set_difference(organ_cache_difference *found, const char *key, const json_t *was, const json_t *is)
{
    found->key = key;
    value_to_text(was, found->was);
    value_to_text(is, found->is);
    return true;
}

bool organ_cache_differs(const json_t *head, const json_t *identity, organ_cache_difference *found)
{
    static const char *const with_options[] = {"compute", "compute_isa", "moments", "all_experts"};
    const char *key;
    const json_t *here;
    json_object_foreach((json_t *)identity, key, here)
    {
        const json_t *const there = json_object_get(head, key);
        if (json_equal(there, here))
            continue;
        return set_difference(found, key, there, here);
    }
    for (size_t k = 0; json_object_get(identity, "text") && k < sizeof with_options / sizeof *with_options; k++)
        if (json_object_get(head, with_options[k]) && !json_object_get(identity, with_options[k]))
            return set_difference(found, with_options[k], json_object_get(head, with_options[k]), NULL);
    return false;
}

/* ---- reading ---- */

/* *object is NULL with ORGAN_OK if there is no file. */
static organ_status cache_parse(const organ_cache *cache, json_t **object, organ_error *error)
{
    organ_json_source text = {.label = cache->path};
    const size_t limit = cache->unbounded ? SIZE_MAX : ORGAN_CACHE_LIMIT;
    ORGAN_OWNED char *bytes = NULL;
    if (access(cache->path, F_OK) != 0 ||
        organ_input_load(cache->path, cache->path, limit, &bytes, &text.length, error) != ORGAN_OK)
        return error->status;
    text.bytes = bytes;
    return organ_json_parse_object(&text, object, error);
}

organ_status organ_cache_load(const organ_cache *cache, const char *within, json_t **document, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *file = NULL;
    *document = NULL;
    if (cache_parse(cache, &file, error) != ORGAN_OK || !file)
        return error->status;
    json_t *const inner = within ? json_object_get(file, within) : NULL;
    *document = json_incref(json_is_object(inner) ? inner : file);
    const char *const schema = json_string_value(json_object_get(*document, "schema"));
    if (schema && strcmp(schema, cache->schema) == 0)
        return ORGAN_OK;
    organ_fail(error, ORGAN_BAD_INPUT, "%s: its schema is '%.100s', not %s", cache->path, schema ? schema : "",
               cache->schema);
    organ_clear_json(document);
    return error->status;
}

/* Returns ORGAN_USAGE, with a message about the first member that differs, if the document has another identity than
 * the cache; ORGAN_BAD_INPUT if it lacks that member. */
organ_status organ_cache_belongs(const organ_cache *cache, const json_t *document, organ_error *error)
{
    organ_cache_difference d;
    if (!organ_cache_differs(document, cache->identity, &d))
        return ORGAN_OK;
    if (!json_object_get(document, d.key))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the member \"%s\" is missing; %s", cache->path, d.key,
                          cache->remedy);
    return organ_fail(error, ORGAN_USAGE, "%s: contains the %s: its %s is %s, but here it is %s; %s", cache->path,
                      cache->content, d.key, d.was, d.is, cache->remedy);
}

organ_status organ_cache_read(const organ_cache *cache, json_t **document, organ_error *error)
{
    organ_error fault = {0};
    if (organ_cache_load(cache, NULL, document, &fault) == ORGAN_OK && *document)
        organ_cache_belongs(cache, *document, &fault);
    if (fault.status)
        organ_clear_json(document);
    if (fault.status && !cache->start_over)
        *error = fault;
    return error->status;
}

/* ---- arrays ---- */

static void *number_at(const organ_cache_numbers *n, size_t k)
{
    return (char *)n->values + k * (n->type == ORGAN_FIELD_U32 ? sizeof(uint32_t) : sizeof(uint64_t));
}

static json_t *number_json(const void *numbers, size_t k)
{
    const organ_cache_numbers *const n = numbers;
    return organ_field_json(&(organ_struct_field){.type = n->type}, number_at(n, k));
}

json_t *organ_cache_numbers_json(const organ_cache_numbers *n) { return organ_json_rows(n->count, number_json, n); }

bool organ_cache_numbers_read(const organ_cache_numbers *n, const json_t *array)
{
    bool good = json_array_size(array) == n->count;
    for (size_t k = 0; good && k < n->count; k++) {
        const json_t *const number = json_array_get(array, k);
        const double value = json_number_value(number);
        good = json_is_number(number) && value >= 0 && value <= n->max &&
               organ_field_read(&(organ_struct_field){.type = n->type}, number, number_at(n, k));
    }
    return good;
}

organ_status organ_cache_numbers_take(const organ_cache_numbers *n, const json_t *row, const char *rows, size_t k,
                                      const char *path, organ_error *error)
{
    if (organ_cache_numbers_read(n, json_object_get(row, n->name)))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s[%zu].%s is not %zu numbers of 0 to %g", path, rows, k, n->name,
                      n->count, n->max);
}
