/* SPDX-License-Identifier: MIT
 * The command line as data: a verb is a table of operands and options. The parser, help, error messages, completion and
 * the forms of the server all read this table. */
#ifndef ORGAN_COMMAND_OPTIONS_H
#define ORGAN_COMMAND_OPTIONS_H

#include "formats/base/requirements.h"
#include "formats/base/text.h"

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Kind of an option's value, and type of the member that receives it (organ_option.offset). */
typedef enum organ_value {
    ORGAN_VALUE_FLAG,  /* no value; bool */
    ORGAN_VALUE_TEXT,  /* a text that is not empty; const char *, which points into argv */
    ORGAN_VALUE_WORDS, /* one or more such texts for each use of the option (organ_option.takes); organ_words */
    ORGAN_VALUE_COUNT, /* a whole number; unsigned */
    ORGAN_VALUE_REAL,  /* a decimal number; double */
    ORGAN_VALUE_BYTES  /* an amount of bytes such as 512M (organ_quantity_parse); uint64_t */
} organ_value;

/* Kind of thing that the value of an operand or option names. Jobs, completion and forms use it to find paths. */
typedef enum organ_names {
    ORGAN_NAMES_NOTHING, /* a number, a pattern, free text */
    ORGAN_NAMES_MODEL,   /* a model to read: a file, a directory, a URL or a name (formats/names/names.h) */
    ORGAN_NAMES_INPUT,   /* another file or directory to read */
    ORGAN_NAMES_OUTPUT,  /* a file or directory to write */
    ORGAN_NAMES_VERB     /* a verb of this program, or its second word */
} organ_names;

/* Bounds of a number, both allowed unless organ_option.after_from or before_to is set. */
typedef struct organ_range {
    double from, to;
} organ_range;

/* A subject that options of several verbs share, such as the threads and memory of a run. `organ help NAME` describes
 * these options, the help of a verb only lists them. */
typedef struct organ_topic {
    const char *name;  /* one word */
    const char *title; /* subject of the options, half a line */
    const char *about; /* further explanation, paragraphs separated by '\n'; NULL: none */
} organ_topic;

#define ORGAN_AUTOMATIC "auto" /* value of an option with `automatic` */

/* An option of a verb. */
typedef struct organ_option {
    const char *name; /* without the dashes */
    /* names of older versions, "heal|resolve", which organ_options_parse and jobs of the server accept without mention;
     * help, manual, completion and forms do not show them; NULL: none */
    const char *former;
    char letter; /* letter of the short form, 'o' for -o; 0: none */
    organ_value value;
    const char *argument;       /* name of the value in help, "N"; NULL for flags */
    organ_range range;          /* allowed values of counts, reals and bytes */
    bool after_from, before_to; /* the bound `from`, or `to`, itself is not allowed */
    bool automatic; /* for amounts and reals: the value "auto" is allowed too, and stored as `automatic_as` */
    double automatic_as;
    bool required;
    /* the default, as written on a command line; NULL: none: the member of a real gets `unset`, all others keep their
     * value */
    const char *fallback;
    double unset;      /* value of a real without fallback if the option is not given */
    const char *help;  /* explanation, without a capital at its beginning and a full stop at its end */
    size_t offset;     /* offset in bytes, in the struct of the verb (organ_verb.call_size), of the member that gets the
                        * value */
    const char *field; /* that member, "prune.write.force": messages of the library name it. NULL: none does */
    organ_names names; /* what the value names, for texts and words */
    bool adapted;      /* for models: the value may be MODEL+ADAPTER, whose names the verb resolves */
    bool written;      /* for inputs: the run writes the file if it does not exist, or extends it */
    bool temporary;    /* for inputs: a directory that gets temporary files; the run reads nothing else in it */
    const char *choices; /* for texts: the allowed values, "fft|haar", which organ_options_parse enforces; NULL: any */
    const char *(*explain)(const char *typed); /* returns advice for a value that is not allowed, a static text, or
                                                * NULL; may be NULL. Of texts only those with choices use it */
    /* Returns whether a text, not terminated, is allowed although it is not among the choices: another spelling of one.
     * NULL: none is. Only for texts with choices. */
    bool (*accepts)(const char *text, size_t length);
    bool any_case;  /* with choices: the value may have upper and lower case, and the verb ignores it */
    bool open;      /* with choices: the value is a list of words separated by commas, and other words are allowed too;
                     * help and completion show the choices */
    unsigned takes; /* for words: the number of words after each use of the option; 0: one */
    bool both;      /* for flags: "--no-NAME" is accepted too and undoes an earlier "--NAME"; for the name "no-NAME",
                     * "--NAME" does */
    bool common;    /* `organ VERB -h` shows it; also a required option. At most ten */
    const organ_topic *topic; /* the topic that describes it; NULL: the help of its verb does */
    bool percent; /* for reals: the value is in percent and may end in '%'. A value between 0 and 1 must end in '%',
                     because a user who writes 0.5 nearly always means half */
} organ_option;

