/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/models_parts.h"

#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/names/names.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <organ/base.h>
#include <organ/inspect.h>
#include <organ/machine.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GROUPS = ORGAN_GROUP_OTHER + 1, CELLS_OF_LAYER = GROUPS * ORGAN_ANATOMY_ROWS };

typedef struct cell {
    json_int_t tensors, elements, bytes;
} cell;

/* Sets a member of the result to the member of `facts` with the same key. */
#define FACT(key) SET_HELD(key, json_object_get(facts, key))

/* "layer" is null if `layer` is -1: tensors outside all layers. `group` is an organ_group, `role` a row of the
 * anatomy. */
static json_t *cell_json(const cell *c, json_int_t layer, size_t group, size_t role)
{
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I}", "layer", layer < 0 ? json_null() : json_integer(layer), "role",
                     organ_anatomy_row_name((unsigned)role), "group", organ_group_name((organ_group)group), "tensors",
                     c->tensors, "elements", c->elements, "bytes", c->bytes);
}

/* The cells are cells[line][group][row]. Line 0 is for tensors outside all layers, line k + 1 for layer k. Returns
 * true if it has left out tensors of layers from ORGAN_DETAILS_MAX on. */
static bool count_cells(const organ_model *model, cell *cells)
{
    bool more = false;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (t->anatomy.layer >= (int32_t)ORGAN_DETAILS_MAX) {
            more = true;
            continue;
        }
        const size_t line = (size_t)(t->anatomy.layer + 1);
        cell *const c = &cells[line * CELLS_OF_LAYER + (size_t)t->anatomy.group * ORGAN_ANATOMY_ROWS +
                               organ_anatomy_row(&t->anatomy)];
        c->tensors++;
        c->elements += (json_int_t)t->elements;
        c->bytes += (json_int_t)t->bytes;
    }
    return more;
}

/* Appends "anatomy" to `cut` if some tensors are left out. NULL if out of memory. */
static json_t *anatomy_cells(const organ_model *model, json_t *cut)
{
    const size_t count = (size_t)(ORGAN_DETAILS_MAX + 1) * CELLS_OF_LAYER;
    ORGAN_OWNED cell *const cells = calloc(count, sizeof *cells);
    json_t *const anatomy = cells ? json_array() : NULL;
    bool complete = anatomy != NULL;
    if (complete && count_cells(model, cells))
        complete = json_array_append_new(cut, json_string("anatomy")) == 0;
    for (size_t k = 0; complete && k < count; k++)
        if (cells[k].tensors)
            complete = json_array_append_new(anatomy, cell_json(&cells[k], (json_int_t)(k / CELLS_OF_LAYER) - 1,
                                                                k % CELLS_OF_LAYER / ORGAN_ANATOMY_ROWS,
                                                                k % ORGAN_ANATOMY_ROWS)) == 0;
    if (complete)
        return anatomy;
    json_decref(anatomy);
    return NULL;
}

static json_t *dtypes_of(const json_t *report)
{
    json_t *const names = json_array(), *const rows = json_object_get(report, "dtypes");
    for (size_t k = 0; k < json_array_size(rows); k++)
        json_array_append(names, json_object_get(json_array_get(rows, k), "dtype"));
    return names;
}

static json_int_t count_layers(const organ_model *model)
{
    json_int_t layers = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        layers = model->tensors[k].anatomy.layer >= layers ? (json_int_t)model->tensors[k].anatomy.layer + 1 : layers;
    return layers;
}

/* The report (organ.inspect/1) becomes the member "inspect"; the caller keeps its own reference. Moves "cut" from
 * the report to the description. NULL if memory runs out. */
static json_t *details_of(const organ_model *model, json_t *report, const char *path)
{
    const json_t *const facts = json_object_get(report, "model");
    /* Clients must not learn where the root is on this machine. */
    if (!ORGAN_ADD(report, SET("run", ORGAN_OBJECT(SET_TEXT("model", path)))))
        return NULL;
    json_t *const cut = json_incref(json_object_get(report, "cut")), *const anatomy = anatomy_cells(model, cut);
    json_object_del(report, "cut");
    return ORGAN_OBJECT(FACT("format"), FACT("architecture"), FACT("model_type"), FACT("tensors"), FACT("elements"),
                        FACT("bytes"), FACT("files"), SET_TEXT("path", path),
                        SET_HELD("problems", json_object_get(report, "problems")),
                        SET_COUNT("layers", count_layers(model)), SET("dtypes", dtypes_of(report)),
                        SET("anatomy", anatomy), SET("cut", cut), SET_HELD("inspect", report));
}

