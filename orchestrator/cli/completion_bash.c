/* SPDX-License-Identifier: MIT
 * The script holds the table as one entry a word: "--output=@" takes a path, "--beta=?" anything, "--json" nothing, "--method=fft|haar" one
 * of these, "--type=+organ|norm" several, "--pair=^2@" two words. Arguments come in order: "@", "fft|haar", "!" for a verb; "..." repeats
 * the one before. */
#include "orchestrator/cli/completion.h"

#include <string.h>

/* ---- for all shells ---- */

void organ_completion_brief(const char *help, char brief[ORGAN_BRIEF_ROOM])
{
    const size_t room = ORGAN_BRIEF_ROOM - 1;
    size_t length = strcspn(help, ";");
    if (length > room)
        for (length = room; length > 0 && help[length] != ' ';)
            length--;
    while (length > 0 && (help[length - 1] == ' ' || help[length - 1] == ','))
        length--;
    snprintf(brief, ORGAN_BRIEF_ROOM, "%.*s", (int)length, help);
}

const char *organ_completion_family(const organ_verb *verb, char family[ORGAN_FAMILY_ROOM])
{
    const char *const space = strchr(verb->name, ' ');
    snprintf(family, ORGAN_FAMILY_ROOM, "%.*s", space ? (int)(space - verb->name) : 0, verb->name);
    return space ? space + 1 : verb->name;
}

bool organ_completion_opens_family(const organ_verb_table *table, size_t verb)
{
    char family[ORGAN_FAMILY_ROOM], other[ORGAN_FAMILY_ROOM];
    organ_completion_family(table->verbs[verb], family);
    for (size_t k = 0; k < verb; k++)
        if (organ_completion_family(table->verbs[k], other) && strcmp(family, other) == 0)
            return false;
    return *family != '\0';
}

const char *organ_completion_about_family(const organ_verb_table *table, size_t verb)
{
    const char *const section = organ_verb_section_at(table, table->verbs[verb]);
    return section ? section : table->verbs[verb]->summary;
}

/* ---- bash ---- */

static const char bash_start[] = "# Completion of organ for bash, made by 'organ completion bash'.\n"
                                 "\n"
                                 "# What completes where: $options and $operands of a verb.\n"
                                 "_organ_table() {\n"
                                 "    options=() operands=()\n"
                                 "    case $1 in\n";

static const char bash_end[] =
    "    esac\n"
    "}\n"
    "\n"
    "# _organ_offer KIND CURRENT [PREFIX]: fills COMPREPLY; the prefix stands before each word.\n"
    "_organ_offer() {\n"
    "    local head=\n"
    "    case $1 in\n"
    "    @)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$2\")\n"
    "        ((${#COMPREPLY[@]})) || compopt -o default 2>/dev/null ;;\n"
    "    +*)\n"
    "        [[ $2 == *,* ]] && head=${2%,*},\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"${3:-}$head\" -W \"$(tr '|' ' ' <<<\"${1#+}\")\" -- \"${2##*,}\") ;;\n"
    "    '!') mapfile -t COMPREPLY < <(compgen -W \"$_organ_verbs\" -- \"$2\") ;;\n"
    "    '?' | '') ;;\n"
    "    *) mapfile -t COMPREPLY < <(compgen -P \"${3:-}\" -W \"$(tr '|' ' ' <<<\"$1\")\" -- \"$2\") ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "# What an option takes: the kind in $kind, of how many words in $many; fails if there is no such option or it takes nothing.\n"
    "_organ_takes() {\n"
    "    local entry\n"
    "    for entry in \"${options[@]}\"; do\n"
    "        [[ $entry == \"$1=\"* ]] || continue\n"
    "        kind=${entry#*=} many=1\n"
    "        [[ $kind == ^* ]] && many=${kind:1:1} kind=${kind:2}\n"
    "        return 0\n"
    "    done\n"
    "    return 1\n"
    "}\n"
    "\n"
    "_organ() {\n"
    "    local words=() k kind many verb start=2 taken=0 last=0 options operands\n"
    "    COMPREPLY=()\n"
    "    # bash breaks words at '=' and ':'; here 2:4 and --name=value are words again.\n"
    "    for ((k = 1; k <= COMP_CWORD; k++)); do\n"
    "        local word=${COMP_WORDS[k]} before=${COMP_WORDS[k - 1]}\n"
    "        if ((${#words[@]})) && { [[ $word == [:=]* ]] || [[ $before == *[:=] ]]; }; then\n"
    "            words[${#words[@]} - 1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    last=$((${#words[@]} - 1)) verb=${words[0]}\n"
    "    local whole=${words[last]}\n"
    "    if ((last == 0)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$_organ_verbs\" -- \"$whole\")\n"
    "        return\n"
    "    fi\n"
    "    if [[ -n ${_organ_families[$verb]:-} ]]; then\n"
    "        if ((last == 1)); then\n"
    "            mapfile -t COMPREPLY < <(compgen -W \"${_organ_families[$verb]}\" -- \"$whole\")\n"
    "            return\n"
    "        fi\n"
    "        verb+=\" ${words[1]}\" start=3\n"
    "    fi\n"
    "    _organ_table \"$verb\"\n"
    "    local ended=\n"
    "    for ((k = start - 1; k < last; k++)); do\n"
    "        if [[ -z $ended && ${words[k]} == -- ]]; then\n"
    "            ended=1\n"
    "        elif [[ -z $ended && ${words[k]} == -* ]]; then\n"
    "            if _organ_takes \"${words[k]}\"; then\n"
    "                for (( ; many > 0; many--)); do\n"
    "                    ((++k == last)) && _organ_offer \"$kind\" \"$whole\" && _organ_trim \"$whole\" && return\n"
    "                done\n"
    "            fi\n"
    "        else\n"
    "            taken=$((taken + 1))\n"
    "        fi\n"
    "    done\n"
    "    if [[ -z $ended && $whole == --*=* ]]; then\n"
    "        # Where '=' breaks words, bash replaces what is behind it alone.\n"
    "        local prefix=${whole%%=*}=\n"
    "        [[ $COMP_WORDBREAKS == *=* ]] && prefix=\n"
    "        _organ_takes \"${whole%%=*}\" && _organ_offer \"$kind\" \"${whole#*=}\" \"$prefix\" && _organ_trim \"${whole#*=}\"\n"
    "    elif [[ -z $ended && $whole == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"${options[*]%%=*}\" -- \"$whole\")\n"
    "    else\n"
    "        kind=${operands[taken]:-}\n"
    "        ((taken >= ${#operands[@]} && ${#operands[@]})) && [[ ${operands[-1]} == *... ]] && kind=${operands[-1]}\n"
    "        [[ $kind == '!' && $taken -gt 0 ]] && COMPREPLY=() && _organ_second && return\n"
    "        _organ_offer \"${kind%...}\" \"$whole\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "# The second word of a verb behind help.\n"
    "_organ_second() { mapfile -t COMPREPLY < <(compgen -W \"${_organ_families[${words[last - 1]}]:-}\" -- \"$whole\"); }\n"
    "\n"
    "# Where ':' breaks words, bash replaces what is behind it alone.\n"
    "_organ_trim() {\n"
    "    local head=${1%\"${1##*:}\"}\n"
    "    [[ $1 == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=(\"${COMPREPLY[@]#\"$head\"}\")\n"
    "    return 0\n"
    "}\n"
    "\n"
    "complete -F _organ organ\n";

