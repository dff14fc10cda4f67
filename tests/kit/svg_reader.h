/* SPDX-License-Identifier: MIT
 * What the tests of charts and of pages look at them with. */
#ifndef ORGAN_TEST_SVG_READER_H
#define ORGAN_TEST_SVG_READER_H

#include <check.h>
#include <stddef.h>

/* Names that a file may hold: markup, quotes, control characters, broken UTF-8, marks that turn the direction of
 * writing. */
enum { HOSTILE_NAMES = 9 };
extern const char *const hostile_names[HOSTILE_NAMES];

/* Fails the test unless `svg` is one document of well-formed XML without anything that acts, with a title and a
 * description. */
void svg_must_be_well_formed(const char *svg);

/* How often `what` stands in `text`. */
size_t count_in(const char *text, const char *what);

/* The other charts: heat maps, rankings, scatter. */
Suite *svg_maps_suite(void);

#endif
