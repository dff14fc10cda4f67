/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/scan.h"

#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/names/names.h"
#include "formats/safetensors/safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A root may be a whole disk, so a scan has limits. */
enum { DEEPEST = 12, MAX_FOLDERS = 20000, MAX_IN_A_FOLDER = 20000, MAX_MODELS = 10000 };

const char *organ_found_kind_name(organ_found_kind kind)
{
    static const char *const names[] = {"safetensors directory", "organ directory", "adapter", "GGUF", "safetensors"};
    return names[kind];
}

typedef struct scan_walk {
    const organ_jail *jail;
    organ_found_models *found;
    size_t folders;     /* folders visited so far */
    organ_error *error; /* the first fault of the scan, which ends it */
} scan_walk;

/* The path is below the root, "" for the root. */
typedef struct open_folder {
    const char *path;
    organ_jail_entry *entries;
    size_t count;
} open_folder;

static const organ_jail_entry *file_named(const open_folder *f, const char *name)
{
    for (size_t k = 0; k < f->count; k++)
        if (!f->entries[k].directory && strcmp(f->entries[k].name, name) == 0)
            return &f->entries[k];
    return NULL;
}

static char *join_path(const char *path, const char *name)
{
    return organ_format("%s%s%s", path, *path ? "/" : "", name);
}

/* Takes over the path of the model. Sets found->cut instead if there are MAX_MODELS already, or w->error if the path
 * is NULL (memory ran out). */
static void append_found(scan_walk *w, organ_found_model model)
{
    if (model.path && w->found->count < MAX_MODELS &&
        organ_grow(&w->found->models, w->found->count, &w->found->capacity, sizeof *w->found->models)) {
        w->found->models[w->found->count++] = model;
        return;
    }
    if (model.path && w->found->count >= MAX_MODELS)
        w->found->cut = true;
    else
        organ_fail_errno(w->error, ENOMEM, "the list of models");
    free(model.path);
}

/* The files of the model are those with a name that begins with the first `length` bytes of `stem` and ends in
 * `end`; its size, number of files and time are computed from these. Takes over `path`, which is NULL if memory ran
 * out. */
static void add_found_model(scan_walk *w, const open_folder *f, char *path, organ_found_kind kind, const char *stem,
                            size_t length, const char *end)
{
    organ_found_model model = {.path = path, .kind = kind};
    for (size_t k = 0; k < f->count; k++) {
        const organ_jail_entry *const e = &f->entries[k];
        if (e->directory || !organ_ends_with(e->name, end) || strncmp(e->name, stem, length) != 0)
            continue;
        model.bytes += e->bytes;
        model.files++;
        model.modified = e->modified > model.modified ? e->modified : model.modified;
    }
    append_found(w, model);
}

/* The model is a file, or a folder with safetensors or GGUF files. Also lists a damaged model; reading it gives the
 * reason. */
static void add_named(scan_walk *w, const char *name)
{
    organ_error ignored = {0};
    struct stat about = {0};
    open_folder f = {.path = name};
    bool cut;
    if (!organ_jail_stat(w->jail, name, &about, &ignored) && S_ISREG(about.st_mode)) {
        append_found(w, (organ_found_model){.path = strdup(name),
                                            .kind = ORGAN_FOUND_GGUF,
                                            .bytes = (uint64_t)about.st_size,
                                            .files = 1,
                                            .modified = about.st_mtim.tv_sec});
        return;
    }
    organ_jail_list(w->jail, name, MAX_IN_A_FOLDER, &f.entries, &f.count, &cut, &ignored);
    const bool plain = file_named(&f, ORGAN_INDEX_NAME) || file_named(&f, ORGAN_SINGLE_NAME);
    const bool adapter = file_named(&f, "adapter_config.json") && file_named(&f, "adapter_model.safetensors");
    bool gguf = false;
    for (size_t k = 0; k < f.count; k++)
        gguf = gguf || organ_ends_with(f.entries[k].name, ".gguf");
    if (gguf && !plain && !adapter)
        add_found_model(w, &f, strdup(name), ORGAN_FOUND_GGUF, "", 0, ".gguf");
    else
        add_found_model(w, &f, strdup(name), adapter ? ORGAN_FOUND_ADAPTER : ORGAN_FOUND_DIRECTORY, "", 0,
                        ".safetensors");
    organ_jail_list_free(f.entries, f.count);
}

