/* SPDX-License-Identifier: MIT
 * Compares two tokenizers by encoding the probe with both. Texts are encoded in batches, because each call of the
 * encoder has a fixed cost; a batch whose ids differ is cut down to the part that shows the difference. */
#include "formats/tokenizer/tokenizer_compare.h"

#include "formats/tokenizer/probe_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 32 << 10,    /* bytes of a batch */
    ALONE = 64,          /* added tokens that are encoded in all contexts, each also alone */
    CONTEXTS = 4,        /* contexts of the other added tokens */
    JOINED = 1 << 15,    /* pieces that are joined without line breaks */
    EXCERPT = 24,        /* bytes to which a differing text is cut, if possible */
    SHOWN = 6,           /* ids that a message shows */
    LAST_BLOCK = 0x20000 /* code points below this are sampled; those above are ideographs, tags and private */
};

typedef struct comparison {
    const organ_tokenizer *source, *made;
    const char *made_in; /* what messages call `made` */
    organ_tokenizer_difference *difference;
    organ_bytes batch; /* texts that are not yet encoded */
    organ_error *error;
} comparison;

typedef struct both_ids {
    uint32_t *ids[2];
    size_t count[2];
    size_t same; /* leading ids that are equal */
    bool equal;
} both_ids;

/* ---- one text ---- */

static void release_ids(both_ids *both)
{
    free(both->ids[0]);
    free(both->ids[1]);
}

static organ_status encode_both(const comparison *c, const char *text, size_t bytes, both_ids *both)
{
    *both = (both_ids){0};
    if (organ_tokenizer_encode(c->source, text, bytes, true, &both->ids[0], &both->count[0], c->error) != ORGAN_OK ||
        organ_tokenizer_encode(c->made, text, bytes, true, &both->ids[1], &both->count[1], c->error) != ORGAN_OK)
        return c->error->status;
    const size_t least = both->count[0] < both->count[1] ? both->count[0] : both->count[1];
    while (both->same < least && both->ids[0][both->same] == both->ids[1][both->same])
        both->same++;
    both->equal = both->same == both->count[0] && both->same == both->count[1];
    return ORGAN_OK;
}

static bool differs(const comparison *c, const char *text, size_t bytes)
{
    both_ids both;
    const bool different = encode_both(c, text, bytes, &both) == ORGAN_OK && !both.equal;
    release_ids(&both);
    return different;
}

/* ---- the message ---- */

