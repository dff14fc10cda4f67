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

json_t *organ_cache_document(const organ_cache *cache, json_t *body)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", cache->schema),
                                      SET_IF(!cache->unversioned, "organ", json_string(ORGAN_VERSION)));
    return organ_json_joined(organ_json_joined(head, json_copy((json_t *)cache->identity)), body);
}

organ_status organ_cache_write(const organ_cache *cache, json_t *body, organ_error *error)
{
    json_t *document = NULL;
    if (!cache->path || !organ_ranks_first(cache->ranks) || error->status)
        json_decref(body);
    else if ((document = organ_cache_document(cache, body)))
        organ_document_replace(cache->path, document, error);
    else
        organ_fail_memory(error, cache->path);
    json_decref(document);
    return cache->meets ? organ_ranks_agree(cache->ranks, "storing measured values", error) : error->status;
}

static organ_status check_place(const char *path, const char *option, organ_error *error)
{
    const size_t length = (size_t)(organ_path_name(path) - path);
    char *const folder = length ? organ_format("%.*s", (int)length, path) : strdup(".");
    if (!folder)
        return organ_fail_memory(error, path);
    if (access(folder, W_OK | X_OK))
        organ_fail_errno(error, errno, "%s: cannot be created (%s)", path, option);
    free(folder);
    return error->status;
}

organ_status organ_cache_check_place(const char *path, const char *option, organ_ranks *ranks, organ_error *error)
{
    if (path && organ_ranks_first(ranks) && !error->status)
        check_place(path, option, error);
    return organ_ranks_agree(ranks, "checking a file of measured values", error);
}

organ_status organ_cache_start(const char *path, organ_ranks *ranks, organ_error *error)
{
    if (path && organ_ranks_first(ranks) && !error->status)
        unlink(path);
    return organ_ranks_agree(ranks, "reading a file of measured values", error);
}
