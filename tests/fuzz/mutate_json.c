/* SPDX-License-Identifier: MIT
 * Mutates JSON value by value and skips bytes that are no JSON. */
#include "tests/fuzz/mutate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES = 512, DEPTH = 64, LONGEST = 1 << 14 };

/* A value, [begin, end). `key` is the start of a member's name, or equal to `begin`. */
typedef struct value {
    size_t begin, end, key;
    bool is_key;
} value;

typedef struct document {
    fuzz_input in;
    value values[VALUES];
    size_t count;
} document;

static const char *const atoms[] = {"null",
                                    "true",
                                    "false",
                                    "0",
                                    "-0",
                                    "-1",
                                    "1",
                                    "1.5",
                                    "1e400",
                                    "1e-400",
                                    "NaN",
                                    "Infinity",
                                    "2147483648",
                                    "4294967296",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "18446744073709551615",
                                    "18446744073709551616",
                                    "-9223372036854775808",
                                    "\"\"",
                                    "\"\\u0000\"",
                                    "\"\\ud800\"",
                                    "\"\xff\"",
                                    "\"../x\"",
                                    "\"<b id=x>&amp;\"",
                                    "[]",
                                    "{}",
                                    "[[]]",
                                    "{\"\":0}",
                                    "[0,0]",
                                    "[-1,1]"};

static const char *const escapes[] = {
    "\\u0000",      "\\\"", "\\\\", "\\ud83d\\ude00", "\\udc00",   "\\n", "\\u202e", "\xe2\x96\x81", "\xf0\x9f\x98\x80",
    "\xef\xbf\xbd", "/",    "..",   "<!--",           "</script>", "\">", "\xcc\x81"};

/* ---- parser ---- */

static size_t skip_string(const fuzz_input *in, size_t at)
{
    for (at++; at < in->size && in->data[at] != '"'; at++)
        at += in->data[at] == '\\';
    return at < in->size ? at + 1 : in->size;
}

static bool is_word(uint8_t byte) { return byte && strchr("+-.0123456789aefflnrstuINy", byte); }

static size_t skip_blanks(const fuzz_input *in, size_t at)
{
    while (at < in->size && in->data[at] && strchr(" \t\r\n", in->data[at]))
        at++;
    return at;
}

/* Fills `values` with strings, words, lists and objects in the order of their ends. */
static void find_values(document *d)
{
    const fuzz_input *const in = &d->in;
    size_t open[DEPTH], keys[DEPTH], depth = 0, key = SIZE_MAX;
    for (size_t at = 0, end; at < in->size && d->count < VALUES; at = end) {
        const uint8_t byte = in->data[at];
        value found = {.begin = at, .key = key < at ? key : at};
        end = at + 1;
        if (byte == '"') {
            end = skip_string(in, at);
            const size_t next = skip_blanks(in, end);
            found.is_key = next < in->size && in->data[next] == ':';
        } else if (is_word(byte)) {
            while (end < in->size && is_word(in->data[end]))
                end++;
        } else if ((byte == '{' || byte == '[') && depth < DEPTH) {
            open[depth] = at;
            keys[depth++] = found.key;
            key = SIZE_MAX;
            continue;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            found.begin = open[--depth];
            found.key = keys[depth];
        } else {
            continue;
        }
        found.end = end;
        if (found.is_key)
            found.key = at;
        key = found.is_key ? at : SIZE_MAX;
        d->values[d->count++] = found;
    }
}

/* ---- mutations of one value ---- */

static void put_atom(document *d, const value *v)
{
    const char *const atom = atoms[fuzz_roll(&d->in, sizeof atoms / sizeof *atoms)];
    if (!v->is_key)
        fuzz_splice(&d->in, v->begin, v->end - v->begin, atom, strlen(atom));
}

/* Replaces the value, or a name, by another one of the document. */
static void put_other(document *d, const value *v)
{
    const value *const other = &d->values[fuzz_roll(&d->in, d->count)];
    if (other->is_key >= v->is_key)
        fuzz_splice(&d->in, v->begin, v->end - v->begin, d->in.data + other->begin, other->end - other->begin);
}

