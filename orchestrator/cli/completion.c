/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/embedded.h"
#include "formats/base/owned.h"

#include <stdlib.h>
#include <string.h>

ORGAN_EMBEDDED(organ_bash_script, "orchestrator/cli/completion.bash")
ORGAN_EMBEDDED(organ_zsh_script, "orchestrator/cli/completion.zsh")
ORGAN_EMBEDDED(organ_fish_script, "orchestrator/cli/completion.fish")

const char *organ_completion_script(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        return organ_bash_script;
    return strcmp(shell, "zsh") == 0 ? organ_zsh_script : organ_fish_script;
}

typedef struct completing {
    FILE *out;
    const organ_verb_table *table;
    const char *word;   /* the word to complete, up to the cursor */
    size_t head;        /* bytes of `word` that stay in front of each candidate, such as "--select=" */
    const char *typed;  /* `word` after these bytes: a candidate must begin with it */
    const char *before; /* the word on the command line before `word`, or "" */
} completing;

/* Prints a candidate if `dashes` followed by `word` begins with c->typed. The candidate starts with the first
 * c->head bytes of the word on the command line ("--option="). Cuts `about` at the first semicolon, or at a blank
 * after at most MAX_ABOUT bytes. */
static void offer_word(const completing *c, const char *dashes, const char *word, const char *about)
{
    enum { MAX_ABOUT = 95 };
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s", dashes, word);
    if (strncmp(whole, c->typed, strlen(c->typed)) != 0)
        return;
    size_t length = strcspn(about, ";");
    if (length > MAX_ABOUT)
        for (length = MAX_ABOUT; length > 0 && about[length] != ' ';)
            length--;
    while (length > 0 && (about[length - 1] == ' ' || about[length - 1] == ','))
        length--;
    fprintf(c->out, "%.*s%s\t%.*s\n", (int)c->head, c->word, whole, (int)length, about);
}

/* A first word that adjacent verbs share is offered once. If a section begins with the first of these verbs, the
 * description is the title of the section, else the summary of this verb. */
static void offer_verbs(const completing *c)
{
    char family[32] = "";
    for (size_t k = 0; k < c->table->count; k++) {
        const organ_verb *const verb = c->table->verbs[k];
        const char *const section = organ_verb_section_at(c->table, verb);
        if (organ_verb_is_of_family(verb, family))
            continue;
        snprintf(family, sizeof family, "%.*s", (int)strcspn(verb->name, " "), verb->name);
        offer_word(c, "", family, section && strchr(verb->name, ' ') ? section : verb->summary);
    }
}

/* Offers the second words of the verbs whose first is `family`. Returns whether there are any. */
static bool offer_second_words(const completing *c, const char *family)
{
    bool found = false;
    for (size_t k = 0; k < c->table->count; k++)
        if (organ_verb_is_of_family(c->table->verbs[k], family)) {
            offer_word(c, "", c->table->verbs[k]->name + strlen(family) + 1, c->table->verbs[k]->summary);
            found = true;
        }
    return found;
}

/* Offers the option's choices, else verbs, files or nothing, as option->names says. The line "@HEAD" offers files:
 * HEAD followed by any path. The line "+" states that a list may continue after a candidate. In a list separated by
 * commas completes the last element: the elements before it become part of c->head. */
static void offer_values(completing *c, const organ_option *option)
{
    char choice[ORGAN_LONGEST_CHOICE];
    const char *const comma = option->open ? strrchr(c->typed, ',') : NULL;
    if (option->open)
        fputs("+\n", c->out);
    if (comma) {
        c->typed = comma + 1;
        c->head = (size_t)(c->typed - c->word);
    }
    for (size_t k = 0; organ_option_choice(option, k, choice); k++)
        offer_word(c, "", choice, "");
    if (option->choices || option->names == ORGAN_NAMES_NOTHING)
        return;
    if (option->names == ORGAN_NAMES_VERB)
        offer_verbs(c);
    else
        fprintf(c->out, "@%.*s\n", (int)c->head, c->word);
}

