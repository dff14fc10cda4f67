/* SPDX-License-Identifier: MIT
 * Functions of the suites of build/tests/organs. Outputs are names in the scratch directory. */
#ifndef ORGAN_TEST_CHECK_ORGANS_H
#define ORGAN_TEST_CHECK_ORGANS_H

#include <organ/models.h>

#include <check.h>
#include <jansson.h>

extern json_t *organs_report; /* of the last run */

void organs_setup(void);
void organs_teardown(void);

void remove_output(const char *name);
char *content(const char *path, size_t *size); /* the caller frees it */
void same_content(const char *a, const char *b);
bool is_there(const char *path);

organ_status extract(const char *model, const char *output, organ_error *error);
organ_status assemble(const char *directory, const char *output, organ_error *error);
void must_extract(const char *model, const char *output);
void must_assemble(const char *directory, const char *output);

Suite *organs_suite(void);
Suite *graft_suite(void);

#endif
