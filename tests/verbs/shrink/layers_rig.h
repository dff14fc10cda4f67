/* SPDX-License-Identifier: MIT
 * The suites of `layers`. */
#ifndef LAYERS_RIG_H
#define LAYERS_RIG_H

#include <check.h>

Suite *layer_sets_suite(void);
Suite *layers_heal_suite(void);

#endif
