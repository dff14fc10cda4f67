/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/shelf.h"

#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/serve/models/scan.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { PLACES = 64, MOST_WANTED = 256, MOST_BESIDE = 100000, MANY_TENSORS = 4096 };

static const double list_seconds = 2;

/* A model, or why it could not be read. */
typedef struct shelf_place {
    char *path; /* NULL: empty */
    uint64_t identity, used;
    organ_catalog *catalog; /* NULL: */
    unsigned status;
    char message[400];
} shelf_place;

struct organ_shelf {
    const organ_jail *jail;
    organ_reader *reader_process;
    size_t most;
    void (*tell)(void *context);
    void *context;
    pthread_mutex_t lock, tell_lock; /* the first guards all that follows, the second `tell` while it is called */
    pthread_cond_t called;
    pthread_t walker, reader;
    bool walking_thread, reading_thread, resting;
    uint64_t clock;
    shelf_place places[PLACES];
    unsigned long long read;
    char *wanted[MOST_WANTED]; /* paths, the first is read next */
    size_t wanted_count, bytes,
        loose;           /* bytes: of all catalogs in places; loose: of those in none any more, but still in use */
    const char *reading; /* NULL: none */
    organ_found_models found;
    bool walked, walk_wanted, walking;
    double walked_at, walk_seconds;
    organ_error walk_fault;
};

static void tell_listener(organ_shelf *shelf)
{
    pthread_mutex_lock(&shelf->tell_lock);
    if (shelf->tell)
        shelf->tell(shelf->context);
    pthread_mutex_unlock(&shelf->tell_lock);
}

/* ---- places ---- */

/* The catalog is freed when its last user releases it. */
static void clear_place(organ_shelf *shelf, shelf_place *p)
{
    if (p->catalog) {
        shelf->bytes -= p->catalog->bytes;
        if (--p->catalog->users == 0)
            organ_catalog_free(p->catalog);
        else
            shelf->loose += p->catalog->bytes;
    }
    free(p->path);
    *p = (shelf_place){0};
}

static shelf_place *find_on_shelf(organ_shelf *shelf, const char *path)
{
    for (size_t k = 0; k < PLACES; k++)
        if (shelf->places[k].path && strcmp(shelf->places[k].path, path) == 0)
            return &shelf->places[k];
    return NULL;
}

/* Returns an empty place with room for `bytes` bytes; evicts the oldest models for it. */
static shelf_place *make_place(organ_shelf *shelf, size_t bytes)
{
    for (;;) {
        shelf_place *empty = NULL, *oldest = NULL;
        for (size_t k = 0; k < PLACES; k++) {
            shelf_place *const p = &shelf->places[k];
            if (!p->path)
                empty = p;
            else if (!oldest || p->used < oldest->used)
                oldest = p;
        }
        if (empty && (!oldest || bytes <= shelf->most - shelf->bytes))
            return empty;
        clear_place(shelf, oldest);
    }
}

/* Stores the result of reading, also a failure; takes ownership of the catalog. A model that was read only for the list
 * does not evict others. */
static void put_away(organ_shelf *shelf, const char *path, const shelf_place *made, bool asked_for)
{
    const size_t bytes = made->catalog ? made->catalog->bytes : 0;
    char *const own = strdup(path);
    shelf_place *const old = find_on_shelf(shelf, path);
    shelf->read++;
    if (old)
        clear_place(shelf, old);
    if (!own || (!asked_for && bytes > shelf->most - shelf->bytes)) {
        organ_catalog_free(made->catalog);
        free(own);
        return;
    }
    shelf_place *const at = make_place(shelf, bytes);
    *at = *made;
    at->path = own;
    at->used = ++shelf->clock;
    shelf->bytes += bytes;
    if (at->catalog)
        at->catalog->users = 1;
}

/* ---- one model ---- */

/* Changes when a file of the model does: digest of names, sizes and times in its directory. */
static unsigned digest_of_files(const organ_jail *jail, const char *path, uint64_t *identity, organ_error *error)
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
        digest = XXH3_64bits_withSeed(entries[k].name, strlen(entries[k].name),
                                      XXH3_64bits_withSeed(facts, sizeof facts, digest));
    }
    organ_jail_list_free(entries, count);
    free(directory);
    *identity = digest;
    return status;
}

