/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/cache/cache.h"

#include "formats/base/text_buffer.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

organ_status organ_cache_journal_open(const char *directory, const char *kind, const char *model,
                                      organ_cache_journal *j, organ_error *error)
{
    const unsigned long long key = (unsigned long long)XXH3_64bits(model, strlen(model));
    *j = (organ_cache_journal){.journal = {.fd = -1}};
    char *const folder = organ_format("%s/organ", directory);
    if (!folder || !(j->path = organ_format("%s/%s-%016llx.jsonl", folder, kind, key)))
        organ_fail_memory(error, directory);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be made", folder);
    else if (organ_journal_open(j->path, &j->journal, &j->lines, error) == ORGAN_OK &&
             flock(j->journal.fd, LOCK_EX | LOCK_NB))
        organ_fail(error, ORGAN_USAGE, "%s: another process is measuring this model", j->path);
    free(folder);
    return error->status;
}

organ_status organ_cache_journal_begin(organ_cache_journal *j, json_t *head, const organ_progress *progress,
                                       organ_error *error)
{
    if (!head)
        return organ_fail_memory(error, j->path);
    if (json_equal(head, json_array_get(j->lines, 0))) {
        json_decref(head);
        return ORGAN_OK;
    }
    if (json_array_size(j->lines) > 0)
        organ_progress_note(progress, "%s: the model is not the one that was measured so far: it is measured anew",
                            j->path);
    json_array_clear(j->lines);
    if (organ_journal_clear(&j->journal, error) == ORGAN_OK)
        organ_journal_append(&j->journal, head, error);
    json_decref(head);
    return error->status;
}

organ_status organ_cache_journal_add(const organ_cache_journal *j, json_t *line, organ_error *error)
{
    if (!line)
        return organ_fail_memory(error, j->path);
    organ_journal_append(&j->journal, line, error);
    json_decref(line);
    return error->status;
}

void organ_cache_journal_close(organ_cache_journal *j)
{
    organ_journal_close(&j->journal);
    json_decref(j->lines);
    free(j->path);
}

void organ_cache_journal_forget(const char *path)
{
    char folder[PATH_MAX]; /* no allocation: the folder is removed even if memory has run out */
    const char *const slash = strrchr(path, '/');
    unlink(path);
    if (slash && (size_t)(slash - path) < sizeof folder) {
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        rmdir(folder); /* fails if the folder is not empty */
    }
}
