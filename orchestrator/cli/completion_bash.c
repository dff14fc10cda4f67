/* SPDX-License-Identifier: MIT
 * The script holds the table as one entry a word: "--output=@" takes a path, "--beta=?" anything, "--json" nothing,
 * "--method=fft|haar" one of these, "--type=+organ|norm" several, "--pair=^2@" two words. Arguments come in order: "@",
 * "fft|haar", "!" for a verb; "..." repeats the one before. */
#include "orchestrator/cli/completion.h"

#include "orchestrator/command/embedded.h"

#include <string.h>

ORGAN_EMBEDDED(organ_bash_template, "orchestrator/cli/completion.bash")

static const char *bash_kind(organ_names names)
{
    return names == ORGAN_NAMES_NOTHING ? "?" : names == ORGAN_NAMES_VERB ? "!" : "@";
}

static void put_bash_option(FILE *out, const organ_option *option)
{
    for (int form = option->letter ? 0 : 1; form < 2; form++) {
        if (form == 0)
            fprintf(out, " '-%c", option->letter);
        else
            fprintf(out, " '--%s", option->name);
        if (option->value != ORGAN_VALUE_FLAG) {
            fputc('=', out);
            if (option->takes > 1)
                fprintf(out, "^%u", option->takes);
            fprintf(out, "%s%s", option->several ? "+" : "",
                    option->choices ? option->choices : bash_kind(option->names));
        }
        fputc('\'', out);
    }
}

static void put_bash_operand(FILE *out, const organ_operand *operand)
{
    const bool choices = strchr(operand->name, '|') != NULL;
    fprintf(out, " '%s%s'", choices ? operand->name : bash_kind(operand->names),
            organ_operand_repeats(operand) ? "..." : "");
}

static void put_bash_verb(FILE *out, const organ_verb *verb)
{
    fprintf(out, "    '%s')\n        options=(", verb->name);
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        put_bash_option(out, option);
    fputs(")\n        operands=(", out);
    for (size_t k = 0; k < verb->operand_count; k++)
        put_bash_operand(out, &verb->operands[k]);
    fputs(") ;;\n", out);
}

static void put_bash_word(FILE *out, const char *of, size_t number, const char *word, const char *about)
{
    (void)of;
    (void)about;
    fprintf(out, "%s%s", number ? " " : "", word);
}

static void put_families(FILE *out, const organ_verb_table *table)
{
    char family[ORGAN_FAMILY_ROOM];
    fputs("\n_organ_verbs='", out);
    organ_completion_words(out, table, "", put_bash_word);
    fputs("'\ndeclare -gA _organ_families=(", out);
    for (size_t k = 0; k < table->count; k++) {
        if (!organ_completion_opens_family(table, k, family))
            continue;
        fprintf(out, "[%s]='", family);
        organ_completion_words(out, table, family, put_bash_word);
        fputs("' ", out);
    }
    fputs(")\n", out);
}

void organ_completion_bash(FILE *out, const organ_verb_table *table)
{
    const char *const rest = organ_embedded_part(out, organ_bash_template);
    for (size_t k = 0; k < table->count; k++)
        put_bash_verb(out, table->verbs[k]);
    organ_embedded_part(out, rest);
    put_families(out, table);
}
