/* SPDX-License-Identifier: MIT
 * Parses the options that select tensors and layers, map layers, and choose a number type. */
#include "orchestrator/output/inputs.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "formats/tensor/tensor_list.h"
#include <organ/report.h>

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ALL_GROUPS ((1u << (ORGAN_GROUP_OTHER + 1)) - 1) /* a bit for each organ_group */

/* ---- ranges of layers ---- */

/* Moves *text after the number. Returns false, and leaves *text, if there is none. */
static bool read_layer(const char **text, int32_t *layer)
{
    const char *at = *text;
    int64_t number = 0;
    for (; *at >= '0' && *at <= '9' && number <= INT32_MAX; at++)
        number = 10 * number + (*at - '0');
    if (at == *text || number > INT32_MAX)
        return false;
    *layer = (int32_t)number;
    *text = at;
    return true;
}

/* Reads "3" or "3-5" and moves *text after it. Returns false if the text is neither, or descends. */
static bool read_span(const char **text, organ_layer_span *span)
{
    const char *at = *text;
    if (!read_layer(&at, &span->from))
        return false;
    span->to = span->from;
    if (*at == '-' && (at++, !read_layer(&at, &span->to)))
        return false;
    *text = at;
    return span->to >= span->from;
}

/* ---- selections ---- */

/* Words for groups in --select. The first word of a group is the one that help shows, a second one is that of older
 * versions. */
static const struct {
    const char *word;
    unsigned groups;
} group_words[] = {{"attention", 1u << ORGAN_GROUP_SKELETON},
                   {"feed-forward", 1u << ORGAN_GROUP_ORGAN},
                   {"embed", 1u << ORGAN_GROUP_EMBED},
                   {"norm", 1u << ORGAN_GROUP_NORM},
                   {"other", 1u << ORGAN_GROUP_OTHER},
                   {"all", ALL_GROUPS},
                   {"mtp", ORGAN_SELECTION_MTP},
                   {"skeleton", 1u << ORGAN_GROUP_SKELETON},
                   {"organ", 1u << ORGAN_GROUP_ORGAN}};
#define GROUP_WORDS (sizeof group_words / sizeof *group_words)

static organ_status add_span(organ_selection *selection, const char *word, organ_error *error)
{
    const char *at = word;
    if (selection->span_count == ORGAN_SELECTION_SPANS)
        return organ_fail(error, ORGAN_USAGE, "`%s` has more than %d ranges of layers", selection->field,
                          ORGAN_SELECTION_SPANS);
    if (!read_span(&at, &selection->spans[selection->span_count++]) || *at)
        return organ_fail(error, ORGAN_USAGE,
                          "`%s` has '%.200s', but layers are numbers and ranges such as 5-20 or 0-3,8",
                          selection->field, word);
    return ORGAN_OK;
}

/* `length`: of the word, which may be part of a list. */
static bool is_layers(const char *word, size_t length) { return length && strspn(word, "0123456789-") >= length; }

static organ_status add_word(organ_selection *selection, const char *word, organ_error *error)
{
    if (is_layers(word, strlen(word)))
        return add_span(selection, word, error);
    selection->words = true;
    for (size_t k = 0; k < GROUP_WORDS; k++)
        if (strcmp(word, group_words[k].word) == 0) {
            selection->groups |= group_words[k].groups;
            return ORGAN_OK;
        }
    if (!*word)
        return organ_fail(error, ORGAN_USAGE, "`%s` has an empty word between its commas", selection->field);
    selection->patterns[selection->pattern_count++] = word;
    return ORGAN_OK;
}

/* Cuts `text` at its commas. */
static organ_status add_words(organ_selection *selection, char *text, organ_error *error)
{
    for (char *word = text; word && !error->status;) {
        char *const comma = strchr(word, ',');
        if (comma)
            *comma = '\0';
        add_word(selection, word, error);
        word = comma && comma[1] ? comma + 1 : NULL; /* a comma at the end is allowed */
    }
    return error->status;
}

