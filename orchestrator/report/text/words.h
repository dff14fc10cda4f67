/* SPDX-License-Identifier: MIT
 * Templates: sentences about a document with placeholders for its members.
 *
 *   {path}               the member: a string unchanged, a number with all its digits, null as "-"
 *   {path:FORM}          the member in one of these forms:
 *     count 1,450   bytes 1.4 GB   time 1.2 s   percent 21.89 %
 *     share (of 1) 21.89 %   %.4f (of 1) 21.8910 %   %.4 (of 1) 21.8910
 *     .3f .2e .4g ~2       formats of printf; ~: organ_number_form
 *     size                 the length of an array
 *     -20, -PATH           the number (or the length of an array) minus 20, or minus the member at PATH
 *     sum.KEY              the sum of the members KEY of an array, true as 1; sum.KEY:count: in that form
 *     s                    "s" unless the member (or the length of an array) is 1
 *     join                 strings of an array with commas; words: with spaces; shape: 64 x 320
 *     code, shell          formatted as code; quoted as one word of a command line
 *     stem, module         a path up to its last dot; a key of an adapter without base_model.model.
 *     model                an object as tiny (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB)
 *     measured             20.692 +- 0.123: a number and its standard error, the member PATH_error, with two digits of
 *                          the error; null is "too large". figure: the number alone; deviation: ", +- 0.123", or
 *                          nothing without an error. Prefixes: + with a sign, % (of 1) as percent, ~ with the sign for
 *                          plus or minus
 *                        A null number in any of these forms is "-".
 *   {condition?A}        A, which may contain braces, if the condition is true
 *   {condition?A|B}      A if the condition is true, else B
 *
 * A path (organ_json_at) starts at the row that the sentence describes; with a leading slash it starts at the report:
 * "/parameters.dtype". "." is the row. A missing member is printed as ORGAN_FIELD_MISSING, which no report may contain.
 *
 * Conditions:
 *   path                 true unless the member is missing, null, false, 0 or empty
 *   !path                the opposite
 *   path=VALUE           compares a string, a number or the length of an array; also path>VALUE. A number is compared
 *                        with the member at the path VALUE if VALUE begins with neither a digit nor a minus
 *   A&B, A|B             and, or; & binds more tightly */
#ifndef ORGAN_WORDS_H
#define ORGAN_WORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The text that replaces a missing member; tests search reports for it. */
#define ORGAN_FIELD_MISSING "(no member)"

/* The document, and the row in it (a JSON object) that the words describe. */
typedef struct organ_scope {
    const json_t *report, *row;
} organ_scope;

/* The output for which words are expanded. For Markdown the values of members are escaped; for a page nothing is,
 * because the page escapes all text; for a terminal control characters are made visible. */
typedef enum organ_words_for { ORGAN_WORDS_TERMINAL, ORGAN_WORDS_MARKDOWN, ORGAN_WORDS_PAGE } organ_words_for;

/* Returns the member at a path; NULL if there is none. */
const json_t *organ_scope_at(const organ_scope *scope, const char *path);

/* Returns whether a condition is true; NULL is true. */
bool organ_scope_holds(const organ_scope *scope, const char *condition);

/* Writes a number to `out` in one of the forms from count to .4g, or ~N: with N decimals and no minus before a rounded
 * 0; ~0: three decimals below 100, none from 100 on, and an exponent below 0.001 and from 1e6 on. Returns the text, or
 * ORGAN_FIELD_MISSING for another form. */
#define ORGAN_NUMBER_ROOM 400
const char *organ_number_form(double x, const char *form, char out[ORGAN_NUMBER_ROOM]);

/* Returns the words with their placeholders expanded for the output `to`. The caller frees the text; "" for NULL.
 * Returns NULL if out of memory, which counts as a refusal (organ_memory_refusals). */
char *organ_words_text(const organ_scope *scope, const char *words, organ_words_for to);

#endif
