/* SPDX-License-Identifier: MIT
 * Values that a user types for keys of GGUF files: "TYPE=VALUE". */
#include "formats/base/text.h"
#include "formats/gguf/typed_values.h"
#include "tests/fuzz/targets.h"

#include <stdlib.h>
#include <string.h>

/* The text that reports show of a number or bool is the same value. */
static void check_text_is_value(organ_gguf_kind kind, const organ_gguf_kv *kv, const char *shown)
{
    organ_gguf_writer *again = NULL;
    organ_error error = {0};
    fuzz_require(organ_gguf_writer_create(&again, &error) == ORGAN_OK, "there is memory");
    fuzz_require(organ_gguf_set_typed(again, "k", kind, shown, strlen(shown), &error) == ORGAN_OK,
                 "the text of a number is a number");
    const organ_gguf_kv *const back = organ_gguf_writer_find(again, "k");
    fuzz_require(back->size == kv->size && memcmp(back->bytes, kv->bytes, kv->size) == 0,
                 "the text of a number is this number");
    organ_gguf_writer_destroy(again);
}

static void check_value(organ_gguf_writer *writer, organ_gguf_kind kind)
{
    const organ_gguf_kv *const kv = organ_gguf_writer_find(writer, "k");
    organ_gguf_layout layout;
    organ_error error = {0};
    fuzz_require(kv && kv->element == kind.type && (kv->type == ORGAN_GGUF_ARRAY) == kind.array,
                 "the value has the type that was asked for");
    char *const shown = organ_gguf_value_text(kv);
    fuzz_require(shown && organ_utf8_valid(shown) && strlen(shown) < 512, "a value has a short text");
    fuzz_require(organ_gguf_writer_finish(writer, &layout, &error) == ORGAN_OK, "the value can be written");
    if (!kind.array && kind.type != ORGAN_GGUF_STRING)
        check_text_is_value(kind, kv, shown);
    free(shown);
}

void fuzz_gguf_values(const uint8_t *data, size_t size)
{
    const uint8_t *const equals = memchr(data, '=', size);
    const size_t length = equals ? (size_t)(equals - data) : size;
    const size_t rest = equals ? size - length - 1 : 0;
    organ_gguf_writer *writer = NULL;
    organ_gguf_kind kind;
    organ_error error = {0};
    if (!organ_gguf_kind_parse((const char *)data, length, &kind))
        return;
    char *const text = calloc(rest + 1, 1);
    fuzz_require(text && organ_gguf_writer_create(&writer, &error) == ORGAN_OK, "there is memory");
    if (rest)
        memcpy(text, equals + 1, rest);
    const organ_status status = organ_gguf_set_typed(writer, "k", kind, text, rest, &error);
    fuzz_check_verdict(status, &error);
    if (status == ORGAN_OK)
        check_value(writer, kind);
    else
        fuzz_require(organ_gguf_writer_find(writer, "k") == NULL, "nothing is set after an error");
    organ_gguf_writer_destroy(writer);
    free(text);
}
