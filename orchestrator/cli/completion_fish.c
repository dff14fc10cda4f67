/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/completion.h"

#include "orchestrator/command/embedded.h"

#include <string.h>

static void put_fish_quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, "%s%c", *text == '\'' || *text == '\\' ? "\\" : "", *text);
    fputc('\'', out);
}

static void put_choices(FILE *out, const char *choices)
{
    for (; *choices; choices++)
        fputc(*choices == '|' ? ' ' : *choices, out);
}

/* "complete -c organ -n '__organ_is prune' " */
static void put_condition(FILE *out, const organ_verb *verb)
{
    fprintf(out, "complete -c organ -n '__organ_is %s'", verb->name);
}

static void put_fish_option(FILE *out, const organ_verb *verb, const organ_option *option)
{
    char brief[ORGAN_BRIEF_ROOM];
    organ_completion_brief(option->help, brief);
    put_condition(out, verb);
    fprintf(out, " -l %s", option->name);
    if (option->letter)
        fprintf(out, " -s %c", option->letter);
    if (option->choices) {
        fputs(option->several ? " -x -a '(__fish_append , " : " -x -a '", out);
        put_choices(out, option->choices);
        fputs(option->several ? ")'" : "'", out);
    } else if (option->value != ORGAN_VALUE_FLAG)
        fputs(option->names == ORGAN_NAMES_NOTHING ? " -x" : " -r -F", out);
    fputs(" -d ", out);
    put_fish_quoted(out, brief);
    fputc('\n', out);
}

/* Words behind the options: fish offers them all at any place. */
static void put_fish_operands(FILE *out, const organ_verb *verb)
{
    bool paths = false;
    for (size_t k = 0; k < verb->operand_count; k++) {
        const organ_operand *const operand = &verb->operands[k];
        if (strchr(operand->name, '|')) {
            put_condition(out, verb);
            fputs(" -a '", out);
            put_choices(out, operand->name);
            fputs("'\n", out);
        } else if (operand->names == ORGAN_NAMES_VERB && k == 0) {
            fprintf(out, "complete -c organ -n '__organ_behind %s' -a '(__organ_verbs)'\n", verb->name);
        }
        paths = paths || (operand->names >= ORGAN_NAMES_MODEL && operand->names <= ORGAN_NAMES_OUTPUT);
    }
    if (paths) {
        put_condition(out, verb);
        fputs(" -F\n", out);
    }
}

ORGAN_EMBEDDED(organ_fish_template, "orchestrator/cli/completion.fish")

static void put_fish_word(FILE *out, const char *of, size_t number, const char *word, const char *about)
{
    (void)number;
    if (*of)
        fprintf(out,
                "complete -c organ -n '__organ_behind %s; or __organ_behind help %s; or __organ_behind manual %s' -a "
                "%s -d ",
                of, of, of, word);
    else
        fprintf(out, "    printf '%%s\\t%%s\\n' %s ", word);
    put_fish_quoted(out, about);
    fputc('\n', out);
}

void organ_completion_fish(FILE *out, const organ_verb_table *table)
{
    char family[ORGAN_FAMILY_ROOM];
    const char *const rest = organ_embedded_part(out, organ_fish_template);
    organ_completion_words(out, table, "", put_fish_word);
    organ_embedded_part(out, rest);
    for (size_t k = 0; k < table->count; k++)
        if (organ_completion_opens_family(table, k, family))
            organ_completion_words(out, table, family, put_fish_word);
    for (size_t v = 0; v < table->count; v++) {
        fputc('\n', out);
        put_fish_operands(out, table->verbs[v]);
        const organ_option *option;
        for (size_t k = 0; (option = organ_verb_option_at(table->verbs[v], k)); k++)
            put_fish_option(out, table->verbs[v], option);
    }
}
