/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/targets.h"

#include "tests/fuzz/mutate.h"

#define JSON_WORDS "tests/fuzz/json.dict"
#define GGUF_WORDS "tests/fuzz/gguf.dict"
#define HTTP_WORDS "tests/fuzz/http.dict"
#define JOB_WORDS  "tests/fuzz/job.dict"
#define YAML_WORDS "tests/fuzz/yaml.dict"

const fuzz_target fuzz_targets[] = {
    {"safetensors", fuzz_safetensors, fuzz_mutate_json, JSON_WORDS, 8192, 20000},
    {"index", fuzz_index, fuzz_mutate_json, JSON_WORDS, 8192, 20000},
    {"gguf", fuzz_gguf, fuzz_mutate_gguf, GGUF_WORDS, 8192, 20000},
    {"gguf_values", fuzz_gguf_values, fuzz_mutate_any, JSON_WORDS, 512, 20000},
    {"towers", fuzz_towers, fuzz_mutate_any, JSON_WORDS, 8192, 10000},
    {"gguf_tokenizer", fuzz_gguf_tokenizer, fuzz_mutate_gguf, GGUF_WORDS, 8192, 5000},
    {"tokenizer_json", fuzz_tokenizer_json, fuzz_mutate_json, JSON_WORDS, 4096, 5000},
    {"tekken", fuzz_tekken, fuzz_mutate_json, JSON_WORDS, 16384, 3000},
    {"tiktoken", fuzz_tiktoken, fuzz_mutate_any, JSON_WORDS, 4096, 5000},
    {"weights", fuzz_weights, fuzz_mutate_any, JSON_WORDS, 8192, 4000},
    {"mlx", fuzz_mlx, fuzz_mutate_any, JSON_WORDS, 4096, 8000},
    {"forward", fuzz_forward, fuzz_mutate_any, JSON_WORDS, 12288, 3000},
    {"adapter", fuzz_adapter, fuzz_mutate_json, JSON_WORDS, 8192, 4000},
    {"imatrix", fuzz_imatrix, fuzz_mutate_any, GGUF_WORDS, 4096, 10000},
    {"names", fuzz_names, fuzz_mutate_any, JSON_WORDS, 4096, 4000},
    {"manifest", fuzz_manifest, fuzz_mutate_json, JSON_WORDS, 8192, 4000},
    {"patch", fuzz_patch, fuzz_mutate_any, JSON_WORDS, 8192, 4000},
    {"report", fuzz_report, fuzz_mutate_json, JSON_WORDS, 16384, 1000},
    {"http_answers", fuzz_http_answers, fuzz_mutate_any, HTTP_WORDS, 8192, 500},
    {"http_requests", fuzz_http_requests, fuzz_mutate_bytes, HTTP_WORDS, 4096, 1000},
    {"job_bodies", fuzz_job_bodies, fuzz_mutate_json, JOB_WORDS, 2048, 5000},
    {"catalog", fuzz_catalog, fuzz_mutate_block, "", 4096, 20000},
    {"recipe", fuzz_recipe, fuzz_mutate_any, YAML_WORDS, 4096, 5000},
    {"measurements", fuzz_measurements, fuzz_mutate_json, JSON_WORDS, 4096, 5000},
    {"journal", fuzz_journal, fuzz_mutate_json, JSON_WORDS, 4096, 500},
    {"untrusted", fuzz_untrusted, fuzz_mutate_any, JSON_WORDS, 8192, 1000},
    {0},
};
