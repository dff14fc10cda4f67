/* SPDX-License-Identifier: MIT
 * The files of the page at /, as they stand in serve/page/site/, inside the program. */
#ifndef ORGAN_PAGE_FILES_H
#define ORGAN_PAGE_FILES_H

#include <stddef.h>

typedef struct organ_page_file {
    const char *name; /* "index.html" */
    const char *type; /* "text/html; charset=utf-8" */
    const char *data, *end;
} organ_page_file;

extern const organ_page_file organ_page_files[];
extern const size_t organ_page_file_count;

#endif
