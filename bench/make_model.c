/* SPDX-License-Identifier: MIT
 * make_model DIR LAYERS VOCABULARY [HIDDEN INTERMEDIATE KV [LAYERS_A_SHARD]] [holes]: writes a model with the layer
 * shapes of Qwen2.5-7B for measurements. BF16, generated weights with a fixed seed (weights of norms are 1), a shard
 * for every two layers. Heads have 128 channels if HIDDEN and KV are multiples of 128; else there are 28 heads, 4 of
 * keys and values. make_model DIR LAYERS experts[=COUNT] [holes]: uses the shapes of Qwen3-30B-A3B instead, which has
 * 48 layers of 128 experts, and writes a tokenizer of the size of Qwen3's; with `holes` the weights are zeros that take
 * no disk space. make_model FILE.gguf LAYERS experts[=COUNT] holes: the same as a GGUF file, without tokenizer. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE 65536
#define STEP  65536 /* weights per write */

#define HEAD_DIM 128 /* of a dense model */

typedef struct tensor {
    char name[96];
    uint64_t rows, cols; /* rows = 0: a vector of cols */
    unsigned shard;
} tensor;

static tensor tensors[65536];
static size_t count;
static uint16_t normal[TABLE]; /* BF16 quantiles of a normal distribution with standard deviation 0.02 */
static uint64_t state = 0x9E3779B97F4A7C15u;
static int holes;

static void die(const char *what)
{
    perror(what);
    exit(4);
}

static void add(unsigned shard, uint64_t rows, uint64_t cols, const char *format, int layer, int expert)
{
    tensor *t = &tensors[count++];
    if (count > sizeof tensors / sizeof *tensors)
        die("tensors");
    *t = (tensor){.rows = rows, .cols = cols, .shard = shard};
    snprintf(t->name, sizeof t->name, format, layer, expert);
}

static uint64_t elements(const tensor *t) { return t->rows ? t->rows * t->cols : t->cols; }

