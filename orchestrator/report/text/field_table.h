/* SPDX-License-Identifier: MIT
 * Tables of documents: each column names a member of the rows and how it is shown. */
#ifndef ORGAN_FIELD_TABLE_H
#define ORGAN_FIELD_TABLE_H

#include "orchestrator/report/text/text_table.h"
#include "orchestrator/report/text/words.h"

typedef enum organ_field_kind {
    ORGAN_FIELD_TEXT,    /* a string as it is; all other kinds stand at the right */
    ORGAN_FIELD_COUNT,   /* 1,450,103,613 */
    ORGAN_FIELD_BYTES,   /* 1.35 GB */
    ORGAN_FIELD_PERCENT, /* a percentage: "21.89 %" */
    ORGAN_FIELD_SHARE,   /* a share from 0 to 1: "21.89 %" */
    ORGAN_FIELD_FIXED,   /* `digits` decimals */
    ORGAN_FIELD_ROUNDED, /* the same without a minus before a rounded 0; digits 0: about three digits, or an exponent */
    ORGAN_FIELD_GENERAL, /* `digits` significant digits, as %g */
    ORGAN_FIELD_NUMBER,  /* of the row, from 1; the first field only */
    ORGAN_FIELD_WORDS,   /* `path` is a template (words.h) over the row */
    ORGAN_FIELD_BY       /* what `put` makes of the row: one cell */
} organ_field_kind;

/* A number that is null, or that a MAYBE field does not have, is "-", such a text "". Any other member that a row does not have is shown as
 * ORGAN_FIELD_MISSING. */
enum {
    ORGAN_FIELD_SHORTENS = 1, /* as organ_column.shortens */
    ORGAN_FIELD_CODE = 2,     /* as organ_column.code */
    ORGAN_FIELD_MAYBE = 4,    /* rows may be without it */
    ORGAN_FIELD_PARTS = 16,   /* organ_table_part_at this one */
    ORGAN_FIELD_LEFT = 8      /* of a WORDS or BY field */
};

typedef struct organ_field {
    const char *title;
    const char *path; /* of the member in a row: "target.killed" */
    const char *when; /* a condition on the report; NULL: always. Only views ask (blocks/block.h) */
    organ_field_kind kind;
    int digits;
    unsigned flags;
    void (*put)(organ_table *table, const json_t *row);
} organ_field;

#define ORGAN_FIELD_OF(heading, member, shown, places, what)                                                                               \
    {                                                                                                                                      \
        .title = (heading), .path = (member), .kind = (shown), .digits = (places), .flags = (what)                                         \
    }
#define FIELD_TEXT(heading, member, flags)           ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_TEXT, 0, flags)
#define FIELD_COUNT(heading, member)                 ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_COUNT, 0, 0)
#define FIELD_BYTES(heading, member)                 ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_BYTES, 0, 0)
#define FIELD_PERCENT(heading, member)               ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_PERCENT, 0, 0)
#define FIELD_SHARE(heading, member)                 ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_SHARE, 0, 0)
#define FIELD_MAYBE_SHARE(heading, member)           ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_SHARE, 0, ORGAN_FIELD_MAYBE)
#define FIELD_FIXED(heading, member, digits)         ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_FIXED, digits, 0)
#define FIELD_MAYBE_FIXED(heading, member, digits)   ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_FIXED, digits, ORGAN_FIELD_MAYBE)
#define FIELD_ROUNDED(heading, member, digits)       ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_ROUNDED, digits, 0)
#define FIELD_MAYBE_ROUNDED(heading, member, digits) ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_ROUNDED, digits, ORGAN_FIELD_MAYBE)
#define FIELD_GENERAL(heading, member, digits)       ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_GENERAL, digits, 0)
#define FIELD_MAYBE_GENERAL(heading, member, digits) ORGAN_FIELD_OF(heading, member, ORGAN_FIELD_GENERAL, digits, ORGAN_FIELD_MAYBE)
#define FIELD_NUMBER(heading)                        ORGAN_FIELD_OF(heading, NULL, ORGAN_FIELD_NUMBER, 0, 0)
#define FIELD_WORDS(heading, words, flags)           ORGAN_FIELD_OF(heading, words, ORGAN_FIELD_WORDS, 0, flags)
/* A column that is there where the condition holds for the report: FIELD_IF("!dry_run", PERCENT, "killed", "killed_percent", 0, 0). */
#define FIELD_IF(condition, form, heading, member, places, what)                                                                           \
    {                                                                                                                                      \
        .title = (heading), .path = (member), .when = (condition), .kind = ORGAN_FIELD_##form, .digits = (places), .flags = (what)         \
    }
#define FIELD_BY(heading, function, what)                                                                                                  \
    {                                                                                                                                      \
        .title = (heading), .kind = ORGAN_FIELD_BY, .flags = (what), .put = (function)                                                     \
    }
#define ORGAN_FIELDS_MOST 16 /* columns of a table */

#define FIELD_LIST(fields) (fields), sizeof(fields) / sizeof *(fields)

/* A row for each of the first `most` of `rows`, an array. The titles of `fields` must outlive the table, which has at most
 * ORGAN_FIELDS_MOST columns. NULL without memory. */
organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t most);

/* One more row; `name`, where it is not NULL, stands in the place of the first field. */
void organ_field_row(organ_table *table, const organ_field *fields, size_t count, const char *name, const json_t *row);
/* A row for each of `rows`; the first field is their member `key`. */
void organ_field_rows(organ_table *table, const organ_field *fields, size_t count, const char *key, const json_t *rows);
#endif
