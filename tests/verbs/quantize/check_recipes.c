/* SPDX-License-Identifier: MIT
 * Tests of the recipes of quantize: the types of fixtures/recipes/types.txt, which llama-quantize chose for the models
 * of fixtures/recipes/models.txt. */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"
#include "tests/kit/suite_table.h"

#include <organ/quantize.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 1024, MOST_WORDS = 32, LINE = 4096, GROUPS = 256 };

static void must(organ_status status, const organ_error *error)
{
    ck_assert_msg(status == ORGAN_OK, "%s", error->message);
}

/* ---- models ---- */

typedef struct shaped_model {
    char name[64], architecture[64];
    organ_gguf_writer *keys;
    organ_gguf view;
    organ_model model;
    organ_tensor tensors[MOST_TENSORS];
    uint64_t shapes[MOST_TENSORS][4];
    char names[MOST_TENSORS][64];
} shaped_model;

static void add_tensor(shaped_model *m, const char *name, size_t sizes, char *const *words)
{
    const size_t t = m->model.tensor_count++;
    ck_assert(t < MOST_TENSORS && sizes <= 4);
    snprintf(m->names[t], sizeof m->names[t], "%s", name);
    m->tensors[t] = (organ_tensor){
        .name = m->names[t], .dtype = ORGAN_BF16, .rank = (unsigned)sizes, .shape = m->shapes[t], .elements = 1};
    for (size_t k = 0; k < sizes; k++) { /* the file has columns first */
        m->shapes[t][sizes - 1 - k] = strtoull(words[k], NULL, 10);
        m->tensors[t].elements *= m->shapes[t][sizes - 1 - k];
    }
    m->tensors[t].bytes = 2 * m->tensors[t].elements;
}

static void add_tensors(shaped_model *m, const int layers[3], size_t count, char *const *words)
{
    const char *const percent = strchr(words[1], '%');
    char name[64];
    if (!percent)
        add_tensor(m, words[1], count - 2, words + 2);
    for (int l = layers[0]; percent && l <= layers[1]; l += layers[2]) {
        snprintf(name, sizeof name, "%.*s%d%s", (int)(percent - words[1]), words[1], l, percent + 1);
        add_tensor(m, name, count - 2, words + 2);
    }
}

static void add_key(shaped_model *m, size_t count, char *const *words)
{
    organ_error error = {0};
    char key[160];
    snprintf(key, sizeof key, "%s.%s", m->architecture, words[1]);
    if (strcmp(words[0], "array") == 0) {
        unsigned char bytes[12 + 4 * MOST_WORDS] = {ORGAN_GGUF_I32};
        const uint64_t n = count - 2;
        memcpy(bytes + 4, &n, sizeof n);
        for (size_t k = 0; k < n; k++) {
            const int32_t value = atoi(words[k + 2]);
            memcpy(bytes + 12 + 4 * k, &value, sizeof value);
        }
        const organ_gguf_kv kv = {key, ORGAN_GGUF_ARRAY, ORGAN_GGUF_I32, n, bytes, 12 + 4 * n};
        must(organ_gguf_writer_kv(m->keys, &kv, &error), &error);
    } else if (strcmp(words[0], "key") == 0) {
        must(organ_gguf_writer_set_integer(m->keys, key, ORGAN_GGUF_U32, atoll(words[2]), &error), &error);
        if (strcmp(words[1], "block_count") == 0)
            m->model.config.num_hidden_layers = atoll(words[2]);
    }
}

static void begin_model(shaped_model *m, char *const *words)
{
    organ_error error = {0};
    organ_gguf_writer_destroy(m->keys);
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s", words[1]);
    snprintf(m->architecture, sizeof m->architecture, "%s", words[2]);
    snprintf(m->model.config.model_type, sizeof m->model.config.model_type, "%s", words[2]);
    must(organ_gguf_writer_create(&m->keys, &error), &error);
    must(organ_gguf_writer_set_string(m->keys, "general.architecture", words[2], strlen(words[2]), &error), &error);
}

static size_t split_line(char *line, char **words)
{
    size_t count = 0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        ck_assert(count < MOST_WORDS);
        words[count++] = word;
    }
    return count;
}

/* Calls `use` for each model. */
static void each_model(shaped_model *m, void (*use)(shaped_model *m))
{
    FILE *const file = fopen("fixtures/recipes/models.txt", "r");
    char line[LINE], *words[MOST_WORDS];
    int layers[3] = {0};
    ck_assert_ptr_nonnull(file);
    *m = (shaped_model){0};
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, file);
        const size_t count = more ? split_line(line, words) : 0;
        if (more && (count == 0 || *words[0] == '#'))
            continue;
        if ((!more || strcmp(words[0], "model") == 0) && m->keys) {
            m->view = organ_gguf_writer_view(m->keys);
            m->model.path = m->name;
            m->model.gguf = &m->view;
            m->model.tensors = m->tensors;
            use(m);
        }
        if (!more)
            break;
        if (strcmp(words[0], "model") == 0)
            begin_model(m, words);
        else if (strcmp(words[0], "tensor") == 0)
            add_tensors(m, layers, count, words);
        else if (strcmp(words[0], "layers") == 0)
            for (size_t k = 0; k < 3; k++)
                layers[k] = count > k + 1 ? atoi(words[k + 1]) : 1;
        else
            add_key(m, count, words);
    }
    organ_gguf_writer_destroy(m->keys);
    fclose(file);
}

