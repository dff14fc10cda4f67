/* SPDX-License-Identifier: MIT
 * Catalogs of the models below the root, kept while their files do not change. Two threads do the slow work: one scans
 * the root; the other reads models one at a time, so that the memory for reading is needed only once. No other thread
 * waits for them. */
#ifndef ORGAN_MODEL_CACHE_H
#define ORGAN_MODEL_CACHE_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/models/catalog.h"
#include "orchestrator/serve/models/model_reader.h"

#include <jansson.h>

typedef struct organ_model_cache organ_model_cache;

/* Creates the cache of models. `reading` starts the process that reads models; `max` is the largest size in bytes of
 * all catalogs, of which the least recently used are freed first. The threads of the cache call `tell` after each scan
 * or reading that has new results. */
organ_status organ_model_cache_create(const organ_jail *jail, const organ_reader_options *reading, size_t max,
                                      void (*tell)(void *context), void *context, organ_model_cache **cache,
                                      organ_error *error);
/* Stops the cache: from then on no scan and no read begins, and `tell` is not called. Aborts the current read. */
void organ_model_cache_stop(organ_model_cache *cache);
void organ_model_cache_destroy(organ_model_cache *cache); /* NULL is allowed */

typedef struct organ_model_cache_page {
    json_t *models; /* {path, kind, bytes, files, modified} with its summary, "fault" or "pending": true; for the caller
                     * to release */
    size_t total;
    bool cut; /* the scan has reached one of its limits: the list is incomplete */
    /* the root is being scanned, or a model of this page is being read: a later list will contain more */
    bool looking;
} organ_model_cache_page;

/* Lists the models whose paths contain `search` (NULL: all), ordered by path: `limit` of them, starting at `offset`,
 * from the last scan. A list older than two seconds plus twice the duration of a scan starts a new scan. Never
 * blocks. */
organ_status organ_model_cache_list(organ_model_cache *cache, const char *search, size_t offset, size_t limit,
                                    organ_model_cache_page *page, organ_error *error);

/* Finds the catalog of the model at `path`, to be released with organ_model_cache_release. Checks names in one
 * directory only, and never waits for a model. Returns 0; 202 if the model is being read (`tell` is called when it is
 * done); or an error status: those of organ_jail_input, 422 not a model or malformed, 507 too large for the
 * cache, 503 too many models wait to be read. */
unsigned organ_model_cache_get(organ_model_cache *cache, const char *path, const organ_catalog **model,
                               organ_error *error);
void organ_model_cache_release(organ_model_cache *cache, const organ_catalog *model); /* NULL is allowed */

/* Writes the usage of the cache in Prometheus' text format. */
void organ_model_cache_metrics(organ_model_cache *cache, FILE *out);

#endif