/* Options that another one excludes are left out. `words`: those of the verb before the one to complete. */
static void offer_options(const completing *c, const organ_verb *verb, int count, char *const *words)
{
    const organ_option *option;
    organ_help help;
    ORGAN_OWNED void *const typed = calloc(1, verb->call_size), *const defaults = calloc(1, verb->call_size);
    if (!typed || !defaults)
        return;
    organ_options_parse(verb, count, words, typed, &help, &(organ_error){0});
    organ_options_parse(verb, 0, words, defaults, &help, &(organ_error){0});
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++) {
        if (!organ_option_may_be_given(verb, option, typed, defaults))
            continue;
        if (option->letter)
            offer_word(c, "-", (char[]){option->letter, '\0'}, option->help);
        offer_word(c, "--", option->name, option->help);
    }
}

/* `taken` is the number of operands that are typed already. */
static void offer_operands(completing *c, const organ_verb *verb, size_t taken)
{
    const size_t count = verb->operand_count;
    const size_t k = taken < count ? taken : count - 1;
    if (!count || (taken >= count && !organ_operand_repeats(&verb->operands[k])))
        return;
    organ_option option = organ_operand_as_option(&verb->operands[k]);
    if (strchr(option.name, '|'))
        option.choices = option.name;
    if (option.names == ORGAN_NAMES_VERB && k > 0)
        offer_second_words(c, c->before);
    else
        offer_values(c, &option);
}

/* Returns the option that the word names ("--name", "--name=VALUE" or "-n") if it takes a value, else NULL. */
static const organ_option *option_of(const organ_verb *verb, const char *word)
{
    const size_t length = strcspn(word, "=");
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (word[1] == '-' ? strlen(option->name) == length - 2 && strncmp(word + 2, option->name, length - 2) == 0
                           : length == 2 && option->letter == word[1])
            break;
    return option && option->value != ORGAN_VALUE_FLAG ? option : NULL;
}

static void complete_of_verb(completing *c, const organ_verb *verb, int count, char *const *words)
{
    const organ_option *option = NULL; /* the last option with a value */
    unsigned requested = 0;            /* number of its values that are not typed yet */
    size_t taken = 0;                  /* number of operands before the last word */
    bool ended = false;                /* "--" was typed: all later words are operands */
    for (int k = 0; k + 1 < count; k++) {
        if (requested) {
            requested--;
        } else if (ended || *words[k] != '-') {
            taken++;
        } else if (strcmp(words[k], "--") == 0) {
            ended = true;
        } else if ((option = option_of(verb, words[k]))) {
            requested = option->takes ? option->takes : 1;
            requested -= strchr(words[k], '=') ? 1 : 0;
        }
    }
    const char *const equals = strchr(c->word, '=');
    if (requested) {
        offer_values(c, option);
    } else if (ended || *c->word != '-') {
        offer_operands(c, verb, taken);
    } else if (!equals || c->word[1] != '-') {
        offer_options(c, verb, count - 1, words);
    } else if ((option = option_of(verb, c->word))) {
        c->typed = equals + 1;
        c->head = (size_t)(c->typed - c->word);
        offer_values(c, option);
    }
}

void organ_complete(FILE *out, const organ_verb_table *table, int count, char *const *words)
{
    for (; count > 1 && !*words[0]; count--) /* shells may pass an empty list as an empty word */
        words++;
    if (count < 1)
        return;
    const char *const word = words[count - 1];
    completing c = {
        .out = out, .table = table, .word = word, .typed = word, .before = count > 1 ? words[count - 2] : ""};
    organ_error error = {0};
    int used = 0;
    const organ_verb *const verb =
        count > 1 ? organ_verb_find(table, words[0], count > 2 ? words[1] : NULL, &used, &error) : NULL;
    if (count == 1)
        offer_verbs(&c);
    else if (verb)
        complete_of_verb(&c, verb, count - used, words + used);
    else if (count == 2)
        offer_second_words(&c, words[0]);
}
