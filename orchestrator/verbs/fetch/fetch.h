/* SPDX-License-Identifier: MIT
 * Downloads a model from the hub of Hugging Face into a folder or into the hub's cache. */
#ifndef ORGAN_VERBS_FETCH_FETCH_H
#define ORGAN_VERBS_FETCH_FETCH_H

#include "formats/names/hub_requests.h"
#include "formats/remote/remote.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <organ/stream.h>

/* The options of `organ fetch`. */
typedef struct organ_fetch_options {
    const char *model;      /* the model's name: hf:ORG/NAME[/FILE][@REVISION] */
    const char *output;     /* folder to download into; NULL: the cache of huggingface_hub */
    const char *token_file; /* file with the token for private models; NULL: a token is searched where huggingface_hub
                               stores it (organ_hub_set_token) */
    /* globs for the paths of files in the repository; '*' also matches '/' */
    const char *const *include, *const *exclude;
    size_t include_count, exclude_count;
    const organ_model_access *access; /* access to the hub; NULL: defaults */
    bool dry_run;                     /* list the files and their bytes, and download nothing */
} organ_fetch_options;

/* Downloads the selected files of one commit. A file is received under its name with ".part" (in the cache:
 * ".incomplete"); a later call continues this file. The file gets its name when its size and its digest are those of
 * the server's list. The digest is SHA-256 for LFS files, the SHA-1 of git's blob for others. Existing files with these
 * digests are kept. In the cache, files are blobs with a link in the snapshot of the commit, and refs/REVISION is
 * written after the last file.
 *
 * *report becomes a document organ.fetch/1, which the caller releases; NULL on error. Returns
 * - ORGAN_USAGE if no file is selected, a file exists with another content, the server has no such model,
 * options->model is no name of a model, or the environment forbids requests;
 * - ORGAN_BAD_INPUT if the list is malformed or selects a hidden file such as
 *   .git/config, or a size or digest differs from that of the list;
 * - ORGAN_IO if the server refuses or cannot be reached, another process downloads the same file, or the disk has too
 *   little space, which is checked first;
 * - ORGAN_INTERRUPTED if the user interrupts the download. */
organ_status organ_fetch(const organ_fetch_options *options, const organ_progress *progress, json_t **report,
                         organ_error *error);

/* ---- downloading one file: ranges, the digest of the hub's list, renaming ---- */

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

#endif
