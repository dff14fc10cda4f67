/* SPDX-License-Identifier: MIT
 * The suites of the server. */
#ifndef CHECK_SERVE_H
#define CHECK_SERVE_H

#include <check.h>

Suite *serve_faults_suite(void); /* paths that lead outside, malformed requests, sizes, what cannot be started */
Suite *serve_limits_suite(void); /* connections, time, wrong tokens */
Suite *serve_heads_suite(void);  /* requests byte for byte */
Suite *serve_access_suite(void); /* tokens and their roles, proxies, the audit log */

#endif
