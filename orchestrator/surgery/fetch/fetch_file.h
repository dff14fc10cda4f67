/* SPDX-License-Identifier: MIT
 * One file of a download: received by ranges, checked, and renamed. */
#ifndef ORGAN_FETCH_FILE_H
#define ORGAN_FETCH_FILE_H

#include "formats/names/hub_requests.h"
#include "formats/remote/remote.h"
#include "orchestrator/stream/progress.h"

/* How a file was obtained: downloaded, resumed or already there. */
typedef enum organ_fetched { ORGAN_FETCH_NEW, ORGAN_FETCH_CONTINUED, ORGAN_FETCH_PRESENT } organ_fetched;

typedef struct organ_fetch_file {
    const organ_hub_file *file;
    const char *path, *part; /* where the file is to be, and where it is received */
    organ_http *http;        /* the folder of the commit; names are paths */
    const organ_progress *progress;
    void *buffer; /* ORGAN_FETCH_BUFFER bytes */
} organ_fetch_file;

#define ORGAN_FETCH_BUFFER ((size_t)16 << 20)

/* Makes the folders above a path. */
organ_status organ_fetch_folders(const char *path, organ_error *error);

/* Downloads the file unless it exists with its digest. Fails with the errors of organ_fetch. After an error `part`
 * keeps the received bytes, except if the digest or the size is wrong. */
organ_status organ_fetch_one(const organ_fetch_file *fetch, organ_fetched *how, organ_error *error);

#endif
