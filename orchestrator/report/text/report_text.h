/* SPDX-License-Identifier: MIT
 * Text of reports. Input: documents, which are JSON objects that surgery builds from members. Output: their bytes, and
 * words and tables for a screen, a file or a page. */
#ifndef ORGAN_REPORT_TEXT_REPORT_TEXT_H
#define ORGAN_REPORT_TEXT_REPORT_TEXT_H

#include "formats/base/text.h"
#include "orchestrator/version.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/report.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Text for people: its width on a screen, line breaks, and characters from files that could harm a terminal. */

/* Properties of the output that text is written to. */
typedef struct organ_page {
    size_t width; /* columns of the screen; 0: no limit (a file, a pipe) */
    bool utf8;    /* characters beyond ASCII, such as lines and dots, may be printed */
} organ_page;

/* Writes `s` with control characters (also C1, and marks that change the direction of writing) and invalid UTF-8 as
 * \xNN. */
void organ_text_visible(FILE *out, const char *s);

/* Returns the text of organ_text_visible as a string, which the caller frees; NULL if out of memory. */
char *organ_text_made_visible(const char *s);

/* ---- messages of the program to its user, on stderr ---- */

typedef enum organ_message_kind {
    ORGAN_MESSAGE_ERROR,   /* the run fails */
    ORGAN_MESSAGE_WARNING, /* the run goes on, but its result may not be what the user expects */
    ORGAN_MESSAGE_NOTE     /* information */
} organ_message_kind;

/* Returns whether output on `stream` may have colours: it is a terminal, TERM is set and not "dumb", NO_COLOR is empty,
 * and CLICOLOR is not 0. */
bool organ_stream_has_colour(FILE *stream);

/* Prints the word of the kind, "error: ", "warning: " or "note: ", in bold red, yellow or cyan if
 * organ_stream_has_colour allows it. */
void organ_message_begin(FILE *out, organ_message_kind kind);

/* Prints one line: the word of the kind and the text, with the characters that organ_text_visible replaces. Cuts a text
 * at 1,999 bytes. */
