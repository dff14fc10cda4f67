/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/untrusted_names.h"

#include <organ/base.h>
#include "formats/base/utf8.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The standard names of files that loaders and readers look for. */
static const char *const standard_names[] = {"config.json",
                                             "generation_config.json",
                                             "model.safetensors",
                                             "model.safetensors.index.json",
                                             "adapter_config.json",
                                             "adapter_model.safetensors",
                                             "tokenizer.json",
                                             "tokenizer_config.json",
                                             "tokenizer.model",
                                             "tekken.json",
                                             "tiktoken.model",
                                             "hy.tiktoken",
                                             "special_tokens_map.json",
                                             "added_tokens.json",
                                             "vocab.json",
                                             "merges.txt",
                                             "vocab.txt",
                                             "chat_template.jinja",
                                             "chat_template.json",
                                             "preprocessor_config.json",
                                             "processor_config.json",
                                             "quantize_config.json",
                                             "README.md",
                                             "LICENSE"};

/* Letters of other scripts that look like Latin ones, after folding of case and compatibility forms: Cyrillic, Greek,
 * Armenian, Cherokee, and special Latin letters; and punctuation that looks like that of file names. */
static const struct {
    uint16_t code;
    char like;
} homoglyphs[] = {
    {0x0430, 'a'}, {0x0432, 'b'}, {0x0433, 'r'}, {0x0435, 'e'}, {0x043A, 'k'}, {0x043C, 'm'}, {0x043D, 'h'},
    {0x043E, 'o'}, {0x043F, 'n'}, {0x0440, 'p'}, {0x0441, 'c'}, {0x0442, 't'}, {0x0443, 'y'}, {0x0445, 'x'},
    {0x0455, 's'}, {0x0456, 'i'}, {0x0458, 'j'}, {0x0475, 'v'}, {0x04AF, 'y'}, {0x04BB, 'h'}, {0x04BD, 'e'},
    {0x04CF, 'l'}, {0x0501, 'd'}, {0x050D, 'g'}, {0x051B, 'q'}, {0x051D, 'w'}, {0x03B1, 'a'}, {0x03B3, 'y'},
    {0x03B5, 'e'}, {0x03B7, 'n'}, {0x03B9, 'i'}, {0x03BA, 'k'}, {0x03BD, 'v'}, {0x03BF, 'o'}, {0x03C1, 'p'},
    {0x03C3, 'o'}, {0x03C4, 't'}, {0x03C5, 'u'}, {0x03C7, 'x'}, {0x03C9, 'w'}, {0x03F3, 'j'}, {0x0561, 'w'},
    {0x0563, 'q'}, {0x0566, 'q'}, {0x0570, 'h'}, {0x0578, 'n'}, {0x057D, 'u'}, {0x0581, 'g'}, {0x0584, 'f'},
    {0x0585, 'o'}, {0x0131, 'i'}, {0x0237, 'j'}, {0x0251, 'a'}, {0x0261, 'g'}, {0x0262, 'g'}, {0x026A, 'i'},
    {0x0280, 'r'}, {0x028F, 'y'}, {0x0299, 'b'}, {0x029C, 'h'}, {0x029F, 'l'}, {0x1D00, 'a'}, {0x1D04, 'c'},
    {0x1D05, 'd'}, {0x1D07, 'e'}, {0x1D0B, 'k'}, {0x1D0D, 'm'}, {0x1D0F, 'o'}, {0x1D18, 'p'}, {0x1D1B, 't'},
    {0x1D1C, 'u'}, {0x1D20, 'v'}, {0x1D21, 'w'}, {0x1D22, 'z'}, {0x01C0, 'l'}, {0x2010, '-'}, {0x2012, '-'},
    {0x2013, '-'}, {0x2014, '-'}, {0x2212, '-'}, {0x2043, '-'}, {0x02D7, '-'}, {0x2024, '.'}, {0x0660, '.'},
    {0x06D4, '.'}, {0x3002, '.'}, {0x2044, '/'}, {0x2215, '/'}, {0x29F8, '/'}, {0x02CD, '_'}, {0x13A0, 'd'},
    {0x13A1, 'r'}, {0x13A2, 't'}, {0x13A5, 'i'}, {0x13AA, 'a'}, {0x13AC, 'e'}, {0x13B3, 'w'}, {0x13B7, 'm'},
    {0x13BB, 'h'}, {0x13BD, 'y'}, {0x13C0, 'g'}, {0x13C2, 'h'}, {0x13C3, 'z'}, {0x13CF, 'b'}, {0x13D2, 'r'},
    {0x13D4, 'w'}, {0x13D5, 's'}, {0x13D9, 'v'}, {0x13DA, 's'}, {0x13DE, 'l'}, {0x13DF, 'c'}, {0x13E2, 'p'},
    {0x13E6, 'k'}, {0x13E7, 'd'}, {0x13F3, 'g'}, {0x13F4, 'b'}};

/* Invisible characters in addition to those that messages omit (organ_utf8_hidden): joiners, fillers, variation
 * selectors, tags. */
