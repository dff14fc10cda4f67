/* SPDX-License-Identifier: MIT
 * Measures the peak memory of whole runs: at most --memory + 16 MiB + twice the bytes of headers and tokenizers, on
 * models of 100,000 tensors, and in `ninja test-peak`, which sets PEAK=whole, for all verbs that read models and on
 * models of 1.5 GB. Any other value of PEAK, such as "@run", selects the rows whose words contain it. Verbs without
 * --memory must keep the limit of --memory 64M. A verb may reject --memory; then it runs again with the memory that its
 * message names. Prints a line for each run. Not under sanitizers, which use memory themselves. */
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

enum {
    MANY = 100000,
    LAYERS = 64,
    EXPERTS = 520,
    WIDTH = 16,
    TOKENS = 2048,
    BIG_ROWS = 8192,
    BIG_COLS = 4096,
    BIG_LAYERS = 11,
    RUN_LAYERS = 8,
    RUN_WIDTH = 2048,
    RUN_VOCABULARY = 65536,
    MIXTURE_LAYERS = 8,
    MIXTURE_EXPERTS = 32,
    MIXTURE_WIDTH = 1024,
    MIXTURE_FFN = 768,
    WORDS = 24
};

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

/* Writes BF16 values that repeat after 64 KiB, with some other values if `tuned`. The `directory` of the maker is a
 * name in the scratch directory. */
static void write_model(maker *m, const char *path, bool tuned)
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
}

static void copy_tokenizer(const char *directory)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    char command[4500];
    for (size_t k = 0; k < 2; k++) {
        snprintf(command, sizeof command, "cp fixtures/tiny-moe/%s '%s'", names[k], scratch_path("%s", directory));
        ck_assert_int_eq(system(command), 0);
    }
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
    write_model(&m, scratch_path("empty.safetensors"), false);
}

/* The sizes of a Qwen3-MoE model. */
typedef struct mixture {
    int layers, experts, width, ffn, head, vocabulary;
} mixture;

static void add_layer(maker *m, const mixture *x, int l)
{
    static const char *const experts[] = {"gate_proj", "up_proj", "down_proj"};
    const struct {
        const char *name;
        int rows, cols;
    } parts[] = {{"input_layernorm.weight", 0, x->width},
                 {"self_attn.q_proj.weight", 2 * x->head, x->width},
                 {"self_attn.k_proj.weight", x->head, x->width},
                 {"self_attn.v_proj.weight", x->head, x->width},
                 {"self_attn.o_proj.weight", x->width, 2 * x->head},
                 {"self_attn.q_norm.weight", 0, x->head},
                 {"self_attn.k_norm.weight", 0, x->head},
                 {"mlp.gate.weight", x->experts, x->width},
                 {"post_attention_layernorm.weight", 0, x->width}};
    char name[96];
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", l, parts[p].name);
        add(m, "BF16", (uint64_t)parts[p].rows, (uint64_t)parts[p].cols, name);
    }
    for (int e = 0; e < x->experts; e++)
        for (size_t p = 0; p < 3; p++) {
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s.weight", l, e, experts[p]);
            add(m, "BF16", (uint64_t)(p == 2 ? x->width : x->ffn), (uint64_t)(p == 2 ? x->ffn : x->width), name);
        }
}

static void make_mixture(const char *directory, const mixture *x)
{
    char config[1024];
    maker m = begin_header();
    add(&m, "BF16", (uint64_t)x->vocabulary, (uint64_t)x->width, "model.embed_tokens.weight");
    for (int l = 0; l < x->layers; l++)
        add_layer(&m, x, l);
    add(&m, "BF16", 0, (uint64_t)x->width, "model.norm.weight");
    add(&m, "BF16", (uint64_t)x->vocabulary, (uint64_t)x->width, "lm_head.weight");
    ck_assert_int_eq(mkdir(scratch_path("%s", directory), 0777), 0);
    write_model(&m, scratch_path("%s/model.safetensors", directory), false);
    snprintf(config, sizeof config,
             "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":%d,"
             "\"num_hidden_layers\":%d,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":%d,"
             "\"num_experts\":%d,\"num_experts_per_tok\":2,\"moe_intermediate_size\":%d,\"intermediate_size\":%d,"
             "\"norm_topk_prob\":true,\"decoder_sparse_step\":1,\"mlp_only_layers\":[],\"vocab_size\":%d,"
             "\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,\"hidden_act\":\"silu\",\"max_position_embeddings\":4096,"
             "\"torch_dtype\":\"bfloat16\",\"tie_word_embeddings\":false}\n",
             x->width, x->layers, x->head, x->experts, x->ffn, x->ffn, x->vocabulary);
    write_config(directory, config);
    copy_tokenizer(directory);
}

