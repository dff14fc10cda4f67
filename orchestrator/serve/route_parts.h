/* SPDX-License-Identifier: MIT
 * What the tables of routes are written with. */
#ifndef ORGAN_ROUTE_PARTS_H
#define ORGAN_ROUTE_PARTS_H

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define ORGAN_TEXT_SCHEMA "{\"type\": \"string\"}"
/* Without control characters. */
#define ORGAN_LINE_SCHEMA "{\"type\": \"string\", \"pattern\": \"^[^\\\\u0000-\\\\u001f\\\\u007f]*$\"}"
/* Segments that are not empty and do not begin with a dot, no backslashes, no control characters. */
#define ORGAN_SEGMENT                                                                                                                      \
    "[^./\\\\\\\\\\\\u0000-\\\\u001f\\\\u007f]"                                                                                            \
    "[^/\\\\\\\\\\\\u0000-\\\\u001f\\\\u007f]*"
#define ORGAN_PATH_SCHEMA                                                                                                                  \
    "{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 500, \"pattern\": \"^" ORGAN_SEGMENT "(/" ORGAN_SEGMENT ")*$\"}"
#define ORGAN_PROBLEM_REF "{\"$ref\": \"#/components/schemas/Problem\"}" /* the schema is of the area "server" */

#endif
