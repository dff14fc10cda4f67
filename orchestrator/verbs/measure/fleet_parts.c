/* SPDX-License-Identifier: MIT
 * Finds the models of a fleet and recognises their kinds and prunings; keeps the results of an interrupted run.
 * Ranks: rank 0 reads these results and sends the valid entries to the others. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/model/recognise.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/output/cache.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* Largest number of nested directories; more are an error, as in a loop of the file system. */
#define DEEPEST 32

typedef struct fleet_find_walk {
    const char *root; /* the searched directory */
    const char *skip; /* real path of a folder that is not searched, or NULL */
    organ_fleet_list *list;
    size_t capacity;    /* members for which list->members has memory */
    organ_error *error; /* first error */
} fleet_find_walk;

typedef struct fleet_find_folder {
    struct dirent **entries;
    int count;
} fleet_find_folder;

static char *join_path(const char *a, const char *b) { return organ_format("%s%s%s", a, *a && *b ? "/" : "", b); }

/* Returns a digest of names, sizes and times of the files in the folder. Only files whose names begin with the first
 * `length` characters of `stem` count; with 0 all files do. */
static uint64_t fleet_find_identity_of(const fleet_find_walk *w, const char *path, const fleet_find_folder *f,
                                       const char *stem, size_t length)
{
    uint64_t digest = 0;
    for (int k = 0; k < f->count; k++) {
        const char *name = f->entries[k]->d_name;
        struct stat info;
        if (strncmp(name, stem, length) != 0)
            continue;
        ORGAN_OWNED char *file = join_path(path, name);
        const int fault = file ? stat(file, &info) : -1;
        if (!file)
            organ_fail_memory(w->error, path);
        else if (fault && organ_is_system_failure(errno))
            organ_fail_errno(w->error, errno, "%s: cannot be examined", file);
        else if (fault == 0 && S_ISREG(info.st_mode)) {
            const int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
            digest = XXH3_64bits_withSeed(facts, sizeof facts, XXH3_64bits_withSeed(name, strlen(name), digest));
        }
    }
    return digest;
}

/* The function takes over `path` and `name`; NULL for either means that the caller had no memory. */
static void add_member(fleet_find_walk *w, char *path, char *name, uint64_t identity)
{
    organ_fleet_list *list = w->list;
    if (!path || !name || !organ_grow(&list->members, list->count, &w->capacity, sizeof *list->members)) {
        organ_fail_errno(w->error, ENOMEM, "%s: cannot list its models", w->root);
        ORGAN_FREE_ARRAYS(path, name);
        return;
    }
    list->members[list->count++] = (organ_fleet_member){path, name, identity};
}

static bool is_single_model(const fleet_find_folder *f)
{
    for (int k = 0; k < f->count; k++)
        if (strcmp(f->entries[k]->d_name, ORGAN_INDEX_NAME) == 0 ||
            strcmp(f->entries[k]->d_name, ORGAN_SINGLE_NAME) == 0)
            return true;
    return false;
}

/* A split GGUF is added as its first part, under a name without the part number. `relative` is `path` from the root. */
static void add_file(fleet_find_walk *w, const char *path, const char *relative, const fleet_find_folder *f,
                     const char *file)
{
    unsigned part, parts;
    const size_t length = strlen(file), stem = organ_gguf_split_parse(file, &part, &parts);
    if (stem && part > 1)
        return;
    char *name = join_path(relative, file);
    if (name && stem)
        strcpy(name + strlen(name) - (length - stem), ".gguf"); /* shorter than "-00001-of-00002.gguf" */
    add_member(w, join_path(path, file), name, fleet_find_identity_of(w, path, f, file, stem ? stem : length));
}

static void visit_directory(fleet_find_walk *w, const char *relative, int depth);

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
    ORGAN_FREE_ARRAYS(below, full);
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* The order is that of bytes, in any locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* An organ directory is one model. A folder with an index or model.safetensors is one model, and the .gguf files and
 * folders in it are visited in addition. `relative` is "" for the root. */
static void visit_directory(fleet_find_walk *w, const char *relative, int depth)
{
    fleet_find_folder f = {0};
    ORGAN_OWNED char *path = join_path(w->root, relative);
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
}

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
    for (size_t k = 0; k < list->count; k++)
        ORGAN_FREE_ARRAYS(list->members[k].path, list->members[k].name);
    free(list->members);
    *list = (organ_fleet_list){0};
}

/* ---- kinds of models ---- */

/* Kinds by values of general.type or general.architecture in GGUF files. */
static const struct word {
    const char *word, *kind;
} words[] = {{"adapter", "adapter"},
             {"imatrix", "imatrix"},
             {"mmproj", "multimodal projector"},
             {"clip", "multimodal projector"},
             {"controlvector", "control vector"},
             {"vocab", "vocabulary only"}};

