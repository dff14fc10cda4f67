/* SPDX-License-Identifier: MIT
 * Checks of the path that --html names. */
#ifndef ORGAN_HTML_FILE_H
#define ORGAN_HTML_FILE_H

#include "orchestrator/command/options.h"

/* ORGAN_USAGE if there is something at `path` that is no page of this program, such as a model, or if there is no
 * directory to write it into. Makes nothing. */
organ_status organ_html_file_check(const char *path, organ_error *error);

/* ORGAN_USAGE if the page would lie in the directory of a model that the verb was called with; `values` is what
 * organ_options_parse filled. */
organ_status organ_html_file_check_apart(const char *path, const organ_verb *verb, const void *values,
                                         organ_error *error);

#endif
