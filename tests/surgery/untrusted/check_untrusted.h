/* SPDX-License-Identifier: MIT
 * What tests of downloads share. */
#ifndef ORGAN_TEST_CHECK_UNTRUSTED_H
#define ORGAN_TEST_CHECK_UNTRUSTED_H

#include "tests/kit/suite_table.h"

/* What is found in `name` of the scratch directory: nothing; or this, among what there is. `where` and `what` are
 * fragments, a `file` of "" is any. */
void expect_clean(const char *name);
void expect_finding(const char *name, const char *kind, const char *file, const char *where, const char *what);

/* How many findings there are in all. */
size_t findings_in(const char *name);

/* Links, devices, tokenizers, models of several files. */
Suite *untrusted_places_suite(void (*before)(void));

#endif
