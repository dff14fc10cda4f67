/* SPDX-License-Identifier: MIT
 * The architectures of llama.cpp, as values of general.architecture (src/llama-arch.cpp and
 * gguf-py/gguf/constants.py). A conversion by name must not write a file with one of these names. */
#include "orchestrator/surgery/convert/convert_job.h"

#include <ctype.h>
#include <string.h>

/* Tables are laid out by hand. */
/* clang-format off */
static const char *const reserved[] = {
    "afmoe", "apertus", "arcee", "arctic", "arwkv7", "baichuan", "bailingmoe", "bailingmoe2", "bailingmoe3", "bert",
    "bitnet", "bloom", "chameleon", "chatglm", "clip", "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r",
    "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr", "deepseek32", "deepseek4", "dflash", "dots1",
    "dots3note", "dream", "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "exaone-moe", "exaone4",
    "falcon", "falcon-h1", "gemma", "gemma-embedding", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma4-assistant",
    "glm-dsa", "glm4", "glm4moe", "glm5-next", "gpt-oss", "gpt2", "gptj", "gptneox", "granite", "granite_swa",
    "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe",
    "hunyuan_vl", "hy_v3", "hy_v4", "internlm2", "jais", "jais2", "jamba", "jina-bert-v2", "jina-bert-v3",
    "kimi-k3", "kimi-linear", "laguna", "lfm2", "lfm2moe", "llada", "llada-moe", "llama", "llama-embed", "llama4",
    "maincoder", "mamba", "mamba2", "maple", "mellum", "mimo2", "minicpm", "minicpm3", "minimax-01", "minimax-m2",
    "minimax-m3", "mistral3", "mistral4", "modern-bert", "mpt", "muse-glimmer", "nanbeige", "nemotron",
    "nemotron_h", "nemotron_h_moe", "neo-bert", "nomic-bert", "nomic-bert-moe", "olmo", "olmo2", "olmoe", "openelm",
    "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plamo2", "plamo3", "plm",
    "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next",
    "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "rwkv6", "rwkv6qwen2", "rwkv7", "seed_oss",
    "smallthinker", "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "step35", "t5", "t5encoder",
    "talkie", "wavtokenizer-dec", "xverse"};
/* clang-format on */

/* Keeps letters and digits in lower case, at most 95, without a "_text" at the end. Two names are similar if these
 * are equal. */
static void reserved_letters(const char *name, char letters[96])
{
    size_t count = 0, length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, "_text") == 0)
        length -= 5;
    for (size_t k = 0; k < length && count < 95; k++)
        if (isalnum((unsigned char)name[k]))
            letters[count++] = (char)tolower((unsigned char)name[k]);
    letters[count] = 0;
}

const char *organ_convert_reserved(const char *name)
{
    char own[96], other[96];
    reserved_letters(name, own);
    for (size_t k = 0; k < sizeof reserved / sizeof *reserved; k++) {
        reserved_letters(reserved[k], other);
        if (strcmp(own, other) == 0)
            return reserved[k];
    }
    return NULL;
}
