/* SPDX-License-Identifier: MIT
 * Fuzz target of everything in formats/ that reads files. The first byte of an input says what the rest is: the header of a safetensors
 * file with some data behind it, a whole safetensors file, an index, a config, a GGUF file. Built with libFuzzer by
 * tests/formats/run_fuzz.sh; tests/formats/replay_fuzz.c replays inputs as a plain test. */
#include "formats/gguf/file.h"
#include "formats/safetensors/safetensors.h"
#include "formats/tensor/hf_config.h"
#include "tests/formats/fuzz_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* An error has a status and a message; success has neither. */
static void check_verdict(organ_status status, const organ_error *error)
{
    require(status == error->status, "the status returned is that of the error");
    require(status == ORGAN_OK || status == ORGAN_BAD_INPUT, "nothing in a file makes the system refuse");
    require((status == ORGAN_OK) == (*error->message == '\0'), "an error has a message");
}

/* What every user of the reader relies on. */
static void check_tensors(const organ_model_file *file, const organ_tensor_list *list)
{
    uint64_t end = file->data_offset;
    for (size_t k = 0; k < list->count; k++) {
        const organ_tensor *t = &list->tensors[k];
        uint64_t elements = 1, bytes;
        char module[64];
        require(t->offset == end, "tensors follow each other");
        end += t->bytes;
        for (unsigned d = 0; d < t->rank; d++)
            elements *= t->shape[d];
        require(elements == t->elements && organ_dtype_bytes(t->dtype, elements, &bytes) && bytes == t->bytes,
                "shape, dtype and bytes agree");
        const size_t *found = organ_name_table_find(&list->names, t->name);
        require(found && *found == k, "tensors are found by name");
        organ_anatomy_module(t->name, module, sizeof module);
        require(strlen(module) < sizeof module, "modules are cut");
    }
    require(end == file->size, "tensors reach to the end of the file");
}

static void read_tensors(int fd, uint64_t size)
{
    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_model_file file = {.name = "fuzz", .fd = fd, .size = size};
    const organ_status status = organ_safetensors_read(&file, 0, &list, &error);
    check_verdict(status, &error);
    if (status == ORGAN_OK)
        check_tensors(&file, &list);
    organ_tensor_list_release(&list);
}

static void read_index(const char *path)
{
    organ_error error = {0};
    organ_shards shards;
    const organ_status status = organ_shards_read(path, "fuzz", &shards, &error);
    check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < shards.file_count; k++)
        require(!strchr(shards.files[k], '/') && *shards.files[k] != '.', "files of an index are plain names");
    organ_shards_release(&shards);
}

static void read_config(const char *path)
{
    organ_error error = {0};
    organ_hf_config config;
    check_verdict(organ_hf_config_read(path, &config, &error), &error);
}

/* Tensors lie where a writer would put them, and keys and infos written anew are read as the same. */
static void check_header(const organ_gguf_header *header, const organ_tensor_list *list)
{
    organ_error error = {0};
    organ_gguf_writer *writer;
    organ_gguf_layout layout;
    if (header->data_offset > 1 << 20) /* an alignment that would make a large header of zeros */
        return;
    require(organ_gguf_writer_create(&writer, &error) == ORGAN_OK, "there is memory");
    for (size_t k = 0; k < header->view.kv_count; k++)
        organ_gguf_writer_kv(writer, &header->view.kvs[k], &error);
    for (size_t k = 0; k < list->count; k++)
        organ_gguf_writer_tensor(writer, list->tensors[k].name, list->tensors[k].dtype, list->tensors[k].rank, list->tensors[k].shape,
                                 &error);
    require(organ_gguf_writer_finish(writer, &layout, &error) == ORGAN_OK, "what was read can be written");
    const bool same_size = header->view.version > 1 && list->count > 0;
    require(!same_size || layout.size == header->data_offset, "a header has the length that it had");
    for (size_t k = 0; k < list->count; k++)
        require(layout.offsets[k] - layout.size == list->tensors[k].offset - header->data_offset, "data lies where a writer puts it");
    organ_gguf_writer_destroy(writer);
}

static void read_gguf(int fd, uint64_t size)
{
    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_gguf_header header;
    organ_hf_config config;
    unsigned parts;
    organ_model_file file = {.name = "fuzz-00001-of-00003.gguf", .fd = fd, .size = size};
    organ_status status = organ_gguf_read(&file, 0, &header, &list, &error);
    check_verdict(status, &error);
    for (size_t k = 0; status == ORGAN_OK && k < list.count; k++)
        require(list.tensors[k].bytes == 0 || list.tensors[k].offset + list.tensors[k].bytes <= size, "tensors lie in the file");
    if (status == ORGAN_OK) {
        check_header(&header, &list);
        check_verdict(organ_gguf_config_read("fuzz", &header.view, &list, &config, &error), &error);
        error = (organ_error){0};
        check_verdict(organ_gguf_split_of(file.name, &header.view, &parts, &error), &error);
        error = (organ_error){0};
        check_verdict(organ_gguf_split_check(file.name, &header.view, &header.view, 0, 3, list.count, &error), &error);
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
}

static void rewrite(int fd, const void *before, size_t before_size, const void *bytes, size_t size, size_t behind)
{
    require(ftruncate(fd, 0) == 0 && pwrite(fd, before, before_size, 0) == (ssize_t)before_size &&
                pwrite(fd, bytes, size, (off_t)before_size) == (ssize_t)size && ftruncate(fd, (off_t)(before_size + size + behind)) == 0,
            "the file in memory can be written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[40];
    if (size == 0)
        return 0;
    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    require(fd >= 0, "there is a file in memory");
    const uint8_t kind = data[0];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    data++;
    size--;
    /* '1' .. '9': so many hundred bytes, and anything below: none, of data behind a header */
    const size_t behind = kind > '0' && kind <= '9' ? (size_t)(kind - '0') * 100 : 0;
    uint8_t length[8];
    for (int k = 0; k < 8; k++)
        length[k] = (uint8_t)((uint64_t)size >> 8 * k);
    rewrite(fd, length, kind <= '9' ? sizeof length : 0, data, size, behind);
    if (kind == 'i')
        read_index(path);
    else if (kind == 'c')
        read_config(path);
    else if (kind == 'g')
        read_gguf(fd, size);
    else
        read_tensors(fd, (kind <= '9' ? sizeof length : 0) + size + behind);
    return 0;
}
