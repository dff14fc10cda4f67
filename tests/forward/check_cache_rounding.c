/* SPDX-License-Identifier: MIT
 * A rounded KV cache: keys and values of every layer are E4M3 numbers times their scales, with the same bits in windows
 * and in a text that grows, for any number of threads and on every instruction set. */
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 70 };

/* ---- models with scales ---- */

/* A tensor of F32 numbers: one, or `count` of them in the shape count x 1 x 1. */
typedef struct scale_tensor {
    const char *name;
    unsigned count;
    float values[3];
} scale_tensor;

/* Writes a fixture's model with more tensors, and returns its directory. */
static const char *model_with(const char *fixture, const scale_tensor *tensors, size_t count)
{
    const char *const directory = scratch_path("model");
    char command[700], added[2048] = "";
    size_t size, length = 0;
    snprintf(command, sizeof command, "rm -rf '%s' && cp -rL 'fixtures/%s' '%s' && chmod -R u+w '%s'", directory,
             fixture, directory, directory);
    ck_assert_int_eq(system(command), 0);
    const char *const path = scratch_path("model/model.safetensors");
    char *const file = slurp(path, &size);
    uint64_t header;
    memcpy(&header, file, sizeof header);
    size_t end = sizeof header + header, data = size - end;
    while (file[end - 1] != '}')
        end--;
    float numbers[64];
    size_t bytes = 0;
    for (size_t k = 0; k < count; k++) {
        const size_t of = tensors[k].count * sizeof *numbers;
        length +=
            (size_t)snprintf(added + length, sizeof added - length,
                             ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%u%s],\"data_offsets\":[%zu,%zu]}", tensors[k].name,
                             tensors[k].count, tensors[k].count > 1 ? ",1,1" : "", data + bytes, data + bytes + of);
        memcpy((char *)numbers + bytes, tensors[k].values, of);
        bytes += of;
    }
    const uint64_t stated = end - 1 - sizeof header + length + 1;
    FILE *const out = fopen(path, "wb");
    ck_assert_ptr_nonnull(out);
    fwrite(&stated, 1, sizeof stated, out);
    fwrite(file + sizeof stated, 1, end - 1 - sizeof stated, out);
    fwrite(added, 1, length, out);
    fputc('}', out);
    fwrite(file + size - data, 1, data, out);
    fwrite(numbers, 1, bytes, out);
    ck_assert_int_eq(fclose(out), 0);
    free(file);
    return directory;
}

/* ---- rounding ---- */

/* The nearest number of E4M3 (3 bits after the leading 1, exponents -6 to 8, largest 448), ties to even. */
static float twin(float value, float scale)
{
    const float x = value / scale;
    int exponent;
    if (!(fabsf(x) < 464)) /* halfway from 448 to the next number */
        return copysignf(448, x) * scale;
    frexpf(x, &exponent);
    const int step = (exponent - 1 < -6 ? -6 : exponent - 1) - 3;
    return ldexpf(nearbyintf(ldexpf(x, -step)), step) * scale;
}

/* The keys and values of the first layer. */
typedef struct first_layer {
    float keys[TOKENS * 64], values[TOKENS * 64];
    size_t key_width, value_width, tokens, layers;
} first_layer;

static organ_status keep_rows(void *context, unsigned layer, size_t tokens, const float *keys, const float *values,
                              organ_error *error)
{
    first_layer *const f = context;
    f->layers++;
    if (layer == 0) {
        memcpy(f->keys + f->tokens * f->key_width, keys, tokens * f->key_width * sizeof *keys);
        memcpy(f->values + f->tokens * f->value_width, values, tokens * f->value_width * sizeof *values);
        f->tokens += tokens;
    }
    return error->status;
}

static void made_up(uint32_t *tokens)
{
    for (size_t k = 0; k < TOKENS; k++)
        tokens[k] = (uint32_t)(k * k * 7 + k / 3) % 96;
}

