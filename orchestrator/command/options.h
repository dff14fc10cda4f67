/* SPDX-License-Identifier: MIT
 * The command line as data: a verb is a table of operands and options, and parsing, help and messages all come from it.
 */
#ifndef ORGAN_OPTIONS_H
#define ORGAN_OPTIONS_H

#include "formats/base/nearest.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Kind of an option's value, and type of the member that receives it. */
typedef enum organ_value {
    ORGAN_VALUE_FLAG,  /* nothing; bool */
    ORGAN_VALUE_TEXT,  /* anything but an empty text; const char * (into argv) */
    ORGAN_VALUE_WORDS, /* the same each time it is given; organ_words */
    ORGAN_VALUE_COUNT, /* a whole number; unsigned */
    ORGAN_VALUE_REAL,  /* a decimal number; double */
    ORGAN_VALUE_BYTES  /* an amount as organ_quantity_parse reads it; uint64_t */
} organ_value;

/* Kind of thing that a text names. Jobs, completion and forms use it to find values that are paths. */
typedef enum organ_names {
    ORGAN_NAMES_NOTHING, /* a number, a pattern, free text */
    ORGAN_NAMES_MODEL,   /* a model to read: a file, a directory, a URL or a name (formats/names/names.h) */
    ORGAN_NAMES_INPUT,   /* another file or directory to read */
    ORGAN_NAMES_OUTPUT,  /* a file or directory to write */
    ORGAN_NAMES_VERB     /* a verb of this program, or its second word */
} organ_names;

typedef struct organ_range {
    double from, to;
} organ_range;

typedef struct organ_option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form, 0 for none */
    organ_value value;
    const char *argument;       /* what help calls the value: "N"; NULL for flags */
    organ_range range;          /* of counts, reals and bytes */
    bool after_from, before_to; /* the bound of the range itself is not allowed */
    bool required;
    const char *fallback; /* the default, as written on a command line; NULL: the parser leaves the member unchanged, */
    double unset;         /* or stores this number, of reals */
    const char *help;     /* begins in lower case, no full stop */
    size_t offset;        /* of the member */
    organ_names names;    /* of texts and words */
    const char *choices;  /* of texts: the allowed values, "fft|haar", which organ_options_parse enforces; NULL: any */
    const char *(*explain)(
        const char *typed); /* of choices: returns advice for a value that is not allowed, or NULL; may be NULL */
    bool several;           /* of choices: more than one may be given, separated by commas */
    unsigned takes;         /* of words: the number of words after each use of the option; 0: one */
    bool percent; /* of reals: the value may end in '%', and must if it is above 0 and below 1: 0.5 is nearly always a
                     fraction */
} organ_option;

/* Options that help shows under one title. */
typedef struct organ_option_group {
    const char *title;
    const organ_option *options;
    size_t count;
} organ_option_group;

/* Member that a repeated operand or option fills. */
#define ORGAN_MAX_WORDS 256
typedef struct organ_words {
    const char *word[ORGAN_MAX_WORDS];
    size_t count;
} organ_words;

typedef struct organ_operand {
    const char
        *name; /* "DONOR"; the last may be "MODEL...": it takes all words to come; "bash|zsh|fish": one of these */
    const char *help;
    size_t offset; /* of a const char * member, NULL where not given; of "MODEL...": of an organ_words */
    bool optional;
    organ_names names;
} organ_operand;

typedef struct organ_example {
    const char *command, *does;
} organ_example;

typedef struct organ_verb {
    const char *name;
    const char *summary; /* half a line, for the overview */
    const char *usage; /* the forms of what follows the name, separated by '\n'; NULL: operands and required options */
    const char *about; /* paragraphs, separated by '\n' */
    const organ_operand *operands;
    size_t operand_count;
    const organ_option_group *groups;
    size_t group_count;
    size_t call_size; /* bytes of the struct that `run` is called with, whose members the offsets name */
    const organ_example *examples;
    size_t example_count;
    const char *exits; /* what its exit codes mean, paragraphs as in `about` */
    bool no_job;       /* a server does not run it for its clients: it reads or writes outside of the served folder */
    bool shares;       /* several processes that a launcher has started share its work */
    organ_status (*run)(void *call, organ_error *error);
} organ_verb;

#define ORGAN_MAX_VERBS 64

/* The list of verbs in parts, each of which begins at a verb and ends where the next one begins. */
typedef struct organ_verb_section {
    const char *title;
    const organ_verb *first;
} organ_verb_section;

typedef struct organ_verb_table {
    const organ_verb *const *verbs; /* by section */
    size_t count;                   /* at most ORGAN_MAX_VERBS */
    const organ_verb_section *sections;
    size_t section_count;
} organ_verb_table;

/* Returns the title of the section that begins at this verb, or NULL. */
const char *organ_verb_section_at(const organ_verb_table *table, const organ_verb *verb);

/* Parses argv[0 .. argc), the words after the verb, into `values`, a struct with members at the offsets of the verb's
 * options. Options and operands may be mixed; "--name value", "--name=value", "-o value", "-ovalue"; "--" ends the
 * options; of repeated options the last applies. *help is set if --help or -h is among them; missing options are then
 * no error. ORGAN_USAGE with a message that names option, value and the allowed values. */
organ_status organ_options_parse(const organ_verb *verb, int argc, char *const *argv, void *values, bool *help,
                                 organ_error *error);

/* Returns the k-th option of a verb, group by group; NULL after the last. */
const organ_option *organ_verb_option_at(const organ_verb *verb, size_t k);
const organ_option *organ_verb_option(const organ_verb *verb, const char *name); /* NULL: it has none of that name */

bool organ_operand_repeats(const organ_operand *operand); /* "MODEL..." */

organ_option organ_operand_as_option(const organ_operand *operand); /* what may be given for it is the same */
bool organ_in_range(const organ_option *option, double number);     /* it has a range */

/* Returns the k-th choice of an option; false after the last. */
#define ORGAN_LONGEST_CHOICE 32
bool organ_option_choice(const organ_option *option, size_t k, char choice[ORGAN_LONGEST_CHOICE]);
bool organ_option_has_choice(const organ_option *option, const char *text,
                             size_t length); /* `text` up to `length` is one of them */

/* Writes which values are allowed: "a whole number (16 to 4096)", "one of fft, haar". */
void organ_option_allows(const organ_option *option, char *out, size_t size);

/* Writes only the range: "16 to 4096", "above 0, at most 64"; or the choices: "fft, haar"; "" for flags and other
 * texts. */
#define ORGAN_RANGE_ROOM 400
void organ_option_range(const organ_option *option, char *out, size_t size);

#endif
