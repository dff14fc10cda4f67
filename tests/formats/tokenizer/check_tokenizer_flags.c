/* SPDX-License-Identifier: MIT
 * Tests of the flags of tokenizer_config.json: the ids are those of transformers (fixtures/make_tokenizer_flags.py). */
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 6, FIXTURE = 0, CONFIG, FLAGS, FILLERS, TEXT, IDS };

/* Returns the fixture's tokenizer.json with `fillers` more words after those of the vocabulary, to be freed. Added
 * tokens that followed them get higher ids. */
static char *filled(const char *fixture, unsigned fillers)
{
    char path[100], word[32];
    size_t bytes, k;
    snprintf(path, sizeof path, "fixtures/tokenizers/%s.json", fixture);
    char *const text = tokenizer_load(path, &bytes);
    json_t *const document = json_loadb(text, bytes, 0, NULL), *added;
    json_t *const words = json_object_get(json_object_get(document, "model"), "vocab");
    const json_int_t first = (json_int_t)json_object_size(words);
    for (k = 0; k < fillers; k++) {
        snprintf(word, sizeof word, "<filler%zu>", k);
        json_object_set_new(words, word, json_integer(first + (json_int_t)k));
    }
    json_array_foreach(json_object_get(document, "added_tokens"), k, added)
    {
        const json_int_t id = json_integer_value(json_object_get(added, "id"));
        json_object_set_new(added, "id", json_integer(id + (id >= first ? (json_int_t)fillers : 0)));
    }
    char *const made = json_dumps(document, 0);
    json_decref(document);
    free(text);
    return made;
}

/* Writes a model with the three files of a row. */
static void write_row(const char *fixture, unsigned fillers, const char *config, const char *flags)
{
    char *const json = filled(fixture, fillers);
    tokenizer_model(json, strlen(json));
    scratch_file("config.json", config, strlen(config));
    scratch_file("tokenizer_config.json", flags, strlen(flags));
    free(json);
}

static void check_row(char **cells)
{
    organ_tokenizer *tokenizer;
    organ_error error = {0};
    size_t count, k = 0;
    write_row(cells[FIXTURE], (unsigned)atoi(cells[FILLERS]), cells[CONFIG], cells[FLAGS]);
    const organ_status status = tokenizer_at(scratch_path(""), &tokenizer, &error);
    if (strcmp(cells[IDS], "refused") == 0) {
        ck_assert_msg(status == ORGAN_BAD_INPUT && strstr(error.message, "config.json: "), "%s: %s", cells[FLAGS],
                      error.message);
        return;
    }
    ck_assert_msg(status == ORGAN_OK, "%s: %s", cells[FLAGS], error.message);
    uint32_t *const ids = tokenizer_ids(tokenizer, cells[TEXT], strlen(cells[TEXT]), /*special=*/true, &count);
    for (char *next = cells[IDS]; *next; k++) {
        const unsigned long id = strtoul(next, &next, 10);
        ck_assert_msg(k < count && ids[k] == id, "%s %s %s: id %zu is %u instead of %lu", cells[FIXTURE], cells[CONFIG],
                      cells[FLAGS], k, k < count ? ids[k] : 0, id);
    }
    ck_assert_uint_eq(k, count);
    free(ids);
    organ_tokenizer_close(tokenizer);
}

START_TEST(flags_change_ids_as_in_transformers)
{
    size_t bytes, rows = 0;
    char *const text = tokenizer_load("fixtures/tokenizers/flags.tsv", &bytes), *rest = text;
    for (char *line = strsep(&rest, "\n"); line && *line; line = strsep(&rest, "\n"), rows++) {
        char *cells[CELLS];
        for (size_t k = 0; k < CELLS; k++)
            cells[k] = strsep(&line, "\t");
        ck_assert_ptr_nonnull(cells[IDS]);
        check_row(cells);
    }
    ck_assert_uint_eq(rows, 60);
    free(text);
}
END_TEST

/* A pattern that a flag replaces is named in GGUF by the rules that the flag gives; ids of both are equal. */
START_TEST(a_corrected_pattern_has_its_name_in_gguf)
{
    organ_tokenizer_difference difference;
    organ_error error = {0};
    size_t bytes;
    write_row("llama3", 100100, "{\"model_type\":\"mistral\",\"transformers_version\":\"4.57.1\"}",
              "{\"fix_mistral_regex\":true}");
    ck_assert_msg(tokenizer_to_gguf(scratch_path(""), "llama", NULL, 110000, &difference, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert(!difference.found);
    char *const made = tokenizer_load(scratch_path("made.gguf"), &bytes);
    static const char value[] = "tokenizer.ggml.pre\x08\0\0\0\x06\0\0\0\0\0\0\0tekken";
    ck_assert_ptr_nonnull(memmem(made, bytes, value, sizeof value - 1));
    free(made);
}
END_TEST

/* llama.cpp has no rule for the blanks of LlamaTokenizer: the file is written, and the difference is reported. */
START_TEST(blanks_of_a_class_are_reported)
{
    organ_tokenizer_difference difference;
    organ_error error = {0};
    write_row("llama2", 0, "{\"model_type\":\"llama\"}", "{\"tokenizer_class\":\"LlamaTokenizer\",\"legacy\":false}");
    ck_assert_msg(tokenizer_to_gguf(scratch_path(""), "llama", NULL, 4096, &difference, &error) == ORGAN_OK, "%s",
                  error.message);
    ck_assert(difference.found);
    ck_assert_msg(strstr(difference.text, "in a GGUF file"), "%s", difference.text);
    write_row("llama2", 0, "{\"model_type\":\"llama\"}",
              "{\"tokenizer_class\":\"LlamaTokenizer\",\"split_special_tokens\":true}");
    ck_assert_int_eq(tokenizer_to_gguf(scratch_path(""), "llama", NULL, 4096, &difference, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "has no form in GGUF"), "%s", error.message);
}
END_TEST

/* Python writes Infinity and NaN into config.json, as for the time steps of Mamba. */
START_TEST(config_of_a_model_may_have_words_of_python)
{
    organ_tokenizer *tokenizer = NULL;
    organ_error error = {0};
    write_row("llama3", 0, "{\"model_type\":\"mamba2\",\"time_step_limit\":[0.0,Infinity],\"unused\":NaN}",
              "{\"add_prefix_space\":false}");
    ck_assert_msg(tokenizer_at(scratch_path(""), &tokenizer, &error) == ORGAN_OK, "%s", error.message);
    organ_tokenizer_close(tokenizer);
}
END_TEST

Suite *tokenizer_flags_suite(void)
{
    const suite_case cases[] = {
        {"flags",
         {flags_change_ids_as_in_transformers, a_corrected_pattern_has_its_name_in_gguf, blanks_of_a_class_are_reported,
          config_of_a_model_may_have_words_of_python}},
    };
    return suite_of("flags of tokenizers", cases, sizeof cases / sizeof *cases, scratch_begin, scratch_end);
}
