/* SPDX-License-Identifier: MIT
 * Tokenizers with a text to encode: of a GGUF file (TEXT, separator, FILE), and of a directory (TEXT, separator,
 * tokenizer.json or tekken.json or tiktoken.model, separator, tokenizer_config.json). */
#include "formats/gguf/file.h"
#include <organ/tokenizer.h>
#include "tests/fuzz/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY ((uint64_t)16 << 20) /* limit of memory of a step for a short text */

static void check_encoding(organ_tokenizer *tokenizer, fuzz_part text, bool special)
{
    organ_error error = {0};
    uint32_t *ids = NULL;
    size_t count = 0, bytes;
    const uint32_t vocabulary = organ_tokenizer_describe(tokenizer)->vocabulary;
    const organ_status status =
        organ_tokenizer_encode(tokenizer, (const char *)text.data, text.size, special, &ids, &count, &error);
    fuzz_check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < count; k++) {
        fuzz_require(ids[k] < vocabulary, "an id is below the size of the vocabulary");
        const char *const piece = organ_tokenizer_piece(tokenizer, ids[k], &bytes);
        fuzz_require(piece && memchr(piece, 0, bytes + 1) != NULL, "a piece has an end");
    }
    free(ids);
}

static void check_tokenizer(const organ_model *model, fuzz_part text)
{
    organ_error error = {0};
    organ_tokenizer *tokenizer;
    const organ_status status = organ_tokenizer_open(model, &tokenizer, &error);
    fuzz_check_verdict(status, &error);
    fuzz_require((status == ORGAN_OK) == (tokenizer != NULL), "there is a tokenizer if there is no error");
    if (!tokenizer)
        return;
    organ_tokenizer_allow(tokenizer, MEMORY);
    check_encoding(tokenizer, text, false);
    check_encoding(tokenizer, text, true);
    organ_tokenizer_close(tokenizer);
}

void fuzz_gguf_tokenizer(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const fuzz_part text = fuzz_next_part(&rest);
    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_gguf_header header = {0};
    const int fd = fuzz_file(NULL, 0, rest.data, rest.size, 0);
    organ_model_file file = {.name = "fuzz", .fd = fd, .size = rest.size};
    if (organ_gguf_read_header(&file, 0, &header, &list, &error) == ORGAN_OK) {
        const organ_model model = {.path = "fuzz", .directory = "", .format = "GGUF", .gguf = &header.view};
        if (organ_gguf_find(&header.view, "tokenizer.ggml.model"))
            check_tokenizer(&model, text);
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
}

/* Opens a model whose tokenizer file has this name. The model is opened once; its tokenizer's files are read each
 * time. */
static void check_directory(const char *name, const uint8_t *data, size_t size)
{
    static organ_model *model;
    static const char weights[] = "\x36\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}} ";
    static const char *const names[] = {"tokenizer.json", "tekken.json", "tiktoken.model"};
    fuzz_part rest = {data, size};
    const fuzz_part text = fuzz_next_part(&rest), tokenizer = fuzz_next_part(&rest), config = fuzz_next_part(&rest);
    if (!model) {
        organ_error error = {0};
        fuzz_put("tokenizer/model.safetensors", weights, sizeof weights - 1);
        organ_model_open(fuzz_folder("tokenizer"), &model, &error);
        fuzz_require(model != NULL, error.message);
    }
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[40];
        const bool meant = strcmp(names[k], name) == 0;
        snprintf(path, sizeof path, "tokenizer/%s", names[k]);
        fuzz_put(path, meant ? tokenizer.data : NULL, meant ? tokenizer.size : 0);
    }
    fuzz_put("tokenizer/tokenizer_config.json", config.size ? config.data : NULL, config.size);
    check_tokenizer(model, text);
}

void fuzz_tokenizer_json(const uint8_t *data, size_t size) { check_directory("tokenizer.json", data, size); }
void fuzz_tekken(const uint8_t *data, size_t size) { check_directory("tekken.json", data, size); }
void fuzz_tiktoken(const uint8_t *data, size_t size) { check_directory("tiktoken.model", data, size); }
