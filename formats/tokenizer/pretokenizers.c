/* SPDX-License-Identifier: MIT
 * A table of the values of tokenizer.ggml.pre in GGUF files: each row has names (the values) and the patterns that cut
 * a text, applied in order. The patterns are those of the tokenizer.json of the model that the value is named after
 * (the "owner"). llama.cpp (src/llama-vocab.cpp) determines the values, and which of them mean the same; if llama.cpp
 * rewrites a pattern that its own matcher cannot run, the row has the owner's pattern. A row has ORGAN_CUT_NFC if the
 * owner's tokenizer applies NFC: that of qwen2_5, qwen3_5, Cohere and GPT-NeoX does in transformers, that of Hunyuan in
 * its own code. StableLM 2's normaliser was not compared; rows of owners whose normalisers could not be read have no
 * ORGAN_CUT_NFC. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/word_lists.h"

#include <string.h>

/* Parts of patterns that several rows have: English contractions, the character before the letters of a word, line
 * breaks and spaces, runs of signs. */
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SIGNS       "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"

/* cl100k and its variants: `number` is the pattern for digits, which decides how many stay together. */
#define WORDS(number) CONTRACTION "|" BEFORE_WORD "\\p{L}+|" number SIGNS SPACES

/* o200k: words are cut before a capital letter that follows a small one. UPPER and LOWER are members of a class:
 * letters that may be capital, that may be small. `ending` is a pattern for the ending of a word, `number` and `signs`
 * are those for digits and signs. */
#define UPPER     "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER     "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define ANY(some) "[" some "]"
#define CASED(upper, lower, ending, number, signs)                                                                     \
    BEFORE_WORD upper "*" lower "+" ending "|" BEFORE_WORD upper "+" lower "*" ending "|" number signs SPACES
#define O200K(ending, number) CASED(ANY(UPPER), ANY(LOWER), ending, number, "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*")
#define NOT_HAN(some)         "[" some "&&[^\\p{Han}]]" /* the characters of the class that are not Chinese */

/* DeepSeek V3: a word may begin with one sign of ASCII; the pattern for Chinese and Japanese is applied first. */
#define CJK        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define SIGN_WORDS "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
#define DEEPSEEK3  SIGN_WORDS "| ?[\\p{P}\\p{S}]+[\\r\\n]*" SPACES

/* DeepSeek LLM and Coder: Chinese, Japanese and Korean; letters with case; signs. The ranges are those of their
 * tokenizer.json. */
#define OLD_CJK "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
#define CASED_LETTERS                                                                                                  \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"    \
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-"    \
    "\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"   \
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"    \
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"   \
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"      \
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"     \
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"         \
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"        \
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
#define WIDE_SIGNS "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"

/* Parts of the patterns of BLOOM (STOPS: signs and spaces that end a word) and Falcon (PUNCTUATION); then the patterns
 * of the rows that the macros are named after. */
#define STOPS       "(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)"
#define PUNCTUATION "[\\p{P}\\$\\+<=>\\^`\\|~]+"
#define QWEN35      "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
#define EXAONE_MOE                                                                                                     \
    "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define AFMOE_DIGITS "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))"
#define AFMOE_CJK                                                                                                      \
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"        \
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
#define SPARK "| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+"
#define YOUTU                                                                                                          \
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f"         \
    "\ufe30-\ufe4f]+|[\u3105-\u312f]+|" CJK
#define CHAMELEON "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )"
#define BAILING                                                                                                        \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]"         \
    "|\\s+(?!\\S)|\\s+"
#define JAIS2_SPACES                                                                                                   \
    "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)"      \
    "|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"
#define GPT2_WITHOUT_SPACES "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

enum { NFC = ORGAN_CUT_NFC, WHOLE = ORGAN_CUT_WHOLE, BOS = ORGAN_CUT_BOS };

/* The rows: names, patterns in the order in which they are applied, flags. Clang-format would give each row ten
 * lines. */
