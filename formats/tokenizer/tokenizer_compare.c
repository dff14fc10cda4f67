/* SPDX-License-Identifier: MIT
 * Compares two tokenizers by encoding the probe with both. Texts are encoded in batches, because each call of the
 * encoder has a fixed cost; a batch whose ids differ is cut down to the part that shows the difference. */
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- the texts: each rule of a normalizer or pre-tokenizer in use changes at least one ---- */

#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }

/* Two things are not among the texts, because the files of one model, such as Gemma 3, have no common form for them:
 * U+2581 next to a blank (GGUF stores user-defined tokens of marks with blanks), and runs of more than 31 blanks or
 * line breaks (SentencePiece takes the longest token of a run first, the package tokenizers merges). */
static const organ_probe_text texts[] = {
    /* contractions, quotes, signs of ASCII, code */
    TEXT("It's what I'd say: we've seen they're fine, I'll go, don't, I'm; IT'S WHAT I'LL DON'T WE'VE."),
    TEXT("'quoted' \"double\" (a) [b] {c} <d> a/b a\\b #tag @me $5 50% x&y x*y x+y x=y x_y x^y x`y x|y x~y! ?? ,, ;: "
         ".."),
    TEXT("int main(void)\n{\n\tfor (size_t k = 0; k < 10; k++)\n\t\tprintf(\"%zu\\n\", k);\n}\n\ndef f(x):\n    return "
         "x ** 2\n"),
    TEXT("https://example.org/a-b_c?d=e&f=%20#g user.name@example.com /usr/lib/x86_64 C:\\Temp v1.2.3-rc4 <p "
         "class='x'></p>"),
    /* capitals */
    TEXT("HELLO Hello hELLO helloWorld HTTPServer iPhone XMLHttpRequest \u00c0\u00c9\u00ce \u00df \u1e9e \u0130 \u0131 "
         "\u03a3\u03c3\u03c2 \u01c5 \u0416\u0436"),
    /* digits and numbers */
    TEXT("0 7 12 345 6789 12345 1234567890123 3.14 1,000,000 1e-9 0x1F a1b22c333 \u0663\u0664 \u096a\u0968 "
         "\u00bd\u00b2 \u2167 \u2460 7\u00e8me"),
    /* white space */
    TEXT("a b  c   d    e     f      g       h        i\tj\t\tk \tl \t "
         "m\u00a0n\u3000o\u2003p\u200bq\u2028r\u2029s\xc2\x85t\x0bu\x0cv"),
    TEXT("a\nb\n\nc\n\n\nd\n\n\n\ne \nf\n g\n  h \n i  \n\n   j\r\nk\r\n\r\nl\rm\r\rn\n\tb\t\n"),
    TEXT("x                y\n            z\t\t\t\t\t\t\tt\n\n\n\n\n\n\nend"),
    TEXT(" "),
    TEXT("  "),
    TEXT("   "),
    TEXT("\n"),
    TEXT("\n\n"),
    TEXT("\t"),
    TEXT(" \n"),
    TEXT(" a"),
    TEXT("  a"),
    TEXT("   a"),
    TEXT("\na"),
    TEXT("\ta"),
    TEXT(" \na"),
    TEXT("a "),
    TEXT("a  "),
    TEXT("a\n"),
    TEXT("a \n "),
    TEXT("a"),
    TEXT("A"),
    TEXT("1"),
    TEXT(" 1"),
    TEXT("."),
    TEXT(" ."),
    TEXT("Hello"),
    TEXT(" Hello"),
    TEXT("Hello world"),
    TEXT("hello world "),
    TEXT("\u00e9"),
    TEXT("\u4f60"),
    TEXT(" \u4f60"),
    /* scripts */
    TEXT("Les \u00e9l\u00e8ves fran\u00e7ais, \u00ab d\u00e9j\u00e0 \u00bb; Stra\u00dfe, \u00c4rger; \u00bfqu\u00e9 "
         "a\u00f1o?; \u0141\u00f3d\u017a; Vi\u1ec7t Nam; \u0130stanbul; \u00fe\u00e6r"),
    TEXT("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 "
         "\u039a\u03cc\u03c3\u03bc\u03b5. \u0532\u0561\u0580\u0565\u0582 "
         "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u12a0\u121b\u122d\u129b"),
    TEXT("\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u662f2024\u5e741\u6708\u3002\u3053\u3093\u306b\u3061\u306f"
         "\u3001\u30c6\u30b9\u30c8\u3067\u3059\u300c\u5f15\u7528\u300d\u3002\uc548\ub155\ud558\uc138\uc694 "
         "\uc138\uacc4. \ufeff\uff76\uff9e\uff71\uff21\uff11"),
    TEXT("\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0661\u0662\u0663\u061f "
         "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd. \u0928\u092e\u0938\u094d\u0924\u0947 "
         "\u0926\u0941\u0928\u093f\u092f\u093e\u0964 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd "
         "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u1781\u17d2\u1798\u17c2\u179a "
         "\u1019\u103c\u1014\u103a\u1019\u102c \u0f56\u0f7c\u0f51"),
    /* emoji, combining marks, compatibility characters, other planes */
    TEXT("\U0001F600\U0001F44D\U0001F3FD \U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466 "
         "\U0001F1E9\U0001F1EA \u2764\ufe0f 1\ufe0f\u20e3 \U0001F3F4\U000E0067\U000E007F \u2603 \u2192 \u2248 \u221e "
         "\u20ac \u2122"),
    TEXT("e\u0301 \u00e9 n\u0303 \u00f1 a\u0328\u0301 a\u0301\u0328 A\u030a \u00c5 \u212b \u1100\u1161\u11a8 \uac01 "
         "\u0915\u093c \u0958 o\u0302\u0323 \u1ed9 x\u0301\u0302\u0303"),
    TEXT("\ufb01 \ufb03 \u2460 \u33cf \u00b5 \u00aa \u2075 \uff35\uff4e\uff49 \U0001D400\U0001D7D8 "
         "\U00020000\U0002A6D6 \U00010348 \ufdfa \u2026 \u2014 \u2018x\u2019 \u201cy\u201d"),
    /* control characters, invalid UTF-8, marks and names of tokens as text */
    TEXT("a\0b\1c\2\3 d\x1b[0m e\x7f f\xc2\x80g\xc2\xadh\u200ei\u200fj\u2060k\ufeffl\ufffdm\ufffe"),
    TEXT("a\xff\xfe b\xc3 c\xe2\x82 d\xf0\x9f\x98 e\xed\xa0\x80 f\xc0\xaf g\x80\xbf\xf8 h"),
    TEXT("a\u2581b \u0120e \u010af <0x41> <0x0A> <0xE2><0x96><0x81> <s> </s> <unk> <pad> <bos> [UNK] "
         "[CLS] <|end|>"),
    /* repeated characters */
    TEXT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ======================= ----------------------- ....... "
         "****** ______ ////// ##### !!!!! ????"),
};

