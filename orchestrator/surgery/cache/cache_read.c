/* SPDX-License-Identifier: MIT
 * Reads files of measured values and checks that they belong to this run. */
#include "orchestrator/surgery/cache/cache.h"

#include "formats/base/input_file.h"
#include "formats/base/json_dump.h"
#include "formats/base/json_text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void value_to_text(const json_t *value, char shown[ORGAN_CACHE_SHOWN + 1])
{
    char *const text = organ_json_dump(value, JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(shown, ORGAN_CACHE_SHOWN + 1, "%s", text ? text : "missing");
    free(text);
}

bool organ_cache_differs(const json_t *head, const json_t *identity, organ_cache_difference *found)
{
    const char *key;
    const json_t *here;
    json_object_foreach((json_t *)identity, key, here)
    {
        const json_t *const there = json_object_get(head, key);
        if (json_equal(there, here))
            continue;
        found->key = key;
        value_to_text(there, found->was);
        value_to_text(here, found->is);
        return true;
    }
    return false;
}

/* ---- reading ---- */

/* *object is NULL with ORGAN_OK if there is no file. */
static organ_status cache_parse(const organ_cache *cache, json_t **object, organ_error *error)
{
    organ_json_source text = {.label = cache->path};
    const size_t limit = cache->unbounded ? SIZE_MAX : ORGAN_CACHE_LIMIT;
    char *bytes = NULL;
    if (access(cache->path, F_OK) != 0 ||
        organ_input_load(cache->path, cache->path, limit, &bytes, &text.length, error) != ORGAN_OK)
        return error->status;
    text.bytes = bytes;
    organ_json_parse_object(&text, object, error);
    free(bytes);
    return error->status;
}

organ_status organ_cache_load(const organ_cache *cache, const char *within, json_t **document, organ_error *error)
{
    json_t *file = NULL;
    *document = NULL;
    if (cache_parse(cache, &file, error) != ORGAN_OK || !file)
        return error->status;
    json_t *const inner = within ? json_object_get(file, within) : NULL;
    *document = json_incref(json_is_object(inner) ? inner : file);
    json_decref(file);
    const char *const schema = json_string_value(json_object_get(*document, "schema"));
    if (schema && strcmp(schema, cache->schema) == 0)
        return ORGAN_OK;
    organ_fail(error, ORGAN_BAD_INPUT, "%s: its schema is '%.100s', not %s", cache->path, schema ? schema : "",
               cache->schema);
    json_decref(*document);
    *document = NULL;
    return error->status;
}

/* Returns ORGAN_USAGE, with a message about the first member that differs, if the document has another identity than
 * the cache. */
organ_status organ_cache_belongs(const organ_cache *cache, const json_t *document, organ_error *error)
{
    organ_cache_difference d;
    if (!organ_cache_differs(document, cache->identity, &d))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "%s: contains the %s: its %s is %s, but here it is %s; %s", cache->path,
                      cache->content, d.key, d.was, d.is, cache->remedy);
}

organ_status organ_cache_read(const organ_cache *cache, json_t **document, organ_error *error)
{
    organ_error fault = {0};
    if (organ_cache_load(cache, NULL, document, &fault) == ORGAN_OK && *document)
        organ_cache_belongs(cache, *document, &fault);
    if (fault.status) {
        json_decref(*document);
        *document = NULL;
    }
    if (fault.status && !cache->start_over)
        *error = fault;
    return error->status;
}
