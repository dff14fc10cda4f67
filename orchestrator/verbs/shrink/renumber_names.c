/* SPDX-License-Identifier: MIT
 * Renumbers layers and experts in the names of modules in quantisation settings: in lists of excluded modules, and in
 * the names of members. Names may be patterns (globs or regular expressions). A pattern that does not name one layer or
 * expert by its digits is rejected if such numbers change. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/base/json.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef enum outcome {
    SAME,    /* no number changes */
    CHANGED, /* a number was replaced */
    GONE,    /* the name is that of a removed layer or expert */
    UNCLEAR  /* a number cannot be replaced, or memory ran out */
} outcome;

/* Returns the text from the number on that follows one of the `count` words after a dot, in a pattern an escaped dot;
 * NULL if there is none. *digits becomes its number of digits, 0 if an alternative or a set of characters ("(1|2)",
 * "[12]") is in their place; "[0-9]" is skipped, because it matches every number. */
static const char *number_after(const char *text, const char *const *words, size_t count, size_t *digits)
{
    for (size_t k = 0; k < count; k++)
        for (const char *at = strstr(text, words[k]); at; at = strstr(at + 1, words[k])) {
            const char *number = at + strlen(words[k]);
            if (at > text && isalnum((unsigned char)at[-1]))
                continue;
            number += *number == '\\';
            if (*number++ != '.')
                continue;
            *digits = strspn(number, "0123456789");
            if (*digits || *number == '(' || (*number == '[' && strncmp(number, "[0-9]", 5) != 0))
                return number;
        }
    return NULL;
}

/* Returns whether the text has one number, and sets *value to it (SIZE_MAX: nine digits or more). The digits must not
 * be followed by a wildcard that could match further digits, as in "1*" or "2[0-9]". "0*" is accepted, because no other
 * number begins with 0. */
static bool read_plain_number(const char *number, size_t digits, size_t *value)
{
    *value = digits && digits < 9 ? (size_t)strtoul(number, NULL, 10) : SIZE_MAX;
    const bool open = number[digits] != '\0' && strchr("*?+[({|", number[digits]);
    return *value != SIZE_MAX && (!open || (*value == 0 && number[digits] == '*'));
}

/* The old *text is freed. The result is UNCLEAR if memory runs out. */
static outcome replace_number(char **text, const char *number, size_t digits, size_t becomes)
{
    char *const made = organ_format("%.*s%zu%s", (int)(number - *text), *text, becomes, number + digits);
    if (!made)
        return UNCLEAR;
    free(*text);
    *text = made;
    return CHANGED;
}

/* *layer is SIZE_MAX if the text names no single layer. A pattern that does not name a single layer by digits is
 * UNCLEAR if blocks are cut, else SAME. */
static outcome rename_layer(const organ_cut_run *run, char **text, size_t *layer)
{
    static const char *const layer_words[] = {"layers", "h", "blocks", "blk"};
    size_t digits = 0;
    const char *const number = number_after(*text, layer_words, 4, &digits);
    *layer = SIZE_MAX;
    if (!number)
        return SAME;
    if (!read_plain_number(number, digits, layer)) {
        *layer = SIZE_MAX;
        return run->cuts_blocks ? UNCLEAR : SAME;
    }
    if (*layer < run->layer_count && run->facts[*layer].becomes < 0)
        return GONE;
    const size_t becomes = organ_cut_kept_before(run, *layer);
    return becomes == *layer ? SAME : replace_number(text, number, digits, becomes);
}

static outcome rename_expert(const organ_cut_run *run, char **text, size_t layer)
{
    static const char *const expert_words[] = {"experts"};
    size_t digits = 0, expert;
    const char *const number = run->cuts_experts ? number_after(*text, expert_words, 1, &digits) : NULL;
    if (!number)
        return SAME;
    if (layer >= run->layer_count || !read_plain_number(number, digits, &expert))
        return UNCLEAR;
    const organ_cut_facts *const f = &run->facts[layer];
    if (!f->expert_of || expert >= f->experts || f->expert_of[expert] == (int32_t)expert)
        return SAME;
    const int32_t becomes = f->expert_of[expert];
    return becomes < 0 ? GONE : replace_number(text, number, digits, (size_t)becomes);
}

/* Vision towers, audio towers and blocks for multi-token prediction with names of their own ("mtp.layers.0") have their
 * own numbers of layers; drafts that continue the model's numbers ("model.layers.61.eh_proj") do not. "re:" begins a
 * regular expression in compressed-tensors. Sets *block if the text names a part of a block. */
