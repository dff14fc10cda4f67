/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/layers/drop.h"

#include <stdint.h>
#include <stdlib.h>

static bool read_number(const char **text, size_t *number)
{
    const char *at = *text;
    size_t found = 0;
    for (; *at >= '0' && *at <= '9'; at++) /* above INT32_MAX the value no longer grows, so it cannot overflow */
        found = found > INT32_MAX ? SIZE_MAX / 16 : 10 * found + (size_t)(*at - '0');
    if (at == *text)
        return false;
    *number = found > INT32_MAX ? SIZE_MAX : found;
    *text = at;
    return true;
}

/* `word` is the part of --drop from the fault on. */
static organ_status refuse_drop_word(const char *word, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "--drop has '%.200s', but must be numbers and ranges of blocks such as 5-8 or 3,7,9-11 (8-8 or "
                      "8, for one), or a count of blocks to find: 8",
                      word);
}

static organ_status add_range(size_t from, size_t to, size_t layers, const char *model, organ_layers_drop *drop,
                              organ_error *error)
{
    if (to >= layers)
        return organ_fail(error, ORGAN_USAGE, "--drop names block %.0f, but %s has blocks 0 to %zu",
                          (double)(from < layers ? to : from), model, layers - 1);
    for (size_t l = from; l <= to; l++) {
        if (drop->dropped[l])
            return organ_fail(error, ORGAN_USAGE, "--drop names block %zu twice", l);
        drop->dropped[l] = true;
        drop->count++;
    }
    return ORGAN_OK;
}

static organ_status read_blocks(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                organ_error *error)
{
    drop->named = true;
    for (const char *at = text; *at;) {
        const char *const word = at;
        size_t from = 0;
        if (!read_number(&at, &from))
            return refuse_drop_word(word, error);
        size_t to = from;
        if (*at == '-' && (at++, !read_number(&at, &to)))
            return refuse_drop_word(word, error);
        if (to < from || (*at && *at != ','))
            return refuse_drop_word(word, error);
        if (add_range(from, to, layers, model, drop, error) != ORGAN_OK)
            return error->status;
        at += *at == ',';
    }
    return drop->count ? ORGAN_OK : refuse_drop_word(text, error);
}

organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error)
{
    const char *at = text;
    *drop = (organ_layers_drop){.dropped = calloc(layers + 1, sizeof *drop->dropped)};
    if (!drop->dropped)
        return organ_fail_memory(error, model);
    if (!(read_number(&at, &drop->count) && !*at)) {
        drop->count = 0;
        if (read_blocks(text, layers, model, drop, error) != ORGAN_OK)
            return error->status;
    }
    if (drop->count == 0)
        return organ_fail(error, ORGAN_USAGE, "--drop 0 drops no block; for block 0 alone give 0-0 or 0,");
    if (drop->count >= layers)
        return organ_fail(error, ORGAN_USAGE, "--drop %.200s leaves no block: %s has %zu", text, model, layers);
    return ORGAN_OK;
}