/* Returns text number `index` of the table, which is to be encoded alone; its `text` is NULL at the end of the table.
 */
static organ_probe_text probe_text_at(size_t index)
{
    return index < sizeof texts / sizeof *texts ? texts[index] : (organ_probe_text){0};
}

/* ---- characters ---- */

/* Appends the character in several contexts, because pre-tokenizers depend on its neighbours. */
static bool put_character(uint32_t code, organ_bytes *text)
{
    static const char *const around[] = {"a", " b", "", "c 1", " ", "\n"};
    char utf8[4];
    const size_t bytes = organ_utf8_put(code, utf8);
    for (size_t k = 0; k < sizeof around / sizeof *around; k++)
        if ((k && !organ_bytes_add(text, utf8, bytes)) || !organ_bytes_add(text, around[k], strlen(around[k])))
            return false;
    return true;
}

/* Appends to `text` words and lines with characters of the block of 128 code points that begins at `first`: up to three
 * characters of each general category. Returns false if memory is exhausted. */
static bool probe_block(uint32_t first, organ_bytes *text)
{
    enum { BLOCK = 128, EACH = 3, CATEGORIES = 32 };
    unsigned seen[CATEGORIES] = {0};
    for (uint32_t code = first; code < first + BLOCK; code++) {
        const unsigned category = (unsigned)utf8proc_category((utf8proc_int32_t)code);
        if (category == UTF8PROC_CATEGORY_CN || category == UTF8PROC_CATEGORY_CS || code == 0x2581 ||
            seen[category]++ >= EACH)
            continue;
        if (!put_character(code, text))
            return false;
    }
    return true;
}

/* ---- added tokens ---- */

/* Returns false after the last context. */
static bool probe_added(const char *token, size_t bytes, unsigned context, organ_bytes *text)
{
    static const char *const around[ORGAN_PROBE_CONTEXTS][2] = {
        {"", ""},      {"x", "y"}, {" ", " "},    {"a ", " b"},         {"\n", "\n"}, {".", "."},
        {"  ", "  c"}, {"1", "2"}, {"\t", "\tD"}, {"\u4f60", "\u597d"}, {"E", " "},   {" ", "e"}};
    if (context >= ORGAN_PROBE_CONTEXTS)
        return false;
    const char *const before = around[context][0], *const after = around[context][1];
    return organ_bytes_add(text, before, strlen(before)) && organ_bytes_add(text, token, bytes) &&
           organ_bytes_add(text, after, strlen(after));
}

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