/* Writes a model of 1.5 GB: two matrices of 67 MB in each of 11 layers. */
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
    write_model(&m, scratch_path("%s/model.safetensors", directory), tuned);
    write_config(directory,
                 "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":4096,\"num_hidden_"
                 "layers\":11,"
                 "\"num_attention_heads\":32,\"num_key_value_heads\":4,\"intermediate_size\":8192,\"vocab_size\":64,"
                 "\"torch_dtype\":\"bfloat16\"}\n");
}

/* Makes a model of 1.5 GB that the forward pass supports, for calibrated verbs. */
static void make_run(const char *directory)
{
    static const char *const names[] = {
        "input_layernorm.weight",  "self_attn.q_proj.weight", "self_attn.k_proj.weight",
        "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
        "mlp.gate_proj.weight",    "mlp.up_proj.weight",      "mlp.down_proj.weight"};
    static const uint64_t shapes[][2] = {{0, RUN_WIDTH},
                                         {RUN_WIDTH, RUN_WIDTH},
                                         {RUN_WIDTH / 4, RUN_WIDTH},
                                         {RUN_WIDTH / 4, RUN_WIDTH},
                                         {RUN_WIDTH, RUN_WIDTH},
                                         {0, RUN_WIDTH},
                                         {4 * RUN_WIDTH, RUN_WIDTH},
                                         {4 * RUN_WIDTH, RUN_WIDTH},
                                         {RUN_WIDTH, 4 * RUN_WIDTH}};
    const size_t count = sizeof names / sizeof *names;
    maker m = begin_header();
    char name[96];
    add(&m, "BF16", RUN_VOCABULARY, RUN_WIDTH, "model.embed_tokens.weight");
    for (int l = 0; l < RUN_LAYERS; l++)
        for (size_t p = 0; p < count; p++) {
            snprintf(name, sizeof name, "model.layers.%d.%s", l, names[p]);
            add(&m, "BF16", shapes[p][0], shapes[p][1], name);
        }
    add(&m, "BF16", 0, RUN_WIDTH, "model.norm.weight");
    add(&m, "BF16", RUN_VOCABULARY, RUN_WIDTH, "lm_head.weight");
    ck_assert_int_eq(mkdir(scratch_path("%s", directory), 0777), 0);
    write_model(&m, scratch_path("%s/model.safetensors", directory), false);
    write_config(directory,
                 "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":2048,\"num_"
                 "hidden_layers\":8,\"num_attention_heads\":16,\"num_key_value_heads\":4,\"intermediate_size\":8192,"
                 "\"vocab_size\":65536,\"rms_norm_eps\":1e-6,\"rope_theta\":1e4,\"hidden_act\":\"silu\",\"max_"
                 "position_embeddings\":4096,\"torch_dtype\":\"bfloat16\",\"tie_word_embeddings\":false}\n");
    copy_tokenizer(directory);
}

/* ---- runs ---- */

/* ENGINE: the verb has --threads and --memory; QUIET: it has neither; PLAIN: it has no --quiet either. */
enum { ENGINE, QUIET, PLAIN };

/* In `words`, '@' is the scratch directory and '%' the fixtures. */
typedef struct row {
    const char *words;
    int code, takes;
    bool always;      /* in `ninja test` as well */
    const char *gone; /* outputs that no later row reads, separated by blanks; they are removed */
} row;

