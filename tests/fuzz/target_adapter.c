/* SPDX-License-Identifier: MIT
 * LoRA adapters: adapter_config.json, separator, header of the safetensors file, separator, data. */
#include <organ/weights.h>
#include "tests/fuzz/targets.h"

#include <math.h>

/* The same adapter, with factors of convolutions. */
static void open_with_conv(bool plain)
{
    organ_error error = {0};
    organ_adapter *adapter;
    const organ_status status = organ_adapter_open_with_conv(fuzz_folder("adapter"), &adapter, &error);
    fuzz_check_verdict(status, &error);
    fuzz_require(!plain || adapter, "an adapter without convolutions is one with them");
    for (size_t k = 0; adapter && k < adapter->pair_count; k++) {
        const organ_adapter_pair *const pair = &adapter->pairs[k];
        fuzz_require(pair->a->elements == pair->rank * pair->experts * pair->in_features &&
                         pair->b->elements == pair->rank * pair->experts * pair->out_features,
                     "a pair has the elements of its factors");
        fuzz_require((pair->layout == ORGAN_FACTORS_CONV) == (pair->a->rank > 2), "convolutions have a kernel");
    }
    organ_adapter_close(adapter);
}

void fuzz_adapter(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const fuzz_part config = fuzz_next_part(&rest), header = fuzz_next_part(&rest);
    organ_error error = {0};
    organ_adapter *adapter;
    fuzz_put("adapter/" ORGAN_ADAPTER_CONFIG, config.size ? config.data : NULL, config.size);
    fuzz_put_tensors("adapter/" ORGAN_ADAPTER_WEIGHTS, header, rest);
    const organ_status status = organ_adapter_open(fuzz_folder("adapter"), &adapter, &error);
    fuzz_check_verdict(status, &error);
    fuzz_require((status == ORGAN_OK) == (adapter != NULL), "there is an adapter if there is no error");
    for (size_t k = 0; adapter && k < adapter->pair_count; k++) {
        const organ_adapter_pair *const pair = &adapter->pairs[k];
        fuzz_require(pair->a && pair->b && pair->a->rank == 2 && pair->b->rank == 2, "a pair has two matrices");
        fuzz_require(pair->a->shape[0] == pair->rank && pair->b->shape[1] == pair->rank && pair->rank > 0,
                     "both have the rank of the pair");
        fuzz_require(pair->in_features == pair->a->shape[1] && pair->out_features == pair->b->shape[0],
                     "a pair has the shape of its factors");
        fuzz_require(!isnan(pair->scale), "a scale is a number");
        fuzz_require(organ_adapter_find(adapter, pair->module) == pair, "a pair is found by its module");
    }
    organ_adapter_close(adapter);
    open_with_conv(status == ORGAN_OK);
}