static void put_kind(FILE *out, const organ_option *option)
{
    if (option->choices)
        fprintf(out, "%s%s", option->several ? "+" : "", option->choices);
    else
        fputs(option->names == ORGAN_NAMES_NOTHING ? "?" : option->names == ORGAN_NAMES_VERB ? "!" : "@", out);
}

static void put_option(FILE *out, const organ_option *option)
{
    for (int form = option->letter ? 0 : 1; form < 2; form++) {
        fputs(" '", out);
        if (form == 0)
            fprintf(out, "-%c", option->letter);
        else
            fprintf(out, "--%s", option->name);
        if (option->value != ORGAN_VALUE_FLAG) {
            fputc('=', out);
            if (option->takes > 1)
                fprintf(out, "^%u", option->takes);
            put_kind(out, option);
        }
        fputc('\'', out);
    }
}

static void put_operand(FILE *out, const organ_operand *operand)
{
    const bool repeated = strstr(operand->name, "...") != NULL;
    if (strchr(operand->name, '|'))
        fprintf(out, " '%s'", operand->name);
    else
        fprintf(out, " '%s%s'",
                operand->names == ORGAN_NAMES_NOTHING ? "?"
                : operand->names == ORGAN_NAMES_VERB  ? "!"
                                                      : "@",
                repeated ? "..." : "");
}

static void put_verb(FILE *out, const organ_verb *verb)
{
    fprintf(out, "    '%s')\n        options=(", verb->name);
    for (size_t g = 0; g < verb->group_count; g++)
        for (size_t k = 0; k < verb->groups[g].count; k++)
            put_option(out, &verb->groups[g].options[k]);
    fputs(")\n        operands=(", out);
    for (size_t k = 0; k < verb->operand_count; k++)
        put_operand(out, &verb->operands[k]);
    fputs(") ;;\n", out);
}

static void put_families(FILE *out, const organ_verb_table *table)
{
    char family[ORGAN_FAMILY_ROOM], other[ORGAN_FAMILY_ROOM];
    fputs("\n_organ_verbs='", out);
    for (size_t k = 0; k < table->count; k++) {
        const char *const word = organ_completion_family(table->verbs[k], family);
        if (!*family || organ_completion_opens_family(table, k))
            fprintf(out, "%s%s", k ? " " : "", *family ? family : word);
    }
    fputs("'\ndeclare -gA _organ_families=(", out);
    for (size_t k = 0; k < table->count; k++) {
        organ_completion_family(table->verbs[k], family);
        if (!organ_completion_opens_family(table, k))
            continue;
        fprintf(out, "[%s]='", family);
        for (size_t n = k; n < table->count; n++) {
            const char *const word = organ_completion_family(table->verbs[n], other);
            if (strcmp(other, family) == 0)
                fprintf(out, "%s%s", n > k ? " " : "", word);
        }
        fputs("' ", out);
    }
    fputs(")\n", out);
}

void organ_completion_bash(FILE *out, const organ_verb_table *table)
{
    fputs(bash_start, out);
    for (size_t k = 0; k < table->count; k++)
        put_verb(out, table->verbs[k]);
    fputs(bash_end, out);
    put_families(out, table);
}
