/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/model_shelf.h"

#include "orchestrator/report/document.h"
#include "orchestrator/serve/model_portrait.h"
#include "orchestrator/serve/model_scan.h"
#include "orchestrator/surgery/inspect.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* Whole documents are large, summaries are small. */
enum { MOST_DOCUMENTS = 16, MOST_TENSORS = 200000, SUMMARIES = 4096, LIST_SECONDS = 2, MOST_BESIDE = 100000 };

typedef struct kept {
    char *path;
    uint64_t identity, used;
    size_t tensors;
    json_t *document;
} kept;

typedef struct summary {
    uint64_t key; /* of path and identity; 0: empty */
    json_t *document;
} summary;

struct organ_shelf {
    const organ_jail *jail;
    pthread_mutex_t scan_lock; /* held while the root is walked */
    organ_found found;
    time_t scanned; /* 0: never */
    pthread_mutex_t lock;
    uint64_t clock;
    kept documents[MOST_DOCUMENTS];
    summary summaries[SUMMARIES];
};

organ_shelf *organ_shelf_create(const organ_jail *jail)
{
    organ_shelf *const shelf = calloc(1, sizeof *shelf);
    if (shelf) {
        shelf->jail = jail;
        pthread_mutex_init(&shelf->scan_lock, NULL);
        pthread_mutex_init(&shelf->lock, NULL);
    }
    return shelf;
}

static void drop(kept *k)
{
    free(k->path);
    json_decref(k->document);
    *k = (kept){0};
}

void organ_shelf_destroy(organ_shelf *shelf)
{
    if (!shelf)
        return;
    organ_found_free(&shelf->found);
    for (size_t k = 0; k < MOST_DOCUMENTS; k++)
        drop(&shelf->documents[k]);
    for (size_t k = 0; k < SUMMARIES; k++)
        json_decref(shelf->summaries[k].document);
    pthread_mutex_destroy(&shelf->scan_lock);
    pthread_mutex_destroy(&shelf->lock);
    free(shelf);
}

/* ---- the list ---- */

static json_t *row_of(const organ_found_model *model)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "path", model->path, "kind", organ_found_kind_name(model->kind), "bytes",
                     (json_int_t)model->bytes, "files", (json_int_t)model->files, "modified", (json_int_t)model->modified);
}

static organ_status refresh(organ_shelf *shelf, organ_error *error)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (shelf->scanned && now.tv_sec - shelf->scanned < LIST_SECONDS)
        return ORGAN_OK;
    organ_found found;
    if (organ_model_scan(shelf->jail, &found, error) != ORGAN_OK)
        return error->status;
    organ_found_free(&shelf->found);
    shelf->found = found;
    /* After the walk: one that takes longer than its result may be old would be begun again by everybody who waited for it. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    shelf->scanned = now.tv_sec ? now.tv_sec : 1;
    return ORGAN_OK;
}

json_t *organ_shelf_list(organ_shelf *shelf, const char *search, size_t offset, size_t limit, size_t *total, bool *cut, organ_error *error)
{
    json_t *list = json_array();
    bool whole = list != NULL;
    *total = 0;
    pthread_mutex_lock(&shelf->scan_lock);
    refresh(shelf, error);
    for (size_t k = 0; k < shelf->found.count && !error->status; k++) {
        if (search && !strcasestr(shelf->found.models[k].path, search))
            continue;
        if (*total >= offset && *total - offset < limit)
            whole = json_array_append_new(list, row_of(&shelf->found.models[k])) == 0 && whole;
        ++*total;
    }
    *cut = shelf->found.cut;
    pthread_mutex_unlock(&shelf->scan_lock);
    if (!whole)
        organ_fail_errno(error, ENOMEM, "the list of models");
    if (error->status) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- one model ---- */

/* Changes when a file of the model does: digest of names, sizes and times in its directory. */
static unsigned identity_of(const organ_jail *jail, const char *path, uint64_t *identity, organ_error *error)
{
    struct stat about;
    organ_jail_entry *entries;
    size_t count;
    bool cut;
    unsigned status = organ_jail_look(jail, path, &about, error);
    if (status)
        return status;
    const int64_t own[] = {about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec, (int64_t)about.st_ino};
    uint64_t digest = XXH3_64bits(own, sizeof own);
    const char *const slash = strrchr(path, '/');
    char *const directory = S_ISDIR(about.st_mode) ? strdup(path) : strndup(path, slash ? (size_t)(slash - path) : 0);
    if (!directory) {
        organ_fail_errno(error, ENOMEM, "'%s'", path);
        return 500;
    }
    status = organ_jail_list(jail, directory, MOST_BESIDE, &entries, &count, &cut, error);
    for (size_t k = 0; k < count; k++) {
        const int64_t facts[] = {(int64_t)entries[k].bytes, entries[k].modified, entries[k].directory};
        digest = XXH3_64bits_withSeed(entries[k].name, strlen(entries[k].name), XXH3_64bits_withSeed(facts, sizeof facts, digest));
    }
    organ_jail_list_free(entries, count);
    free(directory);
    *identity = digest ? digest : 1;
    return status;
}