/* Fills the table with sums of uniform numbers, which are nearly normal. The order in the table does not matter. */
static void fill_table(void)
{
    for (size_t k = 0; k < TABLE; k++) {
        float x = -6.0f;
        for (int j = 0; j < 12; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            x += (float)(state >> 40) / 16777216.0f;
        }
        x *= 0.02f;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        normal[k] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

static void write_ones(FILE *out, uint64_t n)
{
    static const uint16_t one = 0x3F80;
    for (uint64_t k = 0; k < n; k++)
        if (fwrite(&one, sizeof one, 1, out) != 1)
            die("write");
}

static int is_norm(const tensor *t) { return t->rows == 0 && strstr(t->name, "norm.weight") != NULL; }

static void write_weights(FILE *out, uint64_t n)
{
    static uint16_t buffer[STEP];
    if (holes && fseeko(out, (off_t)(2 * n), SEEK_CUR))
        die("write");
    if (holes)
        return;
    while (n) {
        const size_t some = n < STEP ? (size_t)n : STEP;
        for (size_t k = 0; k < some; k += 4) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for (size_t j = 0; j < 4 && k + j < some; j++)
                buffer[k + j] = normal[state >> 16 * j & 0xFFFF];
        }
        if (fwrite(buffer, 2, some, out) != some)
            die("write");
        n -= some;
    }
}

static void write_shard(const char *directory, unsigned shard, unsigned shards)
{
    char path[4096], *header = NULL;
    size_t size = 0;
    FILE *text = open_memstream(&header, &size);
    uint64_t at = 0;
    if (!text)
        die("memory");
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", text);
    for (size_t k = 0; k < count; k++)
        if (tensors[k].shard == shard) {
            const uint64_t end = at + 2 * elements(&tensors[k]);
            fprintf(text, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[", tensors[k].name);
            if (tensors[k].rows)
                fprintf(text, "%llu,", (unsigned long long)tensors[k].rows);
            fprintf(text, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)tensors[k].cols,
                    (unsigned long long)at, (unsigned long long)end);
            at = end;
        }
    fputc('}', text);
    fflush(text);
    while (size % 8) {
        fputc(' ', text);
        fflush(text);
    }
    fclose(text);
    snprintf(path, sizeof path, "%s/model-%05u-of-%05u.safetensors", directory, shard + 1, shards);
    FILE *out = fopen(path, "wb");
    const uint64_t length = size;
    if (!out || fwrite(&length, 8, 1, out) != 1 || fwrite(header, 1, size, out) != size)
        die(path);
    for (size_t k = 0; k < count; k++)
        if (tensors[k].shard == shard)
            (is_norm(&tensors[k]) && !holes ? write_ones : write_weights)(out, elements(&tensors[k]));
    if (fflush(out) || ftruncate(fileno(out), ftello(out)) || fclose(out))
        die(path);
    free(header);
}

static FILE *open_in(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *out = fopen(path, "w");
    if (!out)
        die(path);
    return out;
}

static void write_index(const char *directory, unsigned shards)
{
    FILE *out = open_in(directory, "model.safetensors.index.json");
    uint64_t total = 0;
    for (size_t k = 0; k < count; k++)
        total += 2 * elements(&tensors[k]);
    fprintf(out, "{\"metadata\":{\"total_size\":%llu},\"weight_map\":{", (unsigned long long)total);
    for (size_t k = 0; k < count; k++)
        fprintf(out, "%s\n\"%s\":\"model-%05u-of-%05u.safetensors\"", k ? "," : "", tensors[k].name,
                tensors[k].shard + 1, shards);
    fputs("}}\n", out);
    if (fclose(out))
        die("index");
}

/* Adds the layers of a dense model, one shard for `each` layers; returns the number of shards before that of the output
 * head. */
static unsigned add_dense(int layers, int each, uint64_t hidden, uint64_t intermediate, uint64_t kv)
{
    for (int l = 0; l < layers; l++) {
        const unsigned s = (unsigned)(l / each);
        add(s, 0, hidden, "model.layers.%d.input_layernorm.weight", l, 0);
        add(s, hidden, hidden, "model.layers.%d.self_attn.q_proj.weight", l, 0);
        add(s, 0, hidden, "model.layers.%d.self_attn.q_proj.bias", l, 0);
        add(s, kv, hidden, "model.layers.%d.self_attn.k_proj.weight", l, 0);
        add(s, 0, kv, "model.layers.%d.self_attn.k_proj.bias", l, 0);
        add(s, kv, hidden, "model.layers.%d.self_attn.v_proj.weight", l, 0);
        add(s, 0, kv, "model.layers.%d.self_attn.v_proj.bias", l, 0);
        add(s, hidden, hidden, "model.layers.%d.self_attn.o_proj.weight", l, 0);
        add(s, 0, hidden, "model.layers.%d.post_attention_layernorm.weight", l, 0);
        add(s, intermediate, hidden, "model.layers.%d.mlp.gate_proj.weight", l, 0);
        add(s, intermediate, hidden, "model.layers.%d.mlp.up_proj.weight", l, 0);
        add(s, hidden, intermediate, "model.layers.%d.mlp.down_proj.weight", l, 0);
    }
    return (unsigned)((layers + each - 1) / each);
}

enum {
    MOE_HIDDEN = 2048,
    MOE_HEADS = 32,
    MOE_KV_HEADS = 4,
    MOE_HEAD_DIM = 128,
    MOE_USED = 8,
    MOE_VOCABULARY = 151936,
    MOE_WIDTH = 768
};

static int experts = 128;

static unsigned add_experts(int layers)
{
    for (int l = 0; l < layers; l++) {
        const unsigned s = (unsigned)l;
        add(s, 0, MOE_HIDDEN, "model.layers.%d.input_layernorm.weight", l, 0);
        add(s, MOE_HEADS * MOE_HEAD_DIM, MOE_HIDDEN, "model.layers.%d.self_attn.q_proj.weight", l, 0);
        add(s, MOE_KV_HEADS * MOE_HEAD_DIM, MOE_HIDDEN, "model.layers.%d.self_attn.k_proj.weight", l, 0);
        add(s, MOE_KV_HEADS * MOE_HEAD_DIM, MOE_HIDDEN, "model.layers.%d.self_attn.v_proj.weight", l, 0);
        add(s, MOE_HIDDEN, MOE_HEADS * MOE_HEAD_DIM, "model.layers.%d.self_attn.o_proj.weight", l, 0);
        add(s, 0, MOE_HEAD_DIM, "model.layers.%d.self_attn.q_norm.weight", l, 0);
        add(s, 0, MOE_HEAD_DIM, "model.layers.%d.self_attn.k_norm.weight", l, 0);
        add(s, 0, MOE_HIDDEN, "model.layers.%d.post_attention_layernorm.weight", l, 0);
        add(s, (uint64_t)experts, MOE_HIDDEN, "model.layers.%d.mlp.gate.weight", l, 0);
        for (int e = 0; e < experts; e++) {
            add(s, MOE_WIDTH, MOE_HIDDEN, "model.layers.%d.mlp.experts.%d.gate_proj.weight", l, e);
            add(s, MOE_WIDTH, MOE_HIDDEN, "model.layers.%d.mlp.experts.%d.up_proj.weight", l, e);
            add(s, MOE_HIDDEN, MOE_WIDTH, "model.layers.%d.mlp.experts.%d.down_proj.weight", l, e);
        }
    }
    return (unsigned)layers;
}

static void put_dense_config(FILE *config, int layers, uint64_t hidden, uint64_t intermediate, uint64_t kv,
                             uint64_t vocabulary)
{
    const int whole = hidden % HEAD_DIM == 0 && kv % HEAD_DIM == 0;
    fprintf(config,
            "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":%llu,\"intermediate_"
            "size\":%llu,\"num_"
            "hidden_layers\":%d,"
            "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"vocab_size\":%llu,\"torch_dtype\":\"bfloat16\","
            "\"tie_word_embeddings\":"
            "false,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"hidden_act\":\"silu\",\"max_position_"
            "embeddings\":32768}\n",
            (unsigned long long)hidden, (unsigned long long)intermediate, layers, whole ? (int)(hidden / HEAD_DIM) : 28,
            whole ? (int)(kv / HEAD_DIM) : 4, (unsigned long long)vocabulary);
}

static void put_experts_config(FILE *config, int layers, uint64_t vocabulary)
{
    fprintf(config,
            "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":%d,\"num_hidden_"
            "layers\":%d,"
            "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,\"num_experts\":%d,\"num_experts_"
            "per_tok\":%d,"
            "\"moe_intermediate_size\":%d,\"intermediate_size\":6144,\"norm_topk_prob\":true,\"decoder_sparse_step\":1,"
            "\"mlp_only_layers\":[],"
            "\"vocab_size\":%llu,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"hidden_act\":\"silu\",\"max_"
            "position_embeddings\":40960,"
            "\"torch_dtype\":\"bfloat16\",\"tie_word_embeddings\":false}\n",
            MOE_HIDDEN, layers, MOE_HEADS, MOE_KV_HEADS, MOE_HEAD_DIM, experts, MOE_USED, MOE_WIDTH,
            (unsigned long long)vocabulary);
}

/* ---- a GGUF file ---- */

enum { GGUF_F32 = 0, GGUF_BF16 = 30, GGUF_U32 = 4, GGUF_FLOAT = 6, GGUF_STRING = 8, GGUF_ALIGNMENT = 32 };

static void put_bytes(FILE *out, const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, out) != n)
        die("write");
}

