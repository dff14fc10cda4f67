/* SPDX-License-Identifier: MIT
 * What the tables of routes are written with. */
#ifndef ORGAN_ROUTE_PARTS_H
#define ORGAN_ROUTE_PARTS_H

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define ORGAN_TEXT_SCHEMA "{\"type\": \"string\"}"
#define ORGAN_PATH_SCHEMA "{\"type\": \"string\", \"minLength\": 1}"
#define ORGAN_PROBLEM_REF "{\"$ref\": \"#/components/schemas/Problem\"}" /* the schema is of the area "server" */

#endif
