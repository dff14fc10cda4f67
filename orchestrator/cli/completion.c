/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/completion.h"

#include <string.h>

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

/* The first word of a verb of two, "" for others; gives the second or only word. */
static const char *split_name(const organ_verb *verb, char family[ORGAN_FAMILY_ROOM])
{
    const char *const space = strchr(verb->name, ' ');
    snprintf(family, ORGAN_FAMILY_ROOM, "%.*s", space ? (int)(space - verb->name) : 0, verb->name);
    return space ? space + 1 : verb->name;
}

bool organ_completion_opens_family(const organ_verb_table *table, size_t verb, char family[ORGAN_FAMILY_ROOM])
{
    char other[ORGAN_FAMILY_ROOM];
    split_name(table->verbs[verb], family);
    for (size_t k = 0; k < verb; k++)
        if (split_name(table->verbs[k], other) && strcmp(family, other) == 0)
            return false;
    return *family != '\0';
}

void organ_completion_words(FILE *out, const organ_verb_table *table, const char *of, organ_completion_word *put)
{
    char family[ORGAN_FAMILY_ROOM];
    size_t number = 0;
    for (size_t k = 0; k < table->count; k++) {
        const char *const word = split_name(table->verbs[k], family), *const section =
                                                                          organ_verb_section_at(table, table->verbs[k]);
        if (strcmp(family, of) == 0)
            put(out, of, number++, word, table->verbs[k]->summary);
        else if (!*of && organ_completion_opens_family(table, k, family))
            put(out, of, number++, family, section ? section : table->verbs[k]->summary);
    }
}
