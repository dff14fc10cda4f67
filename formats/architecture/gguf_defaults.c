/* SPDX-License-Identifier: MIT
 * Key-values that files of other programs than llama.cpp's converter lack, because these programs have the values in
 * their code. Ollama stores Gemma 3 with its vision tower in one file, with few keys of the text model
 * (convert/convert_gemma3.go); the values are those of its model/models/gemma3/model_text.go. */
#include "formats/architecture/pairing.h"

#include <string.h>

#define F32_KEY(key, bytes)                                                                                            \
    {                                                                                                                  \
        key, ORGAN_GGUF_F32, ORGAN_GGUF_F32, 1, (const unsigned char *)(bytes), 4                                      \
    }

static const char linear[] = "\6\0\0\0\0\0\0\0linear";

/* Numbers are the bytes of FP32. */
static const organ_gguf_kv usual[] = {F32_KEY("gemma3.attention.layer_norm_rms_epsilon", "\xbd\x37\x86\x35"), /* 1e-6 */
                                      F32_KEY("gemma3.rope.freq_base", "\x00\x24\x74\x49"),                   /* 1e6 */
                                      F32_KEY("gemma3.rope.freq_base_swa", "\x00\x40\x1c\x46")};              /* 1e4 */
/* Gemma 3 of 4, 12 and 27 billion weights. */
static const organ_gguf_kv of_large[] = {{"gemma3.rope.scaling.type", ORGAN_GGUF_STRING, ORGAN_GGUF_STRING, 1,
                                          (const unsigned char *)linear, sizeof linear - 1},
                                         F32_KEY("gemma3.rope.scaling.factor", "\x00\x00\x00\x41")}; /* 8 */

static const organ_gguf_kv *default_named(const organ_gguf_kv *keys, size_t count, const char *key)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(keys[k].key, key) == 0)
            return &keys[k];
    return NULL;
}

const organ_gguf_kv *organ_gguf_find_or_default(const organ_gguf *gguf, const char *key)
{
    const organ_gguf_kv *const found = organ_gguf_find(gguf, key);
    if (found || strncmp(key, "gemma3.", strlen("gemma3.")) != 0 || !organ_gguf_find(gguf, "gemma3.vision.block_count"))
        return found;
    const int64_t layers = organ_gguf_integer(gguf, "gemma3.block_count", 0);
    const bool large = layers == 34 || layers == 48 || layers == 62;
    const organ_gguf_kv *const other = default_named(usual, sizeof usual / sizeof *usual, key);
    return other || !large ? other : default_named(of_large, sizeof of_large / sizeof *of_large, key);
}