/* The copy of both texts contains the patterns. */
organ_status organ_selection_parse(const char *select, const char *layers, const char *field,
                                   organ_selection *selection, organ_error *error)
{
    const size_t first = select ? strlen(select) + 1 : 0, second = layers ? strlen(layers) + 1 : 0;
    *selection = (organ_selection){.field = field,
                                   .text = malloc(first + second + 1),
                                   .patterns = calloc(first + second + 1, sizeof *selection->patterns),
                                   .used = calloc(first + second + 1, sizeof *selection->used)};
    if (!selection->text || !selection->patterns || !selection->used)
        organ_fail_memory(error, field);
    if (!error->status && select)
        add_words(selection, memcpy(selection->text, select, first), error);
    if (!error->status && layers)
        add_words(selection, memcpy(selection->text + first, layers, second), error);
    if (error->status)
        organ_selection_release(selection);
    return error->status;
}

void organ_selection_release(organ_selection *selection)
{
    ORGAN_FREE_ARRAYS(selection->text, selection->patterns, selection->used);
    *selection = (organ_selection){0};
}

void organ_selection_set_model(organ_selection *selection, const organ_model *model)
{
    selection->trunk = organ_mtp_trunk_layers(model);
}

bool organ_selection_has_layer(const organ_selection *selection, int32_t layer)
{
    bool inside = selection->span_count == 0;
    for (size_t k = 0; k < selection->span_count && !inside; k++)
        inside = layer >= selection->spans[k].from && layer <= selection->spans[k].to;
    return inside;
}

/* `module` is the name without ".weight", ".bias" or the suffix of a packed weight. Patterns with wildcards are not
 * compared with roles: they are patterns on names. */
static bool pattern_matches(const char *pattern, const char *name, const char *module, const organ_anatomy *anatomy)
{
    const char *const dot = strrchr(module, '.');
    if (fnmatch(pattern, name, 0) == 0 || fnmatch(pattern, module, 0) == 0 ||
        (dot && fnmatch(pattern, dot + 1, 0) == 0))
        return true;
    return !strpbrk(pattern, "*?[") && (strcmp(pattern, organ_anatomy_role_name(anatomy)) == 0 ||
                                        strcmp(pattern, organ_role_describe(anatomy->role)->name) == 0);
}

/* All patterns are compared, also after a match, so that each matching pattern is marked. */
bool organ_selection_has_name(const organ_selection *selection, const char *name, const organ_anatomy *anatomy,
                              bool otherwise)
{
    const organ_anatomy own = organ_mtp_anatomy_in_layer(name, anatomy);
    bool matches = selection->words ? selection->groups >> own.group & 1 : otherwise;
    matches = matches ||
              (selection->groups & ORGAN_SELECTION_MTP && organ_mtp_block_of(name, anatomy, selection->trunk) >= 0);
    size_t length = strlen(name);
    char module[ORGAN_SELECTION_NAME];
    if (!selection->pattern_count)
        return matches;
    if (!organ_cut_end(name, &length, ".bias"))
        organ_anatomy_companion(name, &length);
    snprintf(module, sizeof module, "%.*s", (int)length, name);
    for (size_t k = 0; k < selection->pattern_count; k++)
        if (pattern_matches(selection->patterns[k], name, module, &own))
            matches = selection->used[k] = true;
    return matches;
}

bool organ_selection_keeps(const organ_selection *selection, const organ_tensor *tensor)
{
    organ_selection others = *selection;
    const organ_role role = organ_mtp_role_of(tensor->name, &tensor->anatomy);
    const bool kept = role == ORGAN_ROLE_ROUTER || role == ORGAN_ROLE_MTP || organ_anatomy_is_router(tensor->name);
    others.groups = kept ? 0 : others.groups & ~ORGAN_SELECTION_MTP;
    return (kept || selection->groups & ORGAN_SELECTION_MTP) && selection->groups &&
           !organ_role_describe(role)->projection &&
           !organ_selection_has_name(&others, tensor->name, &tensor->anatomy, /*otherwise=*/false);
}

bool organ_selected(const organ_selection *selection, const organ_tensor *tensor)
{
    return organ_selection_has_name(selection, tensor->name, &tensor->anatomy, /*otherwise=*/true) &&
           organ_selection_has_layer(selection, tensor->anatomy.layer);
}

