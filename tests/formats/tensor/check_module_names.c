/* SPDX-License-Identifier: MIT
 * Tests of the names of modules in transformers, with tests/formats/tensor/module_names.tsv, which its loader made.
 */
#include "formats/tensor/module_names.h"
#include "tests/formats/check_formats.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD 256
static const char table_file[] = "tests/formats/tensor/module_names.tsv";
/* Types without a row in formats/architecture. */
static const char types_file[] = "tests/formats/tensor/type_names.tsv";

/* A row of the table; `parts` is "-" if the loader does not cut the matrix. */
typedef struct module_name_row {
    char model_type[FIELD], name[FIELD], module[FIELD], parts[FIELD];
} module_name_row;

static bool read_module_row(FILE *file, module_name_row *row)
{
    char line[4 * FIELD];
    do
        if (!fgets(line, sizeof line, file))
            return false;
    while (line[0] == '#');
    ck_assert_int_eq(
        sscanf(line, "%255[^\t]\t%255[^\t]\t%255[^\t]\t%255[^\n]", row->model_type, row->name, row->module, row->parts),
        4);
    return true;
}

/* Each name of the table, as a tensor and as a module. */
static void check_renamed(const char *path, size_t least)
{
    FILE *const file = fopen(path, "r");
    module_name_row row;
    size_t count = 0;
    ck_assert_msg(file != NULL, "%s cannot be opened", path);
    for (; read_module_row(file, &row); count++) {
        char out[ORGAN_MODULE_NAME_SIZE];
        organ_module_form form;
        ck_assert(organ_module_name(row.model_type, row.name, out, sizeof out, &form));
        ck_assert_msg(strcmp(out, row.module) == 0, "%s: %s becomes %s, not %s", row.model_type, row.name, out,
                      row.module);
        const bool joined = strstr(row.module, ".gate_up_proj.") && !strstr(row.name, ".gate_up_proj.");
        const organ_module_form whole = joined ? ORGAN_MODULE_JOINED : ORGAN_MODULE_WHOLE;
        ck_assert_int_eq(form, strcmp(row.parts, "-") ? ORGAN_MODULE_SPLIT : whole);
        row.name[strlen(row.name) - strlen(".weight")] = row.module[strlen(row.module) - strlen(".weight")] = '\0';
        ck_assert(organ_module_name(row.model_type, row.name, out, sizeof out, NULL));
        ck_assert_str_eq(out, row.module);
        const char *const parts = organ_module_split_parts(row.model_type, row.name);
        ck_assert_str_eq(parts ? parts : "-", row.parts);
    }
    fclose(file);
    ck_assert_uint_gt(count, least);
}

START_TEST(renamed)
{
    check_renamed(table_file, 200);
    check_renamed(types_file, 50);
}
END_TEST

/* Types that organ has compared, which need no warning, and others. */
START_TEST(checked)
{
    ck_assert(organ_module_type_is_checked("axk2") && organ_module_stacks_experts("axk2"));
    ck_assert(organ_module_type_is_checked("dory") && !organ_module_stacks_experts("dory"));
    ck_assert(!organ_module_type_is_checked("unlisted") && !organ_module_type_is_checked(""));
    ck_assert_str_eq(organ_module_head("modernbert-decoder"), "decoder");
    ck_assert_str_eq(organ_module_head("llama"), "lm_head");
}
END_TEST

/* Replaces numbers between dots by 0, as the names of the table have them. */
static void zero_numbers(const char *name, char *out)
{
    for (const char *at = name; *at;) {
        const size_t digits = strspn(at, "0123456789");
        const bool number = digits > 0 && at > name && at[-1] == '.' && at[digits] == '.';
        *out++ = number ? '0' : *at;
        at += number ? digits : 1;
    }
    *out = '\0';
}

static bool in_table(const char *model_type, const char *name)
{
    FILE *const file = fopen(table_file, "r");
    module_name_row row;
    bool found = false;
    ck_assert(file != NULL);
    while (!found && read_module_row(file, &row))
        found = strcmp(row.model_type, model_type) == 0 && strcmp(row.name, name) == 0;
    fclose(file);
    return found;
}

/* Reads the last string member "model_type" at the top level of a config.json that Python indented by one blank. */
static void read_model_type(const char *folder, char model_type[FIELD])
{
    char path[2 * FIELD], line[1024];
    snprintf(path, sizeof path, "fixtures/architectures/%s/config.json", folder);
    FILE *const file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    *model_type = '\0';
    while (fgets(line, sizeof line, file))
        sscanf(line, " \"model_type\": \"%255[^\"]", line[1] == '"' ? model_type : (char[FIELD]){0});
    fclose(file);
}

/* The names of a reference model that the table lacks are the same in transformers, except those of routed experts. */
static size_t check_kept_names(const char *folder)
{
    char path[2 * FIELD], model_type[FIELD], line[1024], name[FIELD], shape[FIELD], zeroed[FIELD];
    size_t kept = 0;
    read_model_type(folder, model_type);
    snprintf(path, sizeof path, "fixtures/architectures/%s/model.tsv", folder);
    FILE *const file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    while (fgets(line, sizeof line, file)) {
        char out[ORGAN_MODULE_NAME_SIZE];
        if (sscanf(line, "tensor\t%255[^\t]\t%255[^\n]", name, shape) != 2 || !strstr(name, ".weight") ||
            strstr(name, "experts.") || !strchr(shape, 'x') || strchr(strchr(shape, 'x') + 1, 'x'))
            continue;
        zero_numbers(name, zeroed);
        if (in_table(model_type, zeroed))
            continue;
        ck_assert(organ_module_name(model_type, name, out, sizeof out, NULL));
        ck_assert_msg(strcmp(name, out) == 0, "%s: %s becomes %s", folder, name, out);
        kept++;
    }
    fclose(file);
    return kept;
}

