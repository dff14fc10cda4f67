/* SPDX-License-Identifier: MIT
 * Builders of documents: ORGAN_OBJECT(SET_TEXT("role", name), SET_COUNT("modules", count)) is an object with these
 * members in this order. A member without a value (no memory, bytes that are not UTF-8, a number that is not finite)
 * makes the object NULL. The function that completes a document checks whether memory was refused meanwhile
 * (organ_memory_refusals). */
#ifndef ORGAN_MEMBERS_H
#define ORGAN_MEMBERS_H

#include <organ/report.h>
#include "orchestrator/version.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
