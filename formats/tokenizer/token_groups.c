/* SPDX-License-Identifier: MIT
 * Finds kind and script of each token. */
#include "formats/tokenizer/token_groups.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <utf8proc.h>

const char *organ_token_kind_name(unsigned kind)
{
    static const char *const names[ORGAN_TOKEN_KINDS] = {
        "none", "added", "byte", "part of characters", "word", "letters", "number", "symbol", "space"};
    return names[kind];
}

/* ---- scripts ---- */

/* Blocks of Unicode in their order. A code point between two blocks is of another script. */
static const struct {
    uint32_t first, last;
    const char *script;
} blocks[] = {
    {0x0041, 0x024F, "Latin"},      {0x0250, 0x02AF, "Latin"},    {0x0370, 0x03FF, "Greek"},
    {0x0400, 0x052F, "Cyrillic"},   {0x0530, 0x058F, "Armenian"}, {0x0590, 0x05FF, "Hebrew"},
    {0x0600, 0x06FF, "Arabic"},     {0x0750, 0x077F, "Arabic"},   {0x08A0, 0x08FF, "Arabic"},
    {0x0900, 0x097F, "Devanagari"}, {0x0980, 0x09FF, "Bengali"},  {0x0A00, 0x0A7F, "Gurmukhi"},
    {0x0A80, 0x0AFF, "Gujarati"},   {0x0B00, 0x0B7F, "Oriya"},    {0x0B80, 0x0BFF, "Tamil"},
    {0x0C00, 0x0C7F, "Telugu"},     {0x0C80, 0x0CFF, "Kannada"},  {0x0D00, 0x0D7F, "Malayalam"},
    {0x0D80, 0x0DFF, "Sinhala"},    {0x0E00, 0x0E7F, "Thai"},     {0x0E80, 0x0EFF, "Lao"},
    {0x0F00, 0x0FFF, "Tibetan"},    {0x1000, 0x109F, "Myanmar"},  {0x10A0, 0x10FF, "Georgian"},
    {0x1100, 0x11FF, "Hangul"},     {0x1200, 0x139F, "Ethiopic"}, {0x1780, 0x17FF, "Khmer"},
    {0x1800, 0x18AF, "Mongolian"},  {0x1C80, 0x1C8F, "Cyrillic"}, {0x1C90, 0x1CBF, "Georgian"},
    {0x1E00, 0x1EFF, "Latin"},      {0x1F00, 0x1FFF, "Greek"},    {0x2C60, 0x2C7F, "Latin"},
    {0x2D00, 0x2D2F, "Georgian"},   {0x2D80, 0x2DDF, "Ethiopic"}, {0x2DE0, 0x2DFF, "Cyrillic"},
    {0x2E80, 0x2FDF, "Han"},        {0x3005, 0x3007, "Han"},      {0x3041, 0x30FF, "Kana"},
    {0x3130, 0x318F, "Hangul"},     {0x31F0, 0x31FF, "Kana"},     {0x3400, 0x4DBF, "Han"},
    {0x4E00, 0x9FFF, "Han"},        {0xA640, 0xA69F, "Cyrillic"}, {0xA720, 0xA7FF, "Latin"},
    {0xA960, 0xA97F, "Hangul"},     {0xAB30, 0xAB6F, "Latin"},    {0xAC00, 0xD7FF, "Hangul"},
    {0xF900, 0xFAFF, "Han"},        {0xFB00, 0xFB06, "Latin"},    {0xFB1D, 0xFB4F, "Hebrew"},
    {0xFB50, 0xFDFF, "Arabic"},     {0xFE70, 0xFEFF, "Arabic"},   {0xFF21, 0xFF5A, "Latin"},
    {0xFF66, 0xFF9F, "Kana"},       {0xFFA0, 0xFFDC, "Hangul"},   {0x1F170, 0x1F189, "Latin"},
    {0x20000, 0x3FFFF, "Han"},
};

static const char *const scripts[] = {"none",      "other",     "Latin",  "Greek",    "Cyrillic",   "Armenian",
                                      "Georgian",  "Hebrew",    "Arabic", "Ethiopic", "Devanagari", "Bengali",
                                      "Gurmukhi",  "Gujarati",  "Oriya",  "Tamil",    "Telugu",     "Kannada",
                                      "Malayalam", "Sinhala",   "Thai",   "Lao",      "Tibetan",    "Myanmar",
                                      "Khmer",     "Mongolian", "Hangul", "Kana",     "Han"};
