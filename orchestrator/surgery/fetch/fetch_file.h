/* SPDX-License-Identifier: MIT
 * Downloads one file: receives it in ranges, compares its digest with the hub's list, and renames it. */
#ifndef ORGAN_FETCH_FILE_H
#define ORGAN_FETCH_FILE_H

#include "formats/names/hub_requests.h"
#include "formats/remote/remote.h"
#include <organ/stream.h>

/* How a file was obtained. */
typedef enum organ_fetched {
    ORGAN_FETCH_NEW,       /* all its bytes were downloaded by this run */
    ORGAN_FETCH_CONTINUED, /* this run downloaded the bytes that an earlier run had not */
    ORGAN_FETCH_PRESENT    /* it existed with the right digest */
} organ_fetched;

/* One file to download. */
typedef struct organ_fetch_file {
    const organ_hub_file *file;
    const char *path, *part; /* the file's final path, and the path of the temporary file that receives its bytes */
    organ_http *http;        /* connection to the folder of the commit; file->path is relative to that folder */
    const organ_progress *progress;
    void *buffer; /* working memory: ORGAN_FETCH_BUFFER bytes */
} organ_fetch_file;

#define ORGAN_FETCH_BUFFER ((size_t)16 << 20)

/* Creates all missing folders above the file `path`. */
organ_status organ_fetch_folders(const char *path, organ_error *error);

/* Downloads the file unless fetch->path exists, and sets *how. Returns ORGAN_USAGE if fetch->path exists with another
 * size or digest than in the hub's list, if another process downloads the file, or if fetch->part is no regular file;
 * ORGAN_BAD_INPUT if the size or the digest of the download is wrong; ORGAN_IO if a file cannot be read or written; and
 * errors of the connection. After ORGAN_BAD_INPUT the temporary file is removed. After other errors it keeps the
 * received bytes, and the next call continues it. */
organ_status organ_fetch_one(const organ_fetch_file *fetch, organ_fetched *how, organ_error *error);

#endif
