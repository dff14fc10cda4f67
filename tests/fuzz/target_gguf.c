/* SPDX-License-Identifier: MIT
 * GGUF files: header, key-values, tensors, split and configuration; and the file written again. */
#include "formats/architecture/sizes.h"
#include "formats/gguf/file.h"
#include "tests/fuzz/targets.h"

/* Checks that tensors have the offsets that a writer would choose, and that keys and infos can be written and read
 * again. */
static void check_header(const organ_gguf_header *header, const organ_tensor_list *list)
{
    organ_error error = {0};
    organ_gguf_writer *writer;
    organ_gguf_layout layout = {0};
    fuzz_require(organ_gguf_writer_create(&writer, &error) == ORGAN_OK, "there is memory");
    for (size_t k = 0; k < header->view.kv_count; k++)
        fuzz_require(organ_gguf_writer_kv(writer, &header->view.kvs[k], &error) == ORGAN_OK, error.message);
    for (size_t k = 0; k < list->count; k++)
        fuzz_require(organ_gguf_writer_tensor(writer, list->tensors[k].name, list->tensors[k].dtype,
                                              list->tensors[k].rank, list->tensors[k].shape, &error) == ORGAN_OK,
                     error.message);
    const bool too_wide = header->view.alignment > ORGAN_GGUF_WRITTEN_ALIGNMENT;
    fuzz_require(organ_gguf_writer_finish(writer, &layout, &error) == (too_wide ? ORGAN_BAD_INPUT : ORGAN_OK),
                 "what was read can be written");
    const bool same_size = header->view.version > 1 && list->count > 0;
    fuzz_require(too_wide || !same_size || layout.size == header->data_offset, "a header has the length that it had");
    for (size_t k = 0; k < list->count && !too_wide; k++)
        fuzz_require(layout.offsets[k] - layout.size == list->tensors[k].offset - header->data_offset,
                     "data lies where a writer puts it");
    organ_gguf_writer_destroy(writer);
}

/* Reads every number as each type. */
static void check_values(const organ_gguf *gguf)
{
    for (size_t k = 0; k < gguf->kv_count; k++) {
        const organ_gguf_kv *const kv = &gguf->kvs[k];
        int64_t whole;
        double real;
        size_t length = 0;
        for (uint64_t index = 0; index < 3; index++) {
            const bool is_whole = organ_gguf_integer_at(kv, index, &whole),
                       is_real = organ_gguf_real_at(kv, index, &real);
            fuzz_require(index < kv->count || (!is_whole && !is_real), "there is no number beyond the end of an array");
        }
        fuzz_require(organ_gguf_find(gguf, kv->key) != NULL, "a key is found by its name");
        organ_gguf_string(gguf, kv->key, &length);
        fuzz_require(length <= kv->size, "a text is no longer than its value");
    }
}

void fuzz_gguf(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_gguf_header header = {0};
    organ_hf_config config;
    unsigned parts;
    const int fd = fuzz_file(NULL, 0, data, size, 0);
    organ_model_file file = {.name = "fuzz-00001-of-00003.gguf", .fd = fd, .size = size};
    const organ_status status = organ_gguf_read(&file, 0, &header, &list, &error);
    fuzz_check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < list.count; k++)
        fuzz_require(list.tensors[k].bytes == 0 || list.tensors[k].offset + list.tensors[k].bytes <= size,
                     "tensors lie in the file");
    if (status == ORGAN_OK) {
        check_header(&header, &list);
        check_values(&header.view);
        fuzz_check_verdict(organ_gguf_config_read("fuzz", &header.view, &list, &config, &error), &error);
        error = (organ_error){0};
        fuzz_check_verdict(organ_gguf_split_of(file.name, &header.view, &parts, &error), &error);
        error = (organ_error){0};
        fuzz_check_verdict(organ_gguf_split_check(file.name, &header.view, &header.view, 0, 3, list.count, &error),
                           &error);
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
}
