/* SPDX-License-Identifier: MIT
 * Writes files of measured values. */
#include "orchestrator/surgery/cache/cache.h"

#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Returns a new document: schema, version of organ (unless cache->unversioned), the members of the identity, then those
 * of `body`. Releases `body`. NULL if an allocation failed or `body` is NULL. */
json_t *organ_cache_document(const organ_cache *cache, json_t *body)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", cache->schema),
                                      SET_IF(!cache->unversioned, "organ", json_string(ORGAN_VERSION)));
    return organ_json_joined(organ_json_joined(head, json_copy((json_t *)cache->identity)), body);
}

/* Replaces the file by a document with `body`. Only the first rank writes. */
organ_status organ_cache_write(const organ_cache *cache, json_t *body, organ_error *error)
{
    if (!organ_ranks_first(cache->ranks)) {
        json_decref(body);
        return ORGAN_OK;
    }
    json_t *const document = organ_cache_document(cache, body);
    if (document)
        organ_document_replace(cache->path, document, error);
    else
        organ_fail_memory(error, cache->path);
    json_decref(document);
    return error->status;
}

/* Checks on the first rank that a file can be made at `path`, so that a long measurement does not fail at its end. */
organ_status organ_cache_check_place(const char *path, const char *option, const organ_ranks *ranks, organ_error *error)
{
    if (!organ_ranks_first(ranks))
        return ORGAN_OK;
    const size_t length = (size_t)(organ_path_name(path) - path);
    char *const folder = length ? organ_format("%.*s", (int)length, path) : strdup(".");
    if (!folder)
        return organ_fail_memory(error, path);
    if (access(folder, W_OK | X_OK))
        organ_fail_errno(error, errno, "%s: cannot be created (%s)", path, option);
    free(folder);
    return error->status;
}
