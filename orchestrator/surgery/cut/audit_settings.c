/* SPDX-License-Identifier: MIT
 * Compares config.json or the key-values of a cut model with those that a cut of the donor would write. */
#include "formats/base/json_text.h"
#include "formats/base/json_dump.h"
#include "orchestrator/surgery/cut/audit_job.h"
#include "orchestrator/surgery/output/output.h"

#include <stdlib.h>
#include <string.h>

/* ---- config.json ---- */

/* `expected` or `found` is NULL if it is absent. `inside` is the name of the object that contains the member, "" for
 * the document itself. Two objects in the document itself are compared member by member, so that the problem names
 * the member. */
static void check_member(organ_cut_audit *a, const char *inside, const char *key, const json_t *expected,
                         const json_t *found)
{
    if (expected && found && json_equal(expected, found))
        return;
    if (json_is_object(expected) && json_is_object(found) && !*inside) {
        const char *name;
        json_t *value;
        json_object_foreach((json_t *)expected, name, value)
            check_member(a, key, name, value, json_object_get(found, name));
        json_object_foreach((json_t *)found, name, value) if (!json_object_get(expected, name))
            check_member(a, key, name, NULL, value);
        return;
    }
    char *const is = found ? organ_json_dump(found, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    char *const should = expected ? organ_json_dump(expected, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    organ_problem_add(&a->problems, "config.json of %s: %s%s%s is %.150s, not %.150s", a->copy->path, inside,
                      *inside ? "." : "", key, is ? is : "absent", should ? should : "absent");
    free(is);
    free(should);
}

/* organ_hf_config_tidy changes `bytes` first. The caller releases the result. */
static json_t *parse_tidied(char *bytes, size_t length, const char *label, organ_error *error)
{
    json_t *root = NULL;
    organ_hf_config_tidy(bytes, length);
    const organ_json_source text = {label, bytes, length};
    organ_json_parse_object(&text, &root, error);
    return root;
}

/* The caller releases the result, which is NULL without an error if the donor has no config.json. */
static json_t *required_config(organ_cut_audit *a, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    organ_json_edit edit = {0};
    size_t stripped = 0;
    json_t *root = NULL;
    if (organ_model_load(a->donor, "config.json", ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK && bytes &&
        organ_json_edit_begin(&edit, "config.json", bytes, length, error) == ORGAN_OK &&
        organ_leftovers_strip(a->donor, &edit, &stripped, error) == ORGAN_OK &&
        organ_cut_edit_config(&a->run, &edit, error) == ORGAN_OK)
        root = parse_tidied(edit.bytes, edit.length, "config.json", error);
    organ_json_edit_release(&edit);
    free(bytes);
    return root;
}

static organ_status check_config_json(organ_cut_audit *a, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    const char *name;
    json_t *value, *found = NULL, *const expected = required_config(a, error);
    if (expected && organ_model_load(a->copy, "config.json", ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK &&
        bytes)
        found = parse_tidied(bytes, length, a->copy->path, error);
    if (error->status == ORGAN_BAD_INPUT) { /* no configuration can describe such a cut */
        organ_problem_add(&a->problems, "%s", error->message);
        *error = (organ_error){0};
    }
    if (expected && !bytes && !error->status)
        organ_problem_add(&a->problems, "%s has no config.json", a->copy->path);
    if (found) {
        json_object_foreach(expected, name, value) check_member(a, "", name, value, json_object_get(found, name));
        json_object_foreach(found, name, value) if (!json_object_get(expected, name))
            check_member(a, "", name, NULL, value);
    }
    json_decref(expected);
    json_decref(found);
    free(bytes);
    return error->status;
}

/* ---- key-values ---- */

static bool same_value(const organ_gguf_kv *x, const organ_gguf_kv *y)
{
    return x->type == y->type && x->size == y->size && memcmp(x->bytes, y->bytes, x->size) == 0;
}

/* The key-values "split.*" are not compared. The planned cut has key-values of the donor, and those that it adds (in
 * run.settings). */
static void check_gguf_keys(organ_cut_audit *a)
{
    const organ_gguf *const found = a->copy->gguf;
    for (size_t k = 0; k < found->kv_count; k++) {
        const organ_gguf_kv *const kv = &found->kvs[k], *const should = organ_gguf_writer_find(a->run.gguf, kv->key);
        if (strncmp(kv->key, "split.", 6) == 0)
            continue;
        if (!should)
            organ_problem_add(&a->problems, "key '%s' of %s is not in the donor", kv->key, a->copy->path);
        else if (!same_value(kv, should))
            organ_problem_add(&a->problems, "key '%s' of %s does not match the cut of the donor's", kv->key,
                              a->copy->path);
    }
    for (size_t k = 0; k < a->donor->gguf->kv_count; k++) {
        const char *const key = a->donor->gguf->kvs[k].key;
        if (organ_gguf_writer_find(a->run.gguf, key) && !organ_gguf_find(found, key))
            organ_problem_add(&a->problems, "key '%s' is missing in %s", key, a->copy->path);
    }
    for (size_t k = 0; k < json_array_size(a->run.settings); k++) {
        const char *const key = json_string_value(json_object_get(json_array_get(a->run.settings, k), "key"));
        if (!organ_gguf_find(a->donor->gguf, key) && !organ_gguf_find(found, key))
            organ_problem_add(&a->problems, "key '%s' is missing in %s", key, a->copy->path);
    }
}

organ_status organ_cut_judge_settings(organ_cut_audit *a, organ_error *error)
{
    if (!a->donor->gguf)
        return check_config_json(a, error);
    if (a->copy->gguf)
        check_gguf_keys(a);
    else
        organ_problem_add(&a->problems, "%s is not GGUF, but the donor is", a->copy->path);
    return ORGAN_OK;
}