enum { SCRIPTS = sizeof scripts / sizeof *scripts, BLOCKS = sizeof blocks / sizeof *blocks };

unsigned organ_token_scripts(void) { return SCRIPTS; }
const char *organ_token_script_name(unsigned script) { return scripts[script]; }

static unsigned char script_of(uint32_t code)
{
    size_t at = 0;
    while (at < BLOCKS && blocks[at].last < code)
        at++;
    const char *const name = at < BLOCKS && blocks[at].first <= code ? blocks[at].script : scripts[1];
    unsigned char script = 1;
    while (scripts[script] != name && strcmp(scripts[script], name) != 0)
        script++;
    return script;
}

/* ---- kinds ---- */

static bool is_in(utf8proc_category_t category, utf8proc_category_t first, utf8proc_category_t last)
{
    return category >= first && category <= last;
}

/* Sets kind and script of a token whose bytes are whole characters. */
static void group_of_text(const char *piece, size_t bytes, unsigned char *kind, unsigned char *script)
{
    bool digits = false, symbols = false, letters = false;
    for (size_t at = 0, length; at < bytes && !letters; at += length) {
        const uint32_t code = organ_utf8_at(piece + at, &length);
        const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
        letters = is_in(category, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_ME);
        digits |= is_in(category, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
        symbols |= is_in(category, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_SO);
        if (letters)
            *script = script_of(code);
    }
    *kind = ORGAN_TOKEN_SPACE;
    if (letters)
        *kind = *piece == ' ' ? ORGAN_TOKEN_WORD : ORGAN_TOKEN_LETTERS;
    else if (digits || symbols)
        *kind = digits ? ORGAN_TOKEN_NUMBER : ORGAN_TOKEN_SYMBOL;
}

static void group_of(organ_token_groups *g, const organ_tokenizer *t, uint32_t id)
{
    const organ_token *const token = &t->tokens[id];
    unsigned char *const kind = &g->kinds[id];
    g->holes += !token->text;
    g->unused += token->text && token->unused;
    if (!token->text || token->unused)
        *kind = ORGAN_TOKEN_NONE;
    else if (*kind == ORGAN_TOKEN_ADDED)
        g->added++;
    else if (organ_tokenizer_byte(t, id) >= 0)
        *kind = ORGAN_TOKEN_BYTE;
    else if (!organ_utf8_valid_within(token->piece, token->piece_bytes))
        *kind = token->piece_bytes == 1 ? ORGAN_TOKEN_BYTE : ORGAN_TOKEN_FRAGMENT;
    else
        group_of_text(token->piece, token->piece_bytes, kind, &g->scripts[id]);
    g->tokens += *kind != ORGAN_TOKEN_NONE;
}

static void mark_added(organ_token_groups *g, const organ_added_list *list)
{
    for (size_t k = 0; k < list->count; k++)
        if (list->items[k].id < g->count)
            g->kinds[list->items[k].id] = ORGAN_TOKEN_ADDED;
}

static void find_lacking_bytes(organ_token_groups *g, const organ_tokenizer *t)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint32_t letter = t->letters[t->byte_level ? organ_byte_to_unicode((unsigned char)byte) : byte];
        const bool character = (t->byte_level || byte < 0x80) && letter != ORGAN_NO_ID,
                   fallback = (t->byte_fallback || t->by_scores) && t->byte_ids[byte] != ORGAN_NO_ID;
        g->lacks[byte] = !character && !fallback;
        g->lacking += g->lacks[byte];
    }
}

organ_status organ_token_groups_find(organ_token_groups *g, const organ_tokenizer *t, organ_error *error)
{
    uint32_t left, right;
    const uint32_t count = t->facts.vocabulary;
    *g = (organ_token_groups){
        .count = count, .kinds = calloc((size_t)count + 1, 1), .scripts = calloc((size_t)count + 1, 1)};
    if (!g->kinds || !g->scripts)
        return organ_fail_memory(error, "the kinds of tokens");
    mark_added(g, &t->raw);
    mark_added(g, &t->normalized);
    for (uint32_t id = 0; id < count; id++)
        group_of(g, t, id);
    for (size_t k = 0; k < t->merge_slots; k++)
        g->merges += t->merges[k].pair && organ_merge_is_of_tokens(&t->merges[k], &left, &right);
    find_lacking_bytes(g, t);
    return ORGAN_OK;
}

void organ_token_groups_release(organ_token_groups *g) { ORGAN_FREE_ARRAYS(g->kinds, g->scripts); }
