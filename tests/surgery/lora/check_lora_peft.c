/* SPDX-License-Identifier: MIT
 * Tests of merges of adapters with what peft alone decides: the class of a module, trained tokens, whole tensors of
 * another shape. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"

#include "orchestrator/report/text/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAIR LORA_PAIR
#define WEIGHT(name, rows, cols)                                                                                       \
    {                                                                                                                  \
        name ".weight", ORGAN_F32, 2, { rows, cols }                                                                   \
    }

/* peft writes the flag of the last module that it wraps: false with a head, which is no Conv1D. Nothing else in these
 * files shows the orientation of the square matrix but the architecture, or the biases of other matrices. */
START_TEST(the_flag_of_the_head)
{
    static const made_tensor base[] = {WEIGHT("transformer.h.0.attn.c_attn", 24, 72),
                                       {"transformer.h.0.attn.c_attn.bias", ORGAN_F32, 1, {72}},
                                       WEIGHT("transformer.h.0.attn.c_proj", 24, 24),
                                       WEIGHT("lm_head", 24, 24)};
    static const made_tensor pairs[] = {PAIR("transformer.h.0.attn.c_proj", 2, 24, 24), PAIR("lm_head", 2, 24, 24)};
    static const char config[] = "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"]}";
    static const char *const flags[] = {"false", "true"};
    mkdir(scratch_path("conv"), 0777);
    make_shard(scratch_path("conv.safetensors"), base, 4);
    make_shard(scratch_path("conv/model.safetensors"), base, 4);
    spill(scratch_path("conv/config.json"), config, sizeof config - 1);
    for (size_t k = 0; k < 4; k++) {
        char text[80];
        snprintf(text, sizeof text, "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": %s", flags[k / 2]);
        lora_adapter("lora", text, pairs, 4);
        lora_must(
            (lora_way){.base = k % 2 ? "conv" : "conv.safetensors", .adapter = "lora", .output = "out", .force = true});
        lora_expect_merged("conv.safetensors", "lora", "transformer.h.0.attn.c_proj", true, 1);
        lora_expect_merged("conv.safetensors", "lora", "lm_head", false, 1);
    }
}
END_TEST

Suite *lora_peft_suite(void)
{
    const suite_case cases[] = {{"peft", {the_flag_of_the_head}}};
    return suite_of("lora_peft", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}
