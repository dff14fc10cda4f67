/* SPDX-License-Identifier: MIT
 * make_model DIR LAYERS VOCABULARY [HIDDEN INTERMEDIATE KV [LAYERS_A_SHARD]]: writes a model with the layer shapes of
 * Qwen2.5-7B for measurements. BF16, generated weights with a fixed seed, a shard for every two layers.
 * make_model DIR LAYERS experts [holes]: uses the shapes of Qwen3-30B-A3B instead; with `holes` the weights are zeros
 * that take no disk space. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TABLE 65536
#define STEP  65536 /* weights per write */

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

static void write_weights(FILE *out, uint64_t n)
{
    static uint16_t buffer[STEP];
    if (holes && n > 1 && (fseeko(out, (off_t)(2 * n - 2), SEEK_CUR) || fwrite(buffer, 2, 1, out) != 1))
        die("write");
    if (holes && n > 1)
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
            write_weights(out, elements(&tensors[k]));
    if (fclose(out))
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
    MOE_EXPERTS = 128,
    MOE_USED = 8,
    MOE_WIDTH = 768
};

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
        add(s, MOE_EXPERTS, MOE_HIDDEN, "model.layers.%d.mlp.gate.weight", l, 0);
        for (int e = 0; e < MOE_EXPERTS; e++) {
            add(s, MOE_WIDTH, MOE_HIDDEN, "model.layers.%d.mlp.experts.%d.gate_proj.weight", l, e);
            add(s, MOE_WIDTH, MOE_HIDDEN, "model.layers.%d.mlp.experts.%d.up_proj.weight", l, e);
            add(s, MOE_HIDDEN, MOE_WIDTH, "model.layers.%d.mlp.experts.%d.down_proj.weight", l, e);
        }
    }
    return (unsigned)layers;
}

static void put_dense_config(FILE *config, int layers, uint64_t hidden, uint64_t intermediate, uint64_t vocabulary)
{
    fprintf(config,
            "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":%llu,\"intermediate_"
            "size\":%llu,\"num_"
            "hidden_layers\":%d,"
            "\"num_attention_heads\":28,\"num_key_value_heads\":4,\"vocab_size\":%llu,\"torch_dtype\":\"bfloat16\","
            "\"tie_word_embeddings\":"
            "false,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"hidden_act\":\"silu\",\"max_position_"
            "embeddings\":32768}\n",
            (unsigned long long)hidden, (unsigned long long)intermediate, layers, (unsigned long long)vocabulary);
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
            MOE_HIDDEN, layers, MOE_HEADS, MOE_KV_HEADS, MOE_HEAD_DIM, MOE_EXPERTS, MOE_USED, MOE_WIDTH,
            (unsigned long long)vocabulary);
}

int main(int argc, char **argv)
{
    const int moe = argc > 3 && strcmp(argv[3], "experts") == 0;
    if (moe ? argc > 5 : argc != 4 && argc != 7 && argc != 8) {
        fprintf(stderr, "make_model DIR LAYERS VOCABULARY [HIDDEN INTERMEDIATE KV [LAYERS_A_SHARD]]\nmake_model DIR "
                        "LAYERS experts [holes]\n");
        return 2;
    }
    const int layers = atoi(argv[2]), sized = !moe && argc > 4, each = argc > 7 ? atoi(argv[7]) : 2;
    const uint64_t dense = sized ? (uint64_t)atoll(argv[4]) : 3584, hidden = moe ? MOE_HIDDEN : dense,
                   vocabulary = moe ? 151936 : (uint64_t)atoll(argv[3]),
                   intermediate = sized ? (uint64_t)atoll(argv[5]) : 18944, kv = sized ? (uint64_t)atoll(argv[6]) : 512;
    holes = moe && argc > 4;
    if (layers < 1 || layers > 300 || each < 1)
        return 2;
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
    FILE *config = open_in(argv[1], "config.json");
    if (moe)
        put_experts_config(config, layers, vocabulary);
    else
        put_dense_config(config, layers, hidden, intermediate, vocabulary);
    return fclose(config) ? 4 : 0;
}