json_t *organ_selection_json(const char *select, const char *layers, bool of_layers)
{
    const char *const lists[] = {select, layers};
    const size_t size = (select ? strlen(select) : 0) + (layers ? strlen(layers) : 0) + 2;
    ORGAN_OWNED char *const text = calloc(size, 1);
    json_t *words = NULL;
    for (size_t k = 0; text && k < sizeof lists / sizeof *lists; k++)
        for (const char *at = lists[k]; at && *at; at += strcspn(at, ","), at += *at == ',') { /* word by word */
            const size_t length = strcspn(at, ","), used = strlen(text);
            if (is_layers(at, length) == of_layers)
                snprintf(text + used, size - used, "%s%.*s", used ? "," : "", (int)length, at);
        }
    if (text)
        words = *text ? organ_document_string(text) : json_null();
    return words;
}

organ_status organ_selection_check_used(const organ_selection *selection, const char *what, const char *path,
                                        organ_error *error)
{
    const char *words[GROUP_WORDS + ORGAN_ANATOMY_ROWS];
    char hint[ORGAN_HINT_ROOM];
    size_t count = 0, unused = 0;
    while (unused < selection->pattern_count && selection->used[unused])
        unused++;
    if (unused == selection->pattern_count)
        return ORGAN_OK;
    const char *const pattern = selection->patterns[unused];
    for (size_t k = 0; k < GROUP_WORDS; k++)
        if (strcmp(group_words[k].word, pattern) != 0)
            words[count++] = group_words[k].word;
    for (unsigned row = 0; row < ORGAN_ANATOMY_ROWS; row++)
        if (organ_anatomy_row_name(row) && strcmp(organ_anatomy_row_name(row), pattern) != 0)
            words[count++] = organ_anatomy_row_name(row);
    return organ_fail(error, ORGAN_USAGE, "`%s`: no %s of %s matches '%s'%s", selection->field, what, path, pattern,
                      organ_nearest_hint(pattern, words, count, "", hint));
}

/* ---- maps of layers, number types ---- */

organ_status organ_layer_map_parse(const char *text, organ_layer_moves *map, organ_error *error)
{
    *map = (organ_layer_moves){0};
    for (const char *word = text; word; word++) {
        organ_layer_span from, to;
        const char *at = word;
        if (map->count == ORGAN_SELECTION_SPANS)
            return organ_fail(error, ORGAN_USAGE, "`map` has more than %d ranges", ORGAN_SELECTION_SPANS);
        if (!read_span(&at, &from) || *at++ != ':' || !read_span(&at, &to) || (*at && *at != ','))
            return organ_fail(error, ORGAN_USAGE,
                              "`map` has '%.200s', but must be pairs of ranges such as 5-20:6-21 or 3:7,4:9", word);
        if (from.to - from.from != to.to - to.from)
            return organ_fail(error, ORGAN_USAGE,
                              "`map` has '%.200s': %d-%d and %d-%d have different numbers of layers", word,
                              (int)from.from, (int)from.to, (int)to.from, (int)to.to);
        map->spans[map->count].from = from;
        map->spans[map->count++].to = to.from;
        if (!*at)
            break;
        word = at;
    }
    return ORGAN_OK;
}

int32_t organ_layer_mapped(const organ_layer_moves *map, int32_t layer)
{
    for (size_t k = 0; k < map->count; k++)
        if (layer >= map->spans[k].from.from && layer <= map->spans[k].from.to)
            return map->spans[k].to + (layer - map->spans[k].from.from);
    return layer;
}

static const struct {
    const char *name;
    organ_dtype dtype;
} plain_types[] = {{"bf16", ORGAN_BF16}, {"f16", ORGAN_F16}, {"f32", ORGAN_F32}};

const char *organ_dtype_word(const char *name)
{
    for (size_t k = 0; k < sizeof plain_types / sizeof *plain_types; k++)
        if (strcasecmp(name, plain_types[k].name) == 0)
            return plain_types[k].name;
    return name;
}

organ_status organ_dtype_requested(const char *name, organ_dtype *dtype, organ_error *error)
{
    for (size_t k = 0; k < sizeof plain_types / sizeof *plain_types; k++)
        if (!name || strcasecmp(name, plain_types[k].name) == 0) {
            *dtype = plain_types[k].dtype;
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_USAGE, "dtype '%s' is not one of bf16, f16, f32", name);
}
