/* SPDX-License-Identifier: MIT
 * Tables of a tokenizer: texts to ids, pairs of tokens to merges, pairs of characters that are adjacent in merged
 * tokens. Functions that return bool return false if memory is exhausted. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"
#include "formats/tokenizer/kept_tokens.h"
#include "formats/model/organ_directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>

/* Allocates twice the bytes needed, so that many small additions take linear time. */
bool organ_bytes_add(organ_bytes *bytes, const char *from, size_t count)
{
    if (bytes->bounded && count > bytes->max - bytes->used) {
        bytes->exceeded = true;
        return false;
    }
    if (count > bytes->capacity - bytes->used) {
        const size_t capacity = (bytes->used + count) * 2 + 64;
        char *larger = realloc(bytes->data, capacity);
        if (!larger)
            return false;
        bytes->data = larger;
        bytes->capacity = capacity;
    }
    if (count)
        memcpy(bytes->data + bytes->used, from, count);
    bytes->used += count;
    return true;
}

uint32_t organ_utf8_at(const char *s, size_t *length)
{
    const unsigned char *u = (const unsigned char *)s;
    /* the first byte of n > 1 bytes begins with n one bits and a zero bit, then has 7 - n bits of the code point */
    *length = 1 + (size_t)(u[0] >= 0x80) + (u[0] >= 0xE0) + (u[0] >= 0xF0);
    uint32_t code = *length == 1 ? u[0] : u[0] & (0x7Fu >> *length);
    for (size_t k = 1; k < *length; k++)
        code = code << 6 | (u[k] & 0x3Fu);
    return code;
}

size_t organ_utf8_put(uint32_t code, char *to)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)to);
}

uint32_t organ_byte_to_unicode(unsigned char byte)
{
    const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    if (shown)
        return byte;
    /* The other bytes are, in ascending order, 0 to 32, 127 to 160 and 173: numbers 0 to 32, 33 to 66 and 67. Number n
     * becomes U+0100 + n. */
    if (byte <= 32)
        return 256u + byte;
    return 256u + (byte <= 160 ? byte - 127u + 33u : 67u);
}

int organ_unicode_to_byte(uint32_t letter)
{
    if (letter < 256)
        return organ_byte_to_unicode((unsigned char)letter) == letter ? (int)letter : -1;
    const uint32_t k = letter - 256;
    if (k <= 32)
        return (int)k;
    if (k <= 66)
        return (int)(k - 33 + 127);
    return k == 67 ? 173 : -1;
}

/* ---- texts ---- */

static uint32_t *slot_of_text(const organ_tokenizer *t, const char *text, size_t bytes)
{
    for (size_t at = XXH3_64bits_withSeed(text, bytes, t->seed) & (t->slot_count - 1);;
         at = (at + 1) & (t->slot_count - 1)) {
        const uint32_t id = t->slots[at];
        if (id == 0 || (t->tokens[id - 1].bytes == bytes && memcmp(t->tokens[id - 1].text, text, bytes) == 0))
            return &t->slots[at];
    }
}

static bool grow_slots(organ_tokenizer *t)
{
    uint32_t *const old = t->slots;
    const size_t old_count = t->slot_count;
    const size_t count = old_count ? old_count * 2 : 1024;
    uint32_t *const larger = calloc(count, sizeof *larger);
    if (!larger)
        return false;
    t->slots = larger;
    t->slot_count = count;
    for (size_t k = 0; k < old_count; k++)
        if (old[k])
            *slot_of_text(t, t->tokens[old[k] - 1].text, t->tokens[old[k] - 1].bytes) = old[k];
    free(old);
    return true;
}

static bool reserve_id(organ_tokenizer *t, uint32_t id)
{
    if (id < t->token_count)
        return true;
    if (id >= t->token_capacity) {
        const size_t capacity = ((size_t)id + 1) * 2;
        organ_token *larger = realloc(t->tokens, capacity * sizeof *larger);
        if (!larger)
            return false;
        t->tokens = larger;
        t->token_capacity = capacity;
    }
    memset(t->tokens + t->token_count, 0, (id + 1 - t->token_count) * sizeof *t->tokens);
    t->token_count = (size_t)id + 1;
    return true;
}