static void put_32(FILE *out, uint32_t number) { put_bytes(out, &number, sizeof number); }
static void put_64(FILE *out, uint64_t number) { put_bytes(out, &number, sizeof number); }

static void put_text(FILE *out, const char *text)
{
    put_64(out, strlen(text));
    put_bytes(out, text, strlen(text));
}

/* Writes the infos of the tensors and returns the bytes of their data. */
static uint64_t put_infos(FILE *out, int layers)
{
    static const struct {
        const char *name;
        uint64_t cols, rows; /* rows = 0: a vector */
        int all;             /* a stack of all experts */
    } parts[] = {{"attn_norm", MOE_HIDDEN, 0, 0},
                 {"attn_q", MOE_HIDDEN, MOE_HEADS * MOE_HEAD_DIM, 0},
                 {"attn_k", MOE_HIDDEN, MOE_KV_HEADS * MOE_HEAD_DIM, 0},
                 {"attn_v", MOE_HIDDEN, MOE_KV_HEADS * MOE_HEAD_DIM, 0},
                 {"attn_output", MOE_HEADS * MOE_HEAD_DIM, MOE_HIDDEN, 0},
                 {"attn_q_norm", MOE_HEAD_DIM, 0, 0},
                 {"attn_k_norm", MOE_HEAD_DIM, 0, 0},
                 {"ffn_norm", MOE_HIDDEN, 0, 0},
                 {"ffn_gate_inp", MOE_HIDDEN, 1, 1},
                 {"ffn_gate_exps", MOE_HIDDEN, MOE_WIDTH, 1},
                 {"ffn_up_exps", MOE_HIDDEN, MOE_WIDTH, 1},
                 {"ffn_down_exps", MOE_WIDTH, MOE_HIDDEN, 1},
                 {"token_embd", MOE_HIDDEN, MOE_VOCABULARY, 0},
                 {"output", MOE_HIDDEN, MOE_VOCABULARY, 0},
                 {"output_norm", MOE_HIDDEN, 0, 0}};
    enum { PARTS = sizeof parts / sizeof *parts, OF_LAYER = PARTS - 3 };
    uint64_t at = 0;
    for (int k = 0; k < layers * OF_LAYER + 3; k++) {
        const int layer = k / OF_LAYER, part = layer < layers ? k % OF_LAYER : OF_LAYER + k - layers * OF_LAYER;
        const int router = parts[part].all && parts[part].rows == 1, narrow = parts[part].rows && !router;
        const uint64_t stack = parts[part].all ? (uint64_t)experts : 1, rows = parts[part].rows ? parts[part].rows : 1;
        char name[96];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[part].name);
        put_text(out, part < OF_LAYER ? name : strchr(strchr(name, '.') + 1, '.') + 1);
        const uint32_t rank = 1 + (rows > 1) + (stack > 1);
        put_32(out, rank);
        put_64(out, parts[part].cols);
        if (rows > 1)
            put_64(out, rows);
        if (stack > 1)
            put_64(out, stack);
        put_32(out, narrow ? GGUF_BF16 : GGUF_F32);
        put_64(out, at);
        at +=
            (stack * rows * parts[part].cols * (narrow ? 2 : 4) + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
    }
    return at;
}

