/* SPDX-License-Identifier: MIT
 * Reports: JSON documents, and pages made of them. */
#ifndef ORGAN_API_REPORT_H
#define ORGAN_API_REPORT_H

#include <organ/base.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

ORGAN_API_BEGIN

/* ---- documents: JSON that people can read and that keeps every bit of a number; files that are replaced atomically
 * ---- */

/* Writes `document` with keys in insertion order, indent 2 (arrays of numbers are on one line) and a newline at the
 * end. A real number has the fewest digits, 15 to 17, that read back as the same number. Write errors stay in the error
 * flag of `out`; returns ORGAN_IO if memory ran out. */
organ_status organ_document_print(const json_t *document, FILE *out, organ_error *error);

/* Prints the document like organ_document_print, but on one line without optional spaces and with a newline at the end:
 * a line of a JSON-lines file. */
organ_status organ_document_line(const json_t *document, FILE *out, organ_error *error);

/* Returns a JSON string of any bytes: control characters and invalid UTF-8, which paths may have, are written as \xNN.
 * Returns NULL if memory runs out, and for s = NULL, because then the allocation of the text has failed. Both count as
 * a refusal (organ_memory_refusals). */
json_t *organ_document_string(const char *s);

/* Writes a file through a temporary file in the same folder, fsync and rename: `path` names either the old file or the
 * complete new one. If the document's first member is a "schema" of this program, other than that of a manifest, the
 * file ends with its seal, the digest of its bytes: the member "seal", in the member "run" if that is the last one.
 * Replaces only files with an unbroken seal. Returns ORGAN_IO on failure and removes the
 * temporary file. If another file took the name meanwhile, the temporary file is kept and the message explains how to
 * use it. */
organ_status organ_document_write(const char *path, const json_t *document, organ_error *error);
/* Writes a text to a file in the way of organ_document_write, with the same errors. The seal of Markdown, SVG (by the
 * ending of `path`) and of a page of a report is a comment in the last line. Other texts, also a
 * model card that begins with "---", are not sealed. */
organ_status organ_text_write(const char *path, const char *text, organ_error *error);

/* The member `key` of a document, an object whose `count` members are created one by one while it is printed. `name`
 * returns the key of member k. `row` returns a new reference to the value of member k, or NULL if out of memory. */
typedef struct organ_long_member {
    const char *key;
    size_t count;
    const char *(*name)(const void *context, size_t k);
    json_t *(*row)(const void *context, size_t k);
    const void *context;
} organ_long_member;

/* Writes a document like organ_document_write, but prints the members that `rows` creates as the value of the member
 * rows->key. */
organ_status organ_document_write_long(const char *path, const json_t *document, const organ_long_member *rows,
                                       organ_error *error);

/* A function that writes the text of a file to `out`. It need not check the error flag of `out`. */
typedef organ_status organ_printer(const void *context, FILE *out, organ_error *error);
/* Writes a file in the way of organ_text_write; the last line of JSON lines (.jsonl) gets a member "seal". `print`
 * writes the text to a stream, so that the text is never in memory as a whole. Returns the error of `print`, or
 * ORGAN_IO if the file cannot be written. `context` is passed to `print`. */
organ_status organ_printed_write(const char *path, organ_printer *print, const void *context, organ_error *error);

/* Returns the fewest digits with which `value` is read back unchanged: 15 to 17. */
int organ_real_digits(double value);

/* Returns element k of an array like json_array_get, also if the rows of a report are stored in a file. Code that
 * iterates over rows uses this. */
json_t *organ_json_row_at(const json_t *rows, size_t k);

/* Returns the value at a path of keys: organ_json_at(report, "totals.target.killed"). In an array, a key selects an
 * element: a number the one with that index; "@NAME" the first element that has the string NAME as the value of a
 * member; "*" the first element in which the rest of the path leads to something (organ_json_has_something). NULL if
 * there is no such value. */
const json_t *organ_json_at(const json_t *json, const char *path);

/* Returns the string at a path; "" if the value is missing or has another type. */
const char *organ_json_text(const json_t *json, const char *path);
/* Returns the integer at a path; 0 if the value is missing, negative or has another type. */
unsigned long long organ_json_count(const json_t *json, const char *path);
/* Adds organ_json_count(json, path) to *sum, saturated at the greatest json_int_t. */
void organ_json_add_count(json_int_t *sum, const json_t *json, const char *path);
/* Returns the number at a path, integer or real; 0 if the value is missing or has another type. */
double organ_json_real(const json_t *json, const char *path);
/* Returns a value as a number: the length of an array, 1 for true, a number itself, 0 for anything else. */
double organ_json_amount(const json_t *value);
/* Returns false for NULL, null, false, 0 and empty strings, arrays and objects; true for anything else. */
bool organ_json_has_something(const json_t *value);
/* Returns the number at a path; NAN if there is none. */
double organ_json_number(const json_t *json, const char *path);

/* ---- pages (HTML) of reports, whose member "schema" selects the view ---- */

/* Returns the page in *html, which the caller frees. Returns ORGAN_BAD_INPUT if the report has no "schema", or one that
 * no view is for. */
organ_status organ_html_report(const json_t *report, char **html, organ_error *error);

/* Writes the names of all schemas that have a view, separated by ", ", to out[0 .. size), shortened if they do not
 * fit. */
void organ_html_report_schemas(char *out, size_t size);

/* Writes the page of the report to the file `path`. Returns the errors of organ_html_report, or ORGAN_IO if the file
 * cannot be written (organ_text_write). */
organ_status organ_html_report_write(const char *path, const json_t *report, organ_error *error);

/* Writes the page like organ_html_report_write, to the path of the report's Markdown file with .html in place of
 * .md. */
organ_status organ_html_report_next_to(const char *markdown_path, const json_t *report, organ_error *error);

ORGAN_API_END

#endif