START_TEST(kept)
{
    DIR *const folders = opendir("fixtures/architectures");
    size_t count = 0;
    ck_assert(folders != NULL);
    for (struct dirent *entry; (entry = readdir(folders));)
        if (entry->d_name[0] != '.' && !strstr(entry->d_name, ".tsv"))
            count += check_kept_names(entry->d_name);
    closedir(folders);
    ck_assert_uint_gt(count, 3000);
}
END_TEST

/* Names of a type that the table lacks, of parts of words, and one that does not fit. */
START_TEST(others)
{
    char out[64];
    ck_assert(organ_module_name("", "visual.blocks.0.attn.qkv", out, sizeof out, NULL));
    ck_assert_str_eq(out, "visual.blocks.0.attn.qkv");
    ck_assert(organ_module_name("gemma3_text", "language_model.model.norm", out, sizeof out, NULL));
    ck_assert_str_eq(out, "language_model.model.norm");
    ck_assert(organ_module_name("gemma3", "language_models.model.norm", out, sizeof out, NULL));
    ck_assert_str_eq(out, "language_models.model.norm");
    ck_assert(organ_module_name("laguna", "model.layers.0.mlp.shared_experts.up_proj", out, sizeof out, NULL));
    ck_assert_str_eq(out, "model.layers.0.mlp.shared_experts.up_proj");
    ck_assert(organ_module_name("gemma3", "vision_tower.a", out, 21, NULL));
    ck_assert(!organ_module_name("gemma3", "vision_tower.a", out, 20, NULL));
}
END_TEST

START_TEST(named_in_mlx)
{
    static const char *const rows[][3] = {
        {"qwen2_moe", "model.layers.1.mlp.experts.13.up_proj", "model.layers.1.mlp.switch_mlp.up_proj"},
        {"mixtral", "model.layers.1.block_sparse_moe.experts.0.w2",
         "model.layers.1.block_sparse_moe.switch_mlp.down_proj"},
        {"mixtral", "model.layers.1.mlp.experts.0.w4", "model.layers.1.mlp.switch_mlp.w4"},
        {"qwen2_moe", "model.layers.1.mlp.shared_expert.up_proj", "model.layers.1.mlp.shared_expert.up_proj"},
        {"dots1", "model.layers.1.mlp.experts.7.up_proj", "model.layers.1.mlp.experts.up_proj"},
        {"granitemoe", "layers.1.block_sparse_moe.router", "layers.1.block_sparse_moe.router.layer"},
        {"granitemoe", "layers.1.block_sparse_moe.router.layer", "layers.1.block_sparse_moe.router.layer"},
        {"lfm2_moe", "model.layers.0.feed_forward.w3", "model.layers.0.feed_forward.up_proj"},
        {"gpt_oss", "model.layers.1.mlp.experts.up_proj", "model.layers.1.mlp.experts.up_proj"},
        {"qwen2_moe", "model.layers.1.mlp.experts.up_proj", "model.layers.1.mlp.experts.up_proj"},
        {"qwen3_5", "model.language_model.layers.1.mlp.up_proj", "language_model.model.layers.1.mlp.up_proj"},
        {"qwen3_5", "language_model.model.layers.1.mlp.up_proj", "language_model.model.layers.1.mlp.up_proj"},
        {"qwen3_5", "lm_head", "language_model.lm_head"},
        {"qwen3", "model.language_model.norm", "model.language_model.norm"}};
    char out[80];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        ck_assert(organ_module_name_in_mlx(rows[k][0], rows[k][1], out, sizeof out));
        ck_assert_str_eq(out, rows[k][2]);
        ck_assert(organ_module_name_in_mlx(rows[k][0], rows[k][1], out, strlen(rows[k][2]) + 1));
        ck_assert(!organ_module_name_in_mlx(rows[k][0], rows[k][1], out, strlen(rows[k][2])));
    }
}
END_TEST

/* The index leads from names of transformers to tensors of the file. */
START_TEST(found_by_module)
{
    organ_module_index index = {0};
    organ_error error = {0};
    const organ_tensor tensors[] = {{.name = "language_model.model.layers.1.mlp.up_proj.weight"},
                                    {.name = "vision_tower.encoder.layers.1.mlp.fc1.weight"},
                                    {.name = "model.vision_tower.encoder.layers.1.mlp.fc1.weight"}};
    ck_assert_int_eq(organ_module_index_build("gemma3", tensors, 3, &index, &error), ORGAN_OK);
    ck_assert_uint_eq(*organ_module_index_find(&index, "model.language_model.layers.1.mlp.up_proj.weight"), 0);
    ck_assert_uint_eq(*organ_module_index_find(&index, "model.vision_tower.encoder.layers.1.mlp.fc1.weight"), 1);
    ck_assert_ptr_null(organ_module_index_find(&index, "language_model.model.layers.1.mlp.up_proj.weight"));
    organ_module_index_release(&index);
}
END_TEST

Suite *module_names_suite(void)
{
    Suite *const suite = suite_create("module_names");
    TCase *const cases = tcase_create("module_names");
    tcase_add_test(cases, renamed);
    tcase_add_test(cases, checked);
    tcase_add_test(cases, kept);
    tcase_add_test(cases, others);
    tcase_add_test(cases, named_in_mlx);
    tcase_add_test(cases, found_by_module);
    suite_add_tcase(suite, cases);
    return suite;
}
