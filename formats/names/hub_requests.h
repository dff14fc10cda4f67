/* SPDX-License-Identifier: MIT
 * Requests to the server of Hugging Face's hub: the list of a repository's files at one commit, and their URL.
 *
 * HF_ENDPOINT names another server than https://huggingface.co. If HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set (to
 * 1, ON, YES or TRUE), no request is made. The token is sent to the server of HF_ENDPOINT only
 * (organ_model_access.bearer_origin). */
#ifndef ORGAN_HUB_REQUESTS_H
#define ORGAN_HUB_REQUESTS_H

#include "formats/names/names.h"
#include <organ/models.h>

#include <stdint.h>

/* A file of a repository of Hugging Face, as the hub's list of files describes it. */
typedef struct organ_hub_file {
    const char *path;   /* path in the repository, with '/' between folders; no segment is empty, "." or ".." */
    uint64_t bytes;     /* its size */
    const char *digest; /* hexadecimal: SHA-256 of the content if `lfs`, else the name of git's blob (SHA-1) */
    bool lfs;           /* the repository stores the file in Git LFS */
} organ_hub_file;

/* Files of a repository at one commit. All memory belongs to the arena of the call that filled it. */
typedef struct organ_hub_files {
    const char *commit;    /* 40 hexadecimal digits */
    const char *url;       /* URL of the folder with the files of this commit */
    organ_hub_file *files; /* sorted by path */
    size_t count;
} organ_hub_files;

bool organ_hub_is_offline(void); /* true if the environment forbids requests */

/* Sets access->bearer to the user's token, or to NULL if there is none, and access->bearer_origin to the server that
 * may get it. The token is the first word of the file `path`. If `path` is NULL, it is HF_TOKEN, else the first word of
 * the file HF_TOKEN_PATH or of `token` in HF_HOME; if HF_HUB_DISABLE_IMPLICIT_TOKEN is set, access->bearer stays
 * unchanged. Returns ORGAN_USAGE if a token has characters other than printable ASCII, or if HF_ENDPOINT is not an
 * http(s) URL; ORGAN_IO if the file with the token cannot be read; ORGAN_BAD_INPUT if it is too long. */
organ_status organ_hub_set_token(const char *path, organ_arena *arena, organ_model_access *access, organ_error *error);

/* Requests the list of files of name->revision (default "main") from the server. `text` is the name as typed, for
 * messages. Returns ORGAN_USAGE if the environment forbids requests, or if the server has no such model or
 * revision; ORGAN_IO if it cannot be reached; ORGAN_BAD_INPUT if its answer is malformed: a commit or digest of another
 * form, a path that leads out of a folder, a path that is listed twice or is a file and a folder, a negative size. */
organ_status organ_hub_list_files(const char *text, const organ_hub_name *name, const organ_model_access *access,
                                  organ_arena *arena, organ_hub_files *found, organ_error *error);

/* Sets *url to the URL from which organ_model_open_with can read the model without downloading it: the file that the
 * name includes, else the folder with safetensors, else the only GGUF model. The URL contains the revision's commit
 * at this moment, so that all files are of one commit. Returns the errors of organ_hub_list_files; ORGAN_USAGE
 * if the repository does not have that file, ORGAN_BAD_INPUT if it does not have exactly one such model. */
organ_status organ_hub_stream(const char *text, const organ_model_access *access, organ_arena *arena, const char **url,
                              organ_error *error);

/* Sets *path to what organ_name_resolve finds, or for a name that only the hub has to the URL of organ_hub_stream;
 * `access` then gets the user's token. For names that the command line has not resolved: those in a recipe, and of a
 * model with an adapter. Returns the errors of these functions. */
organ_status organ_hub_find(const char *name, organ_model_access *access, organ_arena *arena, const char **path,
                            organ_error *error);

#endif
