/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/copy_tree.h"

#include "formats/base/arena.h"
#include "formats/base/file_calls.h"
#include "formats/base/order.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/disk/direct_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST 32 /* largest depth of nested folders; a model directory has one or two */

typedef struct copy_tree_walk {
    char path[PATH_MAX];     /* path of the current entry */
    const char *const *skip; /* relative paths to leave out */
    size_t root;             /* bytes of a path before the part relative to the listed directory */
    size_t skip_count;       /* number of `skip` */
    size_t capacity;         /* allocated entries of list->names */
    organ_file_list *list;   /* result */
    organ_error *error;
} copy_tree_walk;

/* `name` is a relative path. Leaves out the mark of an unfinished output (ORGAN_GROWING_MARK), unfinished outputs
 * (.*.organ-partial), notes of finished outputs (.*.organ-finished), and names in w->skip. */
static bool is_skipped(const copy_tree_walk *w, const char *name)
{
    bool found = strcmp(name, ORGAN_GROWING_MARK) == 0 || fnmatch(".*.organ-partial", name, 0) == 0 ||
                 fnmatch(".*.organ-finished", name, 0) == 0;
    for (size_t k = 0; k < w->skip_count && !found; k++)
        found = strcmp(w->skip[k], name) == 0;
    return found;
}

static void list_file(copy_tree_walk *w, const struct stat *info)
{
    organ_file_list *list = w->list;
    if (!organ_grow(&list->names, list->count, &w->capacity, sizeof *list->names) ||
        !(list->names[list->count] = strdup(w->path + w->root))) {
        organ_fail_errno(w->error, ENOMEM, "%.*s: cannot list its files", (int)w->root - 1, w->path);
        return;
    }
    list->count++;
    list->bytes += (uint64_t)info->st_size;
}

static void list_folder(copy_tree_walk *w, size_t length, int depth);

/* Ignores links to folders, sockets and other special files. */
static void visit_entry(copy_tree_walk *w, size_t length, int depth)
{
    struct stat info;
    if (is_skipped(w, w->path + w->root))
        return;
    const bool there = lstat(w->path, &info) == 0, is_link = there && S_ISLNK(info.st_mode);
    if (!there || (is_link && stat(w->path, &info)))
        organ_fail_errno(w->error, errno, "%s: cannot be copied", w->path);
    else if (S_ISREG(info.st_mode))
        list_file(w, &info);
    else if (S_ISDIR(info.st_mode) && !is_link)
        list_folder(w, length, depth);
}

/* Does not use fts(3), because that of glibc crashes if an allocation fails. Fails with ELOOP at depth DEEPEST. */
static void list_folder(copy_tree_walk *w, size_t length, int depth)
{
    errno = ELOOP;
    DIR *const folder = depth < DEEPEST ? organ_open_folder(w->path) : NULL;
    if (!folder)
        organ_fail_errno(w->error, errno, "%s: cannot be listed", w->path);
    for (const struct dirent *entry; folder && !w->error->status && (errno = 0, entry = readdir(folder));) {
        const size_t name = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (length + 1 + name >= sizeof w->path) {
            organ_fail_errno(w->error, ENAMETOOLONG, "%s: cannot be listed", w->path);
            break;
        }
        snprintf(w->path + length, sizeof w->path - length, "/%s", entry->d_name);
        visit_entry(w, length + 1 + name, depth + 1);
        w->path[length] = '\0';
    }
    if (folder && !w->error->status && errno)
        organ_fail_errno(w->error, errno, "%s: cannot be listed", w->path);
    if (folder)
        closedir(folder);
}

/* The list is in byte order. */
organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list,
                              organ_error *error)
{
    const size_t length = organ_path_length(directory);
    *list = (organ_file_list){0};
    copy_tree_walk w = {.root = length + 1, .skip = skip, .skip_count = skip_count, .list = list, .error = error};
    if (length >= sizeof w.path)
        return organ_fail_errno(error, ENAMETOOLONG, "%s: cannot be listed", directory);
    memcpy(w.path, directory, length);
    list_folder(&w, length, 0);
    if (error->status)
        organ_list_release(list);
    else if (list->count)
        qsort(list->names, list->count, sizeof *list->names, organ_order_texts);
    return error->status;
}

void organ_list_release(organ_file_list *list)
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
        if (organ_make_folder(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be created", path);
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
    organ_remove_file(to_path); /* left by an interrupted run, perhaps read-only */
    if (organ_direct_open(to_path, (info.st_mode & 0777) | S_IWUSR, &to, error) == ORGAN_OK) {
        if (!organ_reflink(from, to.fd))
            organ_copy_range(from, from_path, 0, to.fd, to_path, 0, (uint64_t)info.st_size, error);
        if (!error->status)
            organ_direct_sync(&to, error);
        organ_direct_close(&to);
    }
    return error->status;
}

organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name,
                             organ_error *error)
{
    char *const from_path = organ_format("%s/%s", directory, name), *const to_path =
                                                                        organ_format("%s/%s", to_directory, to_name);
    int from = -1;
    if (!from_path || !to_path)
        organ_fail_memory(error, name);
    else if (organ_make_folders(to_path, strlen(to_directory), error) == ORGAN_OK &&
             (from = organ_open(from_path, O_RDONLY, 0)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be opened", from_path);
    if (from >= 0) {
        copy_open(from, from_path, to_path, error);
        close(from);
    }
    free(from_path);
    free(to_path);
    return error->status;
}
