/* SPDX-License-Identifier: MIT */
#include "tests/kit/kimi_maker.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct shard {
    char *header;
    size_t header_size;
    FILE *text, *data;
    uint64_t at;
} shard;

typedef struct maker {
    kimi_shape shape;
    const char *directory;
    shard *shards;
    int count;
    FILE *index;
    uint64_t state;
} maker;

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    perror(what);
    abort();
}

static FILE *open_in(const maker *m, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", m->directory, name);
    FILE *file = fopen(path, "wb");
    must(file != NULL, path);
    return file;
}

const char *kimi_shard(kimi_shape shape, int number)
{
    static char name[64];
    snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", number + 1, shape.layers + 1);
    return name;
}

static uint32_t draw(maker *m)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return (uint32_t)(m->state >> 16);
}

/* Returns a nearly normal random number in BF16. */
static uint16_t draw_bf16(maker *m, float mean, float std)
{
    float x = -2;
    uint32_t bits;
    for (int k = 0; k < 4; k++)
        x += (float)(draw(m) & 0xFFFF) / 65536.0f;
    x = mean + x * std * 1.7f;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Adds a header entry for `bytes` bytes, which the caller then writes to the shard's data. cols 0: a vector of
 * `rows`. */
static FILE *enter(maker *m, int in, const char *name, const char *dtype, int rows, int cols, uint64_t bytes)
{
    shard *const s = &m->shards[in];
    fprintf(s->text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d", s->at ? "," : "", name, dtype, rows);
    if (cols)
        fprintf(s->text, ",%d", cols);
    fprintf(s->text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)s->at, (unsigned long long)(s->at + bytes));
    fprintf(m->index, "%s\n    \"%s\": \"%s\"", ftell(m->index) > 20 ? "," : "", name, kimi_shard(m->shape, in));
    s->at += bytes;
    return s->data;
}

static void leave_hole(FILE *data, uint64_t bytes) { must(fseeko(data, (off_t)bytes, SEEK_CUR) == 0, "hole"); }

static void add_plain(maker *m, int in, const char *name, int rows, int cols, float mean)
{
    const size_t n = (size_t)rows * (size_t)(cols ? cols : 1);
    FILE *const data = enter(m, in, name, "BF16", rows, cols, n * 2);
    if (m->shape.holes) {
        leave_hole(data, n * 2);
        return;
    }
    for (size_t k = 0; k < n; k++) {
        const uint16_t word = draw_bf16(m, mean, 0.02f);
        fwrite(&word, 2, 1, data);
    }
}

/* Adds codes in words of eight, scales of groups of 32 in shard `scales_in`, and the shape. */
static void add_packed(maker *m, int in, int scales_in, const char *module, int rows, int cols)
{
    char name[320];
    snprintf(name, sizeof name, "%s.weight_packed", module);
    FILE *data = enter(m, in, name, "I32", rows, cols / 8, (uint64_t)rows * (uint64_t)cols / 2);
    if (m->shape.holes)
        leave_hole(data, (uint64_t)rows * (uint64_t)cols / 2);
    for (int k = 0; k < rows * cols / 8 && !m->shape.holes; k++) {
        uint32_t word = 0;
        for (int c = 0; c < 8; c++) { /* sum of three: codes near the middle are frequent */
            const uint32_t r = draw(m);
            word |= ((r % 6 + r / 8 % 6 + r / 64 % 6) & 15u) << (4 * c);
        }
        fwrite(&word, 4, 1, data);
    }
    snprintf(name, sizeof name, "%s.weight_scale", module);
    add_plain(m, scales_in, name, rows, cols / 32, 0.01f);
    snprintf(name, sizeof name, "%s.weight_shape", module);
    const int32_t shape[2] = {rows, cols};
    fwrite(shape, sizeof shape, 1, enter(m, in, name, "I32", 2, 0, sizeof shape));
}

static void add_attention(maker *m, int layer, const char *prefix)
{
    const kimi_attention *const a = &m->shape.attention;
    const struct {
        const char *name;
        int rows, cols; /* cols 0: a norm */
    } parts[] = {{"self_attn.q_a_proj", a->q_rank, m->shape.hidden},
                 {"self_attn.q_b_proj", a->heads * (a->nope + a->rope), a->q_rank},
                 {"self_attn.kv_a_proj_with_mqa", a->kv_rank + a->rope, m->shape.hidden},
                 {"self_attn.kv_b_proj", a->heads * (a->nope + a->value), a->kv_rank},
                 {"self_attn.o_proj", m->shape.hidden, a->heads * a->value},
                 {"self_attn.q_a_layernorm", a->q_rank, 0},
                 {"self_attn.kv_a_layernorm", a->kv_rank, 0},
                 {"input_layernorm", m->shape.hidden, 0},
                 {"post_attention_layernorm", m->shape.hidden, 0}};
    char name[160];
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        snprintf(name, sizeof name, "%s.%s.weight", prefix, parts[k].name);
        add_plain(m, layer, name, parts[k].rows, parts[k].cols, parts[k].cols ? 0 : 1);
    }
}

