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