/* Has it read by the thread that does; false if too many wait. */
static bool want_model(organ_shelf *shelf, const char *path)
{
    if (shelf->reading && strcmp(shelf->reading, path) == 0)
        return true;
    for (size_t k = 0; k < shelf->wanted_count; k++)
        if (strcmp(shelf->wanted[k], path) == 0)
            return true;
    char *const own = shelf->wanted_count < MOST_WANTED && !shelf->resting ? strdup(path) : NULL;
    if (own) {
        shelf->wanted[shelf->wanted_count++] = own;
        pthread_cond_broadcast(&shelf->called);
    }
    return own != NULL;
}

unsigned organ_shelf_model(organ_shelf *shelf, const char *path, const organ_catalog **model, organ_error *error)
{
    uint64_t identity;
    *model = NULL;
    unsigned status = digest_of_files(shelf->jail, path, &identity, error);
    if (status)
        return status;
    pthread_mutex_lock(&shelf->lock);
    shelf_place *const p = find_on_shelf(shelf, path);
    if (p && p->identity == identity) {
        p->used = ++shelf->clock;
        status = p->status;
        if (p->catalog) {
            p->catalog->users++;
            *model = p->catalog;
        } else
            organ_fail(error, ORGAN_BAD_INPUT, "%s", p->message);
    } else {
        if (p)
            clear_place(shelf, p); /* frees the memory that reading the model again may need */
        status = want_model(shelf, path) ? 202 : 503;
        if (status == 503)
            organ_fail(error, ORGAN_IO, "too many other models wait to be read");
    }
    pthread_mutex_unlock(&shelf->lock);
    return status;
}

void organ_shelf_release(organ_shelf *shelf, const organ_catalog *model)
{
    organ_catalog *const catalog = (organ_catalog *)model;
    if (!catalog)
        return;
    pthread_mutex_lock(&shelf->lock);
    const bool last = --catalog->users == 0;
    if (last) {
        shelf->loose -= catalog->bytes;
        pthread_cond_broadcast(&shelf->called);
    }
    pthread_mutex_unlock(&shelf->lock);
    if (last)
        organ_catalog_free(catalog);
}

/* ---- the thread that reads ---- */

static shelf_place read_one(const organ_shelf *shelf, const char *path)
{
    shelf_place made = {0};
    organ_error error = {0};
    char *absolute = NULL;
    made.status = digest_of_files(shelf->jail, path, &made.identity, &error);
    if (!made.status)
        made.status = organ_jail_input(shelf->jail, path, &absolute, &error);
    if (!made.status)
        made.status = organ_reader_read(shelf->reader_process, absolute, path, shelf->most, &made.catalog, &error);
    organ_jail_unroot(shelf->jail, error.message);
    free(absolute);
    snprintf(made.message, sizeof made.message, "%.399s", error.message);
    return made;
}

static char *summary_of(const shelf_place *made)
{
    if (made->catalog)
        return strdup(made->catalog->summary);
    json_t *const fault = json_pack("{s:s}", "fault", made->message);
    char *const text = fault ? json_dumps(fault, JSON_COMPACT) : NULL;
    json_decref(fault);
    return text;
}

static int listed_order(const void *a, const void *b) { return strcmp(a, ((const organ_found_model *)b)->path); }

static organ_found_model *found_model(const organ_found_models *found, const char *path)
{
    return found->count ? bsearch(path, found->models, found->count, sizeof *found->models, listed_order) : NULL;
}

/* Models that a client asked for come before those that a list shows. NULL: none. */
static char *next_to_read(organ_shelf *shelf, bool *asked_for)
{
    *asked_for = shelf->wanted_count > 0;
    if (*asked_for) {
        char *const path = shelf->wanted[0];
        memmove(shelf->wanted, shelf->wanted + 1, --shelf->wanted_count * sizeof *shelf->wanted);
        return path;
    }
    for (size_t k = 0; k < shelf->found.count; k++)
        if (shelf->found.models[k].wanted && !shelf->found.models[k].summary)
            return strdup(shelf->found.models[k].path);
    return NULL;
}

/* The summary of a model that is on the shelf already; NULL if it is not, or has changed. */
static char *summary_from_shelf(organ_shelf *shelf, const char *path)
{
    uint64_t identity;
    organ_error ignored = {0};
    if (digest_of_files(shelf->jail, path, &identity, &ignored))
        return NULL;
    pthread_mutex_lock(&shelf->lock);
    const shelf_place *const p = find_on_shelf(shelf, path);
    char *const summary = p && p->identity == identity ? summary_of(p) : NULL;
    pthread_mutex_unlock(&shelf->lock);
    return summary;
}