/* An inspection that finds faults but makes a report is no error: the report lists the faults. */
static organ_status model_details(const organ_model *model, const char *path, char **details, char **summary,
                                  organ_error *error)
{
    const organ_inspect_options options = {.opened = model, .max = ORGAN_DETAILS_MAX};
    organ_error fault = {0};
    ORGAN_OWNED_JSON json_t *report = NULL;
    *details = *summary = NULL;
    if (organ_inspect(&options, &report, &fault) != ORGAN_OK && !report) {
        *error = fault;
        return error->status;
    }
    const json_t *const facts = json_object_get(report, "model");
    json_t *const shorter = ORGAN_OBJECT(FACT("format"), FACT("architecture"), FACT("tensors"), FACT("elements"),
                                         FACT("bytes"), FACT("files"));
    ORGAN_OWNED_JSON json_t *const shown = details_of(model, report, path);
    const bool complete = shown && shorter;
    *details = complete ? json_dumps(shown, JSON_COMPACT) : NULL;
    *summary = complete ? json_dumps(shorter, JSON_COMPACT) : NULL;
    json_decref(shorter);
    if (*details && *summary)
        return ORGAN_OK;
    ORGAN_FREE_ARRAYS(*details, *summary);
    *details = *summary = NULL;
    return organ_fail_errno(error, ENOMEM, "'%s': its details", path);
}

typedef struct texts {
    char *details, *summary;
} texts;

/* catalog_put fills the block from its beginning. Without `base` it only computes its size. */
typedef struct layout {
    char *base;  /* memory filled with zeros; NULL: none */
    size_t size; /* bytes appended so far */
} layout;

static void *catalog_put(layout *l, const void *data, size_t size)
{
    char *const at = l->base ? l->base + l->size : NULL;
    l->size += size;
    return at && data ? memcpy(at, data, size) : at;
}

static const char *catalog_put_text(layout *l, const char *text) { return catalog_put(l, text, strlen(text) + 1); }

/* If l->base is NULL, only computes the size of the block; `unused` then stands for the catalog, so that its members
 * can be set. The parts that need alignment (catalog, tensors, files, shapes) are first, then the texts. Consecutive
 * tensors with equal shapes share one stored shape. */
static void lay_out_model(layout *l, const organ_model *model, const texts *t)
{
    organ_catalog unused, *const block = catalog_put(l, /*data=*/NULL, sizeof *block),
                                 *const catalog = block ? block : &unused;
    organ_tensor *const tensors = catalog_put(l, model->tensors, model->tensor_count * sizeof *tensors);
    const char **const files = catalog_put(l, /*data=*/NULL, model->file_count * sizeof *files);
    const uint64_t *shape = NULL;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (k == 0 || !ORGAN_SAME_SHAPE(tensor - 1, tensor))
            shape = catalog_put(l, tensor->shape, tensor->rank * sizeof *shape);
        if (tensors)
            tensors[k].shape = shape;
    }
    for (size_t k = 0; k < model->tensor_count; k++) {
        const char *const name = catalog_put_text(l, model->tensors[k].name);
        if (tensors)
            tensors[k].name = name;
    }
    for (size_t k = 0; k < model->file_count; k++) {
        const char *const name = catalog_put_text(l, model->files[k].name);
        if (files)
            files[k] = name;
    }
    *catalog = (organ_catalog){.count = model->tensor_count,
                               .file_count = model->file_count,
                               .tensors = tensors,
                               .files = files,
                               .details_length = strlen(t->details)};
    catalog->details = catalog_put_text(l, t->details);
    catalog->summary = catalog_put_text(l, t->summary);
    catalog->bytes = l->size;
}

/* Returns 0, or the status of HTTP that reports the error. */
static unsigned pack_model(const organ_model *model, const texts *t, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error)
{
    layout l = {0};
    char needed[32], allowed[32];
    lay_out_model(&l, model, t);
    if (l.size > max) {
        organ_fail(error, ORGAN_IO,
                   "'%s': the list of its %zu tensors needs %s of memory, more than the limit (--shelf %s)", path,
                   model->tensor_count, organ_quantity_option(l.size, needed), organ_quantity_option(max, allowed));
        return 507;
    }
    void *const block = mmap(NULL, l.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        organ_fail_errno(error, ENOMEM, "'%s': a list of %zu tensors", path, model->tensor_count);
        return 500;
    }
    lay_out_model(&(layout){.base = block}, model, t);
    *catalog = block;
    return 0;
}