/* clang-format off */
static const organ_pretokenizer pretokenizers[] = {
    {"qwen2 deepseek-r1-qwen f2llmv2 hunyuan stablelm2", {WORDS("\\p{N}")}, NFC},
    {"megrez kormo solar-open grok-2", {WORDS("\\p{N}")}, 0},
    {"qwen35", {CONTRACTION "|" BEFORE_WORD QWEN35 SPACES}, NFC},
    {"ufakzeka", {BEFORE_WORD "\\p{L}+|\\p{N}" SIGNS SPACES}, 0},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     {WORDS("\\p{N}{1,3}")}, WHOLE | BOS},
    {"smaug-bpe dbrx glm4 chatglm-bpe", {WORDS("\\p{N}{1,3}")}, 0},
    {"minicpm5", {"\\p{N}{1,3}", WORDS("\\p{N}+")}, WHOLE},
    {"seed-coder", {CONTRACTION "|" BEFORE_WORD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" SPACES}, 0},
    {"bailingmoe bailingmoe2 llada-moe", {BAILING}, 0},
    {"exaone-moe", {CONTRACTION "|" BEFORE_WORD EXAONE_MOE}, 0},
    {"jais-2", {CONTRACTION "|" BEFORE_WORD "\\p{L}+|\\p{N}{1,3}" SIGNS JAIS2_SPACES}, 0},
    {"laguna", {"[^\\n]+|[\\n]+", WORDS("\\p{N}")}, 0},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {O200K(CONTRACTION "?", "\\p{N}{1,3}")}, 0},
    {"tekken", {O200K("", "\\p{N}")}, WHOLE | BOS},
    {"kimi-k2", {"[\\p{Han}]+|" CASED(NOT_HAN(UPPER), NOT_HAN(LOWER), CONTRACTION "?", "\\p{N}{1,3}", SIGNS)}, 0},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", {"\\p{N}{1,3}", CJK, DEEPSEEK3}, 0},
    {"afmoe", {AFMOE_DIGITS, AFMOE_CJK, DEEPSEEK3}, 0},
    {"spark2_5", {"\\p{N}{1,3}", CJK, SIGN_WORDS SPARK, "\\p{N}"}, 0},
    {"youtu", {YOUTU, O200K(CONTRACTION "?", "\\p{N}")}, WHOLE},
    {"tiny_aya cohere2moe", {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K(CONTRACTION "?", "\\p{N}{1,3}")}, 0},
    {"chameleon", {CHAMELEON, "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", ORGAN_GPT2_PATTERN}, BOS},
    {"deepseek-llm", {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[" WIDE_SIGNS "]+", "\\s+$", OLD_CJK, "\\p{N}"}, 0},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", OLD_CJK, "\\p{N}"}, 0},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert jais trillion exaone4 "
     "granite-docling", {ORGAN_GPT2_PATTERN}, 0},
    {"mpt olmo", {ORGAN_GPT2_PATTERN}, NFC},
    {"smollm starcoder refact codeshell exaone minerva-7b mellum2", {"\\p{N}", ORGAN_GPT2_PATTERN}, 0},
    {"command-r", {"\\p{N}", ORGAN_GPT2_PATTERN}, NFC},
    {"falcon", {PUNCTUATION, ORGAN_GPT2_PATTERN, ORGAN_CUT_BYTES, "\\p{N}+", "[0-9][0-9][0-9]"}, 0},
    {"bloom poro-chat gpt3-finnish", {" ?[^" STOPS "]+"}, 0},
    {"viking", {" ?[^" STOPS "]+", "\\p{N}"}, 0},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}, 0},
    /* llama.cpp's converter writes "default" if it does not recognise the tokenizer. */
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_WITHOUT_SPACES, "\\p{N}+", "[0-9][0-9][0-9]"}, 0},
};
/* clang-format on */

const organ_pretokenizer *organ_pretokenizer_named(const char *name, size_t length)
{
    for (size_t k = 0; k < sizeof pretokenizers / sizeof *pretokenizers; k++)
        if (organ_lists_word(pretokenizers[k].names, ' ', name, length))
            return &pretokenizers[k];
    return NULL;
}

