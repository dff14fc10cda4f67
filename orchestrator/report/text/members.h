/* SPDX-License-Identifier: MIT
 * Documents are built of members: ORGAN_OBJECT(SET_TEXT("role", name), SET_COUNT("modules", count)) is an object of
 * them in this order. A member without a value (memory ran out, bytes that are no UTF-8, a number that is not finite)
 * makes the object NULL. Whoever finishes the document asks whether memory was refused on the way
 * (formats/base/memory_watch.h). */
#ifndef ORGAN_MEMBERS_H
#define ORGAN_MEMBERS_H

#include "orchestrator/report/text/document.h"
#include "orchestrator/version.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_member {
    const char *key; /* "": no member; NULL: behind the last one */
    json_t *value;   /* taken over */
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
/* null unless `there`, and for a number that is not finite. */
#define SET_REAL_OF(key, there, x)  ORGAN_MEMBER_OF(key, organ_json_real_of(there, x))
#define SET_COUNT_OF(key, there, n) ORGAN_MEMBER_OF(key, (there) ? json_integer((json_int_t)(n)) : json_null())
#define SET_BYTES_OF(key, text)     ORGAN_MEMBER_OF(key, (text) ? organ_document_string(text) : json_null())
/* A value that another document holds; null where it has none. */
#define SET_HELD(key, json) ORGAN_MEMBER_OF(key, organ_json_held(json))
/* What every document begins with. */
#define SET_HEAD(schema, definition)                                                                                   \
    SET_TEXT("schema", schema), SET_TEXT("definition", definition), SET_TEXT("organ", ORGAN_VERSION)
/* No member unless `there`. */
#define SET_IF(there, key, json) ORGAN_MEMBER_OF((there) ? (key) : "", (there) ? (json) : NULL)

#define ORGAN_OBJECT(...)      organ_members_object(json_object(), (const organ_member[]){__VA_ARGS__, {NULL, NULL}})
#define ORGAN_ADD(object, ...) organ_members_add(object, (const organ_member[]){__VA_ARGS__, {NULL, NULL}})

/* `object`, which is taken over, with the members; NULL where it is NULL or a member has no value. */
json_t *organ_members_object(json_t *object, const organ_member *members);
/* Adds the members to an object that the caller keeps; a member without a value is left out. Nothing where `object` is
 * NULL. */
void organ_members_add(json_t *object, const organ_member *members);
/* The members of `first`, then those of `second`; both are taken over. NULL where one of them is. */
json_t *organ_json_joined(json_t *first, json_t *second);

json_t *organ_json_real_of(bool there, double x);
json_t *organ_json_index(int64_t n);
json_t *organ_json_held(const json_t *value);

/* An array of what `row` makes of `context` and 0 .. count - 1; NULL is no row. */
typedef json_t *organ_json_row(const void *context, size_t k);
json_t *organ_json_rows(size_t count, organ_json_row *row, const void *context);
/* Arrays of texts, which may be of any bytes, and of numbers. */
json_t *organ_json_texts(size_t count, const char *const *texts);
json_t *organ_json_reals(size_t count, const float *values);

#endif