void organ_catalog_free(organ_catalog *catalog)
{
    if (catalog)
        munmap(catalog, catalog->bytes);
}

/* ---- a block of another process ---- */

typedef struct foreign_block {
    char *at; /* address of the block in this process */
    size_t bytes;
    uint64_t base;    /* its address in the other process */
    size_t begin;     /* bytes of the arrays found so far (next_array); after the last one, the offset of shapes and
                         texts. Adopting changes the arrays, so no pointer may refer to bytes before `begin` */
    size_t named;     /* bytes of the names checked so far */
    uint64_t weights; /* size of the tensors checked so far, in their files */
} foreign_block;

/* Returns NULL unless the `size` bytes at the translated address are within the shapes and texts of the block. */
static const void *own_place(const foreign_block *b, const void *pointer, size_t size)
{
    const uint64_t offset = (uint64_t)(uintptr_t)pointer - b->base;
    return offset >= b->begin && offset < b->bytes && size <= b->bytes - offset ? b->at + offset : NULL;
}

/* The last byte of the block is a NUL, so the text ends within it. */
static const char *own_text(const foreign_block *b, const char *text) { return own_place(b, text, 1); }

/* Returns NULL also if the names together are longer than the block: then they overlap, and checking many long
 * overlapping names would take very long even in a short block. */
static const char *own_name(foreign_block *b, const char *text)
{
    const char *const own = own_text(b, text);
    b->named += own ? strlen(own) + 1 : 0;
    return b->named <= b->bytes ? own : NULL;
}

/* Returns NULL also if the shape is not aligned or the rank is too large. */
static const uint64_t *own_shape(const foreign_block *b, const organ_tensor *tensor)
{
    const void *const own = tensor->rank <= ORGAN_SAFETENSORS_RANK_LIMIT
                                ? own_place(b, tensor->shape, tensor->rank * sizeof *tensor->shape)
                                : NULL;
    return (uintptr_t)own % _Alignof(uint64_t) == 0 ? own : NULL;
}

/* An integer of JSON is at most 2^63 - 1. */
static bool sum_is_number(foreign_block *b, const organ_tensor *tensor)
{
    return !__builtin_add_overflow(b->weights, tensor->bytes, &b->weights) && b->weights <= INT64_MAX;
}

/* Checks a tensor that the worker process has sent and makes its pointers those of this process. Returns false if a
 * value is out of its range. */
static bool adopt_tensor(foreign_block *b, organ_tensor *tensor, size_t files)
{
    const organ_anatomy *const a = &tensor->anatomy;
    tensor->name = own_name(b, tensor->name);
    tensor->shape = own_shape(b, tensor);
    return tensor->name && organ_utf8_valid(tensor->name) && tensor->shape && sum_is_number(b, tensor) &&
           (unsigned)tensor->dtype < ORGAN_DTYPE_COUNT && tensor->file < files &&
           (unsigned)a->role < ORGAN_ROLE_COUNT && (unsigned)a->group <= ORGAN_GROUP_OTHER &&
           (unsigned)a->experts <= ORGAN_EXPERTS_SHARED && organ_anatomy_role_name(a) && a->layer >= -1 &&
           a->expert >= -1;
}

/* Moves b->begin to the end of the array. The array must begin at b->begin, because tensors and files follow the
 * catalog in this order; returns NULL if it does not, or exceeds the block. */
static void *next_array(foreign_block *b, const void *pointer, size_t count, size_t size)
{
    char *const own = b->at + b->begin;
    if ((uint64_t)(uintptr_t)pointer - b->base != b->begin || count > (b->bytes - b->begin) / size)
        return NULL;
    b->begin += count * size;
    return own;
}

static bool is_object(const char *text)
{
    json_error_t fault;
    bool no_memory;
    ORGAN_OWNED_JSON json_t *const json = organ_json_load(text, strlen(text), 0, &fault, &no_memory);
    return json_is_object(json);
}