/* The rules of a row are NFC or no normalizer, the patterns in their order as Split steps that isolate, then the step
 * that replaces bytes by letters. */
static bool matches_pretokenizer(const organ_tokenizer *t, const organ_pretokenizer *pretokenizer)
{
    const bool nfc =
        t->normalizer_count == 1 && t->normalizer[0].kind == ORGAN_STEP_NORMAL_FORM && t->normalizer[0].form == 0;
    size_t at = 0;
    if ((t->normalizer_count > 0 && !nfc) || nfc != ((pretokenizer->rules & ORGAN_CUT_NFC) != 0))
        return false;
    for (; at < ORGAN_PRETOKENIZER_PATTERNS && pretokenizer->patterns[at]; at++)
        if (at >= t->pretokenizer_count || !t->pretokenizer[at].pattern ||
            t->pretokenizer[at].behaviour != ORGAN_ISOLATED || t->pretokenizer[at].invert ||
            strcmp(t->pretokenizer[at].pattern, pretokenizer->patterns[at]) != 0)
            return false;
    return at + 1 == t->pretokenizer_count && t->pretokenizer[at].kind == ORGAN_STEP_BYTES;
}

/* The architecture precedes the other names of the rows that match. */
static const char *name_with(const organ_tokenizer *t, const char *architecture, bool whole, size_t *length)
{
    const organ_pretokenizer *found = NULL;
    for (size_t k = 0; k < sizeof pretokenizers / sizeof *pretokenizers; k++) {
        const organ_pretokenizer *const row = &pretokenizers[k];
        if (whole != ((row->rules & ORGAN_CUT_WHOLE) != 0) || !matches_pretokenizer(t, row))
            continue;
        if (organ_lists_word(row->names, ' ', architecture, strlen(architecture))) {
            *length = strlen(architecture);
            return architecture;
        }
        found = found ? found : row;
    }
    *length = found ? strcspn(found->names, " ") : 0;
    return found ? found->names : NULL;
}

const char *organ_pretokenizer_name_of(const organ_tokenizer *t, const char *architecture, size_t *length)
{
    const char *const name = name_with(t, architecture, t->ignore_merges, length);
    return name ? name : name_with(t, architecture, !t->ignore_merges, length);
}

/* An empty pattern (ORGAN_CUT_BYTES) stands for the step that replaces bytes by letters; without an empty pattern,
 * this step is the last one. */
organ_status organ_tokenizer_set_pretokenizer(organ_tokenizer *t, const char *label,
                                              const organ_pretokenizer *pretokenizer, organ_error *error)
{
    bool letters = false;
    if (pretokenizer->rules & ORGAN_CUT_NFC)
        t->normalizer[t->normalizer_count++] = (organ_step){.kind = ORGAN_STEP_NORMAL_FORM};
    for (size_t k = 0; k < ORGAN_PRETOKENIZER_PATTERNS && pretokenizer->patterns[k] && !error->status; k++)
        if (*pretokenizer->patterns[k]) {
            organ_tokenizer_split_at(t, label, pretokenizer->patterns[k], pretokenizer->rules & ORGAN_CUT_DROPS, error);
        } else {
            t->pretokenizer[t->pretokenizer_count++] = (organ_step){.kind = ORGAN_STEP_BYTES};
            letters = true;
        }
    if (!letters)
        t->pretokenizer[t->pretokenizer_count++] = (organ_step){.kind = ORGAN_STEP_BYTES};
    t->byte_level = true;
    return error->status;
}

/* ---- matches of a text or a regular expression, where a text is split as by the package tokenizers ---- */

/* Limits of the match steps of PCRE2. A "start" is a character at which a match might begin; PCRE2 restarts its count
 * of steps at each start. MATCH_LIMIT is more than any pattern in use needs for a word; a pattern that needs more would
 * take exponential time. MATCH_LIMIT alone would allow hours for a text, so STEPS_FOR_BYTE bounds the sum over all
 * starts. */
