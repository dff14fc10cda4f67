/* SPDX-License-Identifier: MIT
 * How the configuration of a quantised model says that servers store the KV cache. */
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

/* kv_cache_quant_algo is a member of ModelOpt, in hf_quant_config.json. */
void organ_quant_read_cache(const organ_quant_scope *at)
{
    organ_quant_config *const config = at->config;
    const organ_quant_scope scheme = organ_quant_enter(at, "kv_cache_scheme");
    const char *algorithm = NULL;
    organ_quant_read_word(at, "kv_cache_quant_algo", &algorithm);
    if (at->error->status || (!scheme.object && !algorithm))
        return;
    config->cache = scheme.object ? is_e4m3(&scheme) : strcasecmp(algorithm, "FP8") == 0;
    config->cache_text = algorithm ? algorithm : scheme.path;
}