/* Kinds by parts of names of tensors. Names in models do not have these parts. */
static const struct word names[] = {
    {".lora_", "adapter"},
    {"lora_down.", "adapter"},
    {"lora_up.", "adapter"},
    {".lora.", "adapter"},
    {".hada_w", "adapter"},
    {".lokr_w", "adapter"},
    {".dora_scale", "adapter"},
    {"ia3_l", "adapter"},
    {"prompt_embeddings", "adapter"},
    {"exp_avg", "optimizer state"},
    {"momentum_buffer", "optimizer state"},
    {"optimizer.", "optimizer state"},
    {".in_sum2", "imatrix"},
    {".counts", "imatrix"},
};

static const char *kind_by(const organ_model *model, const char *key)
{
    size_t length = 0;
    const char *const value = organ_gguf_string(model->gguf, key, &length);
    for (size_t k = 0; value && k < sizeof words / sizeof *words; k++)
        if (strlen(words[k].word) == length && memcmp(words[k].word, value, length) == 0)
            return words[k].kind;
    return NULL;
}

static const char *kind_of_name(const char *name)
{
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strstr(name, names[k].word))
            return names[k].kind;
    return NULL;
}

/* The metadata of a GGUF file come first, then the names of tensors. One tensor of an adapter is enough for
 * "adapter", unless the base layers are there too. For other kinds at least half of the names must contain a part in
 * names[]; the last such name then decides the kind. */
const char *organ_fleet_kind(const organ_model *model)
{
    const char *kind = NULL;
    if (model->gguf) {
        kind = kind_by(model, "general.type");
        kind = kind ? kind : kind_by(model, "general.architecture");
    }
    if (kind)
        return kind;
    if (model->tensor_count == 0)
        return model->gguf ? "vocabulary only" : "no tensors";
    size_t adapters = 0, of_a_kind = 0, bases = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const char *const mine = kind_of_name(model->tensors[t].name);
        of_a_kind += mine != NULL;
        bases += strstr(model->tensors[t].name, ".base_layer.") != NULL; /* PEFT: a model that includes its adapters */
        adapters += mine && strcmp(mine, "adapter") == 0;
        kind = mine ? mine : kind;
    }
    if (adapters)
        return bases ? NULL : "adapter"; /* no share of names: an adapter may contain modules that are saved whole */
    /* Half of the names suffices: step counts of optimizers have arbitrary names. */
    return 2 * of_a_kind >= model->tensor_count ? kind : NULL;
}

/* ---- prunings ---- */

json_t *organ_fleet_pruning(const organ_model *model)
{
    organ_error fault = {0};
    json_t *const log = organ_experiment_log(model, &fault);
    if (fault.errnum == ENOMEM) { /* memory ran out; the log may be valid */
        organ_memory_count_refusal();
        return NULL;
    }
    if (fault.status || !log) {
        json_decref(log);
        return fault.status ? ORGAN_OBJECT(SET_BYTES("fault", fault.message)) : json_null();
    }
    json_t *const pruning = ORGAN_OBJECT(SET("experiment", organ_experiment_of(log)),
                                         SET_HELD("target", organ_json_at(log, "totals.target")),
                                         SET_HELD("full", organ_json_at(log, "totals.full")));
    json_decref(log);
    return pruning;
}

/* Returns the element of `groups` for the experiment: the donor, method, parameters and calibration of a pruning. A new
 * element is appended if there is none. NULL if memory runs out. */
static json_t *group_of(json_t *groups, json_t *experiment)
{
    size_t k;
    json_t *group;
    json_array_foreach(groups, k, group)
    {
        if (!organ_experiment_difference(json_object_get(group, "experiment"), experiment, /*any_targets=*/false))
            return group;
    }
    group = ORGAN_OBJECT(SET("experiment", json_incref(experiment)), SET("words", organ_experiment_words(experiment)),
                         SET("models", json_array()));
    return json_array_append_new(groups, group) ? NULL : group;
}

/* Returns 0, also for a model that was not pruned, or -1 if memory runs out. */
static int add_model(json_t *groups, const json_t *model)
{
    json_t *const experiment = (json_t *)organ_json_at(model, "pruning.experiment");
    json_t *const group = experiment ? group_of(groups, experiment) : NULL;
    if (!experiment)
        return 0;
    return json_array_append_new(json_object_get(group, "models"),
                                 ORGAN_OBJECT(SET_HELD("name", json_object_get(model, "name")),
                                              SET_HELD("target", organ_json_at(model, "pruning.target")),
                                              SET_HELD("full", organ_json_at(model, "pruning.full"))));
}