/* If another id has the same text, a search for the text finds `id` from now on. */
bool organ_tokenizer_add_token(organ_tokenizer *t, uint32_t id, const char *text, size_t bytes)
{
    const char *kept = organ_arena_copy(&t->arena, text, bytes);
    if (!kept || !reserve_id(t, id) || (t->text_count >= t->slot_count / 2 && !grow_slots(t)))
        return false;
    t->tokens[id] = (organ_token){.text = kept, .bytes = (uint32_t)bytes};
    uint32_t *slot = slot_of_text(t, kept, bytes);
    t->text_count += *slot == 0;
    *slot = id + 1;
    return true;
}

/* A slot contains id + 1, or 0 if it is free: 0 - 1 is ORGAN_NO_ID. */
uint32_t organ_tokenizer_id(const organ_tokenizer *t, const char *text, size_t bytes)
{
    const uint32_t id = t->slot_count ? *slot_of_text(t, text, bytes) - 1 : ORGAN_NO_ID;
    return t->kept && id < t->facts.vocabulary && !t->kept->why[id] ? ORGAN_NO_ID : id;
}

bool organ_put_letters(const organ_tokenizer *t, const char *text, size_t bytes, organ_bytes *letters)
{
    const bool blanks = !t->byte_level && organ_tokenizer_id(t, ORGAN_BLANK, strlen(ORGAN_BLANK)) != ORGAN_NO_ID;
    bool good = true;
    letters->used = 0;
    for (size_t k = 0; k < bytes && good; k++) {
        char letter[4];
        if (t->byte_level)
            good =
                organ_bytes_add(letters, letter, organ_utf8_put(organ_byte_to_unicode((unsigned char)text[k]), letter));
        else if (blanks && text[k] == ' ')
            good = organ_bytes_add(letters, ORGAN_BLANK, strlen(ORGAN_BLANK));
        else
            good = organ_bytes_add(letters, text + k, 1);
    }
    return good;
}

/* A new text is not entered into the hash table of texts. */
bool organ_tokenizer_add_added_token(organ_tokenizer *t, const organ_added *added)
{
    organ_added *larger = realloc(t->raw.items, (t->raw.count + 1) * sizeof *larger);
    if (!larger)
        return false;
    t->raw.items = larger;
    const char *kept = organ_arena_copy(&t->arena, added->text, added->bytes);
    if (!kept || !reserve_id(t, added->id))
        return false;
    if (!t->tokens[added->id].text)
        t->tokens[added->id] = (organ_token){.text = kept, .bytes = (uint32_t)added->bytes};
    larger[t->raw.count] = *added;
    larger[t->raw.count++].text = kept;
    return true;
}

int64_t organ_tokenizer_added(const organ_tokenizer *t, const char *text, size_t bytes)
{
    for (size_t k = 0; k < t->raw.count; k++)
        if (t->raw.items[k].bytes == bytes && memcmp(t->raw.items[k].text, text, bytes) == 0)
            return t->raw.items[k].id;
    return -1;
}

