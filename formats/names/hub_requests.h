/* SPDX-License-Identifier: MIT
 * The hub of Hugging Face as a server: the files of a repository at one commit, and where they are.
 *
 * HF_ENDPOINT names another server than https://huggingface.co. HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE (1, ON, YES,
 * TRUE) forbid requests. The token is sent to the server of HF_ENDPOINT only (organ_model_access.bearer_origin). */
#ifndef ORGAN_HUB_REQUESTS_H
#define ORGAN_HUB_REQUESTS_H

#include "formats/names/names.h"
#include "formats/remote/access.h"

#include <stdint.h>

typedef struct organ_hub_file {
    const char *path; /* in the repository, with '/' between folders; without empty, "." and ".." segments */
    uint64_t bytes;
    const char *digest; /* hexadecimal: SHA-256 of the content if `lfs`, else the name of git's blob (SHA-1) */
    bool lfs;
} organ_hub_file;

/* The memory is that of an arena. */
typedef struct organ_hub_files {
    const char *commit; /* 40 hexadecimal digits */
    const char *url;    /* of the folder with the files of this commit */
    organ_hub_file *files;
    size_t count;
} organ_hub_files;

bool organ_hub_is_offline(void); /* the environment forbids requests */

/* Sets bearer and bearer_origin of `access` to the token in the file `path`. If `path` is NULL, the token is HF_TOKEN,
 * else the content of the file HF_TOKEN_PATH or of `token` in HF_HOME, unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set. A
 * missing token is not an error. ORGAN_USAGE if a token has characters other than printable ASCII, or HF_ENDPOINT is
 * not an http(s) URL; ORGAN_IO if `path` cannot be read. */
organ_status organ_hub_set_token(const char *path, organ_arena *arena, organ_model_access *access, organ_error *error);

/* Asks the server for the files of the revision. `text` is the name, for messages. ORGAN_USAGE if the environment
 * forbids requests; ORGAN_IO if the server has no such model or revision, or cannot be reached; ORGAN_BAD_INPUT if its
 * answer is malformed: a commit or digest of another form, a path that leads out of a folder, a negative size. */
organ_status organ_hub_list_files(const char *text, const organ_hub_name *name, const organ_model_access *access,
                                  organ_arena *arena, organ_hub_files *found, organ_error *error);

/* Sets *url to the URL at which organ_model_open_with reads the model by ranges: of the folder of the commit, of the
 * file that the name has, or of the only GGUF model. The commit is that of the revision at this moment, so that all
 * files are of one commit. Errors of organ_hub_list_files; ORGAN_BAD_INPUT if no single model is there. */
organ_status organ_hub_stream(const char *text, const organ_model_access *access, organ_arena *arena, const char **url,
                              organ_error *error);

#endif