int organ_fleet_report_prunings(json_t *report)
{
    json_t *const groups = json_array(), *const experiments = json_array();
    int failed = 0;
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(report, "models"), k, row) { failed |= add_model(groups, row); }
    json_array_foreach(groups, k, row) { failed |= json_array_append(experiments, json_object_get(row, "experiment")); }
    failed |=
        !ORGAN_ADD_BEFORE_RUN(report, SET("prunings", groups), SET("errata", organ_errata_of_experiments(experiments)));
    json_decref(experiments);
    return failed;
}

/* ---- results of an interrupted run ---- */

static char *state_path(const char *output) { return organ_format("%s/fleet.json", output); }

organ_status organ_fleet_state_check(const char *output, organ_error *error)
{
    ORGAN_OWNED char *const path = state_path(output);
    if (path)
        organ_check_cache_place(path, error);
    else
        organ_fail_memory(error, output);
    return error->status;
}

bool organ_fleet_is_other(const json_t *entry)
{
    return strcmp(organ_json_text(entry, "dissection.status"), "apart") == 0;
}

/* An invalid file is not an error: the run starts over. */
static organ_cache fleet_state_cache(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = "organ.fleet-state/2",
                         .identity = identity,
                         .start_over = true,
                         .unversioned = true,
                         .unbounded = true};
}

/* The file names the definition of the measure (ORGAN_Z_DEFINITION); a later run with another definition does not
 * use the file. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_ranks *ranks, organ_error *error)
{
    ORGAN_OWNED char *const path = state_path(output);
    ORGAN_OWNED_JSON json_t *const identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_Z_DEFINITION));
    organ_cache cache = fleet_state_cache(path, identity);
    cache.ranks = ranks;
    if (path && identity)
        organ_cache_write(&cache, ORGAN_OBJECT(SET_HELD("models", state)), error);
    else
        organ_fail_memory(error, output);
    return error->status;
}

/* Returns the member "models" of the file; NULL if there is none. */
static json_t *read_state(const char *output)
{
    ORGAN_OWNED char *const path = state_path(output);
    ORGAN_OWNED_JSON json_t *const identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_Z_DEFINITION)),
                                   *document = NULL;
    const organ_cache cache = fleet_state_cache(path, identity);
    if (path && identity)
        organ_cache_read(&cache, &document, &(organ_error){0});
    return json_incref(json_object_get(document, "models"));
}

/* With `no_extract`, and for an organ directory, no folder is needed. */
static bool entry_is_valid(const char *output, bool no_extract, const organ_fleet_member *member, const json_t *entry)
{
    char identity[17];
    struct stat info;
    snprintf(identity, sizeof identity, "%016llx", (unsigned long long)member->identity);
    if (strcmp(organ_json_text(entry, "identity"), identity) != 0)
        return false;
    if (organ_fleet_is_other(entry))
        return true;
    if (strcmp(organ_json_text(entry, "dissection.status"), "ok") != 0)
        return false;
    const char *folder = organ_json_text(entry, "dissection.folder");
    ORGAN_OWNED char *path = organ_format("%s/%s", output, folder);
    const bool needs_no_folder =
        no_extract || strcmp(organ_json_text(entry, "dissection.model.format"), "organ directory") == 0;
    return needs_no_folder || (*folder && path && stat(path, &info) == 0);
}

/* All ranks call this function, also with an error. */
static organ_status broadcast_entries(organ_ranks *ranks, json_t **known, organ_error *error)
{
    ORGAN_OWNED char *const text = organ_ranks_first(ranks) && *known ? organ_json_dump(*known, JSON_COMPACT) : NULL;
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    bool no_memory = false;
    json_error_t fault;
    if (organ_ranks_first(ranks) && !text && !error->status)
        organ_fail_memory(error, "the state of the fleet");
    if (organ_ranks_gather(ranks, "reading the state of the fleet", text, text ? strlen(text) : 0, &all, error) ==
            ORGAN_OK &&
        !organ_ranks_first(ranks)) {
        json_decref(*known);
        if (!(*known = organ_json_load(all.of[0], all.bytes[0], 0, &fault, &no_memory)))
            organ_fail_memory(error, "the state of the fleet");
    }
    return error->status;
}

organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const before = organ_ranks_first(ranks) ? read_state(output) : NULL;
    *known = json_object();
    for (size_t k = 0; k < list->count && before; k++) {
        json_t *const entry = json_object_get(before, list->members[k].name);
        if (entry_is_valid(output, no_extract, &list->members[k], entry) &&
            json_object_set(*known, list->members[k].name, entry))
            organ_fail_memory(error, output);
    }
    if (!*known)
        organ_fail_memory(error, output);
    return ranks ? broadcast_entries(ranks, known, error) : error->status;
}