/* Encoding needs the ids of characters below U+0800 (t->letters) and of byte tokens (t->byte_ids) most often. */
void organ_tokenizer_ready(organ_tokenizer *t)
{
    t->facts.vocabulary = (uint32_t)t->token_count;
    char text[8];
    for (uint32_t code = 0; code < 2048; code++)
        t->letters[code] = organ_tokenizer_id(t, text, organ_utf8_put(code, text));
    for (unsigned byte = 0; byte < 256; byte++) {
        static const char digits[] = "0123456789ABCDEF";
        const char name[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        t->byte_ids[byte] = organ_tokenizer_id(t, name, sizeof name);
    }
}

/* ---- pairs ---- */

/* Kinds are not 0, so that the key of a pair is not 0, which marks a free slot. */
enum { OF_TOKENS = 1, OF_CHARACTERS = 2 };

/* The kind is in the two highest bits; ids and code points are below 2^31. */
static uint64_t pair_key(unsigned kind, uint32_t left, uint32_t right)
{
    return (uint64_t)kind << 62 | (uint64_t)left << 31 | right;
}

bool organ_merge_is_of_tokens(const organ_merge *slot, uint32_t *left, uint32_t *right)
{
    *left = (uint32_t)(slot->pair >> 31 & INT32_MAX);
    *right = (uint32_t)(slot->pair & INT32_MAX);
    return slot->pair >> 62 == OF_TOKENS;
}

static organ_merge *slot_of_pair(const organ_tokenizer *t, uint64_t pair)
{
    size_t at = XXH3_64bits_withSeed(&pair, sizeof pair, t->seed) & (t->merge_slots - 1);
    while (t->merges[at].pair && t->merges[at].pair != pair)
        at = (at + 1) & (t->merge_slots - 1);
    return &t->merges[at];
}

/* Puts a merge into the open hash table, which is at most half full. Returns false if memory runs out. */
static bool put_pair(organ_tokenizer *t, organ_merge merge)
{
    if (t->merge_count >= t->merge_slots / 2) {
        const organ_merge *const old = t->merges;
        const size_t old_count = t->merge_slots, count = old_count ? old_count * 2 : 1024;
        organ_merge *const larger = calloc(count, sizeof *larger);
        if (!larger)
            return false;
        t->merges = larger;
        t->merge_slots = count;
        for (size_t k = 0; k < old_count; k++)
            if (old[k].pair)
                *slot_of_pair(t, old[k].pair) = old[k];
        free((void *)old);
    }
    organ_merge *const slot = slot_of_pair(t, merge.pair);
    t->merge_count += slot->pair == 0;
    *slot = merge;
    return true;
}

/* organ_bpe_word cuts words between two characters that are not in the table as a pair, because no merge joins them. */
static bool put_character_pairs(organ_tokenizer *t, const organ_token *token)
{
    uint32_t previous = ORGAN_NO_ID;
    size_t length;
    for (size_t at = 0; at < token->bytes; at += length) {
        const uint32_t code = organ_utf8_at(token->text + at, &length);
        if (previous != ORGAN_NO_ID && !put_pair(t, (organ_merge){.pair = pair_key(OF_CHARACTERS, previous, code)}))
            return false;
        previous = code;
    }
    return true;
}

int organ_tokenizer_byte(const organ_tokenizer *t, uint32_t id)
{
    unsigned value;
    const bool named = t->tokens[id].bytes == 6 && sscanf(t->tokens[id].text, "<0x%2X>", &value) == 1;
    return named && t->byte_ids[value & 255] == id ? (int)(value & 255) : -1;
}

bool organ_tokenizer_merge(organ_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t made)
{
    /* The text of a byte token is "<0xNN>", not its byte, so the pairs of characters do not show which characters this
     * merge joins: words must not be cut. With scores, byte tokens replace characters only after the merges. */
    if (t->byte_fallback && !t->by_scores &&
        (organ_tokenizer_byte(t, left) >= 0 || organ_tokenizer_byte(t, right) >= 0))
        t->whole_words = true;
    return put_pair(t, (organ_merge){pair_key(OF_TOKENS, left, right), rank, made}) &&
           put_character_pairs(t, &t->tokens[made]);
}

static const organ_merge *find_pair(const organ_tokenizer *t, uint64_t pair)
{
    const organ_merge *const slot = t->merge_slots ? slot_of_pair(t, pair) : NULL;
    return slot && slot->pair ? slot : NULL;
}

const organ_merge *organ_tokenizer_pair(const organ_tokenizer *t, uint32_t left, uint32_t right)
{
    const organ_merge *const pair =
        left == ORGAN_NO_ID || right == ORGAN_NO_ID ? NULL : find_pair(t, pair_key(OF_TOKENS, left, right));
    return pair && t->kept && !t->kept->merges[pair - t->merges] ? NULL : pair;
}

bool organ_tokenizer_are_adjacent(const organ_tokenizer *t, uint32_t left, uint32_t right)
{
    return find_pair(t, pair_key(OF_CHARACTERS, left, right)) != NULL;
}

static int by_rank(const void *a, const void *b)
{
    const organ_merge *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->rank, y->rank), ORGAN_ORDER(x->pair, y->pair));
}

organ_merge *organ_tokenizer_merges(const organ_tokenizer *t, size_t *count)
{
    organ_merge *const all = malloc((t->merge_count + 1) * sizeof *all);
    uint32_t left, right;
    *count = 0;
    for (size_t k = 0; all && k < t->merge_slots; k++)
        if (t->merges[k].pair && organ_merge_is_of_tokens(&t->merges[k], &left, &right))
            all[(*count)++] = t->merges[k];
    if (all && *count)
        qsort(all, *count, sizeof *all, by_rank);
    return all;
}

/* ---- vocabularies whose tokens have ranks instead of merges: tiktoken, Tekken and SentencePiece ---- */

