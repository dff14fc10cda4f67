/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/models_parts.h"

#include <organ/base.h>
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* From MANY_TENSORS tensors on, free memory is returned to the system after a model was read. */
enum { PLACES = 64, MAX_REQUESTED = 256, MAX_EXTRA = 100000, MANY_TENSORS = 4096 };

/* The list of a scan counts as recent for these seconds and twice the duration of the scan. */
static const double list_seconds = 2;

typedef struct cached_model {
    char *path;             /* NULL: this place is empty */
    uint64_t identity;      /* digest_of_files before the model was read */
    uint64_t used;          /* cache->clock at the last use */
    organ_catalog *catalog; /* NULL: the model could not be read, for the reason in `status` and `message` */
    unsigned status;        /* HTTP status; 0: read */
    char message[400];      /* for the client */
} cached_model;

struct organ_model_cache {
    const organ_jail *jail;
    organ_reader *reader_process;
    size_t max; /* largest total size in bytes of all catalogs */
    void (*on_change)(void *context);
    void *context;
    /* `lock` guards all members below. report_lock is held during a call of on_change, so that organ_model_cache_stop
     * returns after the last call. */
    pthread_mutex_t lock, report_lock;
    pthread_cond_t called; /* wakes both threads: a step was requested, or the threads end */
    pthread_t scanner, reader;
    bool scanning_thread, reading_thread; /* `scanner` and `reader` were started */
    bool stopping;                        /* both threads must end */
    uint64_t clock;                       /* counts uses of places */
    cached_model places[PLACES];
    unsigned long long read;        /* number of models read */
    char *requested[MAX_REQUESTED]; /* paths of models that clients wait for; the first is read next */
    size_t requested_count;
    size_t bytes;                    /* size of all catalogs in `places` */
    size_t evicted_bytes;            /* size of evicted catalogs that requests still use */
    const char *reading;             /* path of the model that is being read; NULL: none */
    organ_found_models found;        /* result of the last scan, with summaries of the models read since */
    bool was_scanned;                /* a scan has ended */
    bool scan_requested, scanning;   /* the scanner must begin a scan; it scans now */
    double scanned_at, scan_seconds; /* end (of organ_seconds_now) and duration of the last scan */
    organ_error scan_fault;          /* error of the last scan */
};

/* The caller does not hold cache->lock. */
static void notify_listener(organ_model_cache *cache)
{
    ORGAN_LOCKED(&cache->report_lock);
    if (cache->on_change)
        cache->on_change(cache->context);
}

/* ---- places ---- */

/* If requests still use the catalog, organ_model_cache_give_back frees it later. */
static void clear_place(organ_model_cache *cache, cached_model *p)
{
    if (p->catalog) {
        cache->bytes -= p->catalog->bytes;
        if (--p->catalog->users == 0)
            organ_catalog_free(p->catalog);
        else
            cache->evicted_bytes += p->catalog->bytes;
    }
    free(p->path);
    *p = (cached_model){0};
}

static cached_model *find_in_cache(organ_model_cache *cache, const char *path)
{
    for (size_t k = 0; k < PLACES; k++)
        if (cache->places[k].path && strcmp(cache->places[k].path, path) == 0)
            return &cache->places[k];
    return NULL;
}

/* Returns an empty place. Evicts models, the least recently used first, until there is one, and all catalogs with
 * `bytes` more are within cache->max; so `bytes` must be at most cache->max. */
static cached_model *make_place(organ_model_cache *cache, size_t bytes)
{
    for (;;) {
        cached_model *empty = NULL, *oldest = NULL;
        for (size_t k = 0; k < PLACES; k++) {
            cached_model *const p = &cache->places[k];
            if (!p->path)
                empty = p;
            else if (!oldest || p->used < oldest->used)
                oldest = p;
        }
        if (empty && (!oldest || bytes <= cache->max - cache->bytes))
            return empty;
        clear_place(cache, oldest);
    }
}

/* Failures are stored, too; takes ownership of made->catalog. `requested`: a client waits for the model. If it is
 * false, the model was read only for the list; it is then dropped if its memory would require the eviction of
 * others. */