#define CALIBRATION "--calibration %tiny-moe/calibration.txt --samples 2 --context 32"
#define LONGER      "--calibration %tiny-moe/calibration.txt --samples 4 --context 64"
#define TEXT        "--text %tiny-moe/calibration.txt --context 64 --max-tokens 128"

static const row rows[] = {
    {.words = "measure @empty.safetensors -o @measured", .always = true},
    {.words = "autopsy @empty.safetensors", .always = true},
    {.words = "dequantize @empty.safetensors -o @plain.safetensors"},
    {.words = "extract @empty.safetensors -o @organs", .takes = QUIET, .gone = "organs"},
    {.words = "prune @empty.safetensors -o @pruned.safetensors --method magnitude -s 50", .code = 3},
    /* 100,419 tensors */
    {.words = "inspect @experts", .takes = PLAIN},
    {.words = "inspect @experts --tensors", .takes = PLAIN},
    {.words = "inspect @experts --untrusted", .takes = PLAIN},
    {.words = "measure @experts -o @theta"},
    {.words = "autopsy @experts"},
    {.words = "prune @experts -o @zeros --method magnitude -s 50", .always = true},
    {.words = "audit @experts @zeros", .always = true},
    {.words = "report @zeros/organ/prune.json -o @page.html", .takes = PLAIN, .always = true},
    {.words = "prune @experts -o @wanda --method wanda -s 50 " CALIBRATION, .gone = "wanda"},
    {.words = "prune @experts -o @sparse --method sparsegpt -s 50 " CALIBRATION, .gone = "sparse"},
    {.words = "quantize @experts -o @solved --scheme int8-channel --method gptq " CALIBRATION, .gone = "solved"},
    {.words = "quantize @experts -o @codes --scheme fp8-channel"},
    {.words = "quantize @experts -o @some --scheme fp8-channel --select model.layers.0.*",
     .always = true,
     .gone = "some"},
    {.words = "dequantize @codes -o @wide", .gone = "wide"},
    {.words = "purify @experts -o @soft --method haar", .gone = "soft"},
    {.words = "extract @experts -o @apart", .takes = QUIET, .always = true},
    {.words = "assemble @apart -o @whole", .takes = QUIET, .gone = "apart whole"},
    {.words = "graft --source @zeros --target @experts -o @mixed --select attention", .takes = QUIET, .gone = "mixed"},
    {.words = "experts @experts -o @few --keep 4 " CALIBRATION, .gone = "few"},
    {.words = "width @experts -o @narrow --ffn 50% --multiple-of 8 " CALIBRATION, .gone = "narrow"},
    {.words = "layers @experts -o @low --drop 3-3", .gone = "low"},
    {.words = "perplexity @experts " TEXT},
    {.words = "evaluate @experts @zeros " TEXT},
    {.words = "evaluate @experts @zeros --tasks %tasks/tasks.jsonl"},
    {.words = "convert @experts -o @one.gguf --to gguf"},
    {.words = "convert @one.gguf -o @back --to safetensors", .gone = "one.gguf back"},
    {.words = "generate @experts --prompt ab --tokens 2"},
    {.words = "tokenize @experts --text %tiny-moe/calibration.txt", .takes = QUIET},
    {.words = "fleet @experts -o @fleet", .gone = "fleet"},
    {.words = "lora extract --base @experts --tuned @zeros -o @delta -r 2", .gone = "zeros"},
    {.words = "lora sanitize @delta -o @clean", .gone = "clean"},
    {.words = "lora resize @delta -o @thin --rank 1", .gone = "thin"},
    {.words = "lora merge --base @experts --adapter @delta -o @merged", .gone = "merged"},
    {.words = "orthogonality @experts @codes @delta -o @noise", .gone = "codes delta noise"},
    /* 1.5 GB */
    {.words = "inspect @big", .takes = PLAIN},
    {.words = "measure @big"},
    {.words = "autopsy @big"},
    {.words = "prune @big -o @zeros-big --method magnitude -s 50"},
    {.words = "audit @big @zeros-big", .gone = "zeros-big"},
    {.words = "lora extract --base @big --tuned @tuned -o @adapter -r 16 --select *.0.mlp.*_proj", .gone = "tuned"},
    {.words = "lora sanitize @adapter -o @clean", .gone = "clean"},
    {.words = "lora resize @adapter -o @thin --rank 4", .gone = "thin"},
    {.words = "lora merge --base @big --adapter @adapter -o @merged", .gone = "merged"},
    {.words = "quantize @big -o @packed --scheme fp8-channel"},
    {.words = "orthogonality @big @packed @adapter", .gone = "adapter"},
    {.words = "dequantize @packed -o @unpacked", .gone = "packed unpacked"},
    {.words = "purify @big -o @soft --method haar", .gone = "soft"},
    {.words = "extract @big -o @apart", .takes = QUIET},
    {.words = "assemble @apart -o @whole", .takes = QUIET, .gone = "whole apart"},
    {.words = "graft --source @big --target @big -o @mixed --select attention,feed-forward",
     .takes = QUIET,
     .gone = "mixed"},
    {.words = "layers @big -o @low --drop 3-3", .gone = "low"},
    {.words = "fleet @big -o @fleet", .gone = "fleet big"},
    /* 1.5 GB, calibrated */
    {.words = "prune @run -o @wanda --method wanda -s 50 " LONGER, .gone = "wanda"},
    {.words = "prune @run -o @sparse --method sparsegpt -s 50 " LONGER, .gone = "sparse"},
    {.words = "prune @run -o @third --method physarum-v3 -s 50 " LONGER, .gone = "third"},
    {.words = "quantize @run -o @solved --scheme int4-group128 --method gptq " LONGER, .gone = "solved"},
    {.words = "width @run -o @narrow --ffn 50% " LONGER, .gone = "narrow"},
    {.words = "layers @run -o @low --drop 3-3 --refit " LONGER, .gone = "low"},
    {.words = "perplexity @run " TEXT},
    {.words = "evaluate @run --tasks %tasks/tasks.jsonl"},
    {.words = "convert @run -o @all.gguf --to gguf"},
    {.words = "convert @run -o @four.gguf --to gguf --dtype q4_k", .gone = "four.gguf"},
    {.words = "convert @all.gguf -o @back --to safetensors", .gone = "all.gguf back"},
    {.words = "fleet @run -o @fleet", .gone = "fleet"},
    /* 1.5 GB, 256 experts of 4.7 MB */
    {.words = "convert @mixture -o @stacks.gguf --to gguf"},
    {.words = "convert @stacks.gguf -o @back --to safetensors", .gone = "stacks.gguf back"},
    {.words = "experts @mixture -o @few --keep 8 " LONGER, .gone = "few"},
    {.words = "width @mixture -o @narrow --ffn 50% " LONGER, .gone = "narrow mixture"},
};