/* Runs the layers with a tap. */
static void tap_rows(session *s, first_layer *first)
{
    const organ_forward_config *const c = organ_forward_describe(s->forward);
    const organ_cache_tap tap = {first, keep_rows};
    uint32_t tokens[TOKENS];
    static const size_t begin[3] = {0, 30, TOKENS};
    const organ_windows windows = {tokens, 2, begin};
    organ_error error = {0};
    float *const hidden = malloc(TOKENS * (size_t)c->state * sizeof *hidden);
    made_up(tokens);
    *first = (first_layer){.key_width = c->kinds[0].kv_heads * c->kinds[0].head_dim,
                           .value_width = c->kinds[0].kv_heads * c->kinds[0].value_dim};
    ck_assert_uint_le(first->key_width, 64);
    ck_assert_int_eq(organ_forward_embed(s->forward, &windows, hidden, &error), ORGAN_OK);
    for (unsigned l = 0; l < c->layers; l++) {
        organ_layer *layer;
        ck_assert_int_eq(organ_layer_load(s->forward, (int32_t)l, &layer, &error), ORGAN_OK);
        organ_layer_tap_cache(layer, &tap);
        ck_assert_int_eq(organ_layer_run(s->forward, layer, &windows, hidden, NULL, &error), ORGAN_OK);
        organ_layer_free(layer);
    }
    free(hidden);
    ck_assert_uint_eq(first->tokens, TOKENS);
    ck_assert_uint_eq(first->layers, c->layers);
}

/* Scales of layer 0: of its two heads for keys, of all for values, so small that values are cut at 448. */
static const scale_tensor scales[] = {{"model.layers.0.self_attn.k_scale", 2, {0.001953125F, 0.0007F}},
                                      {"model.layers.0.self_attn.v_scale", 1, {0.0001F}},
                                      {"model.layers.1.self_attn.k_proj.k_scale", 1, {0.25F}},
                                      {"model.layers.1.self_attn.v_proj.v_scale", 1, {0.125F}},
                                      {"model.layers.2.self_attn.kv_scale", 1, {0.5F}}};

