/* SPDX-License-Identifier: MIT
 * Where pages go. */
#ifndef ORGAN_HTML_FILE_H
#define ORGAN_HTML_FILE_H

#include "formats/status.h"

/* ORGAN_USAGE if there is something at `path` that is no HTML page, such as a model, or if there is no directory to write it into. Makes
 * nothing. */
organ_status organ_html_file_check(const char *path, organ_error *error);

#endif
