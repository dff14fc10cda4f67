/* SPDX-License-Identifier: MIT
 * The peak of memory of whole runs of the program: at most --memory + 16 MiB + twice the bytes of headers, for models of 100,000 tensors,
 * and in `ninja test-peak`, which sets PEAK=whole, for more verbs and for a model of 1.5 GB. A verb may refuse instead; then it is run
 * again with the memory that its message names. Prints a line for each run. Not under sanitizers, whose own memory counts. */
#include "tests/kit/model_maker.h"

#include <check.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

enum { MANY = 100000, LAYERS = 64, EXPERTS = 520, WIDTH = 16, BIG_ROWS = 8192, BIG_COLS = 4096, BIG_LAYERS = 11, WORDS = 24 };

static uint64_t header_bytes[3];
enum { EMPTY, EXPERT, BIG };

/* ---- models ---- */

typedef struct maker {
    FILE *header;
    uint64_t offset;
    size_t count;
} maker;

static void add(maker *m, const char *dtype, uint64_t rows, uint64_t cols, const char *name)
{
    const uint64_t bytes = 2 * (rows ? rows : 1) * cols;
    fprintf(m->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", m->count++ ? "," : "{", name, dtype);
    if (rows)
        fprintf(m->header, "%llu,", (unsigned long long)rows);
    fprintf(m->header, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)cols, (unsigned long long)m->offset,
            (unsigned long long)(m->offset + bytes));
    m->offset += bytes;
}

static maker begin_header(void)
{
    const maker m = {.header = fopen(scratch_path("header"), "w+")};
    ck_assert_ptr_nonnull(m.header);
    return m;
}

/* `directory` of models is a name in the scratch directory. BF16 values that repeat after 64 KiB, with another one here and there if
 * `tuned`. */
static uint64_t write_model(maker *m, const char *path, bool tuned)
{
    static uint16_t values[32768];
    uint32_t state = 1;
    for (size_t k = 0; k < 32768; k++) {
        state = state * 1664525u + 1013904223u;
        values[k] = (uint16_t)((state >> 31) << 15 | (0x3C00 + (state >> 22 & 0xFF)));
    }
    fputc('}', m->header);
    uint64_t length = (uint64_t)ftell(m->header);
    for (; length % 8; length++)
        fputc(' ', m->header);
    FILE *const out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fwrite(&length, 8, 1, out);
    rewind(m->header);
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, m->header)) > 0;)
        fwrite(buffer, 1, got, out);
    for (uint64_t left = m->offset; left;) {
        const uint64_t some = left < sizeof values ? left : sizeof values;
        values[left / sizeof values % 32768] ^= tuned ? 0x40 : 0;
        fwrite(values, 1, some, out);
        left -= some;
    }
    fclose(m->header);
    ck_assert_int_eq(fclose(out), 0);
    return length;
}

static void write_config(const char *directory, const char *text)
{
    FILE *const out = fopen(scratch_path("%s/config.json", directory), "w");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    ck_assert_int_eq(fclose(out), 0);
}

static void make_empty(void)
{
    maker m = begin_header();
    char name[64];
    for (int k = 0; k < MANY; k++) {
        snprintf(name, sizeof name, "t%d", k);
        add(&m, "BF16", 0, 0, name);
    }
    header_bytes[EMPTY] = write_model(&m, scratch_path("empty.safetensors"), false);
}

static void make_experts(const char *directory)
{
    static const struct {
        const char *name;
        int rows, cols;
    } parts[] = {
        {"input_layernorm.weight", 0, WIDTH},   {"self_attn.q_proj.weight", 32, WIDTH}, {"self_attn.k_proj.weight", 16, WIDTH},
        {"self_attn.v_proj.weight", 16, WIDTH}, {"self_attn.o_proj.weight", WIDTH, 32}, {"self_attn.q_norm.weight", 0, 16},
        {"self_attn.k_norm.weight", 0, 16},     {"mlp.gate.weight", EXPERTS, WIDTH},    {"post_attention_layernorm.weight", 0, WIDTH}};
    static const char *const experts[] = {"gate_proj", "up_proj", "down_proj"};
    maker m = begin_header();
    char name[96];
    add(&m, "BF16", 64, WIDTH, "model.embed_tokens.weight");
    for (int l = 0; l < LAYERS; l++) {
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            snprintf(name, sizeof name, "model.layers.%d.%s", l, parts[p].name);
            add(&m, "BF16", (uint64_t)parts[p].rows, (uint64_t)parts[p].cols, name);
        }
        for (int e = 0; e < EXPERTS; e++)
            for (size_t p = 0; p < 3; p++) {
                snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s.weight", l, e, experts[p]);
                add(&m, "BF16", WIDTH, WIDTH, name);
            }
    }
    add(&m, "BF16", 0, WIDTH, "model.norm.weight");
    add(&m, "BF16", 64, WIDTH, "lm_head.weight");
    ck_assert_int_eq(mkdir(scratch_path("%s", directory), 0777), 0);
    header_bytes[EXPERT] = write_model(&m, scratch_path("%s/model.safetensors", directory), false);
    write_config(directory,
                 "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":16,\"num_hidden_layers\":64,"
                 "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":16,\"num_experts\":520,\"num_experts_per_tok\":2,"
                 "\"moe_intermediate_size\":16,\"intermediate_size\":16,\"norm_topk_prob\":true,\"decoder_sparse_step\":1,"
                 "\"mlp_only_layers\":[],\"vocab_size\":64,\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,\"hidden_act\":\"silu\","
                 "\"max_position_embeddings\":4096,\"torch_dtype\":\"bfloat16\",\"tie_word_embeddings\":false}\n");
}