enum {
    MATCH_LIMIT = 20000000,   /* most steps for one start */
    FIRST_LIMIT = 64,         /* steps for one start that are tried first */
    STEPS_FOR_BYTE = 1 << 14, /* most steps for a whole text, per byte of it */
    STEPS_AT_ONCE = 1 << 16,  /* steps for one call of pcre2_match, over all its starts */
    STACK_LIMIT = 16 << 20    /* largest stack of compiled patterns, in bytes */
};

bool organ_search_make(organ_search *search, size_t bytes)
{
    search->steps_left = MATCH_LIMIT + (uint64_t)STEPS_FOR_BYTE * bytes;
    search->data = pcre2_match_data_create(1, NULL);
    search->context = pcre2_match_context_create(NULL);
    /* begins with 32 KiB, the size of PCRE2's own stack */
    search->stack = pcre2_jit_stack_create(32 << 10, STACK_LIMIT,
                                           NULL); /* NULL if it cannot be allocated: PCRE2 then uses its own */
    if (!search->data || !search->context)
        return false;
    if (search->stack)
        pcre2_jit_stack_assign(search->context, NULL, search->stack);
    return true;
}

void organ_search_release(organ_search *search)
{
    pcre2_match_data_free(search->data);
    pcre2_match_context_free(search->context);
    pcre2_jit_stack_free(search->stack);
}

/* Sets *last so that `limit` times the number of starts is at most STEPS_AT_ONCE; if `limit` is not below
 * STEPS_AT_ONCE, *last is `from`. Subtracts `limit` from search->steps_left for each start that was tried. */
static int match_with_limit(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t from,
                            size_t *last, uint32_t limit)
{
    const size_t max = limit < STEPS_AT_ONCE ? STEPS_AT_ONCE / limit - 1 : 0;
    *last = bytes - from > max ? from + max : bytes;
    pcre2_set_match_limit(search->context, limit);
    pcre2_set_offset_limit(search->context, *last);
    const int found =
        pcre2_match(step->regex, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, search->data, search->context);
    /* the starts that were tried: `from` up to the match, or up to *last without a match */
    const size_t begin = found >= 0 ? pcre2_get_ovector_pointer(search->data)[0] : *last;
    const uint64_t taken = limit * (uint64_t)(begin > from ? begin - from + 1 : 1);
    search->steps_left -= taken < search->steps_left ? taken : search->steps_left;
    return found;
}

/* FIRST_LIMIT steps for each start are enough for patterns in use; the limit is raised 16-fold whenever PCRE2
 * reports that it was reached. Returns PCRE2_ERROR_MATCHLIMIT if search->steps_left or MATCH_LIMIT are used up. */
static int match_with_growing_limit(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                                    size_t from)
{
    uint32_t limit = FIRST_LIMIT;
    while (search->steps_left > limit) {
        size_t last;
        const int found = match_with_limit(step, search, text, bytes, from, &last, limit);
        if (found == PCRE2_ERROR_MATCHLIMIT && limit < MATCH_LIMIT) {
            limit = limit < MATCH_LIMIT / 16 ? 16 * limit : MATCH_LIMIT;
            continue;
        }
        if (found != PCRE2_ERROR_NOMATCH || last >= bytes)
            return found;
        /* no match begins up to `last`: continue at the next character */
        for (from = last + 1; from < bytes && ((unsigned char)text[from] & 0xC0) == 0x80;)
            from++;
        limit = FIRST_LIMIT;
    }
    return PCRE2_ERROR_MATCHLIMIT;
}

/* *begin is SIZE_MAX if there is no match. *from becomes the end of the match, or one character further after an
 * empty match, so that the next search does not find it again. */
