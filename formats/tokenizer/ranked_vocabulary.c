/* SPDX-License-Identifier: MIT
 * Vocabularies whose tokens have ranks instead of merges: tiktoken, Tekken and SentencePiece. Two neighbouring tokens
 * may be merged whenever their joined text is a token; the joined token of lowest rank is made first. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <string.h>

/* ---- merges ---- */

/* A single character without a token becomes a token with an id after the vocabulary, so that merges can use it.
 * Several characters without one give ORGAN_NO_ID. */
static bool find_or_add_part(organ_tokenizer *t, const char *text, size_t bytes, uint32_t *id)
{
    size_t length;
    *id = organ_tokenizer_id(t, text, bytes);
    organ_utf8_at(text, &length);
    if (*id != ORGAN_NO_ID || length != bytes)
        return true;
    *id = (uint32_t)t->token_count;
    if (!organ_tokenizer_token(t, *id, text, bytes))
        return false;
    const uint32_t code = organ_utf8_at(text, &length);
    if (code < 2048)
        t->letters[code] = *id;
    return true;
}

bool organ_tokenizer_add_splits(organ_tokenizer *t, uint32_t id, uint32_t rank)
{
    const char *text = t->tokens[id].text;
    const size_t bytes = t->tokens[id].bytes;
    size_t length;
    /* if two tokens have the same text, only the later one is made by merges */
    if (organ_tokenizer_id(t, text, bytes) != id || bytes == 0)
        return true;
    organ_utf8_at(text, &length);
    for (size_t at = length; at < bytes; at += length) {
        uint32_t left, right;
        organ_utf8_at(text + at, &length);
        if (!find_or_add_part(t, text, at, &left) || !find_or_add_part(t, text + at, bytes - at, &right))
            return false;
        if (left != ORGAN_NO_ID && right != ORGAN_NO_ID && !organ_tokenizer_merge(t, left, right, rank, id))
            return false;
    }
    return true;
}

/* ---- tokens that are byte strings ---- */

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *const found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* `last` is true for the last four digits of a token: only they may end with one or two '='. Returns false for
 * invalid base64, and if memory is exhausted, with *has_memory false. */
static bool add_base64_group(const char *digits, bool last, organ_bytes *word, bool *has_memory)
{
    const size_t padding = !last || digits[3] != '=' ? 0 : 1 + (size_t)(digits[2] == '=');
    uint32_t value = 0;
    for (size_t k = 0; k < 4; k++) {
        const int digit = k < 4 - padding ? base64_value(digits[k]) : 0;
        if (digit < 0)
            return false;
        value = value << 6 | (uint32_t)digit;
    }
    for (size_t k = 0; k < 3 - padding && *has_memory; k++) {
        char letter[4];
        const uint32_t code = organ_letter_of((unsigned char)(value >> (16 - 8 * k)));
        *has_memory = organ_bytes_add(word, letter, organ_utf8_put(code, letter));
    }
    /* the bits of `value` that no byte uses must be 0 */
    return (value & (padding ? (1u << 8 * padding) - 1 : 0)) == 0;
}

organ_status organ_tokenizer_ranked(organ_tokenizer *t, const char *label, uint32_t id, const char *base64,
                                    size_t bytes, organ_bytes *word, organ_error *error)
{
    bool good = bytes && bytes % 4 == 0, memory = true;
    word->used = 0;
    for (size_t at = 0; at < bytes && good && memory && word->used <= ORGAN_TOKEN_SIZE; at += 4)
        good = add_base64_group(base64 + at, at + 4 == bytes, word, &memory);
    if (!memory)
        return organ_fail_memory(error, label);
    if (!good)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %u: '%.*s' is not valid base64", label, id,
                          (int)(bytes > 80 ? 80 : bytes), base64);
    if (word->used > ORGAN_TOKEN_SIZE)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %u is longer than the limit of %u bytes", label, id,
                          ORGAN_TOKEN_SIZE);
    const uint32_t there = organ_tokenizer_id(t, word->data, word->used);
    if (there != ORGAN_NO_ID)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tokens %u and %u have the same bytes", label, there, id);
    if (id < t->token_count && t->tokens[id].text)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: two tokens have the id %u", label, id);
    return organ_tokenizer_token(t, id, word->data, word->used) ? ORGAN_OK : organ_fail_memory(error, label);
}

organ_status organ_tokenizer_ranked_end(organ_tokenizer *t, const char *label, uint32_t first, uint32_t count,
                                        organ_error *error)
{
    organ_tokenizer_ready(t);
    t->facts.kind = "byte-level BPE";
    t->ignore_merges = true;
    for (unsigned byte = 0; byte < 256; byte++)
        if (t->letters[organ_letter_of((unsigned char)byte)] == ORGAN_NO_ID)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: no token is the byte 0x%02X", label, byte);
    for (uint32_t k = 0; k < count; k++)
        if (!organ_tokenizer_add_splits(t, first + k, k))
            return organ_fail_memory(error, label);
    return ORGAN_OK;
}
