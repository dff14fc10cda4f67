/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/publish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_WHILE_REMOVING 16

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static int remove_tree(const char *path) { return nftw(path, remove_one, OPEN_WHILE_REMOVING, FTW_DEPTH | FTW_PHYS); }

static bool is_empty_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        return false;
    size_t entries = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) && entries == 0;)
        entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return entries == 0;
}

/* final, parent and partial from the path as the user wrote it. */
static organ_status split_path(const char *path, organ_publish *publish, organ_error *error)
{
    publish->final = strdup(path);
    char *for_parent = strdup(path), *for_name = strdup(path);
    if (publish->final && for_parent && for_name) {
        for (size_t n = strlen(publish->final); n > 1 && publish->final[n - 1] == '/'; n--)
            publish->final[n - 1] = '\0';
        const char *name = basename(for_name);
        publish->parent = strdup(dirname(for_parent));
        if (*path == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0)
            organ_fail(error, ORGAN_USAGE, "'%s' cannot be the name of an output", path);
        else if (!publish->parent || asprintf(&publish->partial, "%s/.%s.organ-partial", publish->parent, name) < 0)
            publish->partial = NULL;
    }
    free(for_parent);
    free(for_name);
    return error->status || publish->partial ? error->status : organ_fail_errno(error, ENOMEM, "%s", path);
}

static organ_status lock(organ_publish *publish, organ_error *error)
{
    publish->lock = open(publish->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (publish->lock < 0)
        return organ_fail_errno(error, errno, "%s: cannot be opened", publish->partial);
    if (flock(publish->lock, LOCK_EX | LOCK_NB))
        return organ_fail(error, ORGAN_USAGE, "%s: another process is writing this output", publish->final);
    return ORGAN_OK;
}

static organ_status make_partial(organ_publish *publish, bool resume, bool force, organ_error *error)
{
    struct stat info;
    if (stat(publish->parent, &info) || !S_ISDIR(info.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s: the directory '%s' to put it in does not exist", publish->final, publish->parent);
    if (lstat(publish->partial, &info) == 0) {
        if (!resume && !force)
            return organ_fail(error, ORGAN_USAGE, "%s: an unfinished run was found in %s: --resume continues it, --force starts over",
                              publish->final, publish->partial);
        if (lock(publish, error))
            return error->status;
        publish->resumed = resume;
        if (resume)
            return ORGAN_OK;
        close(publish->lock);
        publish->lock = -1;
        if (remove_tree(publish->partial))
            return organ_fail_errno(error, errno, "%s: cannot be removed", publish->partial);
    }
    if (mkdir(publish->partial, 0777))
        return organ_fail_errno(error, errno, "%s: cannot be made", publish->partial);
    return lock(publish, error);
}

organ_status organ_publish_check(const char *final, bool force, organ_error *error)
{
    struct stat info;
    if (lstat(final, &info) == 0 && !is_empty_directory(final) && !force)
        return organ_fail(error, ORGAN_USAGE, "%s exists; --force replaces it once the new output is whole", final);
    return ORGAN_OK;
}

organ_status organ_publish_begin(const char *final, bool resume, bool force, organ_publish *publish, organ_error *error)
{
    *publish = (organ_publish){.lock = -1};
    if (split_path(final, publish, error))
        return error->status;
    return organ_publish_check(publish->final, force, error) ? error->status : make_partial(publish, resume, force, error);
}

char *organ_publish_path(const organ_publish *publish, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", publish->partial, name) < 0 ? NULL : path;
}

organ_status organ_sync_directory(const char *path, organ_error *error)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool done = fd >= 0 && fsync(fd) == 0;
    if (!done)
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", path);
    if (fd >= 0)
        close(fd);
    return error->status;
}

/* Gives `grown` the final name. If something is there, only --force lets us get here: the two are exchanged, so that the name is never
 * without a whole output. */
static organ_status take_name(const organ_publish *publish, const char *grown, bool *exchanged, organ_error *error)
{
    *exchanged = false;
    if (rename(grown, publish->final) == 0)
        return ORGAN_OK;
    const int reason = errno; /* there may be nothing to exchange with: then the first refusal is the one to tell */
    *exchanged = renameat2(AT_FDCWD, grown, AT_FDCWD, publish->final, RENAME_EXCHANGE) == 0;
    return *exchanged ? ORGAN_OK
                      : organ_fail_errno(error, errno == ENOENT ? reason : errno, "%s: cannot be renamed to %s", grown, publish->final);
}

organ_status organ_publish_commit(organ_publish *publish, organ_error *error)
{
    bool exchanged;
    if (organ_sync_directory(publish->partial, error) || take_name(publish, publish->partial, &exchanged, error))
        return error->status;
    if (exchanged && remove_tree(publish->partial))
        return organ_fail_errno(error, errno, "%s: the former %s cannot be removed", publish->partial, publish->final);
    return organ_sync_directory(publish->parent, error);
}

organ_status organ_publish_commit_file(organ_publish *publish, const char *name, organ_error *error)
{
    bool exchanged;
    char *grown = organ_publish_path(publish, name);
    if (!grown)
        organ_fail_errno(error, ENOMEM, "%s", publish->final);
    else if (take_name(publish, grown, &exchanged, error) == ORGAN_OK && remove_tree(publish->partial))
        organ_fail_errno(error, errno, "%s: cannot be removed", publish->partial);
    free(grown);
    return error->status ? error->status : organ_sync_directory(publish->parent, error);
}

void organ_publish_abandon(organ_publish *publish)
{
    if (publish->lock >= 0)
        remove_tree(publish->partial);
}

void organ_publish_end(organ_publish *publish)
{
    if (publish->partial && publish->lock >= 0)
        close(publish->lock);
    free(publish->final);
    free(publish->partial);
    free(publish->parent);
    *publish = (organ_publish){.lock = -1};
}
