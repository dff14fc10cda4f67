/* SPDX-License-Identifier: MIT */
#ifndef CHECK_HTTP_H
#define CHECK_HTTP_H

#include <check.h>

Suite *http_source_suite(void);
Suite *http_redirects_suite(void);
Suite *http_model_suite(void);
Suite *http_measure_suite(void);
Suite *http_verbs_suite(void);

#endif