static void add_feed_forward(maker *m, int layer, const char *module, int width)
{
    char name[160];
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%s.%s.weight", module, (const char *[]){"gate_proj", "up_proj", "down_proj"}[k]);
        add_plain(m, layer, name, k < 2 ? width : m->shape.hidden, k < 2 ? m->shape.hidden : width, 0);
    }
}

static void add_experts(maker *m, int layer, const char *prefix)
{
    const kimi_shape *const s = &m->shape;
    char name[160];
    for (int e = 0; e < s->experts; e++)
        for (int k = 0; k < 3; k++) {
            int elsewhere = layer;
            if (k == 2 && e == s->experts - 1)
                elsewhere = layer + 1;
            else if (k == 0 && e == 0 && layer > 0)
                elsewhere = layer - 1;
            snprintf(name, sizeof name, "%s.mlp.experts.%d.%s", prefix, e,
                     (const char *[]){"gate_proj", "up_proj", "down_proj"}[k]);
            const int rows = k < 2 ? s->width : s->hidden, cols = k < 2 ? s->hidden : s->width;
            if (!s->plain) {
                add_packed(m, layer, elsewhere, name, rows, cols);
                continue;
            }
            strcat(name, ".weight");
            add_plain(m, layer, name, rows, cols, 0);
        }
    snprintf(name, sizeof name, "%s.mlp.shared_experts", prefix);
    add_feed_forward(m, layer, name, s->shared);
    snprintf(name, sizeof name, "%s.mlp.gate.weight", prefix);
    add_plain(m, layer, name, s->experts, s->hidden, 0);
    snprintf(name, sizeof name, "%s.mlp.gate.e_score_correction_bias", prefix);
    add_plain(m, layer, name, s->experts, 0, 1);
}

static void write_shard(maker *m, int k)
{
    shard *const s = &m->shards[k];
    fputc('}', s->text);
    must(fclose(s->text) == 0, "memory");
    const uint64_t length = s->header_size;
    FILE *const out = open_in(m, kimi_shard(m->shape, k));
    static char buffer[1 << 16];
    fwrite(&length, 8, 1, out); /* the format is little-endian */
    fwrite(s->header, 1, s->header_size, out);
    must(fflush(s->data) == 0, "shard");
    for (off_t from = 0, end; (from = lseek(fileno(s->data), from, SEEK_DATA)) >= 0; from = end) {
        end = lseek(fileno(s->data), from, SEEK_HOLE);
        must(fseeko(s->data, from, SEEK_SET) == 0 && fseeko(out, (off_t)(8 + s->header_size) + from, SEEK_SET) == 0,
             "shard");
        for (off_t at = from; at < end;) {
            const size_t max = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
            must(fread(buffer, 1, max, s->data) == max && fwrite(buffer, 1, max, out) == max, "shard");
            at += (off_t)max;
        }
    }
    must(fflush(out) == 0 && ftruncate(fileno(out), (off_t)(8 + s->header_size + s->at)) == 0 && fclose(out) == 0,
         "shard");
    fclose(s->data);
    free(s->header);
}