/* A malicious model may have taken over the process that wrote the block, so the function checks all members. */
bool organ_catalog_adopt(void *block, size_t bytes, uint64_t base)
{
    organ_catalog *const catalog = block;
    foreign_block b = {.at = block, .bytes = bytes, .base = base, .begin = sizeof *catalog};
    if (bytes <= sizeof *catalog || b.at[bytes - 1] != '\0')
        return false;
    organ_tensor *const tensors = next_array(&b, catalog->tensors, catalog->count, sizeof *tensors);
    const char **const files = tensors ? next_array(&b, catalog->files, catalog->file_count, sizeof *files) : NULL;
    bool good = files != NULL;
    for (size_t k = 0; good && k < catalog->count; k++)
        good = adopt_tensor(&b, &tensors[k], catalog->file_count);
    for (size_t k = 0; good && k < catalog->file_count; k++)
        good = (files[k] = own_name(&b, files[k])) != NULL;
    if (!good)
        return false;
    *catalog = (organ_catalog){.bytes = bytes,
                               .count = catalog->count,
                               .file_count = catalog->file_count,
                               .tensors = tensors,
                               .files = files,
                               .details = own_text(&b, catalog->details),
                               .details_length = catalog->details_length,
                               .summary = own_text(&b, catalog->summary)};
    return catalog->details && catalog->summary && strlen(catalog->details) == catalog->details_length &&
           is_object(catalog->details) && is_object(catalog->summary);
}

/* ---- reading ---- */

unsigned organ_catalog_read(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                            organ_error *error)
{
    organ_model *model = NULL;
    texts t = {NULL, NULL};
    unsigned status = 0;
    *catalog = NULL;
    if (organ_model_open(absolute, &model, error) == ORGAN_OK)
        model_details(model, path, &t.details, &t.summary, error);
    if (error->status)
        status = error->status == ORGAN_BAD_INPUT ? 422 : 500;
    else
        status = pack_model(model, &t, path, max, catalog, error);
    organ_model_close(model);
    ORGAN_FREE_ARRAYS(t.details, t.summary);
    return status;
}

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
        add_found_model(w, &f, strdup(name), ORGAN_FOUND_GGUF, /*stem=*/"", /*length=*/0, ".gguf");
    else
        add_found_model(w, &f, strdup(name), adapter ? ORGAN_FOUND_ADAPTER : ORGAN_FOUND_DIRECTORY, /*stem=*/"",
                        /*length=*/0, ".safetensors");
    organ_jail_list_free(f.entries, f.count);
}

/* Adds the models of the stores by their names. */
static void add_stores(scan_walk *w)
{
    ORGAN_RELEASED_BY(organ_names_list_release) organ_name_list list = {0};
    if (organ_names_list(&list, w->error) == ORGAN_OK)
        for (size_t k = 0; k < list.count && !w->error->status; k++)
            add_named(w, list.models[k].name);
    w->found->cut = w->found->cut || list.truncated;
}

/* Returns false if the folder is no model. */
static bool add_folder(scan_walk *w, const open_folder *f)
{
    char *const path = strdup(*f->path ? f->path : ".");
    const organ_jail_entry *const manifest = file_named(f, ORGAN_MANIFEST);
    const size_t before = w->found->count;
    if (manifest)
        add_found_model(w, f, path, ORGAN_FOUND_ORGANS, /*stem=*/"", /*length=*/0, ".bin");
    else if (file_named(f, "adapter_config.json") && file_named(f, "adapter_model.safetensors"))
        add_found_model(w, f, path, ORGAN_FOUND_ADAPTER, "adapter_model", strlen("adapter_model"), ".safetensors");
    else if (file_named(f, ORGAN_INDEX_NAME) || file_named(f, ORGAN_SINGLE_NAME))
        add_found_model(w, f, path, ORGAN_FOUND_DIRECTORY, /*stem=*/"", /*length=*/0, ".safetensors");
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

/* Adds the models in the folder and below it; `depth` is its level, 0 for the root. */
static void scan_folder(scan_walk *w, const char *path, int depth);

/* A split GGUF model is added for its first part only. `is_model`: the folder is a model, to which its safetensors
 * files belong. `depth` is the level of the folder. */
static void scan_entry(scan_walk *w, const open_folder *f, const organ_jail_entry *e, bool is_model, int depth)
{
    unsigned part = 1, parts;
    const size_t length = strlen(e->name), stem = organ_gguf_split_parse(e->name, &part, &parts);
    if (e->directory) {
        ORGAN_OWNED char *const below = join_path(f->path, e->name);
        if (below)
            scan_folder(w, below, depth + 1);
        else
            organ_fail_errno(w->error, ENOMEM, "the list of models");
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
    scan_folder(&w, "", /*depth=*/0);
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
    for (size_t k = 0; k < found->count; k++)
        ORGAN_FREE_ARRAYS(found->models[k].path, found->models[k].summary);
    free(found->models);
    *found = (organ_found_models){0};
}