/* 1.5 GB: two matrices of 67 MB in each of 11 layers. */
static void make_big(const char *directory, bool tuned)
{
    maker m = begin_header();
    char name[96];
    add(&m, "BF16", 64, BIG_COLS, "model.embed_tokens.weight");
    for (int l = 0; l < BIG_LAYERS; l++) {
        snprintf(name, sizeof name, "model.layers.%d.mlp.up_proj.weight", l);
        add(&m, "BF16", BIG_ROWS, BIG_COLS, name);
        snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", l);
        add(&m, "BF16", BIG_COLS, BIG_ROWS, name);
    }
    ck_assert_int_eq(mkdir(scratch_path("%s", directory), 0777), 0);
    header_bytes[BIG] = write_model(&m, scratch_path("%s/model.safetensors", directory), tuned);
    write_config(directory,
                 "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":4096,\"num_hidden_layers\":11,"
                 "\"num_attention_heads\":32,\"num_key_value_heads\":4,\"intermediate_size\":8192,\"vocab_size\":64,"
                 "\"torch_dtype\":\"bfloat16\"}\n");
}

/* ---- runs ---- */

/* '@' stands for the scratch directory. */
typedef struct row {
    const char *words;
    int model, code;
    bool always; /* in `ninja test` as well */
} row;

static const row rows[] = {
    {"measure @empty.safetensors -o @measured", EMPTY, 0, true},
    {"autopsy @empty.safetensors", EMPTY, 0, true},
    {"dequantize @empty.safetensors -o @plain.safetensors", EMPTY, 0, false},
    {"extract @empty.safetensors -o @organs", EMPTY, 0, false},
    {"prune @empty.safetensors -o @pruned.safetensors --method magnitude -s 50", EMPTY, 3, false},
    {"measure @experts", EXPERT, 0, false},
    {"autopsy @experts", EXPERT, 0, false},
    {"prune @experts -o @zeros --method magnitude -s 50", EXPERT, 0, true},
    {"audit @experts @zeros", EXPERT, 0, false},
    {"measure @big", BIG, 0, false},
    {"prune @big -o @zeros-big --method magnitude -s 50", BIG, 0, false},
    {"audit @big @zeros-big", BIG, 0, false},
    {"lora extract --base @big --tuned @tuned -o @adapter -r 16 --modules *.0.mlp.*_proj", BIG, 0, false},
    {"quantize @big -o @packed --scheme fp8-channel", BIG, 0, false},
};

/* Runs the program; its exit code. *peak in bytes, and what it has written to stderr. */
static int run_words(const char *line, const char *memory, uint64_t *peak, char *said, size_t room)
{
    static char buffer[WORDS][4096], copy[1024];
    char *words[WORDS + 8] = {"build/organ"}, file[4096];
    int count = 1, status;
    struct rusage used;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "), count++) {
        snprintf(buffer[count], sizeof *buffer, "%s", *word == '@' ? scratch_path("%s", word + 1) : word);
        words[count] = buffer[count];
    }
    char *const rest[] = {"--quiet", "--threads", "2", "--memory", (char *)(uintptr_t)memory, NULL};
    memcpy(words + count, rest, sizeof rest);
    snprintf(file, sizeof file, "%s", scratch_path("said"));
    const pid_t child = fork();
    if (child == 0) {
        const int out = open("/dev/null", O_WRONLY), err = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(out, 1);
        dup2(err, 2);
        execv(words[0], words);
        _exit(127);
    }
    ck_assert_int_eq(wait4(child, &status, 0, &used), child);
    *peak = (uint64_t)used.ru_maxrss * 1024;
    FILE *const in = fopen(file, "r");
    said[in ? fread(said, 1, room - 1, in) : 0] = '\0';
    if (in)
        fclose(in);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static uint64_t bytes_of(const char *memory)
{
    char *unit;
    const uint64_t number = strtoull(memory, &unit, 10);
    return number << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 30);
}

static void check_row(const row *r)
{
    char memory[24] = "64M", said[2048], *named;
    uint64_t peak;
    int code = run_words(r->words, memory, &peak, said, sizeof said);
    if (code == 2 && (named = strstr(said, "; --memory "))) {
        printf("  refused: %s", said);
        ck_assert_int_eq(sscanf(named, "; --memory %23s", memory), 1);
        code = run_words(r->words, memory, &peak, said, sizeof said);
    }
    const uint64_t most = bytes_of(memory) + 16 * MIB + 2 * header_bytes[r->model];
    printf("%6.1f MiB of %6.1f  --memory %-5s %s\n", (double)peak / (double)MIB, (double)most / (double)MIB, memory, r->words);
    fflush(stdout);
    ck_assert_msg(code == r->code, "%s: ends with %d: %s", r->words, code, said);
    ck_assert_msg(peak <= most, "%s: %llu bytes, more than %llu", r->words, (unsigned long long)peak, (unsigned long long)most);
}

START_TEST(peaks_stay_below_the_limit)
{
    const char *const wish = getenv("PEAK");
    const bool whole = wish && strcmp(wish, "whole") == 0;
    make_empty();
    make_experts("experts");
    for (int tuned = 0; whole && tuned < 2; tuned++)
        make_big(tuned ? "tuned" : "big", tuned);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (whole || rows[k].always)
            check_row(&rows[k]);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("peak memory");
    TCase *const tests = tcase_create("peaks");
    tcase_add_checked_fixture(tests, scratch_make, scratch_remove);
    tcase_set_timeout(tests, 1800);
    tcase_add_test(tests, peaks_stay_below_the_limit);
    suite_add_tcase(suite, tests);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
