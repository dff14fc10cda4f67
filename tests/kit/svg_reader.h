/* SPDX-License-Identifier: MIT
 * Checks of charts and pages for tests. */
#ifndef ORGAN_TEST_SVG_READER_H
#define ORGAN_TEST_SVG_READER_H

#include <check.h>
#include <stddef.h>

/* Names that a file may contain: markup, quotes, control characters, malformed UTF-8, marks of bidirectional text. */
enum { HOSTILE_NAMES = 9 };
extern const char *const hostile_names[HOSTILE_NAMES];

/* Fails the test unless `svg` is a well-formed XML document without scripts and links, with a title and a
 * description. */
void svg_must_be_well_formed(const char *svg);

/* Returns how often `what` occurs in `text`. */
size_t count_in(const char *text, const char *what);

/* Returns the suite of the other charts: heat maps, rankings, scatter plots. */
Suite *svg_maps_suite(void);

#endif
