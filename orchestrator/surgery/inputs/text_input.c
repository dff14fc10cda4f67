/* SPDX-License-Identifier: MIT
 * Reads a text and its tokens within a limit of memory. */
#include "orchestrator/surgery/inputs/text_input.h"

#include "formats/base/input_file.h"
#include "formats/base/path.h"
#include "orchestrator/machine/enough_memory.h"

#include <stdlib.h>

organ_status organ_text_check_size(const char *path, organ_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size <= ORGAN_TEXT_LIMIT)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: has %lld bytes, but the limit for texts is 1 GiB: give a part of it (head -c 1G %s)", path,
                      (long long)info.st_size, path);
}

/* A file larger than the memory is rejected before it is read. */
organ_status organ_text_load(organ_text_input *text, const char *path, uint64_t memory, organ_error *error)
{
    struct stat info;
    *text = (organ_text_input){.path = path, .memory = memory};
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size <= ORGAN_TEXT_LIMIT &&
        (uint64_t)info.st_size > memory) {
        text->size = text->tokens = (size_t)info.st_size;
        return organ_memory_refuse(error, memory, organ_text_memory(text), "the %zu bytes of %s and their tokens",
                                   text->size, organ_path_name(path));
    }
    if (organ_text_check_size(path, error) != ORGAN_OK)
        return error->status;
    return organ_input_load(path, path, ORGAN_TEXT_LIMIT, &text->bytes, &text->size, error);
}

organ_status organ_text_encode(organ_text_input *text, organ_tokenizer *tokenizer, bool special, organ_error *error)
{
    const uint64_t capacity = text->memory > text->size ? (text->memory - text->size) / sizeof *text->ids : 0;
    organ_tokenizer_allow(tokenizer, text->memory);
    if (organ_tokenizer_encode_some(tokenizer, text->bytes, text->size, special,
                                    capacity < SIZE_MAX ? (size_t)capacity : SIZE_MAX, &text->ids, &text->tokens,
                                    error) == ORGAN_OK &&
        text->tokens > capacity)
        organ_memory_refuse(error, text->memory, organ_text_memory(text), "the %zu bytes of %s and their %zu tokens",
                            text->size, organ_path_name(text->path), text->tokens);
    return error->status;
}

uint64_t organ_text_memory(const organ_text_input *text)
{
    return (uint64_t)text->size + (uint64_t)text->tokens * sizeof *text->ids;
}

void organ_text_release(organ_text_input *text)
{
    free(text->bytes);
    free(text->ids);
    text->bytes = NULL;
    text->ids = NULL;
}