static void store_result(organ_model_cache *cache, const char *path, const cached_model *made, bool requested)
{
    const size_t bytes = made->catalog ? made->catalog->bytes : 0;
    char *const own = strdup(path);
    cached_model *const old = find_in_cache(cache, path);
    cache->read++;
    if (old)
        clear_place(cache, old);
    if (!own || (!requested && bytes > cache->max - cache->bytes)) {
        organ_catalog_free(made->catalog);
        free(own);
        return;
    }
    cached_model *const at = make_place(cache, bytes);
    *at = *made;
    at->path = own;
    at->used = ++cache->clock;
    cache->bytes += bytes;
    if (at->catalog)
        at->catalog->users = 1;
}

/* ---- one model ---- */

/* The digest is of the names, sizes and times of the entries in the model's directory (for a file: the directory
 * that contains it); it changes when a file of the model changes. Returns 0 or an HTTP status. */
static unsigned digest_of_files(const organ_jail *jail, const char *path, uint64_t *identity, organ_error *error)
{
    struct stat about;
    organ_jail_entry *entries;
    size_t count;
    bool cut;
    const unsigned status = organ_jail_list_around(jail, path, MAX_EXTRA, &entries, &count, &cut, &about, error);
    if (status)
        return status;
    const int64_t own[] = {about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec, (int64_t)about.st_ino};
    uint64_t digest = XXH3_64bits(own, sizeof own);
    for (size_t k = 0; k < count; k++) {
        const int64_t facts[] = {(int64_t)entries[k].bytes, entries[k].modified, entries[k].directory};
        digest = XXH3_64bits_withSeed(entries[k].name, strlen(entries[k].name),
                                      XXH3_64bits_withSeed(facts, sizeof facts, digest));
    }
    organ_jail_list_free(entries, count);
    *identity = digest;
    return 0;
}

/* Does nothing if the model waits or is being read already. Returns false if too many models wait, if the cache
 * stops, or if memory runs out. */
static bool queue_model(organ_model_cache *cache, const char *path)
{
    if (cache->reading && strcmp(cache->reading, path) == 0)
        return true;
    for (size_t k = 0; k < cache->requested_count; k++)
        if (strcmp(cache->requested[k], path) == 0)
            return true;
    char *const own = cache->requested_count < MAX_REQUESTED && !cache->stopping ? strdup(path) : NULL;
    if (own) {
        cache->requested[cache->requested_count++] = own;
        pthread_cond_broadcast(&cache->called);
    }
    return own != NULL;
}

unsigned organ_model_cache_get(organ_model_cache *cache, const char *path, const organ_catalog **model,
                               organ_error *error)
{
    uint64_t identity;
    *model = NULL;
    unsigned status = digest_of_files(cache->jail, path, &identity, error);
    if (status)
        return status;
    ORGAN_LOCKED(&cache->lock);
    cached_model *const p = find_in_cache(cache, path);
    if (p && p->identity == identity) {
        p->used = ++cache->clock;
        status = p->status;
        if (p->catalog) {
            p->catalog->users++;
            *model = p->catalog;
        } else
            organ_fail(error, ORGAN_BAD_INPUT, "%s", p->message);
    } else {
        if (p)
            clear_place(cache, p); /* frees the memory that reading the model again may need */
        status = queue_model(cache, path) ? 202 : 503;
        if (status == 503)
            organ_fail(error, ORGAN_IO, "too many other models are waiting to be read");
    }
    return status;
}

void organ_model_cache_give_back(organ_model_cache *cache, const organ_catalog *model)
{
    organ_catalog *const catalog = (organ_catalog *)model;
    if (!catalog)
        return;
    pthread_mutex_lock(&cache->lock);
    const bool last = --catalog->users == 0;
    if (last) {
        cache->evicted_bytes -= catalog->bytes;
        pthread_cond_broadcast(&cache->called);
    }
    pthread_mutex_unlock(&cache->lock);
    if (last)
        organ_catalog_free(catalog);
}

/* ---- the thread that reads ---- */

