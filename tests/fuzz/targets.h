/* SPDX-License-Identifier: MIT
 * Functions of the targets. Each takes any bytes and leaves nothing behind. */
#ifndef ORGAN_FUZZ_TARGETS_H
#define ORGAN_FUZZ_TARGETS_H

#include "tests/fuzz/target.h"

void fuzz_safetensors(const uint8_t *data, size_t size);
void fuzz_index(const uint8_t *data, size_t size);
void fuzz_gguf(const uint8_t *data, size_t size);
void fuzz_gguf_values(const uint8_t *data, size_t size);
void fuzz_towers(const uint8_t *data, size_t size);
void fuzz_gguf_tokenizer(const uint8_t *data, size_t size);
void fuzz_tokenizer_json(const uint8_t *data, size_t size);
void fuzz_tekken(const uint8_t *data, size_t size);
void fuzz_tiktoken(const uint8_t *data, size_t size);
void fuzz_mlx(const uint8_t *data, size_t size);
void fuzz_weights(const uint8_t *data, size_t size);
void fuzz_forward(const uint8_t *data, size_t size);
void fuzz_adapter(const uint8_t *data, size_t size);
void fuzz_imatrix(const uint8_t *data, size_t size);
void fuzz_names(const uint8_t *data, size_t size);
void fuzz_manifest(const uint8_t *data, size_t size);
void fuzz_patch(const uint8_t *data, size_t size);
void fuzz_report(const uint8_t *data, size_t size);
void fuzz_http_answers(const uint8_t *data, size_t size);
void fuzz_http_requests(const uint8_t *data, size_t size);
void fuzz_job_bodies(const uint8_t *data, size_t size);
void fuzz_catalog(const uint8_t *data, size_t size);
void fuzz_recipe(const uint8_t *data, size_t size);
void fuzz_measurements(const uint8_t *data, size_t size);
void fuzz_journal(const uint8_t *data, size_t size);
void fuzz_untrusted(const uint8_t *data, size_t size);

#endif
