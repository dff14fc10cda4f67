/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/copy_tree.h"

#include "formats/base/arena.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/direct_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST 32 /* folders in folders; a model directory has one or two */

typedef struct walk {
    const char *root;
    const char *const *skip;
    size_t skip_count, room;
    organ_file_list *list;
    organ_error *error;
} walk;

static bool skipped(const walk *w, const char *name)
{
    bool found = fnmatch(".*.organ-partial", name, 0) == 0 || strcmp(name, ORGAN_GROWING_MARK) == 0;
    for (size_t k = 0; k < w->skip_count && !found; k++)
        found = strcmp(w->skip[k], name) == 0;
    return found;
}

static void list_file(walk *w, char *name, uint64_t bytes)
{
    organ_file_list *list = w->list;
    if (!organ_grow(&list->names, list->count, &w->room, sizeof *list->names)) {
        free(name);
        organ_fail_errno(w->error, ENOMEM, "%s: cannot list its files", w->root);
        return;
    }
    list->names[list->count++] = name;
    list->bytes += bytes;
}

static void list_folder(walk *w, const char *folder, int depth);

/* One entry; takes over `name`, its path relative to the root. */
static void list_entry(walk *w, char *name, int depth)
{
    char *path = NULL;
    struct stat info, link;
    if (asprintf(&path, "%s/%s", w->root, name) < 0) {
        organ_fail_errno(w->error, ENOMEM, "%s", name);
        free(name);
        return;
    }
    if (lstat(path, &link) || stat(path, &info))
        organ_fail_errno(w->error, errno, "%s: cannot be copied", path);
    else if (S_ISREG(info.st_mode)) {
        list_file(w, name, (uint64_t)info.st_size);
        name = NULL;
    } else if (S_ISDIR(link.st_mode))
        list_folder(w, name, depth + 1);
    free(name);
    free(path);
}

static void list_folder(walk *w, const char *folder, int depth)
{
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", w->root, *folder ? "/" : "", folder) < 0) {
        organ_fail_errno(w->error, ENOMEM, "%s", folder);
        return;
    }
    DIR *directory = depth < DEEPEST ? opendir(path) : NULL;
    if (!directory)
        organ_fail_errno(w->error, depth < DEEPEST ? errno : ELOOP, "%s: cannot be listed", path);
    for (const struct dirent *entry; directory && !w->error->status && (entry = readdir(directory));) {
        char *name = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (asprintf(&name, "%s%s%s", folder, *folder ? "/" : "", entry->d_name) < 0)
            organ_fail_errno(w->error, ENOMEM, "%s", path);
        else if (skipped(w, name))
            free(name);
        else
            list_entry(w, name, depth);
    }
    if (directory)
        closedir(directory);
    free(path);
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list, organ_error *error)
{
    *list = (organ_file_list){0};
    walk w = {.root = directory, .skip = skip, .skip_count = skip_count, .list = list, .error = error};
    list_folder(&w, "", 0);
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
    char *from_path = NULL, *to_path = NULL;
    if (asprintf(&from_path, "%s/%s", directory, name) < 0)
        from_path = NULL;
    if (asprintf(&to_path, "%s/%s", to_directory, to_name) < 0)
        to_path = NULL;
    if (!from_path || !to_path)
        organ_fail_memory(error, name);
    else if (organ_make_folders(to_path, strlen(to_directory), error) == ORGAN_OK) {
        const int from = open(from_path, O_RDONLY | O_CLOEXEC);
        if (from < 0)
            organ_fail_errno(error, errno, "%s: cannot be opened", from_path);
        else {
            copy_open(from, from_path, to_path, error);
            close(from);
        }
    }
    free(from_path);
    free(to_path);
    return error->status;
}
