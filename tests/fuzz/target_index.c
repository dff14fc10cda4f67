/* SPDX-License-Identifier: MIT
 * model.safetensors.index.json. */
#include "formats/safetensors/safetensors.h"
#include "tests/fuzz/targets.h"

#include <string.h>

void fuzz_index(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    organ_shards shards = {0};
    const organ_status status = organ_shards_parse((const char *)data, size, "fuzz", &shards, &error);
    fuzz_check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < shards.file_count; k++)
        fuzz_require(!strchr(shards.files[k], '/') && *shards.files[k] != '.', "files of an index are plain names");
    for (size_t k = 0; status == ORGAN_OK && k < shards.entry_count; k++)
        fuzz_require(shards.entries[k].file < shards.file_count, "a tensor of an index is in one of its files");
    if (status == ORGAN_OK) {
        char warning[ORGAN_SHARDS_WARNING] = "";
        const organ_tensor_list none = {0};
        organ_error missing = {0};
        fuzz_check_verdict(organ_shards_check(&shards, &none, warning, &missing), &missing);
        fuzz_require((missing.status == ORGAN_OK) == (shards.entry_count == 0),
                     "a tensor of the index that no file has is missed");
        organ_shards_total_is(&shards, 0);
    }
    organ_shards_release(&shards);
}
