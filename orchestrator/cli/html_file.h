/* SPDX-License-Identifier: MIT
 * Checks of the path of --html. */
#ifndef ORGAN_HTML_FILE_H
#define ORGAN_HTML_FILE_H

#include "orchestrator/command/options.h"

/* Checks that the page of --html can be written to `path`; creates nothing. Returns ORGAN_USAGE if `path` exists and is
 * neither empty nor an unchanged page of this program (organ_check_report_place), or if its directory does not exist;
 * ORGAN_IO if the directory is not writable. */
organ_status organ_html_file_check(const char *path, organ_error *error);

/* Returns ORGAN_USAGE if `path` is inside the directory of a model that an operand or option of the verb names.
 * `values` is the struct that organ_options_parse filled. */
organ_status organ_html_file_check_distinct(const char *path, const organ_verb *verb, const void *values,
                                            organ_error *error);

#endif
