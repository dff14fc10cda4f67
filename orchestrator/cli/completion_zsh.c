/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/completion.h"

#include "orchestrator/command/embedded.h"

#include <string.h>

static const char apostrophe[] = "'\\''";

/* Text inside a specification, where brackets and colons have a meaning. */
static void put_zsh_text(FILE *out, const char *text, const char *special)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs(apostrophe, out);
        else
            fprintf(out, "%s%c", strchr(special, *text) ? "\\" : "", *text);
}

/* ":FILE:_files" */
static void put_action(FILE *out, const char *name, organ_names names, const char *choices, bool several)
{
    fputc(':', out);
    put_zsh_text(out, name, ":\\");
    fputc(':', out);
    if (choices && several) {
        fputs("_values -s , kind ", out);
        for (; *choices; choices++)
            fputc(*choices == '|' ? ' ' : *choices, out);
    } else if (choices) {
        fputc('(', out);
        for (; *choices; choices++)
            fprintf(out, "%s%c", *choices == ':' ? "\\" : "", *choices == '|' ? ' ' : *choices);
        fputc(')', out);
    } else if (names == ORGAN_NAMES_VERB)
        fputs("_organ_verbs", out);
    else
        fputs(names == ORGAN_NAMES_NOTHING ? " " : "_files", out);
}

/* '(-o --output)'{-o+,--output=}'[the directory to make]:OUT:_files' */
static void put_zsh_option(FILE *out, const organ_option *option)
{
    char brief[ORGAN_BRIEF_ROOM];
    const bool takes = option->value != ORGAN_VALUE_FLAG, repeated = option->value == ORGAN_VALUE_WORDS;
    organ_completion_brief(option->help, brief);
    fputs(" \\\n            ", out);
    if (option->letter)
        fprintf(out, "'(-%c --%s)'{-%c%s,--%s%s}'[", option->letter, option->name, option->letter, takes ? "+" : "",
                option->name, takes ? "=" : "");
    else
        fprintf(out, "'%s--%s%s[", repeated ? "*" : "", option->name, takes ? "=" : "");
    put_zsh_text(out, brief, "[]:\\");
    fputc(']', out);
    for (unsigned k = 0; takes && k < (option->takes ? option->takes : 1); k++)
        put_action(out, option->argument, option->names, option->choices, option->several);
    fputc('\'', out);
}

static void put_zsh_operand(FILE *out, const organ_operand *operand, size_t number)
{
    fputs(" \\\n            '", out);
    if (organ_operand_repeats(operand))
        fputc('*', out);
    else
        fprintf(out, "%zu%s", number, operand->optional ? ":" : "");
    put_action(out, operand->name, operand->names, strchr(operand->name, '|') ? operand->name : NULL, false);
    fputc('\'', out);
}

static void put_zsh_verb(FILE *out, const organ_verb *verb)
{
    fprintf(out, "    '%s')\n        _arguments -s -S", verb->name);
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        put_zsh_option(out, option);
    for (size_t k = 0; k < verb->operand_count; k++)
        put_zsh_operand(out, &verb->operands[k], k + 1);
    fputs(" ;;\n", out);
}

static void put_zsh_word(FILE *out, const char *of, size_t number, const char *word, const char *about)
{
    (void)of;
    (void)number;
    fprintf(out, "        '%s:", word);
    put_zsh_text(out, about, "\\");
    fputs("'\n", out);
}

ORGAN_EMBEDDED(organ_zsh_template, "orchestrator/cli/completion.zsh")

void organ_completion_zsh(FILE *out, const organ_verb_table *table)
{
    char family[ORGAN_FAMILY_ROOM];
    const char *rest = organ_embedded_part(out, organ_zsh_template);
    organ_completion_words(out, table, "", put_zsh_word);
    rest = organ_embedded_part(out, rest);
    for (size_t k = 0; k < table->count; k++) {
        if (!organ_completion_opens_family(table, k, family))
            continue;
        fprintf(out, "    %s) verbs=(\n", family);
        organ_completion_words(out, table, family, put_zsh_word);
        fputs("        ) ;;\n", out);
    }
    rest = organ_embedded_part(out, rest);
    for (size_t k = 0; k < table->count; k++)
        put_zsh_verb(out, table->verbs[k]);
    organ_embedded_part(out, rest);
}
