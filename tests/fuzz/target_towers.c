/* SPDX-License-Identifier: MIT
 * Vision and audio towers: config.json, separator, preprocessor_config.json, separator, an mmproj. */
#include "formats/towers/towers.h"
#include "formats/base/json.h"
#include "tests/fuzz/targets.h"

#include <stdlib.h>
#include <string.h>

/* Returns the object in a part; NULL: it is none. */
static json_t *object_of(fuzz_part part)
{
    json_t *object = NULL;
    organ_error error = {0};
    char *const text = calloc(part.size + 1, 1);
    fuzz_require(text != NULL, "there is memory");
    if (part.size)
        memcpy(text, part.data, part.size);
    const organ_json_source source = {.bytes = text, .length = part.size, .label = "config.json"};
    organ_json_parse_object(&source, &object, &error);
    free(text);
    return object;
}

/* A name that has a rule is the name of its part. */
static void check_names(const tower_model *towers, const organ_tensor_list *list)
{
    for (size_t k = 0; k < list->count; k++)
        for (unsigned gguf = 0; gguf < 2; gguf++) {
            tower_part part, again;
            char name[TOWER_NAME];
            if (!organ_tower_find(towers, gguf, list->tensors[k].name, &part))
                continue;
            organ_tower_name(towers, gguf, &part, name);
            fuzz_require(organ_tower_find(towers, gguf, name, &again) && again.number == part.number &&
                             again.part == part.part && again.bias == part.bias,
                         "the name of a part has its rule");
            fuzz_require(!gguf || strcmp(name, list->tensors[k].name) == 0, "a name in GGUF is that of its part");
            organ_tower_name(towers, !gguf, &part, name);
        }
}

static void check_mmproj(const tower_model *towers, fuzz_part rest)
{
    organ_error error = {0}, differs = {0};
    organ_tensor_list list = {0};
    organ_gguf_header header = {0};
    const int fd = fuzz_file(NULL, 0, rest.data, rest.size, 0);
    organ_model_file file = {.name = "mmproj.gguf", .fd = fd, .size = rest.size};
    if (organ_gguf_read(&file, 0, &header, &list, &error) == ORGAN_OK) {
        const organ_status status = organ_tower_compare(towers, "mmproj.gguf", &header.view, &differs);
        fuzz_tell(status, differs.message);
        fuzz_check_verdict(status, &differs);
        check_names(towers, &list);
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
}

void fuzz_towers(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const fuzz_part first = fuzz_next_part(&rest), second = fuzz_next_part(&rest);
    json_t *const config = object_of(first), *const processor = object_of(second);
    tower_model towers = {.label = "model", .config = config, .processor = processor};
    organ_error error = {0}, unwritten = {0};
    organ_gguf_writer *writer = NULL;
    towers.family = config ? organ_tower_family(config) : NULL;
    const organ_status status = towers.family ? organ_tower_read(&towers, &error) : ORGAN_BAD_INPUT;
    if (towers.family) {
        fuzz_tell(status, error.message);
        fuzz_check_verdict(status, &error);
    }
    if (status == ORGAN_OK) {
        fuzz_require(organ_gguf_writer_create(&writer, &unwritten) == ORGAN_OK, "there is memory");
        const organ_status keys = organ_tower_keys(&towers, writer, &unwritten);
        fuzz_check_verdict(keys, &unwritten);
        organ_gguf_writer_destroy(writer);
        check_mmproj(&towers, rest);
    }
    json_decref(config);
    json_decref(processor);
}