static const char packed_experts[] =
    ",\n \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"type\": \"int\", "
    "\"symmetric\": true, \"strategy\": \"group\", \"group_size\": 32}}}, \"ignore\": [\"lm_head\", "
    "\"re:.*self_attn.*\", "
    "\"re:.*shared_experts.*\", \"re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*\"]}";

/* Values that are no shapes are those of Kimi-K2. */
static void write_config(const maker *m)
{
    const kimi_shape *const s = &m->shape;
    const kimi_attention *const a = &s->attention;
    FILE *const out = open_in(m, "config.json");
    fprintf(
        out,
        "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"kimi_k2\", \"torch_dtype\": \"bfloat16\", "
        "\"num_hidden_layers\": %d, \"first_k_dense_replace\": %d, \"hidden_size\": %d, \"intermediate_size\": %d, "
        "\"moe_intermediate_size\": %d, \"n_routed_experts\": %d, \"n_shared_experts\": 1, \"vocab_size\": %d,\n",
        s->layers, s->dense, s->hidden, s->wide, s->width, s->experts, s->vocabulary);
    fprintf(out,
            " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"q_lora_rank\": %d, \"kv_lora_rank\": %d, "
            "\"qk_nope_head_dim\": %d, \"qk_rope_head_dim\": %d, \"v_head_dim\": %d, \"num_experts_per_tok\": %d, "
            "\"n_group\": %d, \"topk_group\": %d,\n",
            a->heads, a->heads, a->q_rank, a->kv_rank, a->nope, a->rope, a->value, s->experts < 8 ? s->experts : 8,
            s->groups ? s->groups : 1, s->groups ? s->used_groups : 1);
    fprintf(out,
            " \"hidden_act\": \"silu\", \"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", "
            "\"norm_topk_prob\": true, "
            "\"routed_scaling_factor\": 2.827, \"rms_norm_eps\": 1e-6, \"rope_theta\": 50000.0, "
            "\"max_position_embeddings\": 131072, \"tie_word_embeddings\": false%s}\n",
            s->plain ? "" : packed_experts);
    must(fclose(out) == 0, "config.json");
}

void kimi_make(const char *directory, kimi_shape shape)
{
    maker m = {.shape = shape, .directory = directory, .count = shape.layers + 1, .state = 0x9E3779B97F4A7C15u};
    if (!shape.attention.heads)
        m.shape.attention =
            (kimi_attention){.heads = 1, .q_rank = 64, .kv_rank = 32, .nope = 64, .rope = 32, .value = 64};
    must(mkdir(directory, 0777) == 0, directory);
    m.shards = calloc((size_t)m.count, sizeof *m.shards);
    m.index = open_in(&m, "model.safetensors.index.json");
    must(m.shards != NULL, "memory");
    fputs("{\"weight_map\": {", m.index);
    for (int k = 0; k < m.count; k++) {
        m.shards[k].text = open_memstream(&m.shards[k].header, &m.shards[k].header_size);
        m.shards[k].data = tmpfile();
        must(m.shards[k].text && m.shards[k].data, "shard");
        fputc('{', m.shards[k].text);
    }
    for (int layer = 0; layer < shape.layers; layer++) {
        char prefix[64], dense[80];
        snprintf(prefix, sizeof prefix, "model.layers.%d", layer);
        snprintf(dense, sizeof dense, "%s.mlp", prefix);
        add_attention(&m, layer, prefix);
        if (layer < shape.dense)
            add_feed_forward(&m, layer, dense, shape.wide);
        else
            add_experts(&m, layer, prefix);
    }
    add_plain(&m, shape.layers, "model.embed_tokens.weight", shape.vocabulary, shape.hidden, 0);
    add_plain(&m, shape.layers, "model.norm.weight", shape.hidden, 0, 1);
    add_plain(&m, shape.layers, "lm_head.weight", shape.vocabulary, shape.hidden, 0);
    fputs("\n  }}\n", m.index);
    must(fclose(m.index) == 0, "index");
    for (int k = 0; k < m.count; k++)
        write_shard(&m, k);
    free(m.shards);
    write_config(&m);
}
