/* SPDX-License-Identifier: MIT
 * What the tests of pages look at them with. */
#ifndef ORGAN_TEST_HTML_READER_H
#define ORGAN_TEST_HTML_READER_H

#include <jansson.h>

/* Fails the test unless `page` is one whole document of well-formed HTML that acts on nothing but itself and asks for
 * nothing: one heading, one main part, names that are there once and are all referred to rightly, light and dark and
 * printed. */
void html_must_be_page(const char *page);

/* The page of a report, which must be one, to be freed. */
char *html_page_of(const json_t *report);

#endif
