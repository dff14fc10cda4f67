/* SPDX-License-Identifier: MIT
 * How the configuration of a quantised model says that servers store the KV cache: in members, or in a word. */
#include "formats/weights/quant_config.h"

#include "formats/base/text.h"

#include <string.h>
#include <strings.h>

/* QuantizationArgs of compressed-tensors; ModelOpt writes num_bits, type and dynamic alone. vLLM reads scales of E4M3
 * codes for a tensor or for each head of keys, computed beforehand. */
static bool is_e4m3(const organ_quant_scope *scheme)
{
    static const char *const strategies[] = {"tensor", "attn_head", NULL};
    const json_t *const symmetric = organ_quant_member(scheme, "symmetric"), *const dynamic =
                                                                                 organ_quant_member(scheme, "dynamic");
    const char *type = "", *strategy = "tensor";
    organ_quant_read_term(scheme, "type", &type);
    organ_quant_read_term(scheme, "strategy", &strategy);
    return json_integer_value(organ_quant_member(scheme, "num_bits")) == 8 && strcmp(type, "float") == 0 &&
           organ_is_one_of(strategy, strategies) && !json_is_false(symmetric) && (!dynamic || json_is_false(dynamic));
}

/* A cache in a word: kv_cache_scheme of some versions of ModelOpt, and its kv_cache_quant_algo. */
static bool is_e4m3_word(const char *word)
{
    static const char *const words[] = {"fp8", "fp8_e4m3", "float8_e4m3fn", NULL};
    for (size_t k = 0; words[k]; k++)
        if (strcasecmp(word, words[k]) == 0)
            return true;
    return false;
}

static bool is_no_cache(const json_t *value)
{
    const char *const word = organ_json_plain(value);
    return !value || json_is_false(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (word && (!*word || strcasecmp(word, "none") == 0 || strcasecmp(word, "auto") == 0));
}

static void read_word(const organ_quant_scope *at, const char *key)
{
    const char *word = NULL;
    organ_quant_read_word(at, key, &word);
    if (!word)
        return;
    at->config->cache = is_e4m3_word(word);
    at->config->cache_text = word;
}

/* kv_cache_quant_algo is a member of ModelOpt, in hf_quant_config.json. */
void organ_quant_read_cache(const organ_quant_scope *at)
{
    static const char *const algorithm = "kv_cache_quant_algo", *const scheme = "kv_cache_scheme";
    const json_t *const value = organ_quant_member(at, scheme);
    if (!is_no_cache(organ_quant_member(at, algorithm)))
        read_word(at, algorithm);
    if (is_no_cache(value) || at->error->status || *at->config->cache_text)
        return;
    if (organ_json_plain(value)) {
        read_word(at, scheme);
        return;
    }
    if (!json_is_object(value)) {
        organ_quant_fail_value(at, scheme, value, "an object or a word");
        return;
    }
    const organ_quant_scope members = organ_quant_enter(at, scheme);
    if (at->error->status)
        return;
    at->config->cache = is_e4m3(&members);
    at->config->cache_text = members.path;
}
