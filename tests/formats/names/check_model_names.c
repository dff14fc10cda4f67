/* SPDX-License-Identifier: MIT
 * Tests of names of models: the path of each store, and no path after an error. */
#include "formats/names/names.h"
#include "tests/formats/check_formats.h"
#include "tests/kit/scratch_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT   "0123456789abcdef0123456789abcdef01234567"
#define HUB      "models--t--m"
#define SNAPSHOT HUB "/snapshots/" COMMIT
#define BROKEN   "models--t--b/snapshots/" COMMIT "/broken.safetensors"
#define MANIFEST "manifests/registry.ollama.ai/library/x/latest"
#define BLOB     "blobs/sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LAYERS(size)                                                                                                   \
    "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:0123456789abcdef01234567"  \
    "89abcdef0123456789abcdef0123456789abcdef\",\"size\":" size "}]}"

/* Makes the folders of a path in the scratch directory, without its last part. */
static void make_folders(const char *path)
{
    char folder[256];
    for (const char *end = strchr(path, '/'); end; end = strchr(end + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(end - path), path);
        mkdir(scratch_path(folder), 0777);
    }
}

/* Makes three stores in one folder: two models of Hugging Face's cache, one with a file and one with a broken link, a
 * blob of eight bytes in Ollama's, and a file and a broken link in LM Studio's. */
static void setup(void)
{
    scratch_begin();
    setenv("HF_HUB_CACHE", scratch_path(""), 1);
    setenv("OLLAMA_MODELS", scratch_path(""), 1);
    setenv("HOME", scratch_path(""), 1);
    static const char *const files[][2] = {{HUB "/refs/main", COMMIT},
                                           {SNAPSHOT "/model.safetensors", "{}"},
                                           {"models--t--b/refs/main", COMMIT},
                                           {BLOB, "GGUF1234"},
                                           {MANIFEST, LAYERS("8")},
                                           {".lmstudio/models/p/m/a.gguf", "GGUF"}};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        make_folders(files[k][0]);
        scratch_text(files[k][0], files[k][1]);
    }
    make_folders(BROKEN);
    ck_assert_int_eq(symlink("gone", scratch_path(BROKEN)), 0);
    ck_assert_int_eq(symlink("gone", scratch_path(".lmstudio/models/p/m/broken.gguf")), 0);
}

static const struct {
    const char *name, *manifest; /* of Ollama; NULL: the one that fits the blob */
    const char *path, *says;     /* the end of the path, or the error */
    organ_status status;
} rows[] = {
    {"hf:t/m", NULL, SNAPSHOT, NULL, ORGAN_OK},
    {"t/m", NULL, SNAPSHOT, NULL, ORGAN_OK},
    {"hf:t/m/model.safetensors", NULL, SNAPSHOT "/model.safetensors", NULL, ORGAN_OK},
    {"ollama:x", NULL, BLOB, NULL, ORGAN_OK},
    {"lmstudio:p/m/a.gguf", NULL, "p/m/a.gguf", NULL, ORGAN_OK},
    {"t/none", NULL, NULL, NULL, ORGAN_OK},
    {"hf:t/none", NULL, NULL, "has no models--t--none", ORGAN_USAGE},
    {"hf:t/m/none.safetensors", NULL, NULL, "has no file none.safetensors", ORGAN_USAGE},
    {"hf:t/b/broken.safetensors", NULL, NULL, "broken.safetensors", ORGAN_BAD_INPUT},
    {"hf:t/../m", NULL, NULL, "hf:t/../m", ORGAN_USAGE},
    {"ollama:none", NULL, NULL, "no manifest", ORGAN_USAGE},
    {"ollama:x", LAYERS("9"), NULL, "9", ORGAN_BAD_INPUT},
    {"ollama:x", LAYERS("\"8\""), NULL, "-1", ORGAN_BAD_INPUT},
    {"ollama:x", "{\"layers\":[]}", NULL, "ollama:x", ORGAN_BAD_INPUT},
    {"lmstudio:p/m/none.gguf", NULL, NULL, "has no p/m/none.gguf", ORGAN_USAGE},
    {"lmstudio:p/m/broken.gguf", NULL, NULL, "is a link that leads nowhere", ORGAN_BAD_INPUT},
};

START_TEST(a_name_has_a_path_or_an_error)
{
    organ_arena arena = {0};
    organ_error error = {0};
    const char *path = "set by the caller";
    const char *const says = rows[_i].says, *const end = rows[_i].path;
    if (rows[_i].manifest)
        scratch_text(MANIFEST, rows[_i].manifest);
    const organ_status status = organ_name_find(rows[_i].name, &arena, &path, &error);
    ck_assert_int_eq(status, error.status);
    ck_assert_int_eq(status, rows[_i].status);
    ck_assert_msg(!says || strstr(error.message, says) != NULL, "%s", error.message);
    ck_assert_msg((path != NULL) == (end != NULL), "%s: the path is %s", rows[_i].name, path ? path : "NULL");
    ck_assert_msg(!end || strcmp(path + strlen(path) - strlen(end), end) == 0, "%s", path);
    organ_arena_release(&arena);
}
END_TEST

START_TEST(an_earlier_error_of_the_caller_is_no_error_of_the_name)
{
    organ_arena arena = {0};
    organ_error error = {.status = ORGAN_BAD_INPUT};
    const char *path = "set by the caller";
    ck_assert_int_eq(organ_name_find("t/none", &arena, &path, &error), ORGAN_OK);
    ck_assert_ptr_null(path);
    organ_arena_release(&arena);
}
END_TEST

Suite *names_suite(void)
{
    Suite *const suite = suite_create("names");
    TCase *const cases = tcase_create("names");
    tcase_add_checked_fixture(cases, setup, scratch_end);
    tcase_add_loop_test(cases, a_name_has_a_path_or_an_error, 0, sizeof rows / sizeof *rows);
    tcase_add_test(cases, an_earlier_error_of_the_caller_is_no_error_of_the_name);
    suite_add_tcase(suite, cases);
    return suite;
}