static const struct {
    uint32_t first, last;
} invisible[] = {{0x00AD, 0x00AD}, {0x034F, 0x034F},   {0x115F, 0x1160},   {0x17B4, 0x17B5},
                 {0x180B, 0x180F}, {0x200B, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},
                 {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
                 {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}};

static bool is_invisible(uint32_t code)
{
    for (size_t k = 0; k < sizeof invisible / sizeof *invisible; k++)
        if (code >= invisible[k].first && code <= invisible[k].last)
            return true;
    return organ_utf8_hidden(code);
}

bool organ_names_hide(const char *text, unsigned *code)
{
    uint32_t one;
    for (size_t length; *text; text += length) {
        length = organ_utf8_decode((const unsigned char *)text, &one);
        if (length == 0 || is_invisible(one)) {
            *code = length ? one : (unsigned char)*text;
            return true;
        }
    }
    return false;
}

static char latin_lookalike(int32_t code)
{
    for (size_t k = 0; k < sizeof homoglyphs / sizeof *homoglyphs; k++)
        if (homoglyphs[k].code == code)
            return homoglyphs[k].like;
    return 0;
}

/* Case and compatibility forms are folded, lookalikes replaced, and with `bare` accents removed. Returns NULL if
 * another character remains, or if memory runs out; the caller frees the text. *foreign becomes the first lookalike,
 * 0 if there is none. */
static char *ascii_appearance(const char *name, bool bare, int32_t *foreign)
{
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_option_t options = UTF8PROC_NULLTERM | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
                                      (bare ? UTF8PROC_DECOMPOSE | UTF8PROC_STRIPMARK : UTF8PROC_COMPOSE);
    const utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)name, 0, &folded, options);
    *foreign = 0;
    if (length < 0) {
        if (length == UTF8PROC_ERROR_NOMEM)
            organ_memory_count_refusal();
        return NULL;
    }
    size_t made = 0;
    for (utf8proc_ssize_t at = 0, step; at < length; at += step) {
        utf8proc_int32_t code;
        step = utf8proc_iterate(folded + at, length - at, &code);
        const char instead = code < 0x80 ? (char)code : latin_lookalike(code);
        if (step <= 0 || !instead) {
            free(folded);
            return NULL;
        }
        if (code >= 0x80 && !*foreign)
            *foreign = code;
        folded[made++] = (utf8proc_uint8_t)instead;
    }
    folded[made] = 0;
    return (char *)folded;
}

/* Characters and pairs become a letter that they resemble, such as "rn" "m", so that names that look alike become
 * equal. The text never becomes longer. */
static void fold_ascii(char *text)
{
    static const struct {
        const char *text;
        char as;
    } pairs[] = {{"rn", 'm'}, {"vv", 'w'}, {"cl", 'd'}, {"0", 'o'}, {"1", 'l'}, {"i", 'l'}, {"|", 'l'}, {"5", 's'}};
    char *to = text;
    for (const char *from = text; *from; to++) {
        size_t length = 1;
        char as = *from;
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            if (as == *from && strncmp(from, pairs[k].text, strlen(pairs[k].text)) == 0) {
                as = pairs[k].as;
                length = strlen(pairs[k].text);
            }
        *to = as;
        from += length;
    }
    *to = 0;
}

/* Names that differ only in case count as equal. *foreign becomes the first lookalike, 0 if all characters are
 * ASCII. */
static bool resembles_standard_name(const char *name, const char **of, int32_t *foreign)
{
    int32_t none;
    bool found = false;
    char *const appearance = ascii_appearance(name, true, foreign);
    if (appearance)
        fold_ascii(appearance);
    for (size_t k = 0; appearance && !found && k < sizeof standard_names / sizeof *standard_names; k++) {
        char *const other = ascii_appearance(standard_names[k], true, &none);
        if (other)
            fold_ascii(other);
        found = other && strcmp(appearance, other) == 0 && strcasecmp(name, standard_names[k]) != 0;
        if (found)
            *of = standard_names[k];
        free(other);
    }
    free(appearance);
    return found;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return *text == 0;
}

/* A name in a single script is not misleading. */
static void check_scripts(organ_findings *findings, const char *name)
{
    int32_t foreign;
    bool latin = false;
    char *const appearance = is_ascii(name) ? NULL : ascii_appearance(name, false, &foreign);
    for (const char *c = name; *c; c++)
        latin |= isalpha((unsigned char)*c) != 0;
    if (appearance && foreign && latin)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                           "it reads '%s', but has the letter U+%04X, which only looks like '%c'", appearance,
                           (unsigned)foreign, latin_lookalike(foreign));
    free(appearance);
}

/* The characters of the name have at most one finding, a space or a dot at its ends another. */
void organ_names_check(organ_findings *findings, const char *name)
{
    const char *of = NULL;
    int32_t foreign = 0;
    unsigned code;
    if (!organ_utf8_valid(name))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name is not valid UTF-8");
    else if (organ_names_hide(name, &code))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "",
                           "the name has U+%04X, which is invisible or changes the writing direction", code);
    else if (resembles_standard_name(name, &of, &foreign) && foreign)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name looks like '%s', but has U+%04X", of,
                           (unsigned)foreign);
    else if (of)
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name looks like '%s' but differs", of);
    else
        check_scripts(findings, name);
    if (*name == ' ' || (*name && name[strlen(name) - 1] == ' ') || (*name && name[strlen(name) - 1] == '.'))
        organ_findings_add(findings, ORGAN_FINDING_NAME, "", "the name begins or ends with a space or ends with a dot");
}
