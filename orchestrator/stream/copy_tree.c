/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/copy_tree.h"

#include "formats/base/arena.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/direct_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST 32 /* folders in folders; a model directory has one or two */

typedef struct walk {
    FTS *tree;
    const char *const *skip;
    size_t root, skip_count, room; /* root: the bytes of a path before the name in the directory */
    organ_file_list *list;
    organ_error *error;
} walk;

static bool is_skipped(const walk *w, const char *name)
{
    bool found = fnmatch(".*.organ-partial", name, 0) == 0 || strcmp(name, ORGAN_GROWING_MARK) == 0;
    for (size_t k = 0; k < w->skip_count && !found; k++)
        found = strcmp(w->skip[k], name) == 0;
    return found;
}

static void list_file(walk *w, const char *path, const struct stat *info)
{
    organ_file_list *list = w->list;
    if (!organ_grow(&list->names, list->count, &w->room, sizeof *list->names) || !(list->names[list->count] = strdup(path + w->root))) {
        organ_fail_errno(w->error, ENOMEM, "%.*s: cannot list its files", (int)w->root - 1, path);
        return;
    }
    list->count++;
    list->bytes += (uint64_t)info->st_size;
}

static void visit_entry(walk *w, FTSENT *entry)
{
    const char *const path = entry->fts_path;
    const int kind = entry->fts_info;
    struct stat target;
    if (entry->fts_level > 0 && is_skipped(w, path + w->root))
        fts_set(w->tree, entry, FTS_SKIP);
    else if (kind == FTS_D && entry->fts_level == DEEPEST)
        organ_fail_errno(w->error, ELOOP, "%s: cannot be listed", path);
    else if (kind == FTS_DNR || kind == FTS_DC || (entry->fts_level == 0 && kind != FTS_D && kind != FTS_DP))
        organ_fail_errno(w->error, entry->fts_errno ? entry->fts_errno : ENOTDIR, "%s: cannot be listed", path);
    else if (kind == FTS_NS || (kind == FTS_SL && stat(path, &target)))
        organ_fail_errno(w->error, kind == FTS_NS ? entry->fts_errno : errno, "%s: cannot be copied", path);
    else if (kind == FTS_F || (kind == FTS_SL && S_ISREG(target.st_mode)))
        list_file(w, path, kind == FTS_F ? entry->fts_statp : &target);
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list, organ_error *error)
{
    char *const roots[] = {(char *)directory, NULL};
    *list = (organ_file_list){0};
    walk w = {.root = organ_path_length(directory) + 1, .skip = skip, .skip_count = skip_count, .list = list, .error = error};
    errno = 0;
    w.tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; w.tree && !error->status && (errno = 0, entry = fts_read(w.tree));)
        visit_entry(&w, entry);
    if (!error->status && errno)
        organ_fail_errno(error, errno, "%s: cannot be listed", directory);
    if (w.tree)
        fts_close(w.tree);
    if (error->status)
        organ_list_free(list);
    else if (list->count)
        qsort(list->names, list->count, sizeof *list->names, by_path);
    return error->status;
}

void organ_list_free(organ_file_list *list)
{
    for (size_t k = 0; k < list->count; k++)
        free(list->names[k]);
    free(list->names);
    *list = (organ_file_list){0};
}

organ_status organ_make_folders(char *path, size_t root, organ_error *error)
{
    for (char *slash = path + root; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be made", path);
        *slash = '/';
        if (error->status)
            break;
    }
    return error->status;
}

static organ_status copy_open(int from, const char *from_path, const char *to_path, organ_error *error)
{
    struct stat info;
    organ_direct_file to;
    if (fstat(from, &info))
        return organ_fail_errno(error, errno, "%s: cannot be read", from_path);
    unlink(to_path); /* of an interrupted run, perhaps read-only */
    if (organ_direct_open(to_path, (info.st_mode & 0777) | S_IWUSR, &to, error) == ORGAN_OK) {
        if (!organ_reflink(from, to.fd))
            organ_copy_range(from, from_path, 0, to.fd, to_path, 0, (uint64_t)info.st_size, error);
        if (!error->status)
            organ_direct_sync(&to, error);
        organ_direct_close(&to);
    }
    return error->status;
}

organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name, organ_error *error)
{
    char *const from_path = organ_format("%s/%s", directory, name), *const to_path = organ_format("%s/%s", to_directory, to_name);
    int from = -1;
    if (!from_path || !to_path)
        organ_fail_memory(error, name);
    else if (organ_make_folders(to_path, strlen(to_directory), error) == ORGAN_OK && (from = open(from_path, O_RDONLY | O_CLOEXEC)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be opened", from_path);
    if (from >= 0) {
        copy_open(from, from_path, to_path, error);
        close(from);
    }
    free(from_path);
    free(to_path);
    return error->status;
}
