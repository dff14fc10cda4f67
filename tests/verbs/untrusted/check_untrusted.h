/* SPDX-License-Identifier: MIT
 * Functions of the tests of inspect --untrusted. */
#ifndef ORGAN_TEST_CHECK_UNTRUSTED_H
#define ORGAN_TEST_CHECK_UNTRUSTED_H

#include "tests/kit/suite_table.h"

/* Checks that `name` of the scratch directory has no finding, or has this one. `where` and `what` are fragments; a
 * `file` of "" means any. */
void expect_clean(const char *name);
void expect_finding(const char *name, const char *kind, const char *file, const char *where, const char *what);

/* Returns the number of findings. */
size_t findings_in(const char *name);

/* Suite of links, devices, tokenizers, and models of several files. */
Suite *untrusted_places_suite(void (*before)(void));

#endif