static void release_ids(both_ids *both) { ORGAN_FREE_ARRAYS(both->ids[0], both->ids[1]); }

static organ_status encode_both(const comparison *c, const char *text, size_t bytes, both_ids *both)
{
    *both = (both_ids){0};
    if (organ_tokenizer_encode(c->source, text, bytes, /*special=*/true, &both->ids[0], &both->count[0], c->error) !=
            ORGAN_OK ||
        organ_tokenizer_encode(c->made, text, bytes, /*special=*/true, &both->ids[1], &both->count[1], c->error) !=
            ORGAN_OK)
        return c->error->status;
    const size_t least = both->count[0] < both->count[1] ? both->count[0] : both->count[1];
    while (both->same < least && both->ids[0][both->same] == both->ids[1][both->same])
        both->same++;
    both->equal = both->same == both->count[0] && both->same == both->count[1];
    return ORGAN_OK;
}

static bool differs(const comparison *c, const char *text, size_t bytes)
{
    ORGAN_RELEASED_BY(release_ids) both_ids both = {0};
    return encode_both(c, text, bytes, &both) == ORGAN_OK && !both.equal;
}

/* ---- the message ---- */

/* No UTF-8 sequence continues at the returned offset. */
static size_t character_start(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && ((unsigned char)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

/* Cuts the text to a half of it, or to its middle, as long as both tokenizers differ there too. */
static void shorten(const comparison *c, const char **text, size_t *bytes)
{
    for (bool shorter = true; shorter && *bytes > EXCERPT && !c->error->status;) {
        const size_t quarter = character_start(*text, *bytes, *bytes / 4),
                     half = character_start(*text, *bytes, *bytes / 2),
                     three_quarters = character_start(*text, *bytes, *bytes / 4 * 3);
        const size_t from[] = {0, half, quarter}, to[] = {half, *bytes, three_quarters};
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
    ORGAN_RELEASED_BY(release_ids) both_ids both = {0};
    char lists[2][220];
    shorten(c, &text, &bytes);
    if (encode_both(c, text, bytes, &both) == ORGAN_OK && !both.equal) {
        list_ids(c->source, both.ids[0], both.count[0], both.same, lists[0], sizeof lists[0]);
        list_ids(c->made, both.ids[1], both.count[1], both.same, lists[1], sizeof lists[1]);
        c->difference->found = true;
        snprintf(c->difference->text, sizeof c->difference->text, "the text '%.*s%s' becomes %s, but %s in %s",
                 (int)(bytes > 80 ? 80 : bytes), text, bytes > 80 ? "..." : "", lists[0], lists[1], c->made_in);
    }
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

/* Returns false at the first difference, and if memory runs out. */
static bool compare_characters(comparison *c)
{
    organ_probe_text one;
    for (size_t k = 0; (one = probe_text_at(k)).text; k++)
        if (!compare_text(c, one.text, one.bytes))
            return false;
    for (size_t k = 0; (one = probe_text_at(k)).text; k++)
        if (!batch_grew(c, organ_bytes_add(&c->batch, one.text, one.bytes) && organ_bytes_add(&c->batch, "\n", 1)))
            return false;
    for (uint32_t first = 0; first < LAST_BLOCK; first += 128)
        if (!batch_grew(c, probe_block(first, &c->batch)))
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
            const bool complete = probe_added(token->text, token->bytes, n, &c->batch);
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

/* ---- vocabularies ---- */

uint32_t organ_tokenizer_unknown(const organ_tokenizer *t) { return t->unknown; }

const char *organ_tokenizer_text_of(const organ_tokenizer *t, uint32_t id, size_t *length)
{
    char pad[24];
    *length = 0;
    if (id >= organ_tokenizer_describe(t)->vocabulary)
        return "";
    const char *const piece = organ_tokenizer_piece(t, id, length);
    const int of_pad = snprintf(pad, sizeof pad, "[PAD%u]", (unsigned)id);
    if (*length != (size_t)of_pad || memcmp(piece, pad, *length) != 0)
        return piece;
    *length = 0;
    return "";
}

uint32_t organ_tokenizer_different(const organ_tokenizer *a, const organ_tokenizer *b, bool gaps, uint32_t *first)
{
    const uint32_t of_a = organ_tokenizer_describe(a)->vocabulary, of_b = organ_tokenizer_describe(b)->vocabulary;
    uint32_t different = 0;
    for (uint32_t id = 0; id < of_a || id < of_b; id++) {
        size_t length, other_length;
        const char *const x = organ_tokenizer_text_of(a, id, &length);
        const char *const y = organ_tokenizer_text_of(b, id, &other_length);
        if ((length == other_length && memcmp(x, y, length) == 0) || (gaps && (!length || !other_length)))
            continue;
        *first = different++ ? *first : id;
    }
    return different;
}