/* Repeats the element or member, or inserts another one before it. */
static void repeat(document *d, const value *v)
{
    const value *const other = fuzz_roll(&d->in, 2) ? v : &d->values[fuzz_roll(&d->in, d->count)];
    const size_t from = other->is_key ? other->begin : other->key;
    if (!v->is_key && fuzz_splice(&d->in, v->key, 0, ",", 1))
        fuzz_splice(&d->in, v->key, 0, d->in.data + from + (from >= v->key), other->end - from);
}

static void take_away(document *d, const value *v)
{
    const size_t next = skip_blanks(&d->in, v->end);
    const size_t end = next < d->in.size && d->in.data[next] == ',' ? next + 1 : v->end;
    if (!v->is_key)
        fuzz_splice(&d->in, v->key, end - v->key, "", 0);
}

/* Nests the value in so many lists that a recursive parser would need a deep stack. */
static void nest(document *d, const value *v)
{
    const size_t max = d->in.room - d->in.size, requested = (size_t)1 << fuzz_roll(&d->in, 13);
    const size_t depth = requested < max / 6 ? requested : max / 6;
    const bool objects = fuzz_roll(&d->in, 3) == 0;
    char *const brackets = malloc(6 * depth + 1);
    if (!brackets || v->is_key || depth == 0) {
        free(brackets);
        return;
    }
    memset(brackets, objects ? '}' : ']', depth);
    fuzz_splice(&d->in, v->end, 0, brackets, depth);
    for (size_t k = 0; k < depth; k++)
        memcpy(brackets + (objects ? 5 * k : k), objects ? "{\"a\":" : "[", objects ? 5 : 1);
    fuzz_splice(&d->in, v->begin, 0, brackets, (objects ? 5 : 1) * depth);
    free(brackets);
}

static void change_number(document *d, const value *v)
{
    char text[32];
    const uint8_t first = d->in.data[v->begin];
    if (v->end - v->begin >= sizeof text || (first != '-' && (first < '0' || first > '9')))
        return;
    memcpy(text, d->in.data + v->begin, v->end - v->begin);
    text[v->end - v->begin] = '\0';
    const int length =
        snprintf(text, sizeof text, "%" PRId64, (int64_t)fuzz_odd_number(&d->in, (uint64_t)strtoll(text, NULL, 10)));
    fuzz_splice(&d->in, v->begin, v->end - v->begin, text, (size_t)length);
}

static void change_string(document *d, const value *v)
{
    const char *const escape = escapes[fuzz_roll(&d->in, sizeof escapes / sizeof *escapes)];
    if (d->in.data[v->begin] == '"' && v->end - v->begin >= 2)
        fuzz_splice(&d->in, v->begin + 1 + fuzz_roll(&d->in, v->end - v->begin - 1), fuzz_roll(&d->in, 2), escape,
                    strlen(escape));
}

/* Doubles the text of a string, or the elements of a list, several times. */
static void lengthen(document *d, const value *v)
{
    const uint8_t first = d->in.data[v->begin];
    size_t length = v->end - v->begin - 2;
    if (v->end - v->begin < 3 || (first != '"' && first != '['))
        return;
    for (size_t times = 1 + fuzz_roll(&d->in, 6); times > 0 && length < LONGEST; times--) {
        if (first == '[' && !fuzz_splice(&d->in, v->begin + 1 + length, 0, ",", 1))
            return;
        const size_t comma = first == '[';
        if (!fuzz_splice(&d->in, v->begin + 1 + length + comma, 0, d->in.data + v->begin + 1, length))
            return;
        length = 2 * length + comma;
    }
}

static void (*const changes[])(document *, const value *) = {
    put_atom, put_other, repeat, take_away, change_number, change_number, change_string, lengthen, nest};

size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static document d;
    d.in = fuzz_input_of(data, size, room, seed);
    for (size_t steps = 1 + fuzz_roll(&d.in, 3); steps > 0; steps--) {
        d.count = 0;
        find_values(&d);
        if (d.count == 0)
            return fuzz_mutate_bytes(data, d.in.size, room, seed);
        /* Deep nesting is rare. */
        const size_t kinds = sizeof changes / sizeof *changes,
                     kind = fuzz_roll(&d.in, fuzz_roll(&d.in, 4) ? kinds - 1 : kinds);
        changes[kind](&d, &d.values[fuzz_roll(&d.in, d.count)]);
    }
    return d.in.size;
}