/* Called without the lock. */
static cached_model read_one(const organ_model_cache *cache, const char *path)
{
    cached_model made = {0};
    organ_error error = {0};
    ORGAN_OWNED char *absolute = NULL;
    bool stored;
    made.status = digest_of_files(cache->jail, path, &made.identity, &error);
    if (!made.status)
        made.status = organ_jail_input(cache->jail, path, &absolute, &stored, &error);
    if (!made.status)
        made.status = organ_reader_read(cache->reader_process, absolute, path, cache->max, &made.catalog, &error);
    organ_jail_unroot(cache->jail, error.message);
    snprintf(made.message, sizeof made.message, "%.399s", error.message);
    return made;
}

/* The caller frees the text. NULL if out of memory. */
static char *summary_of(const cached_model *made)
{
    if (made->catalog)
        return strdup(made->catalog->summary);
    ORGAN_OWNED_JSON json_t *const fault = json_pack("{s:s}", "fault", made->message);
    return fault ? json_dumps(fault, JSON_COMPACT) : NULL;
}

static int listed_order(const void *a, const void *b) { return strcmp(a, ((const organ_found_model *)b)->path); }

static organ_found_model *found_model(const organ_found_models *found, const char *path)
{
    return found->count ? bsearch(path, found->models, found->count, sizeof *found->models, listed_order) : NULL;
}

/* Models that a client requested come first (*requested becomes true), then those of which a list needs the summary.
 * The caller frees the path; NULL if there is none. */
static char *next_to_read(organ_model_cache *cache, bool *requested)
{
    *requested = cache->requested_count > 0;
    if (*requested) {
        char *const path = cache->requested[0];
        memmove(cache->requested, cache->requested + 1, --cache->requested_count * sizeof *cache->requested);
        return path;
    }
    for (size_t k = 0; k < cache->found.count; k++)
        if (cache->found.models[k].requested && !cache->found.models[k].summary)
            return strdup(cache->found.models[k].path);
    return NULL;
}

/* Called without the lock. NULL also if the files of the model have changed. */
static char *summary_from_cache(organ_model_cache *cache, const char *path)
{
    uint64_t identity;
    organ_error ignored = {0};
    if (digest_of_files(cache->jail, path, &identity, &ignored))
        return NULL;
    ORGAN_LOCKED(&cache->lock);
    const cached_model *const p = find_in_cache(cache, path);
    return p && p->identity == identity ? summary_of(p) : NULL;
}

/* Frees `summary` if the last scan has no such row. NULL (no memory) leaves the row pending. */
static void store_summary(organ_model_cache *cache, const char *path, char *summary)
{
    organ_found_model *const listed = found_model(&cache->found, path);
    if (!listed) {
        free(summary);
        return;
    }
    free(listed->summary);
    listed->summary = summary;
    listed->requested = false;
}

/* If only the list needs the model (not `requested`) and it is cached already, only copies its summary. Called with
 * the lock held; releases it while the model is read. The caller frees `path`. */
static void read_next(organ_model_cache *cache, char *path, bool requested)
{
    cached_model made = {0};
    cache->reading = path;
    pthread_mutex_unlock(&cache->lock);
    char *summary = requested ? NULL : summary_from_cache(cache, path);
    const bool known = summary != NULL;
    if (!known) {
        made = read_one(cache, path);
        summary = summary_of(&made);
    }
    const bool large = !known && (!made.catalog || made.catalog->count >= MANY_TENSORS);
    pthread_mutex_lock(&cache->lock);
    cache->reading = NULL;
    if (!known)
        store_result(cache, path, &made, requested);
    store_summary(cache, path, summary);
    pthread_mutex_unlock(&cache->lock);
    if (large)
        malloc_trim(0); /* reading used several times the memory of the catalog */
    notify_listener(cache);
    pthread_mutex_lock(&cache->lock);
}

/* Body of both threads: calls `step`, with the lock held, until it returns false, then sleeps until cache->called.
 * Returns when the cache stops. */