/* Two neighbouring tokens may be merged whenever their joined text is a token; the joined token of lowest rank is made
 * first. */

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
    if (!organ_tokenizer_add_token(t, *id, text, bytes))
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
        const uint32_t code = organ_byte_to_unicode((unsigned char)(value >> (16 - 8 * k)));
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
        return organ_refuse(error, label, "token %u: '%.*s' is not valid base64", id, (int)(bytes > 80 ? 80 : bytes),
                            base64);
    if (word->used > ORGAN_TOKEN_SIZE)
        return organ_refuse(error, label, "token %u is longer than the limit of %u bytes", id, ORGAN_TOKEN_SIZE);
    const uint32_t there = organ_tokenizer_id(t, word->data, word->used);
    if (there != ORGAN_NO_ID)
        return organ_refuse(error, label, "tokens %u and %u have the same bytes", there, id);
    if (id < t->token_count && t->tokens[id].text)
        return organ_refuse(error, label, "two tokens have the id %u", id);
    return organ_tokenizer_add_token(t, id, word->data, word->used) ? ORGAN_OK : organ_fail_memory(error, label);
}

organ_status organ_tokenizer_ranked_end(organ_tokenizer *t, const char *label, uint32_t first, uint32_t count,
                                        organ_error *error)
{
    organ_tokenizer_ready(t);
    t->facts.kind = "byte-level BPE";
    t->ignore_merges = true;
    for (unsigned byte = 0; byte < 256; byte++)
        if (t->letters[organ_byte_to_unicode((unsigned char)byte)] == ORGAN_NO_ID)
            return organ_refuse(error, label, "no token is the byte 0x%02X", byte);
    for (uint32_t k = 0; k < count; k++)
        if (!organ_tokenizer_add_splits(t, first + k, k))
            return organ_fail_memory(error, label);
    return ORGAN_OK;
}

/* ---- tokens that begin and end a text, by tokenizer_config.json and the post_processor of tokenizer.json ---- */

enum { DEPTH_LIMIT = 8 }; /* levels of post-processors inside post-processors */

const char *organ_tokenizer_label(const organ_model *model, organ_tokenizer *t, const char *name)
{
    const char *const folder = model->manifest ? "/" ORGAN_FILES_FOLDER : "";
    ORGAN_OWNED char *const path = organ_format("%s%s/%s", model->directory, folder, name);
    const char *const label = path ? organ_arena_copy(&t->arena, path, strlen(path)) : NULL;
    return label ? label : name;
}

/* Returns -1 if the vocabulary lacks the token. */
static int64_t token_named(const organ_tokenizer *t, const json_t *value)
{
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    const char *text = json_string_value(content);
    if (!text)
        return -1;
    const size_t bytes = json_string_length(content);
    const int64_t added = organ_tokenizer_added(t, text, bytes);
    if (added >= 0)
        return added;
    const uint32_t id = organ_tokenizer_id(t, text, bytes);
    return id == ORGAN_NO_ID ? -1 : (int64_t)id;
}

/* The token is the first element of a TemplateProcessing, or `cls` of a RobertaProcessing or BertProcessing. `depth`
 * is the level of `post` in sequences of post-processors. */
static const json_t *before_text(const json_t *post, unsigned depth)
{
    const char *const type = json_string_value(json_object_get(post, "type"));
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return json_object_get(json_object_get(json_array_get(json_object_get(post, "single"), 0), "SpecialToken"),
                               "id");
    if (type && (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0))
        return json_array_get(json_object_get(post, "cls"), 0);
    const json_t *list = depth < DEPTH_LIMIT ? json_object_get(post, "processors") : NULL;
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *found = before_text(json_array_get(list, k), depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

/* transformers 5 ignores add_bos_token if there is a tokenizer.json: its post_processor alone decides. A true
 * facts.adds_bos without a BOS token is rejected. */
organ_status organ_tokenizer_settings(organ_tokenizer *t, const char *label, const json_t *config, bool from_json,
                                      const json_t *post, organ_error *error)
{
    const json_t *const requested = json_object_get(config, "add_bos_token");
    const json_t *const first = t->adds_nothing ? NULL : before_text(post, 0);
    if (requested && !json_is_boolean(requested) && !json_is_null(requested))
        return organ_refuse(error, label, "'add_bos_token' is neither true nor false");
    t->facts.adds_bos = from_json ? first != NULL : json_is_true(requested);
    t->facts.bos = token_named(t, first ? first : json_object_get(config, "bos_token"));
    t->facts.eos = token_named(t, json_object_get(config, "eos_token"));
    if (t->facts.adds_bos && t->facts.bos < 0)
        return organ_refuse(error, label, "each text must begin with BOS, but 'bos_token' is not in the vocabulary");
    return ORGAN_OK;
}