static bool is_of_another_part(const char *text, bool *block)
{
    char begin[64]; /* the prefix, which decides, without the backslashes of a pattern */
    size_t length = 0;
    text += strncmp(text, "re:", 3) == 0 ? 3 : 0;
    text += *text == '^';
    for (; *text && length < sizeof begin - 1; text++)
        if (*text != '\\')
            begin[length++] = *text;
    begin[length] = '\0';
    const organ_anatomy anatomy = organ_anatomy_of(begin);
    *block = anatomy.role == ORGAN_ROLE_MTP && anatomy.layer < 0;
    return organ_role_is_tower(anatomy.role) || *block;
}

/* The numbers of a block's layers do not change, but those of its experts do. */
static outcome rename_in_block(const organ_cut_run *run, char **text)
{
    static const char *const words[] = {"layers", "mtp_layers", "mtp_block"};
    size_t digits = 0, layer = SIZE_MAX;
    const char *const number = number_after(*text, words, 3, &digits);
    if (!number || run->own_layers == run->layer_count)
        return SAME;
    if (read_plain_number(number, digits, &layer))
        layer += run->own_layers;
    if (layer < run->layer_count && run->facts[layer].becomes < 0)
        return GONE;
    return rename_expert(run, text, layer);
}

/* *text is allocated by malloc and may be replaced by another allocation. */
static outcome rename_text(const organ_cut_run *run, char **text)
{
    size_t layer;
    bool block;
    if (is_of_another_part(*text, &block))
        return block ? rename_in_block(run, text) : SAME;
    const outcome of_layer = rename_layer(run, text, &layer);
    if (of_layer == GONE || of_layer == UNCLEAR)
        return of_layer;
    const outcome of_expert = rename_expert(run, text, layer);
    return of_expert == SAME ? of_layer : of_expert;
}

/* The caller frees the result. It is NULL if the text names a removed module, which also sets *changed, or on error. */
static char *renamed_text(const organ_cut_run *run, const char *where, const char *text, bool *changed,
                          organ_error *error)
{
    char *made = strdup(text);
    if (!made) {
        organ_fail_memory(error, where);
        return NULL;
    }
    const outcome result = rename_text(run, &made);
    if (result == UNCLEAR)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "config.json: %s has '%.200s', whose numbers of layers or experts cannot be adapted to the cut",
                   where, text);
    *changed = *changed || result == CHANGED || result == GONE;
    if (result != UNCLEAR && result != GONE)
        return made;
    free(made);
    return NULL;
}

/* ---- JSON values ---- */

/* In the two functions below, a member or element without a renamed value names a removed module, unless there is an
 * error: it is left out. After an error the result is incomplete; organ_cut_renamed then releases it. */

static json_t *renamed_object(const organ_cut_run *run, const char *where, const json_t *object, bool *changed,
                              organ_error *error)
{
    json_t *const made = json_object(), *member;
    const char *name;
    json_object_foreach((json_t *)object, name, member)
    {
        ORGAN_OWNED char *const becomes = renamed_text(run, where, name, changed, error);
        json_t *const inner = becomes && !error->status ? organ_cut_renamed(run, where, member, changed, error) : NULL;
        if (inner && json_object_set_new(made, becomes, inner))
            organ_fail_memory(error, where);
    }
    return made;
}

static json_t *renamed_array(const organ_cut_run *run, const char *where, const json_t *array, bool *changed,
                             organ_error *error)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(array) && !error->status; k++) {
        json_t *const inner = organ_cut_renamed(run, where, json_array_get(array, k), changed, error);
        if (inner && json_array_append_new(made, inner))
            organ_fail_memory(error, where);
    }
    return made;
}

json_t *organ_cut_renamed(const organ_cut_run *run, const char *where, const json_t *value, bool *changed,
                          organ_error *error)
{
    if (json_is_string(value)) {
        ORGAN_OWNED char *const text = renamed_text(run, where, json_string_value(value), changed, error);
        json_t *const made = text ? json_string(text) : NULL;
        if (text && !made)
            organ_fail_memory(error, where);
        return made;
    }
    if (!json_is_object(value) && !json_is_array(value))
        return json_incref((json_t *)value);
    json_t *const made = (json_is_object(value) ? renamed_object : renamed_array)(run, where, value, changed, error);
    if (made && !error->status)
        return made;
    json_decref(made);
    organ_fail_memory(error, where);
    return NULL;
}

organ_status organ_cut_check_quant_files(const organ_cut_run *run, organ_error *error)
{
    static const char *const names[] = {"hf_quant_config.json", "quantize_config.json", "quant_config.json"};
    for (size_t k = 0; k < sizeof names / sizeof *names && !run->model->gguf; k++) {
        ORGAN_OWNED_JSON json_t *root = NULL;
        bool changed = false;
        if (organ_model_load_json(run->model, names[k], names[k], &root, error) == ORGAN_OK && root)
            json_decref(organ_cut_renamed(run, names[k], root, &changed, error));
        if (changed)
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: %s names modules by numbers that change: move its settings to config.json and remove it",
                       run->model->path, names[k]);
    }
    return error->status;
}
