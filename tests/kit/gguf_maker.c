/* SPDX-License-Identifier: MIT */
#include "tests/kit/gguf_maker.h"

#include "tests/kit/scratch_model.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct buffer {
    unsigned char *bytes;
    size_t size, capacity;
} buffer;

static unsigned char *more(buffer *out, size_t count)
{
    while (out->size + count > out->capacity) {
        out->capacity = out->capacity ? 2 * out->capacity : 4096;
        out->bytes = realloc(out->bytes, out->capacity);
        ck_assert_ptr_nonnull(out->bytes);
    }
    out->size += count;
    return out->bytes + out->size - count;
}

static void put_number(buffer *out, const char *digits, size_t count)
{
    char *end;
    const uint64_t value = *digits == '-' ? (uint64_t)strtoll(digits, &end, 0) : strtoull(digits, &end, 0);
    ck_assert_msg(*digits && !*end, "no number: %s", digits);
    unsigned char *at = more(out, count);
    for (size_t k = 0; k < count; k++)
        at[k] = (unsigned char)(value >> 8 * k);
}

static void put_string(buffer *out, const char *text, size_t length_bytes)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%zu", strlen(text));
    put_number(out, digits, length_bytes);
    if (*text)
        memcpy(more(out, strlen(text)), text, strlen(text));
}

static void put_hex(buffer *out, const char *digits)
{
    for (; *digits; digits += 2) {
        unsigned value;
        ck_assert_int_eq(sscanf(digits, "%2x", &value), 1);
        *more(out, 1) = (unsigned char)value;
    }
}

static void put_word(buffer *out, char *word)
{
    const size_t length = strlen(word);
    if (*word == '\'') {
        ck_assert(length >= 2 && word[length - 1] == '\'');
        memcpy(more(out, length - 2), word + 1, length - 2);
        return;
    }
    ck_assert_msg(length > 1 && word[1] == ':', "no word: %s", word);
    const unsigned long number = strtoul(word + 2, NULL, 0);
    switch (*word) {
    case 's':
    case 'S':
        put_string(out, word + 2, *word == 's' ? 8 : 4);
        break;
    case 'x':
        put_hex(out, word + 2);
        break;
    case 'z':
    case 'c':
        memset(more(out, number), *word == 'z' ? 0 : 'n', number);
        break;
    case 'p':
        while (out->size % number)
            *more(out, 1) = 0;
        break;
    default:
        put_number(out, word + 2, (size_t)(*word - '0'));
    }
}

unsigned char *gguf_bytes(const char *words, size_t *size)
{
    buffer out = {0};
    char *copy = strdup(words), *rest = NULL;
    more(&out, 0);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        put_word(&out, word);
    free(copy);
    *size = out.size;
    return out.bytes ? out.bytes : calloc(1, 1);
}

void gguf_file(const char *name, const char *words)
{
    size_t size;
    unsigned char *bytes = gguf_bytes(words, &size);
    scratch_file(name, bytes, size);
    free(bytes);
}