static void write_gguf(const char *path, int layers)
{
    const struct {
        const char *name;
        uint32_t value;
    } counts[] = {{"block_count", (uint32_t)layers},        {"context_length", 40960},
                  {"embedding_length", MOE_HIDDEN},         {"feed_forward_length", 6144},
                  {"attention.head_count", MOE_HEADS},      {"attention.head_count_kv", MOE_KV_HEADS},
                  {"attention.key_length", MOE_HEAD_DIM},   {"attention.value_length", MOE_HEAD_DIM},
                  {"expert_count", (uint32_t)experts},      {"expert_used_count", MOE_USED},
                  {"expert_feed_forward_length", MOE_WIDTH}};
    static const struct {
        const char *name;
        float value;
    } reals[] = {{"attention.layer_norm_rms_epsilon", 1e-6f}, {"rope.freq_base", 1e6f}};
    enum { COUNTS = sizeof counts / sizeof *counts, REALS = sizeof reals / sizeof *reals };
    char key[96];
    FILE *out = fopen(path, "wbx");
    if (!out)
        die(path);
    put_bytes(out, "GGUF", 4);
    put_32(out, 3);
    put_64(out, (uint64_t)layers * 12 + 3);
    put_64(out, 1 + COUNTS + REALS);
    put_text(out, "general.architecture");
    put_32(out, GGUF_STRING);
    put_text(out, "qwen3moe");
    for (size_t k = 0; k < COUNTS + REALS; k++) {
        const int real = k >= COUNTS;
        snprintf(key, sizeof key, "qwen3moe.%s", real ? reals[k - COUNTS].name : counts[k].name);
        put_text(out, key);
        put_32(out, real ? GGUF_FLOAT : GGUF_U32);
        put_bytes(out, real ? (const void *)&reals[k - COUNTS].value : &counts[k].value, 4);
    }
    const uint64_t bytes = put_infos(out, layers);
    const uint64_t begin = ((uint64_t)ftello(out) + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
    if (fflush(out) || ftruncate(fileno(out), (off_t)(begin + bytes)) || fclose(out))
        die(path);
}

/* ---- a byte-level BPE tokenizer ---- */

/* Tokens: bytes, pairs of bytes, pairs of pairs of small letters. Qwen3's tokenizer has as many merges and added
 * tokens. */
enum { BYTES = 256, PAIRS = BYTES * BYTES, SMALL = 26 * 26, MERGES = 151387, ADDED = 26 };
#define SPLIT                                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "                                  \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"                                                                         \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static int is_shown(unsigned byte) { return (byte > 32 && byte < 127) || (byte > 160 && byte != 173); }

/* Writes a byte as a character in JSON: bytes that are no visible character of Latin-1 follow U+00FF. */
static void put_byte(FILE *out, unsigned byte)
{
    unsigned letter = is_shown(byte) ? byte : BYTES;
    for (unsigned b = 0; b < byte && !is_shown(byte); b++)
        letter += !is_shown(b);
    if (letter < 128)
        fprintf(out, letter == '"' || letter == '\\' ? "\\%c" : "%c", (int)letter);
    else
        fprintf(out, "%c%c", (int)(0xC0 | letter >> 6), (int)(0x80 | (letter & 0x3F)));
}

/* Writes the bytes of a token; `between` separates the halves of a merge. */
static void put_token(FILE *out, unsigned token, const char *between)
{
    const unsigned pair = token - BYTES, quad = pair - PAIRS;
    if (token < BYTES)
        put_byte(out, token);
    else if (pair < PAIRS) {
        put_byte(out, pair / BYTES);
        fputs(between, out);
        put_byte(out, pair % BYTES);
    } else {
        const unsigned halves[] = {quad / SMALL, quad % SMALL};
        for (unsigned h = 0; h < 2; h++)
            fprintf(out, "%s%c%c", h ? between : "", (int)('a' + halves[h] / 26), (int)('a' + halves[h] % 26));
    }
}

static void write_tokenizer(const char *directory)
{
    static const char bytes[] =
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":false}";
    FILE *out = open_in(directory, "tokenizer.json");
    fputs("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[", out);
    for (unsigned k = 0; k < ADDED; k++)
        fprintf(out,
                "%s{\"id\":%d,\"content\":\"<|%s%d|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                "\"normalized\":false,\"special\":true}",
                k ? "," : "", (int)(BYTES + MERGES + k), k ? "added_" : "end_", (int)k);
    fprintf(out,
            "],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
            "\"Split\",\"pattern\":{\"Regex\":\"" SPLIT
            "\"},\"behavior\":\"Isolated\",\"invert\":false},%s]},\"post_processor\":%s,\"decoder\":%s,",
            bytes, bytes, bytes);
    fputs("\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":\"\",\"end_of_"
          "word_suffix\":\"\",\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{",
          out);
    for (unsigned t = 0; t < BYTES + MERGES; t++) {
        fputs(t ? ",\n\"" : "\"", out);
        put_token(out, t, "");
        fprintf(out, "\":%u", t);
    }
    fputs("},\"merges\":[", out);
    for (unsigned t = BYTES; t < BYTES + MERGES; t++) {
        fputs(t > BYTES ? ",\n\"" : "\"", out);
        put_token(out, t, " ");
        fputc('"', out);
    }
    fputs("]}}\n", out);
    if (fclose(out))
        die("tokenizer.json");
    out = open_in(directory, "tokenizer_config.json");
    fputs("{\"add_prefix_space\":false,\"bos_token\":null,\"eos_token\":\"<|end_0|>\",\"tokenizer_class\":"
          "\"Qwen2Tokenizer\"}\n",
          out);
    if (fclose(out))
        die("tokenizer_config.json");
}

int main(int argc, char **argv)
{
    const int moe = argc > 3 && strncmp(argv[3], "experts", 7) == 0;
    holes = argc > 4 && strcmp(argv[argc - 1], "holes") == 0;
    argc -= holes;
    if (moe ? argc > 4 : argc != 4 && argc != 7 && argc != 8) {
        fprintf(stderr,
                "make_model DIR LAYERS VOCABULARY [HIDDEN INTERMEDIATE KV [LAYERS_A_SHARD]] [holes]\nmake_model DIR "
                "LAYERS experts[=COUNT] [holes]\nmake_model FILE.gguf LAYERS experts[=COUNT] holes\n");
        return 2;
    }
    const int layers = atoi(argv[2]), sized = !moe && argc > 4, each = argc > 7 ? atoi(argv[7]) : 2;
    const uint64_t dense = sized ? (uint64_t)atoll(argv[4]) : 3584, hidden = moe ? MOE_HIDDEN : dense,
                   vocabulary = moe ? MOE_VOCABULARY : (uint64_t)atoll(argv[3]),
                   intermediate = sized ? (uint64_t)atoll(argv[5]) : 18944, kv = sized ? (uint64_t)atoll(argv[6]) : 512;
    experts = moe && argv[3][7] == '=' ? atoi(argv[3] + 8) : experts;
    if (layers < 1 || layers > 300 || each < 1 || experts < MOE_USED || experts > 512)
        return 2;
    if (strlen(argv[1]) > 5 && strcmp(argv[1] + strlen(argv[1]) - 5, ".gguf") == 0) {
        if (!holes)
            return 2;
        write_gguf(argv[1], layers);
        return 0;
    }
    add(0, vocabulary, hidden, "model.embed_tokens.weight", 0, 0);
    const unsigned head = moe ? add_experts(layers) : add_dense(layers, each, hidden, intermediate, kv);
    add(head, 0, hidden, "model.norm.weight", 0, 0);
    add(head, vocabulary, hidden, "lm_head.weight", 0, 0);
    if (mkdir(argv[1], 0777))
        die(argv[1]);
    fill_table();
    for (unsigned s = 0; s <= head; s++)
        write_shard(argv[1], s, head + 1);
    write_index(argv[1], head + 1);
    if (moe)
        write_tokenizer(argv[1]);
    FILE *config = open_in(argv[1], "config.json");
    if (moe)
        put_experts_config(config, layers, vocabulary);
    else
        put_dense_config(config, layers, hidden, intermediate, kv, vocabulary);
    return fclose(config) ? 4 : 0;
}
