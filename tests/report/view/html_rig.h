/* SPDX-License-Identifier: MIT
 * Reports of the verbs for the tests of their pages. The caller releases each; the test fails if there is none. */
#ifndef ORGAN_TEST_HTML_RIG_H
#define ORGAN_TEST_HTML_RIG_H

#include "tests/kit/run_rig.h"

#include <jansson.h>

extern run_engine html_room; /* made by setup, removed by teardown, like the scratch directory */
void html_setup(void);
void html_teardown(void);

json_t *measured(const char *const *models, size_t count);
json_t *grafted(const char *source, const char *target, const char *output,
                bool dry_run);                                                          /* organs of layers 1 and 2 */
json_t *purified(const char *model, const char *output, double strength, bool dry_run); /* uses wavelets */
json_t *extracted(const char *model, const char *output);
json_t *assembled(const char *directory, const char *output);
json_t *inspected(const char *model); /* with its tensors; also for a model with problems */

#endif
