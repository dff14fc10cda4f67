/* SPDX-License-Identifier: MIT
 * A table of the options of an operation states what each one needs and excludes: another option, a value of it, or a
 * fact that follows from the options. The check, help, completion and the forms of the server read the table. */
#ifndef ORGAN_BASE_REQUIREMENTS_H
#define ORGAN_BASE_REQUIREMENTS_H

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

/* Type of the member of an option. */
typedef enum organ_member_type { ORGAN_MEMBER_TEXT, ORGAN_MEMBER_REAL, ORGAN_MEMBER_NUMBER } organ_member_type;

/* A need of an option, which may have several rows. `with` and `never` are lists of conditions with '|' between them.
 * The condition "kv_cache" holds if that option is given. The condition "scheme=nvfp4,int*" holds if the option or the
 * fact of this name has one of the values, which are patterns of fnmatch. The name of a fact may have blanks. */
typedef struct organ_requirement {
    const char *field; /* name of the member, for messages */
    size_t offset, size;
    organ_member_type type;
    const char *with;  /* one of these must hold; NULL: it needs none */
    const char *never; /* none of these may hold; NULL: it excludes none */
    const char *why;   /* a reason, which ends the message; NULL: none */
} organ_requirement;

/* A row for the member `path` of the structure `options`, which messages name `called`; further members of
 * organ_requirement follow as designated initialisers. */
#define ORGAN_REQUIREMENT_NAMED(options, path, called, ...)                                                            \
    {                                                                                                                  \
        .field = (called), .offset = offsetof(options, path), .size = sizeof((options *)0)->path,                      \
        .type = ORGAN_REQUIREMENT_TYPE(((options *)0)->path), __VA_ARGS__                                              \
    }
#define ORGAN_REQUIREMENT_TYPE(member)                                                                                 \
    _Generic(member, const char * : ORGAN_MEMBER_TEXT, double : ORGAN_MEMBER_REAL, default : ORGAN_MEMBER_NUMBER)
#define ORGAN_REQUIREMENT(options, path, ...) ORGAN_REQUIREMENT_NAMED(options, path, #path, __VA_ARGS__)

/* A fact that follows from the options: the value that an option has by default, or the kind of the output. */
typedef struct organ_fact {
    const char *name, *value;
    const char *shown; /* the fact in messages, after "with"; NULL: name and value */
    bool assumed;      /* it follows from no option that is given */
} organ_fact;

#define ORGAN_FACTS 6
typedef struct organ_facts {
    organ_fact of[ORGAN_FACTS];
    size_t count;
    char text[128]; /* room for `shown` of a fact */
} organ_facts;

/* Add a fact; value NULL: there is none, and nothing is added. `assume` adds one that is assumed. */
void organ_facts_add(organ_facts *facts, const char *name, const char *value, const char *shown);
void organ_facts_assume(organ_facts *facts, const char *name, const char *value, const char *shown);

/* The options of an operation. */
typedef struct organ_requirements {
    const organ_requirement *rows;
    size_t count;
    /* Sets the facts. Members that an operation requires may be NULL, because completion calls it, too. NULL: there are
     * no facts. */
    void (*facts)(const void *options, organ_facts *facts);
} organ_requirements;

/* Defines the table organ_OPERATION_requirements of the rows that follow; `find` is its member `facts`. */
#define ORGAN_REQUIREMENTS(operation, find, ...)                                                                       \
    static const organ_requirement operation##_needs[] = {__VA_ARGS__};                                                \
    const organ_requirements organ_##operation##_requirements = {                                                      \
        operation##_needs, sizeof operation##_needs / sizeof *operation##_needs, find};

/* Returns ORGAN_USAGE if an option is given that has no meaning with the others. An option is given if its member
 * differs from that of `defaults` and, for other numbers than doubles, is not 0. */
organ_status organ_requirements_check(const organ_requirements *requirements, const void *options, const void *defaults,
                                      organ_error *error);

/* Returns whether the option of the row may have a meaning: false only if one that is given excludes it. */
bool organ_requirements_allow(const organ_requirements *requirements, const organ_requirement *row, const void *options,
                              const void *defaults);

/* Appends "only with A or B, not with C" to `out` (`size` bytes), with names of options between backquotes, and a comma
 * before it if `out` is not empty. */
#define ORGAN_REQUIREMENT_ROOM 600
void organ_requirement_describe(const organ_requirement *row, char *out, size_t size);

#endif
