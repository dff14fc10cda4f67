/* SPDX-License-Identifier: MIT
 * What the tests of pages look at them with. */
#ifndef ORGAN_TEST_HTML_READER_H
#define ORGAN_TEST_HTML_READER_H

/* Fails the test unless `page` is one whole document of well-formed HTML that acts on nothing but itself and asks for nothing: one heading,
 * one main part, names that are there once and are all referred to rightly, light and dark and printed. */
void html_must_be_page(const char *page);

#endif
