/* SPDX-License-Identifier: MIT */
#include "formats/base/requirements.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* Options and what is known of them. */
typedef struct question {
    const organ_requirements *requirements;
    const char *options, *defaults;
    organ_facts facts;
} question;

static void ask(question *q, const organ_requirements *requirements, const void *options, const void *defaults)
{
    *q = (question){.requirements = requirements, .options = options, .defaults = defaults};
    if (requirements->facts)
        requirements->facts(options, &q->facts);
}

void organ_facts_add(organ_facts *facts, const char *name, const char *value, const char *shown)
{
    if (value && facts->count < ORGAN_FACTS)
        facts->of[facts->count++] = (organ_fact){name, value, shown, .assumed = false};
}

void organ_facts_assume(organ_facts *facts, const char *name, const char *value, const char *shown)
{
    if (value && facts->count < ORGAN_FACTS)
        facts->of[facts->count++] = (organ_fact){name, value, shown, .assumed = true};
}

static bool is_given(const question *q, const organ_requirement *row)
{
    static const char zeros[16];
    const char *const member = q->options + row->offset;
    return memcmp(member, q->defaults + row->offset, row->size) != 0 &&
           (row->type == ORGAN_MEMBER_REAL || memcmp(member, zeros, row->size) != 0);
}

/* ---- conditions ---- */

/* NAME or NAME=VALUE,PATTERN in a list. */
typedef struct condition {
    const char *name, *values; /* `values` NULL: the option only has to be given */
    int name_length, values_length;
} condition;

/* Reads the condition at *at and moves *at behind it. Returns false at the end of the list, which may be NULL. */
static bool next_condition(const char **at, condition *c)
{
    if (!*at || !**at)
        return false;
    const int length = (int)strcspn(*at, "|"), name = (int)strcspn(*at, "=|");
    *c = (condition){*at, name < length ? *at + name + 1 : NULL, name, length - name - 1};
    *at += length + ((*at)[length] == '|');
    return true;
}

static const organ_fact *fact_of(const question *q, const condition *c)
{
    for (size_t k = 0; k < q->facts.count; k++)
        if (strncmp(q->facts.of[k].name, c->name, (size_t)c->name_length) == 0 && !q->facts.of[k].name[c->name_length])
            return &q->facts.of[k];
    return NULL;
}

/* Returns the option of a condition, if it is given. */
static const organ_requirement *given_row_of(const question *q, const condition *c)
{
    for (size_t k = 0; k < q->requirements->count; k++) {
        const organ_requirement *const row = &q->requirements->rows[k];
        if (strncmp(row->field, c->name, (size_t)c->name_length) == 0 && !row->field[c->name_length] &&
            is_given(q, row))
            return row;
    }
    return NULL;
}

/* Returns the value of a condition's fact or option; NULL: it has none, or is no text. */
static const char *value_of(const question *q, const condition *c)
{
    const organ_fact *const fact = fact_of(q, c);
    const organ_requirement *const row = fact ? NULL : given_row_of(q, c);
    const char *value = fact ? fact->value : NULL;
    if (row && row->type == ORGAN_MEMBER_TEXT)
        memcpy(&value, q->options + row->offset, sizeof value);
    return value;
}

static bool is_listed(const condition *c, const char *value)
{
    for (int at = 0, length; at < c->values_length; at += length + 1) {
        char pattern[64];
        length = (int)strcspn(c->values + at, ",|");
        snprintf(pattern, sizeof pattern, "%.*s", length, c->values + at);
        if (fnmatch(pattern, value, 0) == 0)
            return true;
    }
    return false;
}

static bool holds(const question *q, const condition *c)
{
    const char *const value = c->values ? value_of(q, c) : NULL;
    return c->values ? value && is_listed(c, value) : fact_of(q, c) || given_row_of(q, c);
}

/* Finds the first condition of the list that holds. */
static bool any_holds(const question *q, const char *list, condition *found)
{
    while (next_condition(&list, found))
        if (holds(q, found))
            return true;
    return false;
}

/* ---- texts ---- */

static void append(char *out, size_t size, const char *text, int length)
{
    const size_t used = strlen(out);
    snprintf(out + used, size - used, "%.*s", length, text);
}

/* Returns what divides an element of a list from the one before. */
static const char *join(bool more) { return more ? ", " : " or "; }