/* No UTF-8 sequence continues at the returned offset. */
static size_t character_start(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && ((unsigned char)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

static void shorten(const comparison *c, const char **text, size_t *bytes)
{
    for (bool shorter = true; shorter && *bytes > EXCERPT && !c->error->status;) {
        const size_t quarter = character_start(*text, *bytes, *bytes / 4),
                     half = character_start(*text, *bytes, *bytes / 2),
                     three = character_start(*text, *bytes, *bytes / 4 * 3);
        const size_t from[] = {0, half, quarter}, to[] = {half, *bytes, three};
        shorter = false;
        for (unsigned k = 0; k < 3 && !shorter; k++) {
            shorter = from[k] < to[k] && to[k] - from[k] < *bytes && differs(c, *text + from[k], to[k] - from[k]);
            *bytes = shorter ? to[k] - from[k] : *bytes;
            *text += shorter ? from[k] : 0;
        }
    }
}

static void list_ids(const organ_tokenizer *t, const uint32_t *ids, size_t count, size_t same, char *to, size_t room)
{
    const size_t first = same ? same - 1 : 0;
    const char *const begin = first ? "..." : "";
    size_t used = (size_t)snprintf(to, room, "%s", count ? begin : "no id");
    for (size_t k = first; k < count && k < first + SHOWN && used < room; k++) {
        size_t bytes;
        const char *const piece = organ_tokenizer_piece(t, ids[k], &bytes);
        used += (size_t)snprintf(to + used, room - used, "%s%u '%.*s'", used ? " " : "", ids[k],
                                 (int)(bytes > 24 ? 24 : bytes), piece);
    }
    if (count > first + SHOWN && used < room)
        snprintf(to + used, room - used, " ...");
}

static void describe(const comparison *c, const char *text, size_t bytes)
{
    both_ids both;
    char lists[2][220];
    shorten(c, &text, &bytes);
    if (encode_both(c, text, bytes, &both) == ORGAN_OK && !both.equal) {
        list_ids(c->source, both.ids[0], both.count[0], both.same, lists[0], sizeof lists[0]);
        list_ids(c->made, both.ids[1], both.count[1], both.same, lists[1], sizeof lists[1]);
        c->difference->found = true;
        snprintf(c->difference->text, sizeof c->difference->text, "the text '%.*s%s' becomes %s, but %s in %s",
                 (int)(bytes > 80 ? 80 : bytes), text, bytes > 80 ? "..." : "", lists[0], lists[1], c->made_in);
    }
    release_ids(&both);
}

static bool compare_text(const comparison *c, const char *text, size_t bytes)
{
    if (differs(c, text, bytes))
        describe(c, text, bytes);
    return !c->error->status && !c->difference->found;
}

/* ---- batches ---- */

static bool compare_batch(comparison *c)
{
    const bool equal = compare_text(c, c->batch.data ? c->batch.data : "", c->batch.used);
    c->batch.used = 0;
    return equal;
}

static bool batch_grew(comparison *c, bool complete)
{
    if (!complete)
        organ_fail_memory(c->error, "the texts that compare two tokenizers");
    return complete && (c->batch.used < BATCH || compare_batch(c));
}

/* ---- the probe ---- */

static bool compare_characters(comparison *c)
{
    organ_probe_text one;
    for (size_t k = 0; (one = organ_probe_text_at(k)).text; k++)
        if (!compare_text(c, one.text, one.bytes))
            return false;
    for (size_t k = 0; (one = organ_probe_text_at(k)).text; k++)
        if (!batch_grew(c, organ_bytes_add(&c->batch, one.text, one.bytes) && organ_bytes_add(&c->batch, "\n", 1)))
            return false;
    for (uint32_t first = 0; first < LAST_BLOCK; first += 128)
        if (!batch_grew(c, organ_probe_block(first, &c->batch)))
            return false;
    return compare_batch(c);
}

/* Compares the added tokens of a list: the first ALONE in all contexts, also with each context as a text of its own,
 * in which the token may be the beginning or the end; the others in the first CONTEXTS contexts, in batches. A token
 * with U+2581 is left out: in GGUF, a user-defined token has blanks instead. So is one whose id exceeds those of the
 * other tokenizer, which the embedding does not have either. */
static bool compare_added(comparison *c, const organ_added_list *list)
{
    for (size_t k = 0; k < list->count; k++) {
        if (list->items[k].id >= c->made->facts.vocabulary)
            continue;
        const organ_token *const token = &c->source->tokens[list->items[k].id];
        const unsigned contexts = k < ALONE ? ORGAN_PROBE_CONTEXTS : CONTEXTS;
        for (unsigned n = 0; n < contexts && !memmem(token->text, token->bytes, ORGAN_BLANK, 3); n++) {
            const size_t begin = c->batch.used;
            const bool complete = organ_probe_added(token->text, token->bytes, n, &c->batch);
            if (complete && k < ALONE && !compare_text(c, c->batch.data + begin, c->batch.used - begin))
                return false;
            if (!batch_grew(c, complete))
                return false;
        }
    }
    return compare_batch(c);
}

/* Skips pieces with U+2581, which only added tokens have (compare_added). */
static bool compare_piece(comparison *c, uint64_t id, const char *after)
{
    const organ_token *const token = &c->source->tokens[id];
    return !token->piece || token->unused || memmem(token->piece, token->piece_bytes, ORGAN_BLANK, 3) ||
           batch_grew(c, organ_bytes_add(&c->batch, token->piece, token->piece_bytes) &&
                             organ_bytes_add(&c->batch, after, strlen(after)));
}

/* Each piece is on its own line, by id; then up to JOINED of them follow without line breaks, in an order that joins
 * each piece to another one than its neighbour, so that merges across pieces compete with those inside. */
static bool compare_vocabulary(comparison *c)
{
    enum { STRIDE = 7919 }; /* a prime: k * STRIDE mod count visits each id once unless count is a multiple of it */
    const uint64_t own = c->source->facts.vocabulary, other = c->made->facts.vocabulary;
    const uint64_t count = own < other ? own : other; /* ids that only one of them has have no row in the embedding */
    for (uint64_t k = 0; k < count; k++)
        if (!compare_piece(c, k, "\n"))
            return false;
    for (uint64_t k = 0; k < count && k < JOINED; k++)
        if (!compare_piece(c, k * STRIDE % count, ""))
            return false;
    return compare_batch(c);
}

organ_status organ_tokenizer_compare(const organ_tokenizer *source, const organ_tokenizer *made, const char *made_in,
                                     organ_tokenizer_difference *difference, organ_error *error)
{
    comparison c = {.source = source, .made = made, .made_in = made_in, .difference = difference, .error = error};
    *difference = (organ_tokenizer_difference){0};
    if (strcmp(source->facts.digest, made->facts.digest) == 0)
        return ORGAN_OK;
    if (compare_characters(&c) && compare_added(&c, &source->raw) && compare_added(&c, &source->normalized))
        compare_vocabulary(&c);
    free(c.batch.data);
    return error->status;
}
