/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/members.h"

#include "formats/base/text_buffer.h"
#include "orchestrator/machine/shell_word.h"

#include <math.h>
#include <stdlib.h>

/* Continues after a member that could not be added: the references of all members are taken over in any case. */
bool organ_members_add(json_t *object, const organ_member *members)
{
    bool complete = object != NULL;
    for (; members->key; members++)
        if (*members->key)
            complete = json_object_set_new(object, members->key, members->value) == 0 && complete;
    return complete;
}

json_t *organ_members_object(json_t *object, const organ_member *members)
{
    if (organ_members_add(object, members))
        return object;
    json_decref(object);
    return NULL;
}

bool organ_members_add_before_run(json_t *document, const organ_member *members)
{
    json_t *const run = json_incref(json_object_get(document, "run"));
    json_object_del(document, "run");
    const bool complete = organ_members_add(document, members);
    return (!run || json_object_set_new(document, "run", run) == 0) && complete;
}

json_t *organ_json_joined(json_t *first, json_t *second)
{
    const bool complete = first && second && json_object_update(first, second) == 0;
    json_decref(second);
    if (complete)
        return first;
    json_decref(first);
    return NULL;
}

json_t *organ_json_real_of(bool there, double x) { return there && isfinite(x) ? json_real(x) : json_null(); }

json_t *organ_json_index(int64_t n) { return n < 0 ? json_null() : json_integer((json_int_t)n); }

json_t *organ_json_held(const json_t *value) { return value ? json_incref((json_t *)value) : json_null(); }

json_t *organ_json_rows(size_t count, organ_json_row *row, const void *context)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < count; k++) {
        json_t *const made = row(context, k);
        if (made)
            json_array_append_new(rows, made);
    }
    return rows;
}

json_t *organ_json_command(const char *const *words)
{
    organ_error ignored = {0};
    organ_text text;
    char *command = NULL;
    if (organ_text_open(&text, &ignored) == ORGAN_OK) {
        for (size_t k = 0; words[k]; k++) {
            fputs(k ? " " : "", text.out);
            organ_shell_word(text.out, words[k]);
        }
        organ_text_finish(&text, &command, &ignored);
    }
    json_t *const string = organ_document_string(command);
    free(command);
    return string;
}

json_t *organ_json_texts(size_t count, const char *const *texts)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, organ_document_string(texts[k]));
    return list;
}

json_t *organ_json_reals(size_t count, const float *values)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(list, json_real((double)values[k]));
    return list;
}