static json_t *find_kept(organ_shelf *shelf, const char *path, uint64_t identity)
{
    json_t *found = NULL;
    pthread_mutex_lock(&shelf->lock);
    for (size_t k = 0; k < MOST_DOCUMENTS && !found; k++) {
        kept *const d = &shelf->documents[k];
        if (d->document && d->identity == identity && strcmp(d->path, path) == 0) {
            d->used = ++shelf->clock;
            found = json_incref(d->document);
        }
    }
    pthread_mutex_unlock(&shelf->lock);
    return found;
}

/* In the place of the one that was not asked for the longest; older ones go until the rest is small enough. */
static void keep(organ_shelf *shelf, const char *path, uint64_t identity, json_t *document)
{
    const size_t tensors = json_array_size(json_object_get(document, "list"));
    char *const own = strdup(path);
    if (!own)
        return;
    pthread_mutex_lock(&shelf->lock);
    for (size_t sum = tensors + 1; sum > tensors;) {
        kept *oldest = NULL;
        size_t filled = 0;
        sum = tensors;
        for (size_t k = 0; k < MOST_DOCUMENTS; k++) {
            kept *const d = &shelf->documents[k];
            if (!d->document)
                continue;
            if (strcmp(d->path, path) == 0) {
                drop(d);
                continue;
            }
            filled++;
            sum += d->tensors;
            oldest = !oldest || d->used < oldest->used ? d : oldest;
        }
        if (!oldest || (filled < MOST_DOCUMENTS && sum <= MOST_TENSORS))
            break;
        drop(oldest);
    }
    for (size_t k = 0; k < MOST_DOCUMENTS; k++)
        if (!shelf->documents[k].document) {
            shelf->documents[k] = (kept){own, identity, ++shelf->clock, tensors, json_incref(document)};
            break;
        }
    pthread_mutex_unlock(&shelf->lock);
}

static unsigned read_model(organ_shelf *shelf, const char *path, json_t **model, organ_error *error)
{
    json_t *report = NULL;
    char *absolute = NULL;
    organ_error fault = {0};
    const unsigned status = organ_jail_input(shelf->jail, path, &absolute, error);
    if (status)
        return status;
    organ_inspect(&(organ_inspect_options){.model = absolute, .tensors = true}, &report, &fault);
    free(absolute);
    if (report)
        *model = organ_model_portrait(report, path);
    json_decref(report);
    if (*model)
        return 0;
    organ_jail_unroot(shelf->jail, fault.message);
    organ_fail(error, fault.status ? fault.status : ORGAN_IO, "%s", fault.status ? fault.message : "no memory");
    return fault.status == ORGAN_BAD_INPUT ? 422 : 500;
}

unsigned organ_shelf_model(organ_shelf *shelf, const char *path, json_t **model, organ_error *error)
{
    uint64_t identity;
    *model = NULL;
    unsigned status = identity_of(shelf->jail, path, &identity, error);
    if (status)
        return status;
    *model = find_kept(shelf, path, identity);
    if (*model)
        return 0;
    status = read_model(shelf, path, model, error);
    if (!status)
        keep(shelf, path, identity, *model);
    return status;
}

/* Counting references is atomic, but orders nothing: the lock does that. */
void organ_shelf_release(organ_shelf *shelf, json_t *model)
{
    pthread_mutex_lock(&shelf->lock);
    json_decref(model);
    pthread_mutex_unlock(&shelf->lock);
}

/* ---- summaries ---- */

static json_t *make_summary(organ_shelf *shelf, const char *path)
{
    json_t *model;
    organ_error error = {0};
    if (organ_shelf_model(shelf, path, &model, &error))
        return json_pack("{s:s}", "fault", error.message);
    static const char *const taken[] = {"format", "architecture", "tensors", "elements", "bytes", "files"};
    json_t *made = json_object();
    for (size_t k = 0; made && k < sizeof taken / sizeof *taken; k++)
        if (json_object_set_new(made, taken[k], json_deep_copy(json_object_get(model, taken[k]))) != 0) {
            json_decref(made);
            made = NULL;
        }
    organ_shelf_release(shelf, model);
    return made;
}

json_t *organ_shelf_summary(organ_shelf *shelf, const char *path)
{
    uint64_t identity;
    organ_error error = {0};
    if (identity_of(shelf->jail, path, &identity, &error))
        return json_pack("{s:s}", "fault", error.message);
    const uint64_t key = XXH3_64bits_withSeed(path, strlen(path), identity) | 1;
    summary *const place = &shelf->summaries[key / 2 % SUMMARIES];
    pthread_mutex_lock(&shelf->lock);
    json_t *made = place->key == key ? json_deep_copy(place->document) : NULL;
    pthread_mutex_unlock(&shelf->lock);
    if (made || !(made = make_summary(shelf, path)))
        return made;
    pthread_mutex_lock(&shelf->lock);
    json_decref(place->document);
    *place = (summary){key, json_deep_copy(made)};
    if (!place->document)
        place->key = 0;
    pthread_mutex_unlock(&shelf->lock);
    return made;
}
