/* SPDX-License-Identifier: MIT */
#include "tests/forward/golden_inputs.h"

#include <check.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE "fixtures/architectures/inputs.tsv"

enum { MAX_PLACES = 4096, LINE = 1 << 16, FIRST_CHARACTER = 0x4E00, CHARACTERS = 256 };

golden_place *golden_place_of(golden_inputs *all, const char *name)
{
    for (size_t k = 0; k < all->count; k++)
        if (strcmp(all->items[k].name, name) == 0)
            return &all->items[k];
    golden_place *const made = &all->items[all->count];
    ck_assert_uint_lt(all->count++, MAX_PLACES);
    ck_assert_int_lt(snprintf(made->name, sizeof made->name, "%s", name), sizeof made->name);
    made->expected = made->measured = -1;
    return made;
}

double golden_of(golden_inputs *all, const char *name)
{
    const double expected = golden_place_of(all, name)->expected;
    ck_assert_msg(expected >= 0, TABLE " has no %s", name);
    return expected;
}

/* Adds the pattern with its # replaced by the numbers of an item like "0.3=1.25". */
static void add_item(golden_inputs *all, const char *pattern, const char *item)
{
    char name[200];
    size_t length = 0;
    for (const char *at = pattern; *at; at++) {
        ck_assert_uint_lt(length + 8, sizeof name);
        if (*at != '#') {
            name[length++] = *at;
            continue;
        }
        while (*item >= '0' && *item <= '9')
            name[length++] = *item++;
        item += *item == '.';
    }
    name[length] = 0;
    ck_assert_msg(*item == '=', "%s: %s", pattern, item);
    golden_place_of(all, name)->expected = strtod(item + 1, NULL);
}

static void add_row(golden_inputs *all, char *patterns, const char *items)
{
    char *rest, word[64];
    for (const char *pattern = strtok_r(patterns, " ", &rest); pattern; pattern = strtok_r(NULL, " ", &rest))
        for (const char *at = items; *at; at += strspn(at, " \n")) {
            const size_t length = strcspn(at, " \n");
            ck_assert_uint_lt(length, sizeof word);
            memcpy(word, at, length);
            word[length] = 0;
            add_item(all, pattern, word);
            at += length;
        }
}

golden_inputs golden_read(const char *reference)
{
    FILE *const file = fopen(TABLE, "r");
    golden_inputs all = {calloc(MAX_PLACES, sizeof(golden_place)), 0};
    static char line[LINE];
    bool here = false;
    ck_assert_msg(file && all.items, TABLE " cannot be opened");
    while (fgets(line, sizeof line, file)) {
        char *rest, *const kind = strtok_r(line, "\t\n", &rest), *const names = strtok_r(NULL, "\t\n", &rest);
        char keys[] = "keys.#", values[] = "values.#";
        if (strcmp(kind, "reference") == 0)
            here = strcmp(names, reference) == 0;
        else if (here && strcmp(kind, "inputs") == 0)
            add_row(&all, names, rest);
        else if (here)
            add_row(&all, strcmp(kind, "keys") == 0 ? keys : values, rest);
    }
    fclose(file);
    return all;
}

int golden_references(char names[GOLDEN_REFERENCES][64])
{
    FILE *const file = fopen(TABLE, "r");
    static char line[LINE];
    int count = 0;
    while (file && count < GOLDEN_REFERENCES && fgets(line, sizeof line, file))
        count += sscanf(line, "reference\t%63s", names[count]) == 1;
    if (file)
        fclose(file);
    return count;
}

/* In UTF-8, a character of this range has three bytes. */
static void set_character(char character[4], unsigned token)
{
    const unsigned code = FIRST_CHARACTER + token;
    character[0] = (char)(0xE0 | code >> 12);
    character[1] = (char)(0x80 | (code >> 6 & 0x3F));
    character[2] = (char)(0x80 | (code & 0x3F));
    character[3] = 0;
}

void golden_write_text(const char *tokenizer, const char *text, const unsigned *tokens, size_t count)
{
    char character[4];
    json_t *const vocabulary = json_object(), *const model = json_pack("{s:s, s:O, s:[]}", "type", "BPE", "vocab",
                                                                       vocabulary, "merges");
    for (unsigned k = 0; k < CHARACTERS; k++) {
        set_character(character, k);
        json_object_set_new(vocabulary, character, json_integer(k));
    }
    json_t *const root = json_pack("{s:n, s:n, s:n, s:o}", "normalizer", "pre_tokenizer", "decoder", "model", model);
    ck_assert_int_eq(json_dump_file(root, tokenizer, 0), 0);
    FILE *const file = fopen(text, "w");
    ck_assert_ptr_nonnull(file);
    for (size_t k = 0; k < count; k++) {
        ck_assert_uint_lt(tokens[k], CHARACTERS);
        set_character(character, tokens[k]);
        fputs(character, file);
    }
    ck_assert_int_eq(fclose(file), 0);
    json_decref(vocabulary);
    json_decref(root);
}
