/* SPDX-License-Identifier: MIT
 * What is known of the models below the root, kept as long as their files stay as they are. Two threads of its own do
 * what takes long: one walks the root, one reads models one at a time, so that memory for reading is needed once. No
 * other thread waits for either. */
#ifndef ORGAN_MODEL_SHELF_H
#define ORGAN_MODEL_SHELF_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/models/catalog.h"
#include "orchestrator/serve/models/reader.h"

#include <jansson.h>

typedef struct organ_shelf organ_shelf;

/* `reading`: the process that reads models. `most`: bytes of memory that the models on the shelf may take; the least
 * recently used go first. `tell` is called, from the threads of the shelf, whenever something new is known. */
organ_status organ_shelf_create(const organ_jail *jail, const organ_reader_options *reading, size_t most,
                                void (*tell)(void *context), void *context, organ_shelf **shelf, organ_error *error);
/* `tell` is not called any more, and nothing new is begun. */
void organ_shelf_rest(organ_shelf *shelf);
void organ_shelf_destroy(organ_shelf *shelf); /* NULL is allowed */

typedef struct organ_shelf_page {
    json_t
        *models; /* {path, kind, bytes, files, modified} with its summary, "fault" or "pending": true; to be released */
    size_t total;
    bool cut;     /* more lies below the root than is looked at */
    bool looking; /* the root is being walked, or a model of this page read: there will be more to tell */
} organ_shelf_page;

/* The models whose paths have `search` in them (NULL: all), in the order of their paths: `limit` of them from `offset`
 * on, as far as they are known now. What is older than two seconds, or than twice the time that the walk takes, is
 * looked for again. Never waits. */
organ_status organ_shelf_list(organ_shelf *shelf, const char *search, size_t offset, size_t limit,
                              organ_shelf_page *page, organ_error *error);

/* The model at a path, to be given back with organ_shelf_release. 0; 202: it is being read, `tell` says when there is
 * news; or the HTTP status that fits: those of organ_jail_input, 422 for what is no model or malformed, 507 if it does
 * not fit on the shelf, 503 if too many others wait to be read. Looks at the names in one directory, and never waits
 * for a model. */
unsigned organ_shelf_model(organ_shelf *shelf, const char *path, const organ_catalog **model, organ_error *error);
void organ_shelf_release(organ_shelf *shelf, const organ_catalog *model); /* NULL is allowed */

/* Lines of Prometheus' text format. */
void organ_shelf_metrics(organ_shelf *shelf, FILE *out);

#endif
