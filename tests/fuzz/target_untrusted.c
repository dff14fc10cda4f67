/* SPDX-License-Identifier: MIT
 * A download to scan: config.json, separator, tokenizer_config.json, separator, a chat template, separator,
 * tokenizer.json, separator, header of a safetensors file, separator, the name of a file and its content; or a GGUF
 * file. The scan always ends with a document. */
#include "tests/fuzz/targets.h"
#include <organ/inspect.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NAME = 60 };

static const char *const files[] = {"config.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.json"};

/* Writes a file with any name that a directory allows, in place of the one before. */
static void put_named(fuzz_part name, fuzz_part content)
{
    static char before[LONGEST_NAME + 32];
    char path[LONGEST_NAME + 32] = "untrusted/";
    const size_t first = strlen(path), length = name.size < LONGEST_NAME ? name.size : LONGEST_NAME;
    if (*before)
        fuzz_put(before, NULL, 0);
    *before = '\0';
    for (size_t k = 0; k < length; k++)
        path[first + k] = name.data[k] == '/' || name.data[k] == '\0' ? '_' : (char)name.data[k];
    path[first + length] = '\0';
    bool taken = length == 0 || strcmp(path + first, ".") == 0 || strcmp(path + first, "..") == 0;
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        taken = taken || strcmp(path + first, files[k]) == 0;
    if (taken || strcmp(path + first, "model.safetensors") == 0 || strcmp(path + first, "model.gguf") == 0)
        return;
    fuzz_put(path, content.size ? (const void *)content.data : "", content.size);
    strcpy(before, path);
}

static void put_files(fuzz_part rest)
{
    char path[64];
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        const fuzz_part part = fuzz_next_part(&rest);
        snprintf(path, sizeof path, "untrusted/%s", files[k]);
        fuzz_put(path, part.size ? part.data : NULL, part.size);
    }
    const fuzz_part header = fuzz_next_part(&rest), name = fuzz_next_part(&rest);
    fuzz_put_tensors("untrusted/model.safetensors", header, header);
    put_named(name, rest);
}

void fuzz_untrusted(const uint8_t *data, size_t size)
{
    const bool gguf = size >= 4 && memcmp(data, "GGUF", 4) == 0;
    fuzz_put("untrusted/model.gguf", gguf ? data : NULL, size);
    put_files(gguf ? (fuzz_part){0} : (fuzz_part){data, size});
    organ_error error = {0};
    json_t *report;
    const organ_untrusted_options options = {.model = fuzz_folder("untrusted")};
    const organ_status status = organ_untrusted(&options, &report, &error);
    fuzz_tell(status, error.message);
    fuzz_require(status == ORGAN_OK || status == ORGAN_CHECK_FAILED, "a search ends with a document");
    const size_t found = json_array_size(json_object_get(report, "findings"));
    fuzz_require((status == ORGAN_CHECK_FAILED) == (found > 0), "the verdict is that of the findings");
    char *const text = json_dumps(report, JSON_COMPACT);
    fuzz_require(text != NULL, "a document is text");
    free(text);
    json_decref(report);
}
