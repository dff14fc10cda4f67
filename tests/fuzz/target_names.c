/* SPDX-License-Identifier: MIT
 * Names of models: the name, separator, the ref `main` of t/m in a Hugging Face cache, separator, the manifest of x in
 * Ollama's folder. The snapshot of the ref 0123456789abcdef0123456789abcdef01234567 and a blob of eight bytes exist. */
#include "formats/names/names.h"
#include "tests/fuzz/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HUB    "names/models--t--m/"
#define OLLAMA "names/manifests/registry.ollama.ai/library/x/latest"
#define BLOB   "names/blobs/sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *make_folders(void)
{
    static bool made;
    const char *const folder = fuzz_folder("names");
    if (!made) {
        fuzz_put(HUB "snapshots/0123456789abcdef0123456789abcdef01234567/model.safetensors", "{}", 2);
        fuzz_put(BLOB, "GGUF\3\0\0\0", 8);
    }
    made = true;
    setenv("HF_HUB_CACHE", folder, 1);
    setenv("OLLAMA_MODELS", folder, 1);
    setenv("HOME", folder, 1);
    return folder;
}

void fuzz_names(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const fuzz_part name = fuzz_next_part(&rest), ref = fuzz_next_part(&rest);
    const char *const folder = make_folders(), *path = NULL;
    char *const text = strndup((const char *)name.data, name.size);
    organ_arena arena = {0};
    organ_error error = {0};
    fuzz_require(text != NULL, "there is memory");
    fuzz_put(HUB "refs/main", ref.data, ref.size);
    fuzz_put(OLLAMA, rest.data, rest.size);
    const organ_status status = organ_name_find(text, &arena, &path, &error);
    if (status == ORGAN_USAGE) /* the name is malformed, or no store has it */
        fuzz_require(error.status == status && *error.message, "an error has a message");
    else
        fuzz_check_verdict(status, &error);
    fuzz_require(!error.status || !path, "there is no path after an error");
    fuzz_require(!path || strncmp(path, folder, strlen(folder)) == 0, "a path is in the folder of its store");
    fuzz_require(!path || !strstr(path, "/../"), "a path does not lead out of it");
    organ_arena_release(&arena);
    free(text);
}
