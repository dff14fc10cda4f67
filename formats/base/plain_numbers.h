/* SPDX-License-Identifier: MIT
 * The functions of the C library that read and write real numbers, with a decimal point whatever the locale is: files,
 * documents, options and messages are the same in a program that has called setlocale. They switch the locale of the
 * calling thread only, which setlocale in another thread does not disturb. Otherwise each is the function without
 * the prefix organ_, which no other file may call with a real number (tests/check_house.sh). jansson's json_loads and
 * json_dumps are independent of the locale anyway. */
#ifndef ORGAN_PLAIN_NUMBERS_H
#define ORGAN_PLAIN_NUMBERS_H

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

double organ_strtod(const char *text, char **end);
float organ_strtof(const char *text, char **end);

__attribute__((format(printf, 3, 4))) int organ_snprintf(char *out, size_t size, const char *format, ...);
__attribute__((format(printf, 2, 3))) int organ_fprintf(FILE *out, const char *format, ...);
__attribute__((format(printf, 1, 2))) json_t *organ_json_sprintf(const char *format, ...);
__attribute__((format(printf, 3, 0))) int organ_vsnprintf(char *out, size_t size, const char *format, va_list args);
__attribute__((format(printf, 2, 0))) int organ_vasprintf(char **text, const char *format, va_list args);
__attribute__((format(printf, 1, 0))) json_t *organ_json_vsprintf(const char *format, va_list args);

#endif
