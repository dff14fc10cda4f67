/* SPDX-License-Identifier: MIT
 * The suites of the program build/tests/formats. */
#ifndef ORGAN_TEST_CHECK_FORMATS_H
#define ORGAN_TEST_CHECK_FORMATS_H

#include <check.h>

Suite *status_suite(void);
Suite *safetensors_suite(void);
Suite *shards_suite(void);
Suite *names_suite(void);
Suite *config_suite(void);
Suite *anatomy_suite(void);
Suite *module_names_suite(void);
Suite *mlx_view_suite(void);

#endif