static void *do_steps(organ_model_cache *cache, bool (*step)(organ_model_cache *cache))
{
    organ_http_step_back();
    ORGAN_LOCKED(&cache->lock);
    while (!cache->stopping)
        if (!step(cache))
            pthread_cond_wait(&cache->called, &cache->lock);
    return NULL;
}

/* Step of the reading thread. Returns false if no model waits, or none can be read now. Called with the lock held. */
static bool read_requested(organ_model_cache *cache)
{
    bool requested;
    /* Evicted catalogs that are still in use need memory beyond the limit: read no further model until they are
     * released. */
    ORGAN_OWNED char *const path = cache->evicted_bytes ? NULL : next_to_read(cache, &requested);
    if (!path)
        return false;
    read_next(cache, path, requested);
    return true;
}

static void *read_models(void *context) { return do_steps(context, read_requested); }

/* ---- the thread that scans ---- */

static bool same_facts(const organ_found_model *a, const organ_found_model *b)
{
    return a->kind == b->kind && a->bytes == b->bytes && a->files == b->files && a->modified == b->modified;
}

/* The summaries move from `before` to `now`. */
static void copy_unchanged_summaries(organ_found_models *now, organ_found_models *before)
{
    for (size_t k = 0; k < now->count; k++) {
        organ_found_model *const old = found_model(before, now->models[k].path);
        if (!old || !same_facts(old, &now->models[k]))
            continue;
        now->models[k].summary = old->summary;
        now->models[k].requested = old->requested;
        old->summary = NULL;
    }
}

/* Step of the scanning thread; returns false if no scan was requested. The lock is held on entry and on return, but
 * not during the scan. */
static bool scan_once(organ_model_cache *cache)
{
    organ_error fault = {0};
    organ_found_models found = {0};
    if (!cache->scan_requested)
        return false;
    cache->scan_requested = false;
    cache->scanning = true;
    pthread_mutex_unlock(&cache->lock);
    const double began = organ_seconds_now();
    organ_model_scan(cache->jail, &found, &fault);
    pthread_mutex_lock(&cache->lock);
    cache->scanning = false;
    cache->was_scanned = true;
    cache->scanned_at = organ_seconds_now();
    cache->scan_seconds = cache->scanned_at - began;
    cache->scan_fault = fault;
    copy_unchanged_summaries(&found, &cache->found);
    organ_found_release(&cache->found);
    cache->found = found;
    pthread_mutex_unlock(&cache->lock);
    notify_listener(cache);
    pthread_mutex_lock(&cache->lock);
    return true;
}

static void *scan_models(void *context) { return do_steps(context, scan_once); }

/* ---- the list ---- */

static json_t *summary_json(const organ_found_model *model)
{
    json_error_t fault;
    bool no_memory;
    return model->summary ? organ_json_load(model->summary, strlen(model->summary), 0, &fault, &no_memory)
                          : json_pack("{s:b}", "pending", 1);
}

/* Requests the summary of a model that lacks it, and sets *looking for such a model. */
static json_t *list_and_request(organ_found_model *model, bool *looking)
{
    model->requested = !model->summary;
    *looking = *looking || model->requested;
    return organ_json_joined(ORGAN_OBJECT(SET_TEXT("path", model->path),
                                          SET_TEXT("kind", organ_found_kind_name(model->kind)),
                                          SET_COUNT("bytes", model->bytes), SET_COUNT("files", model->files),
                                          SET_COUNT("modified", model->modified)),
                             summary_json(model));
}

/* A scan that took long counts as recent for longer, so that scans take at most a third of the time. */
static bool list_is_fresh(const organ_model_cache *cache)
{
    return cache->was_scanned && organ_seconds_now() - cache->scanned_at < list_seconds + 2 * cache->scan_seconds;
}