/* Options that help shows under one title. */
typedef struct organ_option_group {
    const char *title;
    const organ_option *options;
    size_t count;
} organ_option_group;

/* Values of a repeated operand or option, which point into argv. */
#define ORGAN_MAX_WORDS 256
typedef struct organ_words {
    const char *word[ORGAN_MAX_WORDS];
    size_t count;
} organ_words;

typedef struct organ_operand {
    /* "DONOR"; "bash|zsh|fish": one of these words; the last operand may be "MODEL...": all remaining words */
    const char *name;
    const char *help;
    size_t offset;     /* offset of the member that gets the value: a const char *, for "MODEL..." an organ_words */
    bool optional;     /* may be missing: the member keeps its value */
    organ_names names; /* what the value names */
    bool adapted;      /* as organ_option.adapted */
    const char *field; /* as organ_option.field */
} organ_operand;

typedef struct organ_example {
    const char *command; /* a command line for a shell */
    const char *does;    /* explanation of the command, a sentence */
} organ_example;

/* An operation that the verb runs has this table of the options that its options need (output/verb_requirements.h). */
typedef struct organ_option_needs {
    const organ_requirements *table;
    size_t offset; /* of the options of the table in the struct of the verb */
} organ_option_needs;

typedef struct organ_verb {
    const char *name;    /* one word, or two: "lora extract" */
    const char *former;  /* its names in older versions, as organ_option.former */
    const char *summary; /* half a line, for the overview */
    const char *usage;   /* forms of the words after the name, separated by '\n'; NULL: operands and required options */
    const char *about;   /* description in paragraphs, separated by '\n' */
    const organ_operand *operands;
    size_t operand_count;
    const organ_option_group *groups;
    size_t group_count;
    /* options of older versions that are more than another name of an option of `groups`; the parser and jobs accept
     * them without mention, nothing shows them */
    const organ_option *former_options;
    size_t former_count;
    const organ_option_needs *needs;
    size_t need_count;
    size_t call_size; /* size in bytes of the struct that gets the values of operands and options */
    const organ_example *examples;
    size_t example_count;
    /* When it ends with some exit codes (exits.h), if it says more than their titles: `done` and `check` instead of the
     * title, `check` only for verbs that check something, `usage` and `content` after "also if". */
    struct organ_verb_exits {
        const char *done, *check, *usage, *content;
    } exits;
    bool common; /* `organ` without arguments lists it */
    bool no_job; /* the server does not run it as a job, because it reads or writes outside the root */
    bool shares; /* processes that a launcher (mpirun, srun) has started can share its work */
    organ_status (*run)(void *call, organ_error *error); /* runs the verb; `call` is the struct of call_size bytes */
} organ_verb;

#define ORGAN_MAX_VERBS 64

/* A part of the list of verbs, with a title. It begins at `first` and ends before `first` of the next section. */
typedef struct organ_verb_section {
    const char *title;
    const organ_verb *first;
} organ_verb_section;

typedef struct organ_verb_table {
    const organ_verb *const *verbs; /* in the order of the sections */
    size_t count;                   /* at most ORGAN_MAX_VERBS */
    const organ_verb_section *sections;
    size_t section_count;
    const organ_topic *const *topics; /* all topics of the options */
    size_t topic_count;
} organ_verb_table;

/* Returns the title of the section that begins at this verb; NULL if none does. */
const char *organ_verb_section_at(const organ_verb_table *table, const organ_verb *verb);

/* Returns the topic `name` ("machine"), NULL if there is none. */
const organ_topic *organ_topic_find(const organ_verb_table *table, const char *name);