/* ---- types as a line ---- */

typedef struct tensor_group {
    char text[96]; /* "KIND=TYPE" */
    int layers[128];
    size_t count;
    bool inside; /* of layers */
} tensor_group;

static int compare_groups(const void *a, const void *b)
{
    return strcmp(((const tensor_group *)a)->text, ((const tensor_group *)b)->text);
}

static int compare_ints(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void lower_type(const organ_encoding *encoding, char out[32])
{
    snprintf(out, 32, "%s", encoding ? encoding->name : "-");
}

static void add_to_group(tensor_group *groups, size_t *count, const char *name, const char *type)
{
    char text[96];
    int layer = -1, skipped = 0;
    sscanf(name, "blk.%d.%n", &layer, &skipped);
    snprintf(text, sizeof text, "%s=%s", name + skipped, type);
    size_t g = 0;
    while (g < *count && strcmp(groups[g].text, text) != 0)
        g++;
    ck_assert(g < GROUPS);
    if (g == *count) {
        groups[(*count)++] = (tensor_group){.inside = layer >= 0};
        snprintf(groups[g].text, sizeof groups[g].text, "%s", text);
    }
    groups[g].layers[groups[g].count++] = layer;
}

static void print_group(FILE *out, tensor_group *g)
{
    fprintf(out, " %s", g->text);
    qsort(g->layers, g->count, sizeof *g->layers, compare_ints);
    for (size_t k = 0, end; g->inside && k < g->count; k = end) {
        for (end = k + 1; end < g->count && g->layers[end] == g->layers[end - 1] + 1; end++)
            ;
        fprintf(out, "%c%d", k ? ',' : ':', g->layers[k]);
        if (end > k + 1)
            fprintf(out, "-%d", g->layers[end - 1]);
    }
}

static void print_types(const shaped_model *m, const char *base, const organ_encoding *const *types, char line[LINE])
{
    static tensor_group groups[GROUPS];
    FILE *const out = fmemopen(line, LINE, "w");
    size_t count = 0;
    for (size_t t = 0; t < m->model.tensor_count; t++) {
        const organ_tensor *const tensor = &m->tensors[t];
        const organ_encoding *const fits =
            types[t] ? organ_encoding_fitting(types[t], tensor->shape[tensor->rank - 1]) : NULL;
        char type[32];
        lower_type(types[t] && !fits ? organ_encoding_plain("f16") : fits, type);
        if (strcmp(type, base) != 0)
            add_to_group(groups, &count, tensor->name, type);
    }
    qsort(groups, count, sizeof *groups, compare_groups);
    for (size_t k = 0; k < count; k++)
        print_group(out, &groups[k]);
    fclose(out);
}

/* ---- the golden file ---- */

static char *golden; /* the text of types.txt */

static void read_golden(void)
{
    FILE *const file = fopen("fixtures/recipes/types.txt", "r");
    ck_assert_ptr_nonnull(file);
    golden = calloc(1, 1 << 20);
    ck_assert(fread(golden, 1, (1 << 20) - 1, file) > 1000);
    fclose(file);
}

/* Copies the line of the golden file that begins with "MODEL RECIPE HOW:"; returns false if there is none. */
static bool golden_line(const shaped_model *m, const char *recipe, const char *how, char line[LINE])
{
    char begin[128];
    snprintf(begin, sizeof begin, "%s %s%s:", m->name, recipe, how);
    for (const char *at = golden; *at; at += strcspn(at, "\n") + 1)
        if (strncmp(at, begin, strlen(begin)) == 0) {
            at += strlen(begin);
            ck_assert(strcspn(at, "\n") < LINE);
            snprintf(line, LINE, "%.*s", (int)strcspn(at, "\n"), at);
            return true;
        }
    return false;
}

static size_t compared, refused;

static void compare(const shaped_model *m, const organ_recipe *recipe, bool weighed, const organ_encoding **fixed,
                    const char *how)
{
    const organ_encoding *types[MOST_TENSORS];
    char made[LINE] = "", expected[LINE];
    organ_error error = {0};
    must(organ_recipe_types(recipe, &m->model, weighed, fixed, types, &error), &error);
    for (size_t t = 0; fixed && t < m->model.tensor_count; t++)
        types[t] = fixed[t] ? fixed[t] : types[t];
    print_types(m, recipe->base, types, made);
    if (!golden_line(m, recipe->name, how, expected))
        ck_assert(weighed && golden_line(m, recipe->name, "", expected));
    if (strcmp(expected, " refused") == 0) {
        /* llama-quantize has no type for rows that are no whole blocks of Q1_0 */
        ck_assert_str_eq(recipe->base, "q1_0");
        refused++;
        return;
    }
    ck_assert_msg(strcmp(made, expected) == 0, "%s %s%s\nmade:     %s\nexpected: %s", m->name, recipe->name, how, made,
                  expected);
    compared++;
}

static void compare_recipes(shaped_model *m)
{
    char scheme[64];
    for (size_t k = 0; organ_recipe_at(k); k++) {
        snprintf(scheme, sizeof scheme, "recipe:%s", organ_recipe_at(k)->name);
        const organ_recipe *const recipe = organ_recipe_named(scheme);
        if (!recipe)
            continue;
        compare(m, recipe, false, NULL, "");
        compare(m, recipe, true, NULL, " weighed");
    }
}

/* Attention values and down projections of layers 3, 5 and 7 are fixed. */
static void compare_fixed(shaped_model *m)
{
    const organ_encoding *fixed[MOST_TENSORS] = {0};
    for (size_t t = 0; t < m->model.tensor_count; t++) {
        const char *const name = m->names[t];
        if (strncmp(name, "blk.", 4) == 0 && strchr("357", name[4]) && name[5] == '.' &&
            (strncmp(name + 6, "attn_v", 6) == 0 || strncmp(name + 6, "ffn_down", 8) == 0) &&
            organ_recipe_quantises(&m->model, &m->tensors[t]))
            fixed[t] = organ_quantize_type_named("q5_1");
    }
    compare(m, organ_recipe_named("recipe:q4_k_m"), false, fixed, " fixed");
}

static shaped_model model;

START_TEST(types_are_those_of_llama_quantize)
{
    size_t recipes = 0;
    for (const char *at = ORGAN_QUANTIZE_RECIPES; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        recipes++;
    read_golden();
    each_model(&model, compare_recipes);
    ck_assert_uint_eq(compared + refused, 14 * 2 * recipes);
    ck_assert_uint_lt(refused, 14);
    each_model(&model, compare_fixed);
    ck_assert_uint_eq(compared + refused, 14 * (2 * recipes + 1));
    free(golden);
}
END_TEST

START_TEST(the_list_has_the_recipes_that_can_be_written)
{
    char listed[64], *at = strdup(ORGAN_QUANTIZE_RECIPES "|"), *rest = at;
    size_t known = 0, count = 0;
    for (const char *word; (word = strsep(&rest, "|")) && *word; count++) {
        snprintf(listed, sizeof listed, "%s", word);
        ck_assert_msg(organ_recipe_named(listed), "%s", listed);
        ck_assert_str_eq(organ_recipe_named(listed)->name, strchr(word, ':') + 1);
    }
    for (size_t k = 0; organ_recipe_at(k); k++) {
        snprintf(listed, sizeof listed, "recipe:%s", organ_recipe_at(k)->name);
        known += organ_recipe_named(listed) != NULL;
    }
    ck_assert_uint_eq(known, count);
    free(at);
}
END_TEST

START_TEST(names_in_any_case)
{
    ck_assert_ptr_eq(organ_recipe_named("Q4_K_M"), organ_recipe_named("recipe:q4_k_m"));
    ck_assert_ptr_eq(organ_recipe_named("Recipe:Q5_k_S"), organ_recipe_named("q5_k_s"));
    ck_assert_ptr_nonnull(organ_recipe_named("recipe:q8_0"));
    ck_assert_ptr_null(organ_recipe_named("q8_0")); /* a scheme */
    ck_assert_ptr_null(organ_recipe_named("q4_k"));
    ck_assert_str_eq(organ_recipe_named("recipe:iq2_s")->base, "iq2_xs");
    ck_assert_ptr_null(organ_recipe_named("iq2_s"));
    ck_assert_ptr_null(organ_recipe_named("recipe:iq2"));
    ck_assert_ptr_null(organ_recipe_named("recipe:"));
    ck_assert_ptr_null(organ_recipe_named(""));
}
END_TEST

START_TEST(scheme_mixed_has_room_for_all_types)
{
    const organ_encoding *types[ORGAN_TYPES];
    ck_assert_uint_lt(organ_encodings_of_mixed(types, ORGAN_TYPES), ORGAN_TYPES);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"types", {types_are_those_of_llama_quantize}},
        {"names",
         {the_list_has_the_recipes_that_can_be_written, names_in_any_case, scheme_mixed_has_room_for_all_types}}};
    return run_suites((Suite *const[]){suite_of("recipes", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL});
}