static void give_summary(organ_shelf *shelf, const char *path, char *summary)
{
    organ_found_model *const listed = found_model(&shelf->found, path);
    if (!listed) {
        free(summary);
        return;
    }
    free(listed->summary);
    listed->summary = summary;
    listed->wanted = false;
}

/* With the lock held, which is given up meanwhile. */
static void read_next(organ_shelf *shelf, char *path, bool asked_for)
{
    shelf_place made = {0};
    shelf->reading = path;
    pthread_mutex_unlock(&shelf->lock);
    char *summary = asked_for ? NULL : summary_from_shelf(shelf, path);
    const bool known = summary != NULL;
    if (!known) {
        made = read_one(shelf, path);
        summary = summary_of(&made);
    }
    const bool large = !known && (!made.catalog || made.catalog->count >= MANY_TENSORS);
    pthread_mutex_lock(&shelf->lock);
    shelf->reading = NULL;
    if (!known)
        put_away(shelf, path, &made, asked_for);
    give_summary(shelf, path, summary);
    pthread_mutex_unlock(&shelf->lock);
    if (large)
        malloc_trim(0); /* reading used several times the memory that is kept */
    tell_listener(shelf);
    pthread_mutex_lock(&shelf->lock);
}

/* Does steps as long as there are any, and waits to be called where there is none. */
static void *do_steps(organ_shelf *shelf, bool (*step)(organ_shelf *shelf))
{
    organ_http_step_back();
    pthread_mutex_lock(&shelf->lock);
    while (!shelf->resting)
        if (!step(shelf))
            pthread_cond_wait(&shelf->called, &shelf->lock);
    pthread_mutex_unlock(&shelf->lock);
    return NULL;
}

static bool read_wanted(organ_shelf *shelf)
{
    bool asked_for;
    /* Evicted catalogs that are still in use count against the limit: wait until they are released. */
    char *const path = shelf->loose ? NULL : next_to_read(shelf, &asked_for);
    if (!path)
        return false;
    read_next(shelf, path, asked_for);
    free(path);
    return true;
}

static void *read_models(void *context) { return do_steps(context, read_wanted); }

/* ---- the thread that walks ---- */

static bool same_facts(const organ_found_model *a, const organ_found_model *b)
{
    return a->kind == b->kind && a->bytes == b->bytes && a->files == b->files && a->modified == b->modified;
}

/* Copies summaries of unchanged models from the previous scan. */
static void keep_summaries(organ_found_models *now, organ_found_models *before)
{
    for (size_t k = 0; k < now->count; k++) {
        organ_found_model *const old = found_model(before, now->models[k].path);
        if (!old || !same_facts(old, &now->models[k]))
            continue;
        now->models[k].summary = old->summary;
        now->models[k].wanted = old->wanted;
        old->summary = NULL;
    }
}

static bool walk_once(organ_shelf *shelf)
{
    organ_error fault = {0};
    organ_found_models found = {0};
    if (!shelf->walk_wanted)
        return false;
    shelf->walk_wanted = false;
    shelf->walking = true;
    pthread_mutex_unlock(&shelf->lock);
    const double began = organ_seconds_now();
    organ_model_scan(shelf->jail, &found, &fault);
    pthread_mutex_lock(&shelf->lock);
    shelf->walking = false;
    shelf->walked = true;
    shelf->walked_at = organ_seconds_now();
    shelf->walk_seconds = shelf->walked_at - began;
    shelf->walk_fault = fault;
    keep_summaries(&found, &shelf->found);
    organ_found_free(&shelf->found);
    shelf->found = found;
    pthread_mutex_unlock(&shelf->lock);
    tell_listener(shelf);
    pthread_mutex_lock(&shelf->lock);
    return true;
}

static void *walk_root(void *context) { return do_steps(context, walk_once); }

/* ---- the list ---- */

static json_t *listed_model(organ_found_model *model, bool *looking)
{
    model->wanted = !model->summary;
    *looking = *looking || model->wanted;
    return organ_json_joined(ORGAN_OBJECT(SET_TEXT("path", model->path),
                                          SET_TEXT("kind", organ_found_kind_name(model->kind)),
                                          SET_COUNT("bytes", model->bytes), SET_COUNT("files", model->files),
                                          SET_COUNT("modified", model->modified)),
                             model->summary ? json_loads(model->summary, 0, NULL) : json_pack("{s:b}", "pending", 1));
}

static bool list_is_fresh(const organ_shelf *shelf)
{
    return shelf->walked && organ_seconds_now() - shelf->walked_at < list_seconds + 2 * shelf->walk_seconds;
}

