/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/report_text.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"

#include <stdarg.h>
#include <string.h>

typedef struct range {
    uint32_t first, last;
} range;

/* Terminals support more scripts and signs, but only these blocks occur in names and paths. */
static const range zero_width[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD},
                                   {0x0610, 0x061A}, {0x064B, 0x065F}, {0x200B, 0x200D},
                                   {0x20D0, 0x20F0}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
static const range two_wide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},  {0x3041, 0x4DBF},   {0x4E00, 0x9FFF},
                                 {0xA000, 0xA4CF},   {0xAC00, 0xD7A3},  {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
                                 {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF},
                                 {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};

static bool is_in_ranges(const range *ranges, size_t count, uint32_t code)
{
    for (size_t k = 0; k < count; k++)
        if (code >= ranges[k].first && code <= ranges[k].last)
            return true;
    return false;
}
#define WITHIN(ranges, code) is_in_ranges(ranges, sizeof(ranges) / sizeof *(ranges), code)

static size_t decode(const char *s, uint32_t *code) { return organ_utf8_decode((const unsigned char *)s, code); }

/* Names from files must not control the terminal. */
static void visible_by(FILE *out, const char *s, organ_text_put *put)
{
    while (*s) {
        uint32_t code = 0;
        const size_t length = decode(s, &code);
        const size_t step = length ? length : 1;
        if (length && !organ_utf8_hidden(code))
            put(out, s, length);
        else
            for (size_t k = 0; k < step; k++)
                fprintf(out, "\\x%02x", (unsigned char)s[k]);
        s += step;
    }
}

static void put_plain(FILE *out, const char *s, size_t length) { fwrite(s, 1, length, out); }

void organ_text_visible(FILE *out, const char *s) { visible_by(out, s, put_plain); }

char *organ_text_made_visible(const char *s)
{
    organ_text text;
    organ_error ignored = {0};
    char *visible = NULL;
    if (organ_text_open(&text, &ignored) == ORGAN_OK) {
        organ_text_visible(text.out, s);
        organ_text_finish(&text, &visible, &ignored);
    }
    return visible;
}

static size_t columns_of_character(uint32_t code)
{
    if (code < 0x300)
        return 1;
    if (WITHIN(zero_width, code))
        return 0;
    return WITHIN(two_wide, code) ? 2 : 1;
}

/* Returns the bytes of the longest beginning of `s` that is at most `width` columns wide. */
static size_t prefix_within(const char *s, size_t width)
{
    size_t used = 0, at = 0;
    while (s[at]) {
        uint32_t code = 0;
        const size_t length = decode(s + at, &code);
        used += length ? columns_of_character(code) : 1;
        if (used > width)
            break;
        at += length ? length : 1;
    }
    return at;
}

size_t organ_text_width(const char *s)
{
    size_t width = 0;
    while (*s) {
        uint32_t code = 0;
        const size_t length = decode(s, &code);
        width += length ? columns_of_character(code) : 1;
        s += length ? length : 1;
    }
    return width;
}

char *organ_text_shorten(const char *s, size_t width, bool utf8)
{
    const size_t full_width = organ_text_width(s);
    if (full_width <= width)
        return organ_format("%s", s);
    const char *const gap = utf8 ? "…" : "...";
    const size_t capacity = width - organ_text_width(gap);
    const size_t head = prefix_within(s, capacity / 2);
    /* If `capacity` is odd, the end of the text gets the additional column. */
    size_t tail = head;
    for (size_t remaining = organ_text_width(s + head); remaining > capacity - capacity / 2;) {
        uint32_t code = 0;
        const size_t length = decode(s + tail, &code);
        remaining -= length ? columns_of_character(code) : 1;
        tail += length ? length : 1;
    }
    return organ_format("%.*s%s%s", (int)head, s, gap, s + tail);
}

void organ_text_wrap(FILE *out, const char *lead, size_t indent, const char *s, const organ_page *page)
{
    size_t at = organ_text_width(lead);
    bool first = true; /* the next word is the first of its line */
    fputs(lead, out);
    while (*s) {
        s += strspn(s, " ");
        const int length = (int)strcspn(s, " ");
        if (length == 0)
            break;
        char word[256]; /* to measure the word: its width counts only the first 255 bytes */
        snprintf(word, sizeof word, "%.*s", length, s);
        const size_t width = organ_text_width(word);
        if (!first && page->width && at + 1 + width > page->width) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        at += width + !first;
        fprintf(out, "%s%.*s", first ? "" : " ", length, s);
        first = false;
        s += length;
    }
    fputc('\n', out);
}

/* Lines with a command of organ, at the beginning or after two blanks, are not wrapped, so that they can be copied. */
static bool is_command(const char *line, size_t length)
{
    const char *const command = memmem(line, length, "organ ", strlen("organ "));
    const size_t before = command ? (size_t)(command - line) : 0;
    return command && (before == 0 || (before > 1 && command[-1] == ' ' && command[-2] == ' '));
}

/* `length` is that of the first line of `line`, whose text goes on after its newline. A line break replaces the blanks
 * before a word. The first word never moves to a new line, which it would not fit any better. */
static void fold_line(FILE *out, const char *line, size_t length, const organ_page *page)
{
    const size_t indent = strspn(line, " ");
    size_t column = 0; /* of the screen; at most `indent` until the first word is printed */
    for (const char *at = line, *const end = line + length; at < end;) {
        const size_t blanks = strspn(at, " "), left = (size_t)(end - at);
        const size_t word = blanks < left ? strcspn(at + blanks, " \n") : 0;
        ORGAN_OWNED char *const copy = strndup(at + blanks, word);
        const size_t width = copy ? organ_text_width(copy) : word;
        if (column > indent && page->width && column + blanks + width > page->width) {
            fprintf(out, "\n%*s", (int)indent + 2, "");
            column = indent + 2 + width;
        } else {
            fprintf(out, "%*s", (int)(blanks < left ? blanks : left), "");
            column += blanks + width;
        }
        fprintf(out, "%.*s", (int)word, at + blanks);
        at += blanks + word;
    }
}

void organ_text_fold(FILE *out, const char *lines, const organ_page *page)
{
    while (*lines) {
        const size_t length = strcspn(lines, "\n");
        if (is_command(lines, length))
            fprintf(out, "%.*s", (int)length, lines);
        else
            fold_line(out, lines, length, page);
        fputs(lines[length] ? "\n" : "", out);
        lines += length + (lines[length] == '\n');
    }
}

void organ_text_say(FILE *out, const organ_page *page, const char *lead, const char *format, ...)
{
    ORGAN_OWNED char *raw = NULL;
    va_list args;
    va_start(args, format);
    const int length = organ_vasprintf(&raw, format, args);
    va_end(args);
    if (length < 0) {
        organ_memory_count_refusal();
        return;
    }
    ORGAN_OWNED char *const visible = organ_text_made_visible(raw);
    if (visible)
        organ_text_wrap(out, lead, organ_text_width(lead), visible, page);
}

const char *organ_percent_text(double percent, char out[32])
{
    organ_snprintf(out, 32, percent < 1e6 ? "%.2f %%" : "%.3g %%", percent);
    return out;
}

/* Unicode's noncharacters are U+FDD0 to U+FDEF and the last two of each plane: XML forbids two of them, and all are
 * errors in HTML. */
static bool is_no_character(const unsigned char *s, size_t length)
{
    if (length == 3)
        return s[0] == 0xEF && ((s[1] == 0xB7 && s[2] >= 0x90 && s[2] <= 0xAF) || (s[1] == 0xBF && s[2] >= 0xBE));
    return length == 4 && (s[1] & 0x0F) == 0x0F && s[2] == 0xBF && s[3] >= 0xBE;
}

static void put_quoted(FILE *out, const char *s, size_t length)
{
    static const char special[] = "&<>\"";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    const char *const found = length == 1 ? strchr(special, *s) : NULL;
    if (found)
        fputs(entities[found - special], out);
    else if (is_no_character((const unsigned char *)s, length))
        fputs("\xEF\xBF\xBD", out);
    else
        fwrite(s, 1, length, out);
}

void organ_markup_text(FILE *out, const char *s) { visible_by(out, s, put_quoted); }
