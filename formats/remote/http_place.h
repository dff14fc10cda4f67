/* SPDX-License-Identifier: MIT
 * What a URL names: a directory or a file of a model, and what of it may be shown. */
#ifndef ORGAN_HTTP_PLACE_H
#define ORGAN_HTTP_PLACE_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <stdbool.h>

bool organ_http_is_url(const char *path);

/* The parts of a URL that may be shown: the whole without slashes at its end, its directory, and the decoded last segment of its path.
 * *name is NULL where that is not the name of a file that a model is in: then the URL names the directory, and both are the same.
 * ORGAN_USAGE if it is no URL of a file or a directory. */
organ_status organ_http_place(const char *url, organ_arena *arena, const char **shown, const char **directory, const char **name,
                              organ_error *error);

/* The URL without user, password, query and fragment, to be freed by curl_free; NULL if it is none, or without memory. */
char *organ_http_harmless(const char *url);

/* Whether the last segment of that text is the name of a file that a model is in, or that a user may take for one. */
bool organ_http_names_file(const char *text);

#endif
