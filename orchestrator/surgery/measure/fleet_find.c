/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/fleet_find.h"

#include "formats/base/file_calls.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/safetensors/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* Largest number of nested directories; more are an error, as in a loop of the file system. */
#define DEEPEST 32

/* State of a search. */
typedef struct fleet_find_walk {
    const char *root; /* the searched directory */
    const char *skip; /* real path of a folder that is not searched, or NULL */
    organ_fleet_list *list;
    size_t capacity;    /* members for which list->members has memory */
    organ_error *error; /* first error */
} fleet_find_walk;

/* The entries of a folder without hidden ones, in byte order of their names. */
typedef struct fleet_find_folder {
    struct dirent **entries;
    int count;
} fleet_find_folder;

/* Returns a/b, or only one of them if the other is empty. The caller frees it; NULL if memory runs out. */
static char *join_path(const char *a, const char *b) { return organ_format("%s%s%s", a, *a && *b ? "/" : "", b); }

/* Returns the identity (organ_fleet_member) of those files of folder f whose names begin with the first `length`
 * characters of `stem`; 0: all files. `path`: path of the folder. */
static uint64_t fleet_find_identity_of(const fleet_find_walk *w, const char *path, const fleet_find_folder *f,
                                       const char *stem, size_t length)
{
    uint64_t digest = 0;
    for (int k = 0; k < f->count; k++) {
        const char *name = f->entries[k]->d_name;
        struct stat info;
        if (strncmp(name, stem, length) != 0)
            continue;
        char *file = join_path(path, name);
        const int fault = file ? stat(file, &info) : -1;
        if (!file)
            organ_fail_memory(w->error, path);
        else if (fault && organ_is_system_failure(errno))
            organ_fail_errno(w->error, errno, "%s: cannot be examined", file);
        else if (fault == 0 && S_ISREG(info.st_mode)) {
            const int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
            digest = XXH3_64bits_withSeed(facts, sizeof facts, XXH3_64bits_withSeed(name, strlen(name), digest));
        }
        free(file);
    }
    return digest;
}

/* Adds a member to the list, and takes over `path` and `name`; NULL for either means that the caller had no memory. */
static void add_member(fleet_find_walk *w, char *path, char *name, uint64_t identity)
{
    organ_fleet_list *list = w->list;
    if (!path || !name || !organ_grow(&list->members, list->count, &w->capacity, sizeof *list->members)) {
        organ_fail_errno(w->error, ENOMEM, "%s: cannot list its models", w->root);
        free(path);
        free(name);
        return;
    }
    list->members[list->count++] = (organ_fleet_member){path, name, identity};
}

/* Returns whether the folder is one model: it has model.safetensors or model.safetensors.index.json. */
static bool is_single_model(const fleet_find_folder *f)
{
    for (int k = 0; k < f->count; k++)
        if (strcmp(f->entries[k]->d_name, ORGAN_INDEX_NAME) == 0 ||
            strcmp(f->entries[k]->d_name, ORGAN_SINGLE_NAME) == 0)
            return true;
    return false;
}

/* Adds the file `file` of folder f as a member; of a split GGUF only the first part, under a name without the part
 * number. `path`: path of the folder; `relative`: the same from the root. */
static void add_file(fleet_find_walk *w, const char *path, const char *relative, const fleet_find_folder *f,
                     const char *file)
{
    unsigned part, parts;
    const size_t length = strlen(file), stem = organ_gguf_split_parse(file, &part, &parts);
    if (stem && part > 1)
        return;
    char *name = join_path(relative, file);
    if (name && stem)
        strcpy(name + strlen(name) - (length - stem), ".gguf");
    add_member(w, join_path(path, file), name, fleet_find_identity_of(w, path, f, file, stem ? stem : length));
}

static void visit_directory(fleet_find_walk *w, const char *relative, int depth);

/* Visits `entry` of folder f if it is a directory other than w->skip, or adds it if it is a model file. `path`: path of
 * the folder; `relative`: the same from the root; `depth`: its nesting, 0 for the root. */
static void visit_entry(fleet_find_walk *w, const char *path, const char *relative, const fleet_find_folder *f,
                        const char *entry, int depth)
{
    struct stat link;
    int fault = 0;
    char real[PATH_MAX], *below = join_path(relative, entry), *full = join_path(path, entry);
    if (!below || !full)
        organ_fail_memory(w->error, path);
    else if ((fault = lstat(full, &link)) != 0 && organ_is_system_failure(errno))
        organ_fail_errno(w->error, errno, "%s: cannot be examined", full);
    else if (fault == 0 && S_ISDIR(link.st_mode)) {
        if (!w->skip || !realpath(full, real) || strcmp(real, w->skip) != 0)
            visit_directory(w, below, depth + 1);
    } else if (organ_ends_with(entry, ".gguf") || organ_ends_with(entry, ".safetensors"))
        add_file(w, path, relative, f, entry);
    free(below);
    free(full);
}

/* Filter of organ_list_folder: leaves out hidden entries. */
static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* Order of organ_list_folder: by the bytes of names, in any locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Adds the models of a directory and visits the directories in it. An organ directory is one model. A folder with an
 * index or model.safetensors is one model, and the .gguf files and folders in it are visited in addition. `relative`:
 * path from the root, "" for the root; `depth`: 0 for the root. */
static void visit_directory(fleet_find_walk *w, const char *relative, int depth)
{
    fleet_find_folder f = {0};
    char *path = join_path(w->root, relative);
    if (!path)
        organ_fail_memory(w->error, w->root);
    else if (depth >= DEEPEST || (f.count = organ_list_folder(path, &f.entries, is_visible, by_bytes)) < 0) {
        organ_fail_errno(w->error, depth >= DEEPEST ? ELOOP : errno, "%s: cannot be listed", path);
        f.count = 0;
    }
    /* An error of this check ends the search: a folder that is wrongly taken for a model would hide the models in
     * it. */
    bool separate = false;
    if (!w->error->status)
        organ_directory_check(path, &separate, w->error);
    const bool is_model = separate || (f.count > 0 && is_single_model(&f));
    if (is_model && !w->error->status)
        add_member(w, strdup(path), strdup(*relative ? relative : "."), fleet_find_identity_of(w, path, &f, "", 0));
    for (int k = 0; k < f.count && !separate && !w->error->status; k++)
        if (!is_model || !organ_ends_with(f.entries[k]->d_name, ".safetensors"))
            visit_entry(w, path, relative, &f, f.entries[k]->d_name, depth);
    for (int k = 0; k < f.count; k++)
        free(f.entries[k]);
    free(f.entries);
    free(path);
}

/* Comparison for qsort: orders members by name. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const organ_fleet_member *)a)->name, ((const organ_fleet_member *)b)->name);
}

organ_status organ_fleet_find(const char *directory, const char *skip, organ_fleet_list *list, organ_error *error)
{
    *list = (organ_fleet_list){0};
    fleet_find_walk w = {.root = directory, .skip = skip, .list = list, .error = error};
    visit_directory(&w, "", 0);
    if (error->status)
        organ_fleet_release(list);
    else if (list->count)
        qsort(list->members, list->count, sizeof *list->members, by_name);
    return error->status;
}

void organ_fleet_release(organ_fleet_list *list)
{
    for (size_t k = 0; k < list->count; k++) {
        free(list->members[k].path);
        free(list->members[k].name);
    }
    free(list->members);
    *list = (organ_fleet_list){0};
}