static organ_status find_regex(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                               size_t *from, size_t *begin, size_t *end, organ_error *error)
{
    *begin = SIZE_MAX;
    if (*from > bytes)
        return ORGAN_OK;
    const int found = match_with_growing_limit(step, search, text, bytes, *from);
    if (found == PCRE2_ERROR_NOMATCH)
        return ORGAN_OK;
    if (found < 0) {
        char reason[120] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)reason, sizeof reason);
        return organ_fail(error, found == PCRE2_ERROR_NOMEMORY ? ORGAN_IO : ORGAN_BAD_INPUT,
                          "the tokenizer's pattern '%.300s' cannot be matched with this text: %s; shorten long runs of "
                          "the same kind of character (line breaks, spaces)",
                          step->pattern, reason);
    }
    const PCRE2_SIZE *const places = pcre2_get_ovector_pointer(search->data);
    *begin = places[0];
    *end = places[1];
    *from = *end;
    if (*begin == *end) {
        size_t length = 1;
        if (*end < bytes)
            organ_utf8_at(text + *end, &length);
        *from += length;
    }
    return ORGAN_OK;
}

organ_status organ_step_find(const organ_step *step, organ_search *search, const char *text, size_t bytes, size_t *from,
                             size_t *begin, size_t *end, organ_error *error)
{
    if (step->regex)
        return find_regex(step, search, text, bytes, from, begin, end, error);
    const char *found =
        step->text_bytes && *from < bytes ? memmem(text + *from, bytes - *from, step->text, step->text_bytes) : NULL;
    *begin = found ? (size_t)(found - text) : SIZE_MAX;
    *end = *from = found ? *begin + step->text_bytes : bytes;
    return ORGAN_OK;
}

/* A span is a match or the text between two matches. */
typedef struct split_state {
    const organ_step *step;
    organ_piece_sink *sink; /* gets the pieces */
    void *context;          /* of `sink` */
    size_t begin, end; /* byte range of the last piece, which the next span may still join; empty if there is none */
    bool any;          /* there was a previous span */
    bool matched;      /* the previous span counted as match (after step->invert) */
} split_state;

static organ_status emit_piece(split_state *c, organ_error *error)
{
    return c->begin == c->end ? ORGAN_OK : c->sink(c->context, c->begin, c->end, error);
}

/* `match`: the span matches the pattern of the step; c->matched: the previous one did. */
static bool joins_previous(const split_state *c, bool match)
{
    switch (c->step->behaviour) {
    case ORGAN_ISOLATED:
    case ORGAN_REMOVED:
        return false;
    case ORGAN_MERGED_WITH_PREVIOUS:
        return c->any && match && !c->matched;
    case ORGAN_MERGED_WITH_NEXT:
        return c->any && !match && c->matched;
    case ORGAN_CONTIGUOUS:
        return c->any && match == c->matched;
    }
    return false;
}

/* `match` is true if the span is a match of the step's pattern, false if it is the text between two matches;
 * step->invert exchanges the two. */
static organ_status add_span(split_state *c, size_t begin, size_t end, bool match, organ_error *error)
{
    if (begin == end)
        return ORGAN_OK;
    match = match != c->step->invert;
    const bool joined = joins_previous(c, match);
    c->matched = match;
    c->any = true;
    if (match && c->step->behaviour == ORGAN_REMOVED)
        return ORGAN_OK;
    if (!joined) {
        if (emit_piece(c, error) != ORGAN_OK)
            return error->status;
        c->begin = begin;
    }
    c->end = end;
    return ORGAN_OK;
}

organ_status organ_step_split(const organ_step *step, organ_search *search, const char *text, size_t bytes,
                              organ_piece_sink *sink, void *context, organ_error *error)
{
    split_state c = {.step = step, .sink = sink, .context = context};
    size_t from = 0, done = 0, begin, end = 0;
    for (;;) {
        if (organ_step_find(step, search, text, bytes, &from, &begin, &end, error) != ORGAN_OK)
            return error->status;
        if (begin == SIZE_MAX)
            break;
        if (add_span(&c, done, begin, /*match=*/false, error) != ORGAN_OK ||
            add_span(&c, begin, end, /*match=*/true, error) != ORGAN_OK)
            return error->status;
        done = end;
    }
    return add_span(&c, done, bytes, /*match=*/false, error) == ORGAN_OK ? emit_piece(&c, error) : error->status;
}
