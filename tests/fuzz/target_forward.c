/* SPDX-License-Identifier: MIT
 * Models as the forward pass reads them: config.json, separator, header of a safetensors file, separator, data; or a
 * GGUF file with zeros after its end. A model that opens computes logits for a few tokens and continues them by one. */
#include "formats/gguf/file.h"
#include <organ/forward.h>
#include "tests/fuzz/targets.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY ((uint64_t)64 << 20)
/* The largest number of zeros that stand for the tensor data after a GGUF header. */
#define MAX_ZEROS ((size_t)1 << 19)
/* Models with more values are opened but not run. */
#define MAX_VALUES ((uint64_t)1 << 18)

enum { TOKENS = 7 };

/* Returns an engine of one thread, made at the first call. */
static const organ_engine *fuzz_engine(void)
{
    static organ_engine engine;
    static organ_topology *topology;
    static organ_workers *workers;
    organ_error error = {0};
    const char *why;
    if (!engine.workers) {
        fuzz_require(organ_topology_discover(&topology, &error) == ORGAN_OK &&
                         organ_workers_create(topology, 1, &workers, &error) == ORGAN_OK,
                     error.message);
        engine = (organ_engine){.topology = topology,
                                .workers = workers,
                                .memory = MEMORY,
                                .kernels = organ_kernels_choose(organ_cpu_detect(), getenv("ORGAN_ISA"), &why)};
    }
    return &engine;
}

/* Checks the status and the message. A model that is too large for the memory is a usage error. */
static void check_forward_verdict(organ_status status, organ_error *error)
{
    if (status == ORGAN_USAGE && strstr(error->message, "--memory"))
        return;
    fuzz_check_verdict(status, error);
}

static void ignore_logits(void *context, size_t k, float *logits) { (void)context, (void)k, (void)logits; }

static void run_tokens(organ_forward *forward)
{
    const organ_forward_config *const config = organ_forward_describe(forward);
    uint32_t tokens[TOKENS];
    for (size_t k = 0; k < TOKENS; k++)
        tokens[k] = (uint32_t)(5 * k % config->vocabulary);
    const size_t begin[] = {0, 2, TOKENS - 1}, rows[] = {1, TOKENS - 2};
    organ_error error = {0};
    organ_decode_cache *past;
    check_forward_verdict(
        organ_forward_run(forward, &(organ_windows){tokens, 2, begin}, rows, 2, NULL, ignore_logits, NULL, &error),
        &error);
    error = (organ_error){0};
    check_forward_verdict(organ_decode_cache_open(forward, TOKENS - 1, TOKENS, &past, &error), &error);
    for (size_t count = TOKENS - 1; past && count <= TOKENS && !error.status; count++)
        check_forward_verdict(organ_forward_continue(forward, past, tokens, count, NULL, ignore_logits, &error),
                              &error);
    organ_decode_cache_close(past);
}

static void check_forward(const char *path)
{
    organ_error error = {0};
    organ_model *model;
    organ_forward *forward = NULL;
    uint64_t values = 0;
    fuzz_check_verdict(organ_model_open(path, &model, &error), &error);
    if (!model)
        return;
    const organ_status status = organ_forward_open(model, fuzz_engine(), &forward, &error);
    check_forward_verdict(status, &error);
    fuzz_require((status == ORGAN_OK) == (forward != NULL), "there is a forward pass if there is no error");
    for (size_t k = 0; k < model->tensor_count; k++)
        values += model->tensors[k].elements;
    if (forward && values <= MAX_VALUES)
        run_tokens(forward);
    organ_forward_close(forward);
    organ_model_close(model);
}

/* Returns the bytes that the tensors of a GGUF file have after its `size` bytes; 0 if they are too many. */
static size_t missing_bytes(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    organ_tensor_list list = {0};
    organ_gguf_header header = {0};
    organ_model_file file = {.name = "fuzz", .fd = fuzz_file(NULL, 0, data, size, 0), .size = size};
    uint64_t end = 0;
    organ_gguf_read_header(&file, 0, &header, &list, &error);
    for (size_t k = 0; !error.status && k < list.count; k++) {
        const uint64_t after = list.tensors[k].offset + list.tensors[k].bytes;
        end = after > end ? after : end;
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
    return end > size && end - size <= MAX_ZEROS ? (size_t)(end - size) : 0;
}

void fuzz_forward(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        fuzz_file(NULL, 0, data, size, missing_bytes(data, size));
        check_forward(fuzz_file_path());
        return;
    }
    const fuzz_part config = fuzz_next_part(&rest), header = fuzz_next_part(&rest);
    fuzz_put("forward/config.json", config.data, config.size);
    fuzz_put_tensors("forward/model.safetensors", header, rest);
    check_forward(fuzz_folder("forward"));
}
