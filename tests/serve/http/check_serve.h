/* SPDX-License-Identifier: MIT
 * The suites of the server. */
#ifndef CHECK_SERVE_H
#define CHECK_SERVE_H

#include <check.h>

Suite *serve_faults_suite(void); /* paths out of the root, malformed requests, sizes, errors at the start */
Suite *serve_limits_suite(void); /* limits of connections and time, wrong tokens */
Suite *serve_heads_suite(void);  /* raw requests */
Suite *serve_access_suite(void); /* tokens and their roles, proxies, the audit log */

#endif
