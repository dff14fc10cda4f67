/* SPDX-License-Identifier: MIT */
#include "orchestrator/command/option_tables.h"

#include <string.h>

/* Returns whether `member`, "prune.write.force", is the field or ends with it after a point: "force", "write.force". */
static bool ends_with_field(const char *member, const char *field)
{
    const size_t length = strlen(field), whole = member ? strlen(member) : 0;
    return whole >= length && strcmp(member + whole - length, field) == 0 &&
           (whole == length || member[whole - length - 1] == '.');
}

static const organ_option *option_of(const organ_verb *verb, const char *field)
{
    const organ_option *option;
    char name[64];
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (ends_with_field(option->field, field))
            return option;
    snprintf(name, sizeof name, "%s", field);
    for (char *at = name; *at; at++)
        *at = *at == '_' ? '-' : *at;
    return organ_verb_option(verb, name);
}

/* Writes the option or operand of a field; without one, the field between backquotes, as it was. */
static void put_name(const organ_verb *verb, const char *field, char *out, size_t size)
{
    const organ_option *const option = option_of(verb, field);
    snprintf(out, size, option ? "--%s" : "`%s`", option ? option->name : field);
    for (size_t k = 0; k < verb->operand_count && !option; k++)
        if (ends_with_field(verb->operands[k].field, field))
            snprintf(out, size, "%.*s", (int)strcspn(verb->operands[k].name, "."), verb->operands[k].name);
}

/* Returns the k-th row of the tables about the option, and its table; NULL after the last. */
static const organ_requirement *need_at(const organ_verb *verb, const organ_option *option, size_t k,
                                        const organ_option_needs **of)
{
    for (size_t n = 0; n < verb->need_count; n++)
        for (size_t r = 0; r < verb->needs[n].table->count; r++) {
            const organ_requirement *const row = &verb->needs[n].table->rows[r];
            *of = &verb->needs[n];
            if (verb->needs[n].offset + row->offset == option->offset && !k--)
                return row;
        }
    return NULL;
}

void organ_option_describe_needs(const organ_verb *verb, const organ_option *option, char *out, size_t size)
{
    const organ_requirement *row;
    const organ_option_needs *of;
    char text[ORGAN_REQUIREMENT_ROOM] = "";
    const size_t used = strlen(out);
    for (size_t k = 0; (row = need_at(verb, option, k, &of)); k++)
        organ_requirement_describe(row, text, sizeof text);
    snprintf(out + used, size - used, "%s", used && *text ? ", " : "");
    organ_options_name_fields(verb, text, out + strlen(out), size - strlen(out));
}

bool organ_option_may_be_given(const organ_verb *verb, const organ_option *option, const void *values,
                               const void *defaults)
{
    const organ_requirement *row;
    const organ_option_needs *of;
    for (size_t k = 0; (row = need_at(verb, option, k, &of)); k++)
        if (!organ_requirements_allow(of->table, row, (const char *)values + of->offset,
                                      (const char *)defaults + of->offset))
            return false;
    return true;
}

void organ_options_name_fields(const organ_verb *verb, const char *message, char *text, size_t size)
{
    static const char of_field[] = "abcdefghijklmnopqrstuvwxyz0123456789_.";
    char field[64];
    size_t used = 0;
    *text = '\0';
    for (const char *at = message; *at && used + 1 < size; used += strlen(text + used)) {
        const size_t length = *at == '`' ? strspn(at + 1, of_field) : 0;
        if (length && length < sizeof field && at[1 + length] == '`') {
            snprintf(field, sizeof field, "%.*s", (int)length, at + 1);
            put_name(verb, field, text + used, size - used);
            at += length + 2;
        } else
            memcpy(text + used, (char[]){*at++, '\0'}, 2);
    }
}