static uint64_t size_of(const char *path, bool header)
{
    struct stat info;
    uint64_t length = 0;
    FILE *const in = fopen(path, "r");
    if (!in)
        return 0;
    ck_assert_int_eq(fstat(fileno(in), &info), 0);
    ck_assert(!header || fread(&length, sizeof length, 1, in) == 1);
    fclose(in);
    return header ? length : (uint64_t)info.st_size;
}

/* Returns the bytes of a model's headers, manifest and tokenizer. */
static uint64_t header_bytes_of(const char *path)
{
    static const struct {
        const char *name;
        bool header;
    } parts[] = {{"model.safetensors", true},
                 {"adapter_model.safetensors", true},
                 {"tokenizer.json", false},
                 {"manifest.json", false}};
    char file[5000];
    struct stat info;
    uint64_t bytes = 0;
    if (stat(path, &info))
        return 0; /* an output, not a model */
    if (S_ISREG(info.st_mode))
        return strstr(path, ".safetensors") ? size_of(path, true) : 0;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        snprintf(file, sizeof file, "%s/%s", path, parts[k].name);
        bytes += size_of(file, parts[k].header);
    }
    return bytes;
}

static const char *expand(const char *word)
{
    static char path[4096];
    snprintf(path, sizeof path, "fixtures/%s", word + 1);
    if (*word == '@')
        return scratch_path("%s", word + 1);
    return *word == '%' ? path : word;
}