organ_status organ_model_cache_list(organ_model_cache *cache, const char *search, size_t offset, size_t limit,
                                    organ_model_cache_page *page, organ_error *error)
{
    *page = (organ_model_cache_page){.models = json_array()};
    bool complete = page->models != NULL;
    pthread_mutex_lock(&cache->lock);
    page->looking = !list_is_fresh(cache);
    cache->scan_requested = cache->scan_requested || (page->looking && !cache->scanning);
    for (size_t k = 0; k < cache->found.count; k++) {
        if (search && !strcasestr(cache->found.models[k].path, search))
            continue;
        if (page->total >= offset && page->total - offset < limit)
            complete =
                json_array_append_new(page->models, list_and_request(&cache->found.models[k], &page->looking)) == 0 &&
                complete;
        page->total++;
    }
    page->cut = cache->found.cut;
    if (page->looking)
        pthread_cond_broadcast(&cache->called);
    if (!page->looking && cache->scan_fault.status)
        *error = cache->scan_fault;
    pthread_mutex_unlock(&cache->lock);
    if (!complete)
        organ_fail_errno(error, ENOMEM, "the list of models");
    if (error->status)
        organ_clear_json(&page->models);
    return error->status;
}

void organ_model_cache_metrics(organ_model_cache *cache, FILE *out)
{
    pthread_mutex_lock(&cache->lock);
    organ_http_quota(out, "organ_shelf_bytes", "Memory of cached models.", cache->bytes, cache->max);
    organ_http_quota(out, "organ_models_waiting", "Models waiting to be read.", cache->requested_count, MAX_REQUESTED);
    organ_http_metric(out, "organ_models_read_total", "counter", "Models read.", cache->read);
    pthread_mutex_unlock(&cache->lock);
    organ_reader_metrics(cache->reader_process, out);
}

/* ---- the beginning and the end ---- */

/* If organ_reader_create fails, its error stays in *error, because organ_fail_errno does not replace an error. */
organ_status organ_model_cache_create(const organ_jail *jail, const organ_reader_options *reading, size_t max,
                                      void (*on_change)(void *context), void *context, organ_model_cache **made,
                                      organ_error *error)
{
    organ_model_cache *const cache = *made = calloc(1, sizeof *cache);
    if (!cache)
        return organ_fail_errno(error, ENOMEM, "the list of models");
    cache->jail = jail;
    cache->max = max;
    cache->on_change = on_change;
    cache->context = context;
    pthread_mutex_init(&cache->lock, NULL);
    pthread_mutex_init(&cache->report_lock, NULL);
    pthread_cond_init(&cache->called, NULL);
    int failed = organ_reader_create(reading, &cache->reader_process, error)
                     ? ECANCELED
                     : pthread_create(&cache->scanner, NULL, scan_models, cache);
    cache->scanning_thread = failed == 0;
    if (!failed) {
        failed = pthread_create(&cache->reader, NULL, read_models, cache);
        cache->reading_thread = failed == 0;
    }
    if (!failed)
        return ORGAN_OK;
    organ_model_cache_destroy(cache);
    *made = NULL;
    return organ_fail_errno(error, failed, "the threads that look for models");
}

void organ_model_cache_stop(organ_model_cache *cache)
{
    pthread_mutex_lock(&cache->report_lock);
    cache->on_change = NULL;
    pthread_mutex_unlock(&cache->report_lock);
    pthread_mutex_lock(&cache->lock);
    cache->stopping = true;
    pthread_cond_broadcast(&cache->called);
    pthread_mutex_unlock(&cache->lock);
    if (cache->reader_process)
        organ_reader_stop(cache->reader_process);
}

/* Joins both threads before it frees anything, because they use all of it. */
void organ_model_cache_destroy(organ_model_cache *cache)
{
    if (!cache)
        return;
    organ_model_cache_stop(cache);
    if (cache->scanning_thread)
        pthread_join(cache->scanner, NULL);
    if (cache->reading_thread)
        pthread_join(cache->reader, NULL);
    organ_reader_destroy(cache->reader_process);
    for (size_t k = 0; k < PLACES; k++)
        clear_place(cache, &cache->places[k]);
    for (size_t k = 0; k < cache->requested_count; k++)
        free(cache->requested[k]);
    organ_found_release(&cache->found);
    pthread_mutex_destroy(&cache->lock);
    pthread_mutex_destroy(&cache->report_lock);
    pthread_cond_destroy(&cache->called);
    free(cache);
}