static void open_rounded(session *s, const char *path, unsigned threads, const char *isa)
{
    const char *why;
    organ_error error;
    ck_assert_msg(session_open(s, path, threads, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    s->engine.kernels = organ_kernels_choose(organ_cpu_detect(), isa, &why);
    ck_assert_msg(organ_forward_round_cache(s->forward, &error) == ORGAN_OK, "%s", error.message);
}

START_TEST(rows_are_e4m3_numbers_times_their_scales)
{
    static first_layer plain, rounded;
    session s;
    size_t cut = 0, moved = 0;
    const char *const path = model_with("forward/llama", scales, sizeof scales / sizeof *scales);
    open_rounded(&s, path, 3, NULL);
    const organ_cache_rounding *const c = organ_forward_cache(s.forward);
    ck_assert_uint_eq(c->heads, 2);
    ck_assert_uint_eq(c->layers, 3);
    ck_assert_uint_eq(c->unscaled, 0);
    ck_assert(c->by_head);
    const float found[] = {c->keys[2], c->keys[3], c->values[2], c->values[3], c->keys[4], c->values[5]},
                stated[] = {0.25F, 0.25F, 0.125F, 0.125F, 0.5F, 0.5F};
    ck_assert_mem_eq(found, stated, sizeof found);
    tap_rows(&s, &rounded);
    session_close(&s);
    organ_error error;
    ck_assert_int_eq(session_open(&s, path, 3, ROOMY, &error), ORGAN_OK);
    ck_assert_ptr_null(organ_forward_cache(s.forward));
    tap_rows(&s, &plain);
    session_close(&s);
    for (size_t k = 0; k < TOKENS * plain.key_width; k++) {
        const float scale = scales[0].values[k % plain.key_width / (plain.key_width / 2)];
        ck_assert_float_eq(rounded.keys[k], twin(plain.keys[k], scale));
        ck_assert_float_eq(rounded.values[k], twin(plain.values[k], scales[1].values[0]));
        cut += fabsf(rounded.values[k]) == 448 * scales[1].values[0];
        moved += rounded.keys[k] != plain.keys[k];
    }
    ck_assert_uint_gt(cut, 10);
    ck_assert_uint_gt(moved, TOKENS * plain.key_width / 2);
}
END_TEST

static void keep_logits(void *context, size_t k, float *logits)
{
    ck_assert_uint_eq(k, 0);
    memcpy(context, logits, 96 * sizeof *logits);
}

/* Models with a sliding window and with layers of several kinds, without scales and so with scales of 1. */
START_TEST(windows_and_growing_texts_have_the_same_bits)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    static const char *const paths[] = {"forward/llama", "forward/mistral", "forward/gemma3", "forward/qwen3moe"};
    uint32_t tokens[TOKENS];
    static const size_t begin[2] = {0, TOKENS}, row = TOKENS - 1;
    const organ_windows windows = {tokens, 1, begin};
    made_up(tokens);
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        float first[96], grown[96];
        bool have = false;
        char path[100];
        snprintf(path, sizeof path, "fixtures/%s", paths[p]);
        for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
            const char *why;
            organ_error error;
            session s;
            organ_decode_cache *cache;
            if (!organ_kernels_choose(organ_cpu_detect(), isas[k], &why))
                continue;
            open_rounded(&s, path, 1 + 2 * (unsigned)k, isas[k]);
            ck_assert_uint_eq(organ_forward_cache(s.forward)->unscaled, organ_forward_cache(s.forward)->layers);
            float *const logits = session_logits(&s, &windows, &row, 1, &error);
            ck_assert_msg(logits && (!have || memcmp(first, logits, sizeof first) == 0), "%s: %s", path, isas[k]);
            memcpy(first, logits, sizeof first);
            free(logits);
            have = true;
            ck_assert_int_eq(organ_decode_cache_open(s.forward, 5, TOKENS, &cache, &error), ORGAN_OK);
            for (size_t n = 9; n <= TOKENS; n += n < 20 ? 1 : TOKENS - 20)
                ck_assert_int_eq(organ_forward_continue(s.forward, cache, tokens, n, grown, keep_logits, &error),
                                 ORGAN_OK);
            organ_decode_cache_close(cache);
            ck_assert_mem_eq(grown, first, sizeof first);
            session_close(&s);
        }
        session s;
        organ_error error;
        ck_assert_int_eq(session_open(&s, path, 2, ROOMY, &error), ORGAN_OK);
        float *const logits = session_logits(&s, &windows, &row, 1, &error);
        ck_assert_msg(memcmp(first, logits, sizeof first) != 0, "%s: rounding changes nothing", path);
        free(logits);
        session_close(&s);
    }
}
END_TEST

START_TEST(wrong_scales_are_refused)
{
    static const struct {
        scale_tensor tensor;
        const char *message;
    } cases[] = {{{"model.layers.1.self_attn.k_scale", 1, {0}}, "has the scale 0, but scales of the KV cache are "},
                 {{"model.layers.1.self_attn.v_scale", 1, {-1}}, "has the scale -1, "},
                 {{"model.layers.1.self_attn.v_scale", 1, {INFINITY}}, "has the scale inf, "},
                 {{"model.layers.0.self_attn.k_scale", 3, {1, 1}},
                  "is F32 of 3 values, but scales of the KV cache are F32, BF16 or F16"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        session s;
        organ_error error;
        const char *const path = model_with("forward/llama", &cases[k].tensor, 1);
        ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_OK);
        ck_assert_int_eq(organ_forward_round_cache(s.forward, &error), ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, cases[k].tensor.name) && strstr(error.message, cases[k].message), "%s",
                      error.message);
        session_close(&s);
    }
}
END_TEST

Suite *cache_rounding_suite(void)
{
    const suite_case cases[] = {
        {"a rounded cache",
         {rows_are_e4m3_numbers_times_their_scales, windows_and_growing_texts_have_the_same_bits,
          wrong_scales_are_refused}},
    };
    return suite_of("cache rounding", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
}
