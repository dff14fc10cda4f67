/* SPDX-License-Identifier: MIT
 * Checks of pages for tests. */
#ifndef ORGAN_TEST_HTML_READER_H
#define ORGAN_TEST_HTML_READER_H

#include <jansson.h>

/* Returns the length of the seal of a page (formats/model/model_place.h) if `at` is nothing else, or 0. */
size_t html_seal(const char *at);

/* Fails the test unless `page` is a complete, well-formed HTML document that loads nothing and links within itself
 * only, with one heading, one main element, unique ids with correct references, and styles for light, dark and
 * print. */
void html_must_be_page(const char *page);

/* Returns the page of a report and checks it; the caller frees it. */
char *html_page_of(const json_t *report);

#endif
