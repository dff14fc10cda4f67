/* SPDX-License-Identifier: MIT
 * Tests of the reader of config.json. */
#include <organ/models.h>
#include "tests/formats/check_formats.h"
#include "tests/kit/scratch_model.h"

#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static organ_hf_config read_text(const char *text)
{
    organ_hf_config config;
    organ_error error = {0};
    scratch_text("config.json", text);
    ck_assert_msg(organ_hf_config_read(scratch_path("config.json"), &config, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(config.present);
    return config;
}

START_TEST(absent)
{
    organ_hf_config config;
    organ_error error = {0};
    ck_assert_int_eq(organ_hf_config_read(scratch_path("config.json"), &config, &error), ORGAN_OK);
    ck_assert(!config.present);
    ck_assert_int_eq(config.hidden_size, -1);
    ck_assert_str_eq(config.architecture, "");
}
END_TEST

START_TEST(plain)
{
    const organ_hf_config c =
        read_text("{\"architectures\":[\"LlamaForCausalLM\",\"x\"],\"model_type\":\"llama\",\"torch_dtype\":"
                  "\"bfloat16\",\"hidden_size\":1,\"intermediate_size\":2,"
                  "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":5,\"head_dim\":6,"
                  "\"vocab_size\":7,\"num_local_experts\":8,"
                  "\"tie_word_embeddings\":true,\"quantization_config\":{\"quant_method\":\"fp8\"}}");
    ck_assert_str_eq(c.architecture, "LlamaForCausalLM");
    ck_assert_str_eq(c.model_type, "llama");
    ck_assert_str_eq(c.torch_dtype, "bfloat16");
    ck_assert_int_eq(c.hidden_size, 1);
    ck_assert_int_eq(c.intermediate_size, 2);
    ck_assert_int_eq(c.num_hidden_layers, 3);
    ck_assert_int_eq(c.num_attention_heads, 4);
    ck_assert_int_eq(c.num_key_value_heads, 5);
    ck_assert_int_eq(c.head_dim, 6);
    ck_assert_int_eq(c.vocab_size, 7);
    ck_assert_int_eq(c.num_experts, 8);
    ck_assert(c.tie_word_embeddings);
    ck_assert_str_eq(c.quant_method, "fp8");
}
END_TEST

/* A multimodal model: members at the top precede nested ones. */
START_TEST(nested)
{
    const organ_hf_config c = read_text("{\"text_config\":{\"model_type\":\"inner\",\"hidden_size\":5,\"n_routed_"
                                        "experts\":64,\"tie_word_embeddings\":true,"
                                        "\"quantization_config\":{\"quant_method\":\"awq\"},\"architectures\":null},"
                                        "\"model_type\":\"outer\",\"dtype\":\"float16\",\"architectures\":[\"Vision\"],"
                                        "\"vision_config\":{\"hidden_size\":9}}");
    ck_assert_str_eq(c.model_type, "outer");
    ck_assert_str_eq(c.architecture, "Vision");
    ck_assert_str_eq(c.torch_dtype, "float16");
    ck_assert_int_eq(c.hidden_size, 5);
    ck_assert_int_eq(c.num_experts, 64);
    ck_assert(c.tie_word_embeddings);
    ck_assert_str_eq(c.quant_method, "awq");
}
END_TEST

/* compression_config is a section as quantization_config is; mlx-lm's section has no quant_method. */
START_TEST(other_sections)
{
    organ_hf_config c =
        read_text("{\"quantization\":\"none\",\"compression_config\":{\"quant_method\":\"compressed-tensors\"}}");
    ck_assert_str_eq(c.quant_method, "compressed-tensors");
    c = read_text("{\"compression_config\":{\"quant_method\":\"a\"},\"quantization_config\":{\"quant_method\":\"b\"}}");
    ck_assert_str_eq(c.quant_method, "b");
}
END_TEST

/* null counts as absent; a list gives no single size; NaN and Infinity are no JSON but occur in files. */
START_TEST(odd_but_legal)
{
    const organ_hf_config c =
        read_text("{\"head_dim\":null,\"architectures\":[],\"torch_dtype\":null,\"intermediate_size\":[1,2],"
                  "\"quantization_config\":null,"
                  "\"text_config\":null,\"tie_word_embeddings\":null,\"time_step_limit\":[0.0,Infinity,-Infinity, NaN],"
                  "\"text\":\"NaN \\\" Infinity\",\"vocab_size\":0}");
    ck_assert_int_eq(c.head_dim, -1);
    ck_assert_int_eq(c.intermediate_size, -1);
    ck_assert_int_eq(c.vocab_size, 0);
    ck_assert_str_eq(c.architecture, "");
    ck_assert_str_eq(c.quant_method, "");
    ck_assert(!c.tie_word_embeddings);
}
END_TEST

/* Integers of more than 64 bits become real numbers in as many characters, and only those within the length. */
START_TEST(long_integers)
{
    char text[] = "[1000000000000000019884624838656,9223372036854775807,-9223372036854775809,"
                  "0.10000000000000000555111512312578,\"1000000000000000019884624838656\"]",
         part[] = "12345678901234567890123456789012";
    organ_hf_config_tidy(text, strlen(text));
    ck_assert_str_eq(text, "[1.0000000000000000198846248e+30,9223372036854775807,-9.2233720368548e+18,"
                           "0.10000000000000000555111512312578,\"1000000000000000019884624838656\"]");
    organ_hf_config_tidy(part, 10);
    ck_assert_str_eq(part, "12345678901234567890123456789012");
}
END_TEST

/* Which flag precedes which, and the defaults of transformers without a flag. */
static const struct tie {
    const char *text;
    bool tied;
} ties[] = {
    {"{\"architectures\":[\"GemmaForCausalLM\"]}", true},
    {"{\"architectures\":[\"GemmaForCausalLM\"],\"tie_word_embeddings\":null}", true},
    {"{\"architectures\":[\"GemmaForCausalLM\"],\"tie_word_embeddings\":false}", false},
    {"{\"model_type\":\"gemma2\"}", true},
    {"{\"architectures\":[\"LlamaForCausalLM\"]}", false},
    {"{\"architectures\":[\"NoSuchForCausalLM\"]}", false},
    {"{\"architectures\":[\"NoSuchForCausalLM\"],\"tie_word_embeddings\":true}", true},
    {"{\"architectures\":[\"Lfm2ForCausalLM\"],\"tie_embedding\":false}", false},
    {"{\"architectures\":[\"LlavaForConditionalGeneration\"],\"text_config\":{\"model_type\":\"llama\"}}", true},
    {"{\"architectures\":[\"LlavaForConditionalGeneration\"],\"text_config\":{\"model_type\":\"llama\","
     "\"tie_word_embeddings\":false}}",
     false},
    {"{\"architectures\":[\"LlavaForConditionalGeneration\"],\"tie_word_embeddings\":false,\"text_config\":{"
     "\"model_type\":\"llama\",\"tie_word_embeddings\":true}}",
     false},
};

/* Ties of multimodal types in transformers 5.24 (AutoConfig): `ties` has a digit for each pair of the flag at the top
 * and that of text_config, both in the order missing, true, false; the pairs are in the order of the flag at the top.
 */
static const struct multimodal_tie {
    const char *outer, *inner, *ties;
} multimodal_ties[] = {
    {"gemma3", "gemma3_text", "111111000"},
    {"gemma4", "gemma4_text", "111111000"},
    {"mistral3", "mistral", "111111000"},
    {"kimi_k25", "deepseek_v3", "111111000"},
    {"llama4", "llama4_text", "000111000"},
    {"llava_next", "llama", "000111000"},
    {"qwen3_vl", "qwen3_vl_text", "000111000"},
    {"qwen3_5", "qwen3_5_text", "000111000"},
    {"qwen3_5_moe", "qwen3_5_moe_text", "000111000"},
    {"qwen2_vl", "qwen2_vl_text", "010111010"},
    {"qwen2_5_vl", "qwen2_5_vl_text", "010111010"},
    {"llava", "llama", "010111010"},
    {"glm4v", "glm4v_text", "010111010"},
    {"glm4v_moe", "glm4v_moe_text", "010111010"},
    {"glm46v", "glm4v_text", "000111000"},
    {"step3p7", "step3p5", "000111000"},
    {"internvl", "qwen2", "111111000"},
    {"gemma4_unified", "gemma4_unified_text", "111111000"},
    {"unknown_vl", "llama", "110111000"},
};

static int multimodal_tie(const struct multimodal_tie *t, unsigned pair)
{
    static const char *const flags[] = {"", ",\"tie_word_embeddings\":true", ",\"tie_word_embeddings\":false"};
    char text[400];
    snprintf(text, sizeof text, "{\"model_type\":\"%s\"%s,\"text_config\":{\"model_type\":\"%s\"%s}}", t->outer,
             flags[pair / 3], t->inner, flags[pair % 3]);
    return '0' + read_text(text).tie_word_embeddings;
}

START_TEST(multimodal_tied_or_not)
{
    for (unsigned pair = 0; pair < 9; pair++)
        ck_assert_msg(multimodal_tie(&multimodal_ties[_i], pair) == multimodal_ties[_i].ties[pair], "%s: pair %u",
                      multimodal_ties[_i].outer, pair);
}
END_TEST

START_TEST(tied_or_not)
{
    ck_assert_msg(read_text(ties[_i].text).tie_word_embeddings == ties[_i].tied, "%s", ties[_i].text);
}
END_TEST

static const struct bad_config {
    const char *text;
    const char *fragments[2];
} bad_configs[] = {
    {"", {"line 1, column 1"}},
    {"[]", {"is not an object"}},
    {"{\"a\":1", {"line 1"}},
    {"{\"a\":1}{", {"end of file expected"}},
    {"{\n \"hidden_size\": 1,\n \"hidden_size\": 1}", {"line 3", "duplicate object key"}},
    {"{\"hidden_size\":-1}", {"hidden_size is -1, not a whole number"}},
    {"{\"hidden_size\":1.5}", {"hidden_size is 1.5, not a whole number"}},
    {"{\"num_hidden_layers\":\"4\"}", {"num_hidden_layers is \"4\", not a whole number"}},
    {"{\"vocab_size\":9223372036854775808}", {"vocab_size is 9.2233720368548e+18", "not a whole number"}},
    {"{\"model_type\":7}", {"model_type is 7, not a string"}},
    {"{\"model_type\":\"a\\u0000b\"}", {"model_type is \"a\\u0000b\", not a string"}},
    {"{\"model_type\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
     {"model_type is", "not a short string"}},
    {"{\"architectures\":\"x\"}", {"architectures is \"x\", not a list of strings"}},
    {"{\"architectures\":[1]}", {"architectures is [1], not a string"}},
    {"{\"tie_word_embeddings\":1}", {"tie_word_embeddings is 1, not true or false"}},
    {"{\"tie_word_embeddings\":true,\"text_config\":{\"tie_word_embeddings\":\"yes\"}}",
     {"tie_word_embeddings is \"yes\", not true or false"}},
    {"{\"quantization_config\":[]}", {"quantization_config is [], not an object"}},
    {"{\"quantization_config\":{\"quant_method\":4}}", {"quant_method is 4, not a string"}},
    {"{\"text_config\":5}", {"text_config is 5, not an object"}},
    {"{\"text_config\":{\"head_dim\":true}}", {"head_dim is true, not a whole number"}},
    {"{\"a\":Inf}", {"\"a\"", "invalid token"}},
};

START_TEST(refused)
{
    organ_hf_config config;
    organ_error error = {0};
    const int before = open_files();
    scratch_text("config.json", bad_configs[_i].text);
    ck_assert_int_eq(organ_hf_config_read(scratch_path("config.json"), &config, &error), ORGAN_BAD_INPUT);
    ck_assert(!config.present);
    ck_assert_msg(strncmp(error.message, "config.json: ", 13) == 0, "%s", error.message);
    for (int k = 0; k < 2 && bad_configs[_i].fragments[k]; k++)
        ck_assert_msg(strstr(error.message, bad_configs[_i].fragments[k]), "no \"%s\" in: %s",
                      bad_configs[_i].fragments[k], error.message);
    ck_assert_int_eq(open_files(), before);
}
END_TEST

/* A model with a malformed config.json is not opened. */
START_TEST(of_a_model)
{
    scratch_tensors("model.safetensors", "{}", 0);
    scratch_text("config.json", "{\"hidden_size\":\"x\"}");
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT, (const char *const[]){"config.json: hidden_size is \"x\"", NULL});
    scratch_text("config.json", "{}");
    ck_assert_int_eq(truncate(scratch_path("config.json"), 17 << 20), 0);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT,
                   (const char *const[]){"config.json: has 17825792 bytes, more than the limit of 16777216", NULL});
}
END_TEST

Suite *config_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_test(files, absent);
    tcase_add_test(files, plain);
    tcase_add_test(files, nested);
    tcase_add_test(files, other_sections);
    tcase_add_test(files, odd_but_legal);
    tcase_add_test(files, long_integers);
    tcase_add_loop_test(files, tied_or_not, 0, COUNT(ties));
    tcase_add_loop_test(files, multimodal_tied_or_not, 0, COUNT(multimodal_ties));
    tcase_add_loop_test(files, refused, 0, COUNT(bad_configs));
    tcase_add_test(files, of_a_model);
    suite_add_tcase(suite, files);
    return suite;
}