organ_status organ_shelf_list(organ_shelf *shelf, const char *search, size_t offset, size_t limit,
                              organ_shelf_page *page, organ_error *error)
{
    *page = (organ_shelf_page){.models = json_array()};
    bool whole = page->models != NULL;
    pthread_mutex_lock(&shelf->lock);
    page->looking = !list_is_fresh(shelf);
    shelf->walk_wanted = shelf->walk_wanted || (page->looking && !shelf->walking);
    for (size_t k = 0; k < shelf->found.count; k++) {
        if (search && !strcasestr(shelf->found.models[k].path, search))
            continue;
        if (page->total >= offset && page->total - offset < limit)
            whole = json_array_append_new(page->models, listed_model(&shelf->found.models[k], &page->looking)) == 0 &&
                    whole;
        page->total++;
    }
    page->cut = shelf->found.cut;
    if (page->looking)
        pthread_cond_broadcast(&shelf->called);
    if (!page->looking && shelf->walk_fault.status)
        *error = shelf->walk_fault;
    pthread_mutex_unlock(&shelf->lock);
    if (!whole)
        organ_fail_errno(error, ENOMEM, "the list of models");
    if (error->status) {
        json_decref(page->models);
        page->models = NULL;
    }
    return error->status;
}

void organ_shelf_metrics(organ_shelf *shelf, FILE *out)
{
    pthread_mutex_lock(&shelf->lock);
    organ_http_quota(out, "organ_shelf_bytes", "Memory of the models that are kept.", shelf->bytes, shelf->most);
    organ_http_quota(out, "organ_models_waiting", "Models that wait to be read.", shelf->wanted_count, MOST_WANTED);
    organ_http_metric(out, "organ_models_read_total", "counter", "Models that were read.", shelf->read);
    pthread_mutex_unlock(&shelf->lock);
    organ_reader_metrics(shelf->reader_process, out);
}

/* ---- the beginning and the end ---- */

organ_status organ_shelf_create(const organ_jail *jail, const organ_reader_options *reading, size_t most,
                                void (*tell_of)(void *context), void *context, organ_shelf **made, organ_error *error)
{
    organ_shelf *const shelf = *made = calloc(1, sizeof *shelf);
    if (!shelf)
        return organ_fail_errno(error, ENOMEM, "the list of models");
    shelf->jail = jail;
    shelf->most = most;
    shelf->tell = tell_of;
    shelf->context = context;
    pthread_mutex_init(&shelf->lock, NULL);
    pthread_mutex_init(&shelf->tell_lock, NULL);
    pthread_cond_init(&shelf->called, NULL);
    int failed = organ_reader_create(reading, &shelf->reader_process, error)
                     ? ECANCELED
                     : pthread_create(&shelf->walker, NULL, walk_root, shelf);
    shelf->walking_thread = failed == 0;
    if (!failed) {
        failed = pthread_create(&shelf->reader, NULL, read_models, shelf);
        shelf->reading_thread = failed == 0;
    }
    if (!failed)
        return ORGAN_OK;
    organ_shelf_destroy(shelf);
    *made = NULL;
    return organ_fail_errno(error, failed, "the threads that look for models");
}

void organ_shelf_rest(organ_shelf *shelf)
{
    pthread_mutex_lock(&shelf->tell_lock);
    shelf->tell = NULL;
    pthread_mutex_unlock(&shelf->tell_lock);
    pthread_mutex_lock(&shelf->lock);
    shelf->resting = true;
    pthread_cond_broadcast(&shelf->called);
    pthread_mutex_unlock(&shelf->lock);
    if (shelf->reader_process)
        organ_reader_stop(shelf->reader_process);
}

void organ_shelf_destroy(organ_shelf *shelf)
{
    if (!shelf)
        return;
    organ_shelf_rest(shelf);
    if (shelf->walking_thread)
        pthread_join(shelf->walker, NULL);
    if (shelf->reading_thread)
        pthread_join(shelf->reader, NULL);
    organ_reader_destroy(shelf->reader_process);
    for (size_t k = 0; k < PLACES; k++)
        clear_place(shelf, &shelf->places[k]);
    for (size_t k = 0; k < shelf->wanted_count; k++)
        free(shelf->wanted[k]);
    organ_found_free(&shelf->found);
    pthread_mutex_destroy(&shelf->lock);
    pthread_mutex_destroy(&shelf->tell_lock);
    pthread_cond_destroy(&shelf->called);
    free(shelf);
}