/* Which help a command line requests. */
typedef enum organ_help {
    ORGAN_HELP_NONE,
    ORGAN_HELP_BRIEF,   /* -h: the most used options, on one screen */
    ORGAN_HELP_COMPLETE /* --help */
} organ_help;

/* Parses argv[0 .. argc), the words after the verb, into `values`, a struct of verb->call_size bytes. Options and
 * operands may be mixed. Options have the forms "--name value", "--name=value", "-o value" and "-ovalue"; "--" ends
 * them. The last value of a repeated option applies; organ_words get all values. *help becomes the help that --help or
 * else -h among the words requests; missing arguments are then no error. Returns ORGAN_USAGE for an unknown, missing or
 * wrong argument, with a message that names the option, its value and the allowed values. */
organ_status organ_options_parse(const organ_verb *verb, int argc, char *const *argv, void *values, organ_help *help,
                                 organ_error *error);

/* Writes a message of the library into `text`, at most size - 1 bytes and NUL, with options and operands of the verb in
 * place of the fields that they set, "`write.force`". A field may be named by the last words of its member; one that no
 * option sets may be an option's name with '_' in place of '-'. Others stay. Allocates nothing, so that it names the
 * options also after a lack of memory. */
void organ_options_name_fields(const organ_verb *verb, const char *message, char *text, size_t size);

/* Returns the k-th option of a verb, group by group; NULL after the last. */
const organ_option *organ_verb_option_at(const organ_verb *verb, size_t k);
/* Returns the option of a verb with this name (without dashes), also a former name or a former option; NULL if there is
 * none. */
const organ_option *organ_verb_option(const organ_verb *verb, const char *name);

/* Appends what the option has a meaning with to `out` (`size` bytes): "only with --method gptq", with a comma before it
 * if `out` is not empty. */
void organ_option_describe_needs(const organ_verb *verb, const organ_option *option, char *out, size_t size);
/* Returns whether the option may still be given: false if `values`, which organ_options_parse filled, have an option
 * that excludes it. `defaults`: the values of a command line without options. */
bool organ_option_may_be_given(const organ_verb *verb, const organ_option *option, const void *values,
                               const void *defaults);

/* Returns whether the first `length` bytes of `name` are one of the names in `former` (organ_option.former). */
bool organ_is_former(const char *former, const char *name, size_t length);
/* Returns whether the verb has this name or had it in an older version. */
bool organ_verb_is_named(const organ_verb *verb, const char *name);

/* Returns whether the operand accepts several words: its name ends with "...". */
bool organ_operand_repeats(const organ_operand *operand);

/* Returns an option with the name, kind of value, help and member of the operand; required unless it is optional. */
organ_option organ_operand_as_option(const organ_operand *operand);

/* A text on the command line: the operand (as an option) or the option that it belongs to, the number of this argument,
 * counted from 0 with the operands first, and the place of the text, which is NULL if the argument was not given. */
typedef struct organ_verb_text {
    organ_option argument;
    size_t number;
    const char **word;
} organ_verb_text;

/* Finds the n-th text in `values`, the struct that organ_options_parse filled, in the order of arguments. Returns false
 * after the last. */
bool organ_verb_text_at(const organ_verb *verb, const void *values, size_t n, organ_verb_text *text);

/* Returns whether the number is in option->range. */
bool organ_in_range(const organ_option *option, double number);

/* Copies the k-th choice of an option to `choice`. Returns false after the last. */
#define ORGAN_LONGEST_CHOICE 32
bool organ_option_choice(const organ_option *option, size_t k, char choice[ORGAN_LONGEST_CHOICE]);
/* Returns whether the first `length` bytes of `text` are a choice of the option. */
bool organ_option_has_choice(const organ_option *option, const char *text, size_t length);

/* Writes the allowed values to `out` (`size` bytes) as a phrase for messages: "a whole number (16 to 4096)", "one of
 * fft, haar". */
void organ_option_allows(const organ_option *option, char *out, size_t size);

/* Writes the bounds of a number to `out` (`size` bytes), "16 to 4096" or "above 0, at most 64", or the choices of a
 * text, "fft, haar". Writes "" for flags and for texts without choices. */
#define ORGAN_RANGE_ROOM 1600
void organ_option_range(const organ_option *option, char *out, size_t size);

#endif