/* Appends "`NAME`" and its values, "`method` alps or wanda". */
static void append_condition(char *out, size_t size, const condition *c)
{
    const bool fact = memchr(c->name, ' ', (size_t)c->name_length);
    append(out, size, "`", fact ? 0 : 1);
    append(out, size, c->name, c->name_length);
    append(out, size, "`", fact ? 0 : 1);
    for (int at = 0, length; c->values && at < c->values_length; at += length + 1) {
        length = (int)strcspn(c->values + at, ",|");
        append(out, size, at ? join(at + length < c->values_length) : " ", 4);
        append(out, size, c->values + at, length);
    }
}

static void append_list(char *out, size_t size, const char *list)
{
    condition c;
    for (bool first = true; next_condition(&list, &c); first = false) {
        append(out, size, first ? "" : join(*list), 4);
        append_condition(out, size, &c);
    }
}

void organ_requirement_describe(const organ_requirement *row, char *out, size_t size)
{
    append(out, size, *out && row->with ? ", only with " : "only with ", row->with ? 12 : 0);
    append_list(out, size, row->with);
    append(out, size, *out && row->never ? ", not with " : "not with ", row->never ? 12 : 0);
    append_list(out, size, row->never);
}

/* ---- the check ---- */

static organ_status refuse_excluded(const question *q, const organ_requirement *row, const condition *c,
                                    organ_error *error)
{
    const organ_fact *const fact = fact_of(q, c);
    const char *const value = c->values ? value_of(q, c) : NULL;
    char with[ORGAN_REQUIREMENT_ROOM] = "";
    append_condition(with, sizeof with, &(condition){c->name, value, c->name_length, value ? (int)strlen(value) : 0});
    return organ_fail(error, ORGAN_USAGE, "`%s` has no meaning with %s%s%s", row->field,
                      fact && fact->shown ? fact->shown : with, row->why ? ": " : "", row->why ? row->why : "");
}

/* The message says what the first condition finds instead of its values. */
static organ_status refuse_alone(const question *q, const organ_requirement *row, organ_error *error)
{
    const char *at = row->with;
    char needs[ORGAN_REQUIREMENT_ROOM] = "", has[ORGAN_REQUIREMENT_ROOM] = "";
    condition first;
    next_condition(&at, &first);
    const organ_fact *const fact = fact_of(q, &first);
    const char *const value = first.values ? value_of(q, &first) : NULL;
    append_list(needs, sizeof needs, row->with);
    if (!value)
        return organ_fail(error, ORGAN_USAGE, "`%s` has no meaning without %s%s%s", row->field, needs,
                          row->why ? ": " : "", row->why ? row->why : "");
    append_condition(has, sizeof has, &(condition){first.name, value, first.name_length, (int)strlen(value)});
    return organ_fail(error, ORGAN_USAGE, "`%s` has no meaning with %s: it is for %s%s%s", row->field,
                      fact && fact->shown ? fact->shown : has, needs, row->why ? "; " : "", row->why ? row->why : "");
}

organ_status organ_requirements_check(const organ_requirements *requirements, const void *options, const void *defaults,
                                      organ_error *error)
{
    question q;
    condition found;
    ask(&q, requirements, options, defaults);
    for (size_t k = 0; k < requirements->count && !error->status; k++) {
        const organ_requirement *const row = &requirements->rows[k];
        if (!is_given(&q, row))
            continue;
        if (any_holds(&q, row->never, &found))
            refuse_excluded(&q, row, &found, error);
        else if (row->with && !any_holds(&q, row->with, &found))
            refuse_alone(&q, row, error);
    }
    return error->status;
}

bool organ_requirements_allow(const organ_requirements *requirements, const organ_requirement *row, const void *options,
                              const void *defaults)
{
    question q;
    condition c;
    bool other = false; /* an option that is given has another value than the row needs */
    ask(&q, requirements, options, defaults);
    for (size_t k = 0; k < q.facts.count; k++)
        if (q.facts.of[k].assumed)
            q.facts.of[k--] = q.facts.of[--q.facts.count];
    if (any_holds(&q, row->never, &c))
        return false;
    if (!row->with || any_holds(&q, row->with, &c))
        return true;
    for (const char *at = row->with; next_condition(&at, &c);)
        other |= c.values && value_of(&q, &c);
    return !other;
}
