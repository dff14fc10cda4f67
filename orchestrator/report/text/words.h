/* SPDX-License-Identifier: MIT
 * Sentences about a document, with the places where its members stand in braces:
 *
 *   {path}               the member: a string as it is, a number with all its digits, null as "-"
 *   {path:FORM}          the same in a form:
 *     count 1,450   bytes 1.4 GB   time 1.2 s   percent 21.89 %
 *     share (of 1) 21.89 %   %.4f (of 1) 21.8910 %   %.4 (of 1) 21.8910
 *     .3f .2e .4g ~2       as printf has them; ~: organ_number_form
 *     size                 how many elements an array has; -20: how many more than 20, or than the member of a path
 *     sum.KEY              of the members KEY of an array; true is 1; sum.KEY:count: in that form
 *     s                    "s" unless the member, of an array its size, is 1
 *     join                 strings of an array with commas; words: with spaces; shape: 64 x 320
 *     code, shell          set as code; as one word of a command line
 *     stem, module         a path up to its last dot; a key of an adapter without base_model.model.
 *     model                tiny (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB), of an object
 *     measured             20.692 +- 0.123: a number and its standard error, the member PATH_error, with decimals that
 *                          show two digits of
 *                          the error; "too large" of null. figure: the number alone; deviation: ", +- 0.123", nothing
 *                          where there is no
 *                          error. Before each: + with a sign, % (of 1) as percent, ~ with the sign for plus or minus
 *                        A number in such a form is "-" where it is null.
 *   {condition?A}        A, which may have braces itself, where the condition holds
 *   {condition?A|B}      else B
 *
 * A path (organ_json_at) is of the row that the sentence is about, of the whole report behind a slash:
 * "/parameters.dtype"; "." is the row
 * itself. A member that is not there is shown as
 * ORGAN_FIELD_MISSING, which no report may contain.
 *
 * A condition is a path: it holds where the member is there and is not null, false, 0 or empty. "!path": where that
 * does not hold;
 * "path=VALUE", "path>VALUE": of a string, a number, or how many elements an array has; a VALUE
 * that begins with no digit or minus is a path beside a number; "A&B" before "A|B". */
#ifndef ORGAN_WORDS_H
#define ORGAN_WORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* What stands in the place of a member that is not there; tests look for it. */
#define ORGAN_FIELD_MISSING "(no member)"

/* What the words are about. */
typedef struct organ_scope {
    const json_t *report, *row;
} organ_scope;

/* Where they go: Markdown wants what comes from a document escaped, a page does that for all of it, a terminal must not
 * be harmed. */
typedef enum organ_words_for { ORGAN_WORDS_TERMINAL, ORGAN_WORDS_MARKDOWN, ORGAN_WORDS_PAGE } organ_words_for;

/* The member that a path names; NULL: there is none. */
const json_t *organ_scope_at(const organ_scope *scope, const char *path);

/* NULL holds. */
bool organ_scope_holds(const organ_scope *scope, const char *condition);

/* A number in one of these forms, from count to .4g, or ~2: with so many decimals, and no minus before a rounded 0; ~0:
 * about three digits, or an exponent. Written to `out`; ORGAN_FIELD_MISSING for another form. */
#define ORGAN_NUMBER_ROOM 400
const char *organ_number_form(double x, const char *form, char out[ORGAN_NUMBER_ROOM]);

/* The words as a string, for the caller to free; "" for NULL. NULL without memory, which counts as a refusal. */
char *organ_words_text(const organ_scope *scope, const char *words, organ_words_for form);

#endif