/* Runs the program and returns its exit code. Sets *peak (bytes), *headers (bytes of the headers of all models among
 * the words) and the text of stderr. */
static int run_words(const row *r, const char *memory, uint64_t *peak, uint64_t *headers, char *said, size_t room)
{
    static char buffer[WORDS][4096], copy[1024];
    char *words[WORDS + 8] = {"build/organ"}, file[4096];
    int count = 1, status;
    struct rusage used;
    snprintf(copy, sizeof copy, "%s", r->words);
    *headers = 0;
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "), count++) {
        snprintf(buffer[count], sizeof *buffer, "%s", expand(word));
        words[count] = buffer[count];
        *headers += *word == '@' ? header_bytes_of(words[count]) : 0;
    }
    char *const rest[] = {"--quiet", "--threads", "2", "--memory", (char *)(uintptr_t)memory, NULL};
    size_t further = r->takes == QUIET;
    if (r->takes == ENGINE)
        further = 5;
    memcpy(words + count, rest, further * sizeof *rest);
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
    if (*unit == 'K')
        return number << 10;
    return number << (*unit == 'M' ? 20 : 30);
}

static void remove_outputs(const char *names)
{
    char copy[256], command[4500];
    snprintf(copy, sizeof copy, "%s", names);
    for (const char *name = strtok(copy, " "); name; name = strtok(NULL, " ")) {
        snprintf(command, sizeof command, "rm -rf '%s'", scratch_path("%s", name));
        ck_assert_int_eq(system(command), 0);
    }
}

/* Returns whether the row is within its limit. */
static bool check_row(const row *r)
{
    char memory[24] = "64M", said[2048], *named;
    uint64_t peak, headers;
    int code = run_words(r, memory, &peak, &headers, said, sizeof said);
    if (code == 2 && (named = strstr(said, "; --memory "))) {
        printf("  refused: %s", said);
        ck_assert_int_eq(sscanf(named, "; --memory %23s", memory), 1);
        code = run_words(r, memory, &peak, &headers, said, sizeof said);
    }
    const uint64_t max = bytes_of(memory) + 16 * MIB + 2 * headers;
    const bool within = code == r->code && peak <= max;
    printf("%6.1f MiB of %6.1f  %s  --memory %-5s %s\n", (double)peak / (double)MIB, (double)max / (double)MIB,
           peak > max ? "OVER" : "    ", r->takes == ENGINE ? memory : "-", r->words);
    if (code != r->code)
        printf("  ends with %d: %s", code, said);
    fflush(stdout);
    return within;
}

START_TEST(peaks_stay_below_the_limit)
{
    const char *const wish = getenv("PEAK");
    const bool whole = wish != NULL;
    make_empty();
    make_mixture("experts", &(mixture){LAYERS, EXPERTS, WIDTH, WIDTH, WIDTH, TOKENS});
    for (int tuned = 0; whole && tuned < 2; tuned++)
        make_big(tuned ? "tuned" : "big", tuned);
    if (whole) {
        make_run("run");
        make_mixture("mixture", &(mixture){MIXTURE_LAYERS, MIXTURE_EXPERTS, MIXTURE_WIDTH, MIXTURE_FFN,
                                           MIXTURE_WIDTH / 2, RUN_VOCABULARY});
    }
    size_t beyond = 0;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const bool all = whole && strcmp(wish, "whole") == 0;
        if (!all && !(whole ? strstr(rows[k].words, wish) != NULL : rows[k].always))
            continue;
        beyond += !check_row(&rows[k]);
        if (whole && rows[k].gone)
            remove_outputs(rows[k].gone);
    }
    ck_assert_msg(!beyond, "%zu rows end with another status or need more memory than they may", beyond);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("peak memory");
    TCase *const tests = tcase_create("peaks");
    tcase_add_checked_fixture(tests, scratch_make, scratch_remove);
    tcase_set_timeout(tests, getenv("PEAK") ? 0 : 1800); /* 0: no limit */
    tcase_add_test(tests, peaks_stay_below_the_limit);
    suite_add_tcase(suite, tests);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
