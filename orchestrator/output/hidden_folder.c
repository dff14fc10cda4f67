/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/hidden_folder.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/output/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *organ_hidden_path(const char *output, const char *ending)
{
    const size_t length = organ_path_length(output);
    const char *name = output + length;
    while (name > output && name[-1] != '/')
        name--;
    return organ_format("%.*s.%.*s.%s", (int)(name - output), output, (int)(output + length - name), name, ending);
}

organ_status organ_hidden_path_check(const char *path, organ_error *error)
{
    struct stat info;
    if (lstat(path, &info) || S_ISDIR(info.st_mode))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: is a %s, but a run needs this name for a temporary directory: remove or rename it", path,
                      S_ISLNK(info.st_mode) ? "symbolic link" : "file");
}

static organ_status lock_folder(const char *path, const char *final, organ_partial *held, organ_error *error)
{
    bool made = true;
    int fault = 0;
    if (organ_hidden_path_check(path, error))
        return error->status;
    const organ_partial_state state = organ_partial_take(path, 0700, held, &made, &fault);
    return made ? organ_partial_judge(state, path, final, fault, error)
                : organ_fail_errno(error, fault, "%s: cannot be made", path);
}

organ_status organ_hidden_folder_open(const char *path, const char *final, organ_ranks *ranks,
                                      organ_hidden_folder *folder, organ_error *error)
{
    *folder = (organ_hidden_folder){.held = {-1, -1}, .shared = !organ_ranks_first(ranks)};
    char *const own = strdup(path);
    if (!own)
        return organ_fail_memory(error, path);
    if (!folder->shared && lock_folder(path, final, &folder->held, error)) {
        free(own);
        return error->status;
    }
    folder->path = own;
    return ORGAN_OK;
}

static organ_status temporary_folder(organ_hidden_folder *folder, organ_error *error)
{
    const char *const under = getenv("TMPDIR");
    char *const made = organ_format("%s/organ-outline-XXXXXX", under && *under ? under : "/tmp");
    if (!made)
        return organ_fail_memory(error, "an outline");
    if (mkdtemp(made)) {
        folder->path = made;
        return ORGAN_OK;
    }
    organ_fail_errno(error, errno, "%s: cannot be made", made);
    free(made);
    return error->status;
}

organ_status organ_outline_folder_open(const char *output, const char *ending, organ_ranks *ranks,
                                       organ_hidden_folder *folder, organ_error *error)
{
    *folder = (organ_hidden_folder){.held = {-1, -1}};
    if (!output)
        return temporary_folder(folder, error);
    const size_t rank = organ_ranks_rank(ranks);
    char *const own = rank ? organ_format("%s.rank%zu", ending, rank) : strdup(ending);
    char *const path = own ? organ_hidden_path(output, own) : NULL;
    if (!path)
        organ_fail_memory(error, output);
    else if (organ_hidden_folder_open(path, output, NULL, folder, error) == ORGAN_OK) {
        const int fault = organ_partial_clear(&folder->held);
        if (fault)
            organ_fail_errno(error, fault, "%s: what an earlier run left cannot be removed", path);
    }
    free(own);
    free(path);
    return error->status;
}

void organ_hidden_folder_leave(organ_hidden_folder *folder)
{
    if (folder->path && !folder->shared)
        organ_partial_unlock(&folder->held);
    free(folder->path);
    *folder = (organ_hidden_folder){0};
}

organ_status organ_hidden_folder_remove(organ_hidden_folder *folder, organ_error *error)
{
    if (folder->path && !folder->shared && organ_remove_tree(folder->path) && errno != ENOENT && !error->status)
        organ_fail_errno(error, errno, "%s: this temporary directory cannot be removed: remove it", folder->path);
    organ_hidden_folder_leave(folder);
    return error->status;
}
