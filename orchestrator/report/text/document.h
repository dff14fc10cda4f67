/* SPDX-License-Identifier: MIT
 * Documents: JSON made readable and exact, and files that are there whole or not at all. */
#ifndef ORGAN_DOCUMENT_H
#define ORGAN_DOCUMENT_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

ORGAN_API_BEGIN

/* Writes `document` with keys in insertion order and indent 2 (arrays of numbers stand on one line), newline at the
 * end. A real number has the fewest digits, 15 to 17, that read back as the same number. Errors of `out` stay in its
 * error flag; ORGAN_IO if memory ran out. */
organ_status organ_document_print(const json_t *document, FILE *out, organ_error *error);

/* The same on one line and without spaces to spare, newline at the end: a line of a JSON-lines file. */
organ_status organ_document_line(const json_t *document, FILE *out, organ_error *error);

/* A JSON string of any bytes: control characters and invalid UTF-8 (paths may hold them) are written as \xNN. NULL
 * without memory, also for NULL (text for which there was none), which counts as a refusal
 * (formats/base/memory_watch.h). */
json_t *organ_document_string(const char *s);

/* Writes a file by way of a temporary neighbour, fsync and rename: at `path` stands the old file or the whole new one.
 * Only a report of this program is replaced (organ_check_report_place). ORGAN_IO on failure; the temporary file is
 * removed then, but kept where something else has taken the name meanwhile: the message says how to take it. */
organ_status organ_document_write(const char *path, const json_t *document, organ_error *error);
organ_status organ_text_write(const char *path, const char *text, organ_error *error);

/* The member `key` of a document, an object of `count` members that are made one by one while they are printed. `row`
 * returns a new reference, or NULL without memory. */
typedef struct organ_long_member {
    const char *key;
    size_t count;
    const char *(*name)(const void *context, size_t k);
    json_t *(*row)(const void *context, size_t k);
    const void *context;
} organ_long_member;

/* Like organ_document_write, with these rows in place of the value that `document` has under rows->key. */
organ_status organ_document_write_long(const char *path, const json_t *document, const organ_long_member *rows,
                                       organ_error *error);

/* The same for the text that `print` writes to `out` from `context`; the whole text is never in memory. The caller
 * checks the error flag of `out`. */
typedef organ_status organ_printer(const void *context, FILE *out, organ_error *error);
organ_status organ_printed_write(const char *path, organ_printer *print, const void *context, organ_error *error);

/* json_array_get for rows of a report, which may be stored in a file (formats/base/json_spool.h). Code that iterates
 * over rows uses this.
 */
json_t *organ_json_row_at(const json_t *rows, size_t k);

/* The value at a path of keys: organ_json_at(report, "totals.target.killed"). Of an array a number is an element, "*"
 * the first element where the rest of the path is something, "@NAME" the first that has NAME as one of its members.
 * NULL if there is none. */
const json_t *organ_json_at(const json_t *json, const char *path);
/* The same as what it should be: "" and 0 where it is not there or something else; an integer is also a real number. */
const char *organ_json_text(const json_t *json, const char *path);
unsigned long long organ_json_count(const json_t *json, const char *path);
/* Adds such a count; a sum that json_int_t cannot hold becomes the most that it can. */
void organ_json_add_count(json_int_t *sum, const json_t *json, const char *path);
double organ_json_real(const json_t *json, const char *path);
/* How many elements an array has; true is 1; else the number, 0 for what is none. */
double organ_json_amount(const json_t *value);
/* Whether there is something: not null, false, 0 or empty. */
bool organ_json_has_something(const json_t *value);
/* A number; NAN where there is none. */
double organ_json_number(const json_t *json, const char *path);

ORGAN_API_END

#endif
