/* SPDX-License-Identifier: MIT
 * Keeps catalogs (catalog.h) of the models below the root, each until a file of the model changes or the memory is
 * needed for others. Two threads do the slow work: one scans the root for models; the other reads models one at a time,
 * so that the memory for reading is needed only once. No other thread waits for them. */
#ifndef ORGAN_MODEL_CACHE_H
#define ORGAN_MODEL_CACHE_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/models/catalog.h"
#include "orchestrator/serve/models/model_reader.h"

#include <jansson.h>

typedef struct organ_model_cache organ_model_cache;

/* Creates the cache of models. `reading` has the options of the process that reads models; `max` is the largest size in
 * bytes of all cached catalogs, of which the least recently used are evicted first. The threads of the cache call
 * `on_change` with `context` after each scan and each read. Returns ORGAN_IO if a thread or the reader cannot be
 * created; *cache is NULL then. */
organ_status organ_model_cache_create(const organ_jail *jail, const organ_reader_options *reading, size_t max,
                                      void (*on_change)(void *context), void *context, organ_model_cache **cache,
                                      organ_error *error);
/* Stops the cache: no further scan or read begins, and `on_change` is not called any more. Aborts the current read. */
void organ_model_cache_stop(organ_model_cache *cache);
void organ_model_cache_destroy(organ_model_cache *cache); /* NULL is allowed */

typedef struct organ_model_cache_page {
    /* array of {path, kind, bytes, files, modified}, each with the members of the catalog's summary, or "fault" if the
     * model could not be read, or "pending": true if it was not read yet; for the caller to release */
    json_t *models;
    size_t total; /* number of models that match the search, on all pages */
    bool cut;     /* the scan has reached one of its limits: the list is incomplete */
    /* a scan is due or running, or a model of this page is still to be read: a later list may contain more */
    bool looking;
} organ_model_cache_page;

/* Lists, from the last scan, the models whose paths contain `search` in any case (NULL: all), ordered by path: at most
 * `limit` of them, without the first `offset`. Starts a new scan if the last one ended more than two seconds plus twice
 * its duration ago. Never blocks. Returns ORGAN_IO if memory runs out, or the error of the last scan unless
 * page->looking is true. After an error page->models is NULL. */
organ_status organ_model_cache_list(organ_model_cache *cache, const char *search, size_t offset, size_t limit,
                                    organ_model_cache_page *page, organ_error *error);

/* Finds the catalog of the model at `path`, for the caller to release with organ_model_cache_give_back. Looks at one
 * directory only, for changes, and never waits for a read. Returns 0 with the catalog. If the model is not read yet,
 * queues it and returns 202; `on_change` is called after the read. Otherwise returns the HTTP status of an error: that
 * of organ_jail_input; 422: not a model, or malformed; 507: too large for the cache or for reading; 503: too many
 * models wait to be read. */
unsigned organ_model_cache_get(organ_model_cache *cache, const char *path, const organ_catalog **model,
                               organ_error *error);
void organ_model_cache_give_back(organ_model_cache *cache, const organ_catalog *model); /* NULL is allowed */

/* Writes the usage of the cache, and the metrics of the process that reads models, in Prometheus' text format. */
void organ_model_cache_metrics(organ_model_cache *cache, FILE *out);

#endif
