/* SPDX-License-Identifier: MIT
 * Room surgery/fetch: downloads a model from the hub of Hugging Face into a folder or into the hub's cache. */
#ifndef ORGAN_FETCH_H
#define ORGAN_FETCH_H

#include "formats/base/status.h"
#include "formats/remote/access.h"
#include "orchestrator/stream/progress.h"

#include <jansson.h>

typedef struct organ_fetch_options {
    const char *model;                           /* hf:ORG/NAME[/FILE][@REVISION] */
    const char *output;                          /* folder to download into; NULL: the cache of huggingface_hub */
    const char *token_file;                      /* file with a token; NULL: as organ_hub_set_token finds one */
    const char *const *include, *const *exclude; /* globs on paths of files; '*' matches '/', too */
    size_t include_count, exclude_count;
    const organ_model_access *access;
    bool dry_run; /* lists the files and their bytes, and downloads nothing */
} organ_fetch_options;

/* Downloads the files of one commit. A file is received under its name with ".part" (in the cache: ".incomplete"),
 * which a later call continues, and gets its name when its size and its digest are those of the server's list: SHA-256,
 * or SHA-1 of git's blob for small files. Existing files with these digests are kept. In the cache, files are blobs
 * with a link in the snapshot of the commit, and refs/REVISION is written after the last file.
 *
 * *report has the schema organ.fetch/1; the caller releases it; NULL on error. ORGAN_USAGE if no file is selected, a
 * file exists with another content, another process downloads it, or the environment forbids requests; ORGAN_BAD_INPUT
 * for a name that is none, and for a size or digest other than that of the list; ORGAN_IO if the server refuses or
 * cannot be reached, or the disk has too little space, which is checked first; ORGAN_INTERRUPTED. */
organ_status organ_fetch(const organ_fetch_options *options, const organ_progress *progress, json_t **report,
                         organ_error *error);

#endif
