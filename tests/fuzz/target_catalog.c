/* SPDX-License-Identifier: MIT
 * The answer of the confined process that reads models: the address of its block (8 bytes), then the block. That
 * process reads untrusted files, so its answer is untrusted too. */
#include "tests/fuzz/targets.h"
#include "orchestrator/serve/models/models_parts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Makes each request that a client can make about a model: each answer must be complete JSON. */
static void ask_for_tensors(const organ_catalog *catalog)
{
    static const organ_tensor_query wishes[] = {
        {.layer = -1, .limit = 1000},
        {.layer = -1, .key = ORGAN_BY_NAME, .limit = 1000},
        {.layer = -1, .match = "*q*", .role = "q_proj", .limit = 3, .offset = 1},
        {.layer = 1, .group = "organ", .key = ORGAN_BY_LAYER, .down = true, .limit = 1000}};
    for (size_t k = 0; k < sizeof wishes / sizeof *wishes; k++) {
        organ_error error = {0};
        char *page = NULL;
        const organ_status status = organ_tensor_page(catalog, &wishes[k], &page, &error);
        fuzz_tell(status, error.message);
        fuzz_require(status == ORGAN_OK && page, "a page of tensors can be made");
        json_t *const json = json_loads(page, 0, NULL);
        fuzz_require(json_is_object(json), "a page of tensors is JSON");
        json_decref(json);
        free(page);
    }
}

static void check_catalog(const organ_catalog *catalog, size_t bytes)
{
    const char *const block = (const char *)catalog, *const end = block + bytes;
    fuzz_require(catalog->bytes == bytes && catalog->users == 0,
                 "a block that was adopted is as long as it is, and nobody uses it");
    fuzz_require(strlen(catalog->details) == catalog->details_length, "what is told of a model is as long as is said");
    for (size_t k = 0; k < catalog->file_count; k++)
        fuzz_require(catalog->files[k] > block && catalog->files[k] < end, "names of files lie in the block");
    for (size_t k = 0; k < catalog->count; k++) {
        const organ_tensor *const t = &catalog->tensors[k];
        fuzz_require(t->name > block && t->name < end && t->file < catalog->file_count,
                     "names of tensors lie in the block, and their files are named");
    }
    ask_for_tensors(catalog);
}

void fuzz_catalog(const uint8_t *data, size_t size)
{
    uint64_t base;
    if (size < sizeof base)
        return;
    memcpy(&base, data, sizeof base);
    /* A separate allocation, so that reading beyond its end is detected. */
    const size_t bytes = size - sizeof base;
    void *const block = malloc(bytes ? bytes : 1);
    fuzz_require(block != NULL, "there is memory");
    memcpy(block, data + sizeof base, bytes);
    const bool adopted = organ_catalog_adopt(block, bytes, base);
    fuzz_tell(adopted, adopted ? "adopted" : "refused");
    if (adopted)
        check_catalog(block, bytes);
    free(block);
}