static void add_stores(scan_walk *w)
{
    organ_name_list list;
    if (organ_names_list(&list, w->error) == ORGAN_OK)
        for (size_t k = 0; k < list.count && !w->error->status; k++)
            add_named(w, list.models[k].name);
    w->found->cut = w->found->cut || list.truncated;
    organ_names_list_release(&list);
}

static bool add_folder(scan_walk *w, const open_folder *f)
{
    char *const path = strdup(*f->path ? f->path : ".");
    const organ_jail_entry *const manifest = file_named(f, ORGAN_MANIFEST);
    const size_t before = w->found->count;
    if (manifest)
        add_found_model(w, f, path, ORGAN_FOUND_ORGANS, "", 0, ".bin");
    else if (file_named(f, "adapter_config.json") && file_named(f, "adapter_model.safetensors"))
        add_found_model(w, f, path, ORGAN_FOUND_ADAPTER, "adapter_model", 13, ".safetensors");
    else if (file_named(f, ORGAN_INDEX_NAME) || file_named(f, ORGAN_SINGLE_NAME))
        add_found_model(w, f, path, ORGAN_FOUND_DIRECTORY, "", 0, ".safetensors");
    else {
        free(path);
        return false;
    }
    /* The files of an organ directory are in subfolders; the manifest was written last, so its time is that of the
     * model. */
    if (manifest && w->found->count > before)
        w->found->models[before].modified = manifest->modified;
    return true;
}

static void scan_folder(scan_walk *w, const char *path, int depth);

/* A split GGUF model is added for its first part only. `is_model`: the folder is a model, to which its safetensors
 * files belong. `depth` is the level of the folder. */
static void scan_entry(scan_walk *w, const open_folder *f, const organ_jail_entry *e, bool is_model, int depth)
{
    unsigned part = 1, parts;
    const size_t length = strlen(e->name), stem = organ_gguf_split_parse(e->name, &part, &parts);
    if (e->directory) {
        char *const below = join_path(f->path, e->name);
        if (below)
            scan_folder(w, below, depth + 1);
        else
            organ_fail_errno(w->error, ENOMEM, "the list of models");
        free(below);
    } else if (organ_ends_with(e->name, ".gguf") && (part == 1 || !stem))
        add_found_model(w, f, join_path(f->path, e->name), ORGAN_FOUND_GGUF, e->name, stem ? stem : length, ".gguf");
    else if (organ_ends_with(e->name, ".safetensors") && !is_model)
        add_found_model(w, f, join_path(f->path, e->name), ORGAN_FOUND_FILE, e->name, length, ".safetensors");
}

static void scan_folder(scan_walk *w, const char *path, int depth)
{
    open_folder f = {.path = path};
    bool cut = false;
    organ_error error = {0};
    if (depth > DEEPEST || ++w->folders > MAX_FOLDERS) {
        w->found->cut = true;
        return;
    }
    const unsigned refused = organ_jail_list(w->jail, path, MAX_IN_A_FOLDER, &f.entries, &f.count, &cut, &error);
    if (refused && depth == 0)
        organ_fail(w->error, ORGAN_IO, "%s", error.message);
    w->found->cut = w->found->cut || cut;
    const bool is_model = !refused && add_folder(w, &f);
    /* All files below an organ directory belong to it, so it is not searched. */
    const bool closed = is_model && file_named(&f, ORGAN_MANIFEST);
    for (size_t k = 0; k < f.count && !closed && !w->error->status; k++)
        scan_entry(w, &f, &f.entries[k], is_model, depth);
    organ_jail_list_free(f.entries, f.count);
}

static int found_by_path(const void *a, const void *b)
{
    return strcmp(((const organ_found_model *)a)->path, ((const organ_found_model *)b)->path);
}

organ_status organ_model_scan(const organ_jail *jail, organ_found_models *found, organ_error *error)
{
    scan_walk w = {.jail = jail, .found = found, .error = error};
    *found = (organ_found_models){0};
    scan_folder(&w, "", 0);
    int unused[ORGAN_JAIL_FOLDERS];
    if (!error->status && organ_jail_folders(jail, unused) > 1)
        add_stores(&w);
    if (error->status)
        organ_found_release(found);
    else if (found->count)
        qsort(found->models, found->count, sizeof *found->models, found_by_path);
    return error->status;
}

void organ_found_release(organ_found_models *found)
{
    for (size_t k = 0; k < found->count; k++) {
        free(found->models[k].path);
        free(found->models[k].summary);
    }
    free(found->models);
    *found = (organ_found_models){0};
}
