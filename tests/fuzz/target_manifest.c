/* SPDX-License-Identifier: MIT
 * Organ directories: manifest.json, separator, the stored header of the donor (header/HEAD). The files of tensors are
 * fixed. In the manifest "@N" stands for the bytes of the header and "@X" for its XXH3; otherwise every changed header
 * would be rejected. */
#include "formats/model/organ_directory.h"
#include "tests/fuzz/targets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Files of 8, 16, 32 ... bytes. */
static const char *const files[] = {"skeleton/q.bin", "organs/up.bin", "organs/down.bin",
                                    "embed/e.bin",    "norm/n.bin",    "other/o.bin"};
static const uint8_t zeros[1 << 10];

static void make_files(void)
{
    static bool made;
    for (size_t k = 0; !made && k < sizeof files / sizeof *files; k++) {
        char name[64];
        snprintf(name, sizeof name, "manifest/%s", files[k]);
        fuzz_put(name, zeros, (size_t)8 << k);
    }
    made = true;
}

static void put_manifest(fuzz_part text, fuzz_part header)
{
    char *const made = malloc(20 * (text.size + 1));
    size_t used = 0;
    fuzz_require(made != NULL, "there is memory");
    for (size_t k = 0; k < text.size; k++) {
        const char next = k + 1 < text.size && text.data[k] == '@' ? (char)text.data[k + 1] : 0;
        if (next == 'N')
            used += (size_t)sprintf(made + used, "%zu", header.size);
        else if (next == 'X')
            used += (size_t)sprintf(made + used, "%016" PRIx64, (uint64_t)XXH3_64bits(header.data, header.size));
        else
            made[used++] = (char)text.data[k];
        k += next == 'N' || next == 'X';
    }
    fuzz_put("manifest/" ORGAN_MANIFEST, made, used);
    free(made);
}

void fuzz_manifest(const uint8_t *data, size_t size)
{
    fuzz_part header = {data, size};
    const fuzz_part text = fuzz_next_part(&header);
    make_files();
    put_manifest(text, header);
    fuzz_put("manifest/" ORGAN_HEADER_FOLDER "/HEAD", header.size ? header.data : zeros, header.size);

    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_manifest manifest = {0};
    organ_model_file *model_files = NULL;
    const organ_gguf *gguf = NULL;
    const char *const directory = fuzz_folder("manifest");
    organ_directory_is(directory);
    const organ_status status = organ_directory_read(directory, &list, &model_files, &manifest, &gguf, &error);
    fuzz_check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < list.count; k++) {
        const organ_model_file *const file = &model_files[list.tensors[k].file];
        fuzz_require(file->size == list.tensors[k].bytes, "a tensor has a file of its size");
        fuzz_require(!strstr(file->name, "..") && *file->name != '/', "files of a manifest lie in its directory");
    }
    free(model_files);
    organ_manifest_release(&manifest);
    organ_tensor_list_release(&list);
}