void organ_message(FILE *out, organ_message_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes one character, the first `length` bytes of `s` in UTF-8, to `out`. */
typedef void organ_text_put(FILE *out, const char *s, size_t length);

/* Returns the columns that a valid UTF-8 string fills: 2 for East Asian wide characters and emoji, 0 for combining
 * marks. */
size_t organ_text_width(const char *s);

/* Shortens `s` to at most `width` columns (>= 5): replaces its middle by "…" if `utf8` is set, else by "...". A text
 * that fits is copied unchanged. The caller frees the result; NULL if memory runs out, which counts as a refusal
 * (organ_memory_refusals). */
char *organ_text_shorten(const char *s, size_t width, bool utf8);

/* Writes a paragraph: `lead` first, then the words of `s` broken at `page->width` (unlimited: one line), further lines
 * indented by `indent` columns, newline at the end. `lead` may be empty and should be `indent` columns wide. */
void organ_text_wrap(FILE *out, const char *lead, size_t indent, const char *s, const organ_page *page);

/* Prints a formatted sentence like organ_text_wrap: `lead` indents by its width, and characters that could harm a
 * terminal are made visible. */
void organ_text_say(FILE *out, const organ_page *page, const char *lead, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Writes lines. A line wider than the page is broken between words; its continuation lines are indented by 2 columns
 * more than the line. Commands of this program ("  organ prune ...") and words wider than the page are not broken. */
void organ_text_fold(FILE *out, const char *lines, const organ_page *page);

/* Writes a percentage with its sign, such as "22.41 %", to `out` and returns `out`. */
const char *organ_percent_text(double percent, char out[32]);

/* ---- text of any origin in HTML and XML ---- */

/* Writes `s` as text or as the value of an attribute: characters of markup are escaped; control characters, marks that
 * change the direction of writing and invalid UTF-8 become \xNN; characters that no document may contain (U+FFFE,
 * U+FFFF) become U+FFFD. */
void organ_markup_text(FILE *out, const char *s);

/* ---- templates ---- */

/* Templates: sentences about a document with placeholders for its members.
 *
 *   {path}               the member: a string unchanged, a number with all its digits, null as "-"
 *   {path:FORM}          the member in one of these forms:
 *     count 1,450   bytes 1.4 GB   memory 1.5 GiB   option 1536M (a value of --memory)   time 1.2 s   percent 21.89 %
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

/* ---- tables for a terminal of some width and for Markdown ---- */

typedef enum organ_align { ORGAN_LEFT, ORGAN_RIGHT } organ_align;

/* A column of a table. */
typedef struct organ_column {
    const char *title;
    organ_align align; /* of title and cells */
    bool shortens;     /* shorten cells in the middle if the table is wider than the screen */
    bool code;         /* format cells as code in Markdown */
} organ_column;

typedef struct organ_table organ_table;

/* Creates a table. The titles of the columns must outlive it. Returns NULL if out of memory; all functions below accept
 * NULL, and printing then reports the error. */
organ_table *organ_table_create(const organ_column *columns, size_t count);
void organ_table_destroy(organ_table *table);

/* Adds the next cell, row by row from left to right. Control characters and invalid UTF-8 are made visible. */
void organ_table_cell(organ_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds `text` like organ_table_cell and frees it. NULL stands for a text whose allocation failed: printing then returns
 * ORGAN_IO. */
void organ_table_take(organ_table *table, char *text);

/* Declares that the next cell begins the total rows: its row and all later ones. A line separates them from the rows
 * above; in Markdown they are bold. */
void organ_table_totals(organ_table *table);

/* Prints the table for a terminal. A table that is wider than the page although columns were shortened is printed in
 * parts below each other, each with the columns that name the rows. Missing cells of the last row are empty. Returns
 * ORGAN_IO if memory ran out; write errors are left in the error flag of `out`. */
organ_status organ_table_print(const organ_table *table, FILE *out, const organ_page *page, organ_error *error);
/* Prints the table as Markdown. Missing cells and errors are treated as by organ_table_print. */
organ_status organ_table_markdown(const organ_table *table, FILE *out, organ_error *error);

/* The contents of a table, for writers of other forms. The table owns all pointers; they are valid until it changes. */
typedef struct organ_table_view {
    const organ_column *columns;
    size_t column_count;
    char *const *cells; /* visible UTF-8; rows from left to right, the last may be shorter */
    size_t cell_count;
    size_t totals; /* the first cell of the totals; cell_count: none */
} organ_table_view;
/* Sets *view to the contents of the table. Returns ORGAN_IO if memory ran out while cells were added. */
organ_status organ_table_view_of(const organ_table *table, organ_table_view *view, organ_error *error);

/* Writes `s` escaped, so that Markdown renders it literally in running text or in a cell; `code` formats it as code. */
void organ_markdown_text(FILE *out, const char *s, bool code);

/* ---- tables of documents ---- */

/* Tables of documents: a table has a line for each row (a JSON object); each field describes a column, which names a
 * member of the rows and the form in which it is printed. */

/* Flags of a field. A number that is null, or missing in a MAYBE field, is printed as "-"; a missing text of a MAYBE
 * field as "". Any other missing member is printed as ORGAN_FIELD_MISSING. */
enum {
    ORGAN_FIELD_SHORTENS = 1, /* as organ_column.shortens */
    ORGAN_FIELD_CODE = 2,     /* as organ_column.code */
    ORGAN_FIELD_MAYBE = 4,    /* rows may lack the member */
    ORGAN_FIELD_LEFT = 8      /* align a WORDS or BY field to the left */
};

/* A column. Its cells come from `put`, else from `words`, else from the member at `path`. */
typedef struct organ_field {
    const char *title;
    const char *path; /* path of the member in a row: "target.killed" */
    /* form of a number; NULL: the member is text. ORGAN_FIELD_NUMBER: the number of the row, from 1 */
    const char *form;
    const char *words;                                  /* words (a template) over the row; NULL: none */
    void (*put)(organ_table *table, const json_t *row); /* adds one cell for the row to the table; NULL: none */
    /* condition on the report, with which the column exists; NULL: always. Only views test it */
    const char *when;
    unsigned flags;
} organ_field;

/* The form that prints the number of the row. Only the first field may have it. */
#define ORGAN_FIELD_NUMBER "#"

/* Initializers of a field: `heading` is its title, `member` its path, `as` its form, `what` its flags, `template` its
 * words, `function` its `put`; `digits` are decimals, or of FIELD_GENERAL significant digits. */
/* clang-format off */
#define ORGAN_FIELD_OF(heading, ...) {.title = (heading), __VA_ARGS__}
/* clang-format on */
#define FIELD_TEXT(heading, member, what)            ORGAN_FIELD_OF(heading, .path = (member), .flags = (what))
#define FIELD_FORM(head, member, as, what)           ORGAN_FIELD_OF(head, .path = member, .form = as, .flags = what)
#define FIELD_COUNT(heading, member)                 FIELD_FORM(heading, member, "count", 0)
#define FIELD_BYTES(heading, member)                 FIELD_FORM(heading, member, "bytes", 0)
#define FIELD_PERCENT(heading, member)               FIELD_FORM(heading, member, "percent", 0)
#define FIELD_SHARE(heading, member)                 FIELD_FORM(heading, member, "share", 0)
#define FIELD_MAYBE_SHARE(heading, member)           FIELD_FORM(heading, member, "share", ORGAN_FIELD_MAYBE)
#define FIELD_FIXED(heading, member, digits)         FIELD_FORM(heading, member, "." #digits "f", 0)
#define FIELD_MAYBE_FIXED(heading, member, digits)   FIELD_FORM(heading, member, "." #digits "f", ORGAN_FIELD_MAYBE)
#define FIELD_ROUNDED(heading, member, digits)       FIELD_FORM(heading, member, "~" #digits, 0)
#define FIELD_MAYBE_ROUNDED(heading, member, digits) FIELD_FORM(heading, member, "~" #digits, ORGAN_FIELD_MAYBE)
#define FIELD_GENERAL(heading, member, digits)       FIELD_FORM(heading, member, "." #digits "g", 0)
#define FIELD_MAYBE_GENERAL(heading, member, digits) FIELD_FORM(heading, member, "." #digits "g", ORGAN_FIELD_MAYBE)
#define FIELD_NUMBER(heading)                        FIELD_FORM(heading, NULL, ORGAN_FIELD_NUMBER, 0)
#define FIELD_WORDS(heading, template, what)         ORGAN_FIELD_OF(heading, .words = (template), .flags = (what))
#define FIELD_BY(heading, function, what)            ORGAN_FIELD_OF(heading, .put = (function), .flags = (what))
/* Columns that exist only if the condition is true for the report: FIELD_IF("!dry_run", "killed", "killed_percent",
 * "percent", 0). */
#define FIELD_IF(condition, heading, member, as, what)                                                                 \
    ORGAN_FIELD_OF(heading, .path = (member), .form = (as), .flags = (what), .when = (condition))
#define FIELD_WORDS_IF(condition, heading, template, what)                                                             \
    ORGAN_FIELD_OF(heading, .words = (template), .flags = (what), .when = (condition))
#define ORGAN_FIELDS_MAX 16 /* columns of a table */

/* An array of fields and its length, as arguments. */
#define FIELD_LIST(fields) (fields), sizeof(fields) / sizeof *(fields)

/* Returns a table with a row for each of the first `max` elements of `rows`, an array. The titles of `fields` must
 * outlive the table, which has at most ORGAN_FIELDS_MAX columns. Returns NULL if out of memory. */
organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t max);

/* Adds the cells of `row` to the table; `name`, if it is not NULL, replaces the first cell. */
void organ_field_row(organ_table *table, const organ_field *fields, size_t count, const char *name, const json_t *row);
/* Returns the word for readers of a group of roles: "attention" for "skeleton", "feed-forward" for "organ", and any
 * other name unchanged. Cells of the member "group" have it. */
const char *organ_group_shown(const char *name);

/* Adds the cells of each of `rows`; the first cell of a row is its member `key`. */
void organ_field_rows(organ_table *table, const organ_field *fields, size_t count, const char *key, const json_t *rows);

/* ---- rows as CSV ---- */

/* Prints the elements of the array `rows` as CSV of RFC 4180: lines end with CR LF, the first has the names of the
 * members. Members of inner objects have a column each, named "figures.perplexity"; arrays of numbers and texts are
 * JSON in one cell; arrays of objects are left out. Numbers have all their digits, null and missing members are empty,
 * an empty text is "". Prints nothing for an empty array.
 * With `inner`, prints the elements of this member of each row instead, after a column with the row's member `outer`,
 * a path. Returns ORGAN_BAD_INPUT if the rows have more than 1,000 different members, ORGAN_IO if memory ran out; write
 * errors are left in the error flag of `out`. */
organ_status organ_csv_print(const json_t *rows, const char *inner, const char *outer, FILE *out, organ_error *error);

/* ---- documents that are not reports ---- */

/* Writes documents that are not reports. This header is not installed. */

/* Like organ_document_write, for a file that is not a report, such as the record of a job, and whose content the caller
 * has read or owns: also replaces a JSON document of this program without a seal or with a broken one. */
organ_status organ_document_replace(const char *path, const json_t *document, organ_error *error);
/* Removes the temporary files that killed runs left when they wrote the document; each write of it does so, too. */
void organ_document_drop_drafts(const char *path);

/* ---- builders of documents ---- */

/* Builders of documents: ORGAN_OBJECT(SET_TEXT("role", name), SET_COUNT("modules", count)) is an object with these
 * members in this order. A member without a value (no memory, bytes that are not UTF-8, a number that is not finite)
 * makes the object NULL. The function that completes a document checks whether memory was refused meanwhile
 * (organ_memory_refusals). */

/* A member to add to an object. */
typedef struct organ_member {
    const char *key; /* "": no member; NULL ends the list */
    json_t *value;   /* the object takes over this reference */
} organ_member;

#define ORGAN_MEMBER_OF(name, made)                                                                                    \
    {                                                                                                                  \
        (name), (made)                                                                                                 \
    }
#define SET(key, json)       ORGAN_MEMBER_OF(key, json)
#define SET_TEXT(key, text)  ORGAN_MEMBER_OF(key, json_string(text))           /* UTF-8 */
#define SET_BYTES(key, text) ORGAN_MEMBER_OF(key, organ_document_string(text)) /* any bytes */
#define SET_COUNT(key, n)    ORGAN_MEMBER_OF(key, json_integer((json_int_t)(n)))
#define SET_INDEX(key, n)    ORGAN_MEMBER_OF(key, organ_json_index(n)) /* null: below 0 */
#define SET_REAL(key, x)     ORGAN_MEMBER_OF(key, json_real(x))
#define SET_FLAG(key, yes)   ORGAN_MEMBER_OF(key, json_boolean(yes))
#define SET_NULL(key)        ORGAN_MEMBER_OF(key, json_null())
/* null unless `there`; SET_REAL_OF also gives null for a number that is not finite. */
#define SET_REAL_OF(key, there, x)  ORGAN_MEMBER_OF(key, organ_json_real_of(there, x))
#define SET_COUNT_OF(key, there, n) ORGAN_MEMBER_OF(key, (there) ? json_integer((json_int_t)(n)) : json_null())
#define SET_BYTES_OF(key, text)     ORGAN_MEMBER_OF(key, (text) ? organ_document_string(text) : json_null())
/* A value of another document (a new reference to it); null if `json` is NULL. */
#define SET_HELD(key, json) ORGAN_MEMBER_OF(key, organ_json_held(json))
/* The first members of every document: "schema", "definition" and "organ", the version of the program. */
#define SET_HEAD(schema, definition)                                                                                   \
    SET_TEXT("schema", schema), SET_TEXT("definition", definition), SET_TEXT("organ", ORGAN_VERSION)
/* Adds the member only if `there`. */
#define SET_IF(there, key, json) ORGAN_MEMBER_OF((there) ? (key) : "", (there) ? (json) : NULL)

#define ORGAN_OBJECT(...)      organ_members_object(json_object(), (const organ_member[]){__VA_ARGS__, {NULL, NULL}})
#define ORGAN_ADD(object, ...) organ_members_add(object, (const organ_member[]){__VA_ARGS__, {NULL, NULL}})
#define ORGAN_ADD_BEFORE_RUN(document, ...)                                                                            \
    organ_members_add_before_run(document, (const organ_member[]){__VA_ARGS__, {NULL, NULL}})

/* Returns `object` with the members, and takes over its reference; NULL if `object` is NULL or a member has no value.
 */
json_t *organ_members_object(json_t *object, const organ_member *members);
/* Adds the members to an object of the caller; members without a value are omitted. Returns whether all were added;
 * false if `object` is NULL. */
bool organ_members_add(json_t *object, const organ_member *members);
/* Adds members to a document like organ_members_add, but keeps its member "run" the last one. */
bool organ_members_add_before_run(json_t *document, const organ_member *members);
/* Returns the members of `first`, then those of `second`, and takes over both references. NULL if one of them is NULL.
 */
json_t *organ_json_joined(json_t *first, json_t *second);

/* Returns x as JSON; null unless `there` is true and x is finite. */
json_t *organ_json_real_of(bool there, double x);
/* Returns n as JSON; null if n is negative. */
json_t *organ_json_index(int64_t n);
/* Returns a new reference to the value; null if `value` is NULL. */
json_t *organ_json_held(const json_t *value);

/* A function that returns row k of an array as a new reference; NULL: no row. */
typedef json_t *organ_json_row(const void *context, size_t k);
/* Returns an array of row(context, 0) to row(context, count - 1), without those that are NULL. */
json_t *organ_json_rows(size_t count, organ_json_row *row, const void *context);
/* Returns the words, up to NULL, as one string that a shell reads as these words. Returns NULL if out of memory. */
json_t *organ_json_command(const char *const *words);
/* Returns an array of the texts, which may have any bytes (organ_document_string). */
json_t *organ_json_texts(size_t count, const char *const *texts);
/* Returns an array of the numbers, without those that are not finite. */
json_t *organ_json_reals(size_t count, const float *values);

/* ---- structs as objects ---- */

/* A table of organ_struct_field names members of a struct that are written to an object and read from it. */
typedef enum organ_field_type {
    ORGAN_FIELD_FLAG,   /* bool */
    ORGAN_FIELD_TEXT,   /* char [size]: any bytes, up to a 0 */
    ORGAN_FIELD_INT,    /* int */
    ORGAN_FIELD_U32,    /* uint32_t */
    ORGAN_FIELD_U64,    /* uint64_t */
    ORGAN_FIELD_SINGLE, /* float: a JSON number, or "nan", "inf", "-inf" */
    ORGAN_FIELD_REAL,   /* double, likewise */
    ORGAN_FIELD_EXACT   /* double: a string in hexadecimal, which keeps all bits */
} organ_field_type;

/* A field: a member of a struct, and the name and type of the member of a JSON object in which its value is stored. */
typedef struct organ_struct_field {
    const char *name;
    organ_field_type type;
    size_t at, size; /* offset in the struct, and bytes there */
} organ_struct_field;

/* Initializer of an organ_struct_field for the member `member` of the struct type `row`, with the name `name` in the
 * JSON object. `type`: U32, EXACT ... */
#define ORGAN_STRUCT_FIELD_NAMED(name, row, member, type)                                                              \
    {                                                                                                                  \
        name, ORGAN_FIELD_##type, offsetof(row, member), sizeof(((row *)0)->member)                                    \
    }
/* The same; the name in the JSON object is the name of the struct's member. */
#define ORGAN_STRUCT_FIELD(row, member, type) ORGAN_STRUCT_FIELD_NAMED(#member, row, member, type)
/* Call organ_struct_add and organ_struct_read with a table that is an array. */
#define ORGAN_STRUCT_ADD(object, table, row)  organ_struct_add(object, table, sizeof(table) / sizeof *(table), row)
#define ORGAN_STRUCT_READ(object, table, row) organ_struct_read(object, table, sizeof(table) / sizeof *(table), row)

/* Adds a member to `object` for each of the `count` fields, with the value that `row` has at that field, and returns
 * `object`. Takes over the reference `object`. Returns NULL if `object` is NULL (an earlier allocation failed) or
 * memory runs out. */
json_t *organ_struct_add(json_t *object, const organ_struct_field *fields, size_t count, const void *row);
/* Reads each of the `count` fields of `row` from the member of `object` that has the field's name. A field whose member
 * is missing or has another type becomes 0 or "", and the function then returns false; otherwise it returns true. A
 * negative number becomes 0 in an unsigned field, and a text that is longer than the field is cut. */
bool organ_struct_read(const json_t *object, const organ_struct_field *fields, size_t count, void *row);

/* Returns the value of a field, which is at the address `at`, as JSON; NULL if out of memory. */
json_t *organ_field_json(const organ_struct_field *field, const void *at);
/* Stores a JSON value in a field at the address `at`. Returns false if the value has another type than the field. */
bool organ_field_read(const organ_struct_field *field, const json_t *json, void *at);

/* Returns a double as a JSON string in hexadecimal, from which it is read back exactly, infinity and NaN, too; NULL if
 * out of memory. */
json_t *organ_exact_json(double value);
/* Stores the double of a string of organ_exact_json in *value. Returns false if `text` is not such a string. */
bool organ_exact_value(const json_t *text, double *value);

#endif
