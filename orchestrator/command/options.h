/* SPDX-License-Identifier: MIT
 * The command line as data: a verb is a table of operands and options, from which parsing, help, messages, completion
 * and the forms of the server are made. */
#ifndef ORGAN_OPTIONS_H
#define ORGAN_OPTIONS_H

#include "formats/base/nearest.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Kind of an option's value, and type of the member that receives it (organ_option.offset). */
typedef enum organ_value {
    ORGAN_VALUE_FLAG,  /* no value; bool */
    ORGAN_VALUE_TEXT,  /* a text that is not empty; const char * (into argv) */
    ORGAN_VALUE_WORDS, /* one such text for each use of the option; organ_words */
    ORGAN_VALUE_COUNT, /* a whole number; unsigned */
    ORGAN_VALUE_REAL,  /* a decimal number; double */
    ORGAN_VALUE_BYTES  /* an amount of memory such as 512M (organ_quantity_parse); uint64_t */
} organ_value;

/* Kind of thing that a text names. Jobs, completion and forms need it to find values that are paths. */
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

/* An option of a verb. */
typedef struct organ_option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form; 0: none */
    organ_value value;
    const char *argument;       /* name of the value in help: "N"; NULL for flags */
    organ_range range;          /* allowed values of counts, reals and bytes */
    bool after_from, before_to; /* the bound `from`, or `to`, itself is not allowed */
    bool required;
    /* the default, as written on a command line; NULL: the member keeps its value, or a real gets `unset` */
    const char *fallback;
    double unset;        /* value of a real without fallback if the option is not given */
    const char *help;    /* begins in lower case, no full stop */
    size_t offset;       /* of the member in the struct of the verb (organ_verb.call_size) */
    organ_names names;   /* of texts and words */
    const char *choices; /* of texts: the allowed values, "fft|haar", which organ_options_parse enforces; NULL: any */
    const char *(*explain)(
        const char *typed); /* of choices: returns advice for a value that is not allowed, or NULL; may be NULL */
    bool several;           /* of choices: the value may be a list, separated by commas */
    unsigned takes;         /* of words: the number of words after each use of the option; 0: one */
    bool percent; /* of reals: the value is in percent and may end in '%'; between 0 and 1 it must, because a user who
                     writes 0.5 nearly always means half */
} organ_option;

/* Options that help shows under one title. */
typedef struct organ_option_group {
    const char *title;
    const organ_option *options;
    size_t count;
} organ_option_group;

/* Values of a repeated operand or option; the texts are in argv. */
#define ORGAN_MAX_WORDS 256
typedef struct organ_words {
    const char *word[ORGAN_MAX_WORDS];
    size_t count;
} organ_words;

typedef struct organ_operand {
    /* "DONOR"; "bash|zsh|fish": one of these words; the last operand may be "MODEL...": all remaining words */
    const char *name;
    const char *help;
    size_t offset; /* of the member: const char *, NULL if not given; for "MODEL...": organ_words */
    bool optional;
    organ_names names;
} organ_operand;

typedef struct organ_example {
    const char *command, *does;
} organ_example;

typedef struct organ_verb {
    const char *name;
    const char *summary; /* half a line, for the overview */
    const char *usage;   /* forms of the words after the name, separated by '\n'; NULL: operands and required options */
    const char *about;   /* paragraphs, separated by '\n' */
    const organ_operand *operands;
    size_t operand_count;
    const organ_option_group *groups;
    size_t group_count;
    size_t call_size; /* size of the struct that `run` gets; its members are at the offsets of the options */
    const organ_example *examples;
    size_t example_count;
    const char *exits; /* meaning of its exit codes, paragraphs as in `about` */
    bool no_job;       /* the server does not run it as a job, because it reads or writes outside the root */
    bool shares;       /* processes that a launcher (mpirun, srun) has started can share its work */
    organ_status (*run)(void *call, organ_error *error);
} organ_verb;

#define ORGAN_MAX_VERBS 64

/* A part of the list of verbs, with a title; it ends at the first verb of the next part. */
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
 * options. Options and operands may be mixed. Options have the forms "--name value", "--name=value", "-o value" and
 * "-ovalue"; "--" ends them; the last value of a repeated option applies. *help becomes true if --help or -h is among
 * the words; missing arguments are then no error. Returns ORGAN_USAGE with a message that names the option, its value
 * and the allowed values. */
organ_status organ_options_parse(const organ_verb *verb, int argc, char *const *argv, void *values, bool *help,
                                 organ_error *error);

/* Returns the k-th option of a verb, group by group; NULL after the last. */
const organ_option *organ_verb_option_at(const organ_verb *verb, size_t k);
const organ_option *organ_verb_option(const organ_verb *verb, const char *name); /* NULL: it has none of that name */

bool organ_operand_repeats(const organ_operand *operand); /* "MODEL..." */

organ_option organ_operand_as_option(const organ_operand *operand); /* with the same name, values and member */
bool organ_in_range(const organ_option *option, double number);     /* for options with a range */

/* Returns the k-th choice of an option; false after the last. */
#define ORGAN_LONGEST_CHOICE 32
bool organ_option_choice(const organ_option *option, size_t k, char choice[ORGAN_LONGEST_CHOICE]);
/* Returns whether the first `length` bytes of `text` are a choice of the option. */
bool organ_option_has_choice(const organ_option *option, const char *text, size_t length);

/* Writes the allowed values as a phrase for messages: "a whole number (16 to 4096)", "one of fft, haar". */
void organ_option_allows(const organ_option *option, char *out, size_t size);

/* Writes only the limits, "16 to 4096" or "above 0, at most 64", or the choices, "fft, haar". Writes "" for flags and
 * other texts. */
#define ORGAN_RANGE_ROOM 400
void organ_option_range(const organ_option *option, char *out, size_t size);

#endif
