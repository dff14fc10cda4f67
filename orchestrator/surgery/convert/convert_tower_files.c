/* SPDX-License-Identifier: MIT
 * The files of an output with towers: options and settings, key-values of the mmproj, its file next to the text model,
 * and back in safetensors config.json and the files of the preprocessor. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/architecture/config_readers.h"
#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/config/model_config.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/output.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIP "clip" /* general.architecture of an mmproj */

static bool is_word(const char *text, const char *word) { return text && strcmp(text, word) == 0; }

/* ---- to GGUF ---- */

/* Overlays the members of `over` and of the object `inner` in it. */
static int overlay(json_t *all, json_t *over, const char *inner)
{
    return (over ? json_object_update(all, over) : 0) |
           (json_is_object(json_object_get(over, inner)) ? json_object_update(all, json_object_get(over, inner)) : 0);
}

/* Members of processor_config.json precede those of preprocessor_config.json, as in llama.cpp's converter. */
static organ_status read_processor(organ_convert_job *job, const organ_model *model, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *first = NULL, *second = NULL;
    json_t *const all = json_object();
    job->towers.model.processor = all;
    if (organ_model_load_json(model, "preprocessor_config.json", "preprocessor_config.json", &first, error) ||
        organ_model_load_json(model, "processor_config.json", "processor_config.json", &second, error))
        return error->status;
    if (!all || overlay(all, first, "media_proc_cfg") || overlay(all, second, "image_processor"))
        return organ_fail_memory(error, model->path);
    job->towers.processed = first || second;
    return ORGAN_OK;
}

static bool has_towers(const organ_convert_job *job)
{
    for (size_t k = 0; k < job->weights->count; k++)
        if (organ_convert_is_tower(job, &job->weights->weights[k]) ||
            organ_role_is_tower(job->weights->weights[k].anatomy.role))
            return true;
    return false;
}

static organ_status read_tower_type(organ_convert_job *job, organ_error *error)
{
    const char *const given = job->options->mmproj_type ? job->options->mmproj_type : "f16";
    static const organ_dtype types[] = {ORGAN_F16, ORGAN_BF16, ORGAN_F32, ORGAN_Q8_0};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (strcasecmp(given, organ_dtype_name(types[k])) == 0) {
            job->towers.type = types[k];
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_USAGE, "`mmproj_type` %s: must be one of " ORGAN_CONVERT_TOWER_TYPES, given);
}

static organ_status find_for_gguf(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const char *const which = job->options->mmproj, *const path = job->model->path;
    const bool none = is_word(which, "none"), keep = is_word(which, "keep");
    t->only = is_word(which, "only");
    if (which && !none && !keep && !t->only)
        return organ_fail(error, ORGAN_USAGE, "`mmproj` %s: must be one of " ORGAN_CONVERT_TOWERS " to GGUF", which);
    if (job->options->config)
        return organ_fail(error, ORGAN_USAGE, "`config`: is for safetensors that are made with an mmproj");
    if (job->only && (keep || t->only))
        return organ_fail(error, ORGAN_USAGE, "`mtp` only: the output has no towers: use `mmproj` none");
    t->model.config = job->file;
    t->model.label = path;
    t->model.family = organ_tower_family(job->file);
    const bool present = has_towers(job);
    if ((keep || t->only) && !present)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no vision or audio tower", path);
    if ((keep || t->only) && !t->model.family)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: organ has no rules for towers of the type '%s'", path,
                          job->model->config.model_type);
    t->written = present && t->model.family && !none && !job->only;
    if (!t->written)
        return ORGAN_OK;
    if (read_tower_type(job, error) || read_processor(job, job->model, error))
        return error->status;
    if (t->processed || which)
        return organ_tower_read(&t->model, error);
    t->written = false;
    organ_progress_warn(job->progress,
                        "%s: there is no preprocessor_config.json, which an mmproj of the towers needs: only the text "
                        "model is converted",
                        path);
    return ORGAN_OK;
}

/* ---- to safetensors ---- */

/* Opens the configuration as that of the model, so that names of the text model are those of its architecture. */
static organ_status read_config(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const char *const path = job->options->config;
    return organ_input_load(path, path, ORGAN_CONFIG_LIMIT, &t->config_text, &t->config_length, error)
               ? error->status
               : organ_config_parse(path, t->config_text, t->config_length, &t->config, error);
}

/* Chooses the rows of the text model by the configuration: two architectures may have one name in GGUF. */
static organ_status choose_text(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const tower_family *const family = t->model.family;
    ORGAN_OWNED_JSON json_t *const root = json_deep_copy(t->config);
    const char *architecture = organ_json_plain(json_array_get(json_object_get(root, "architectures"), 0));
    const char *const type = organ_json_plain(json_object_get(root, "model_type"));
    if (!root || !architecture || !type)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no architectures or no model_type", job->options->config);
    organ_config_text(root, &architecture);
    const forward_pairing *const pairing = organ_pairing_named(architecture, type, job->config.experts > 0);
    const forward_family *const text = organ_forward_family_named(architecture, /*gguf=*/false);
    if (!pairing || !text || strcmp(pairing->gguf, job->pairing->gguf))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: its text model, %s, is %s in GGUF, but general.architecture of %s is %s",
                          job->options->config, architecture, pairing ? pairing->gguf : "unknown", job->model->path,
                          job->pairing->gguf);
    job->pairing = pairing;
    job->family = text;
    job->prefix = family->text;
    return ORGAN_OK;
}

static organ_status open_mmproj(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const char *const path = job->options->mmproj;
    if (organ_model_open(path, &t->file, error) || organ_model_is_here(t->file, "converted", error))
        return error->status;
    if (!t->file->gguf || !organ_gguf_text_equals(t->file->gguf, "general.architecture", CLIP))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is no mmproj: its general.architecture is not " CLIP, path);
    if (t->file->tensor_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no tensors", path);
    return organ_weights_find(t->file, &t->weights, error);
}

static organ_status find_for_safetensors(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const organ_convert_options *const o = job->options;
    if (o->mmproj_type)
        return organ_fail(error, ORGAN_USAGE, "`mmproj_type`: is for GGUF outputs");
    const char *const file = is_word(o->mmproj, "none") ? NULL : o->mmproj;
    if (!file != !o->config)
        return organ_fail(
            error, ORGAN_USAGE,
            "`mmproj` and `config` must be given together: the file of the towers, and the config.json of "
            "the model from which both GGUF files were made");
    if (!file)
        return ORGAN_OK;
    if (job->by_name || job->keeps_codes)
        return organ_fail(error, ORGAN_USAGE,
                          "`mmproj`: not with an architecture that is converted by name, and not "
                          "with `type` codes");
    if (read_config(job, error) || open_mmproj(job, error))
        return error->status;
    t->model.config = t->config;
    t->model.label = o->config;
    t->model.family = organ_tower_family(t->config);
    t->written = true;
    if (!t->model.family)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: organ has no rules for the towers of its model_type", o->config);
    if (organ_tower_read(&t->model, error) || organ_tower_compare(&t->model, file, t->file->gguf, error))
        return error->status;
    return choose_text(job, error);
}

organ_status organ_convert_find_towers(organ_convert_job *job, organ_error *error)
{
    return job->to_gguf ? find_for_gguf(job, error) : find_for_safetensors(job, error);
}

/* ---- the mmproj ---- */

organ_status organ_convert_tower_keys(organ_convert_job *job, organ_error *error)
{
    static const struct {
        organ_dtype type;
        int64_t number;
    } types[] = {{ORGAN_F32, 0}, {ORGAN_F16, 1}, {ORGAN_Q8_0, 7}, {ORGAN_BF16, 32}};
    convert_towers *const t = &job->towers;
    organ_convert_job card = *job; /* to write general.name and so on to the mmproj */
    if (!t->written)
        return ORGAN_OK;
    if (organ_gguf_writer_create(&t->gguf, error) ||
        organ_gguf_writer_set_string(t->gguf, "general.architecture", CLIP, strlen(CLIP), error) ||
        organ_gguf_writer_set_string(t->gguf, "general.type", "mmproj", strlen("mmproj"), error))
        return error->status;
    card.gguf = t->gguf;
    organ_convert_put_card(&card, error);
    for (size_t k = 0; k < sizeof types / sizeof *types && !error->status; k++)
        if (types[k].type == t->type)
            organ_gguf_writer_set_integer(t->gguf, "general.file_type", ORGAN_GGUF_U32, types[k].number, error);
    if (!error->status)
        organ_gguf_writer_set_integer(t->gguf, "general.quantization_version", ORGAN_GGUF_U32, 2, error);
    return error->status ? error->status : organ_tower_keys(&t->model, t->gguf, error);
}

/* An empty one, too: only the first output of a run replaces empty directories. */
static bool is_directory_beside(const char *output, const char *name)
{
    ORGAN_OWNED char *const path = organ_format("%.*s%s", (int)(organ_path_name(output) - output), output, name);
    struct stat about;
    return path && stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

organ_status organ_convert_lay_out(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    const char *const output = job->options->write.output;
    const char *const name = output ? organ_path_name(output) : "model.gguf";
    if (output && !organ_ends_with(output, ".gguf"))
        return organ_fail(error, ORGAN_USAGE, "%s: the output of a GGUF model is one file: name a .gguf", output);
    if (!(t->name = organ_format("mmproj-%s", name)))
        return organ_fail_memory(error, name);
    if (output && is_directory_beside(output, t->name))
        return organ_fail(error, ORGAN_USAGE, "%s next to %s is a directory", t->name, output);
    t->parts[0] = (organ_gguf_part){name, job->gguf, t->first};
    t->parts[1] = (organ_gguf_part){t->name, t->gguf, job->piece_count - t->first};
    if (organ_gguf_is_projector(name))
        return organ_fail(error, ORGAN_USAGE, "%s: programs take a file of this name for that of a tower: name another",
                          output ? output : name);
    return organ_layout_plan_ggufs(job->model, job->pieces, t->parts, 2, &t->layout, error);
}

organ_status organ_convert_check_towers(const organ_convert_job *job, const char *to, organ_error *error)
{
    const convert_towers *const t = &job->towers;
    const char *const name = t->only ? organ_path_name(job->options->write.output) : t->name;
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, name);
    organ_model *made = NULL;
    if (!path)
        return organ_fail_memory(error, name);
    if (organ_model_open_codes(path, NULL, &made, error) == ORGAN_OK) {
        if (made->tensor_count != job->piece_count - t->first)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: has %zu tensors instead of %zu", name, made->tensor_count,
                       job->piece_count - t->first);
        else
            organ_tower_compare(&t->model, name, made->gguf, error);
    }
    organ_model_close(made);
    return error->status;
}

/* ---- files of safetensors ---- */

char *organ_convert_tower_config(organ_convert_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    const convert_towers *const t = &job->towers;
    ORGAN_OWNED_JSON json_t *const type = json_string(organ_torch_dtype(job->type));
    if (organ_json_edit_begin(&edit, job->options->config, t->config_text, t->config_length, error))
        return NULL;
    const char *const member = organ_json_edit_has(&edit, NULL, "dtype") ? "dtype" : "torch_dtype";
    if (!type)
        organ_fail_memory(error, member);
    else if (!json_equal(json_object_get(t->config, member), type))
        organ_json_edit_set(&edit, NULL, member, type, error);
    if (!error->status)
        organ_config_drop_quantisation(&edit, error);
    char *const text = error->status ? NULL : edit.bytes;
    if (text)
        edit.bytes = NULL;
    return text;
}

organ_status organ_convert_tower_files(organ_convert_job *job, organ_error *error)
{
    static const char *const names[CONVERT_TOWER_FILES] = {"preprocessor_config.json", "processor_config.json",
                                                           "video_preprocessor_config.json"};
    const char *const config = job->towers.written ? job->options->config : NULL;
    const size_t folder = config ? (size_t)(organ_path_name(config) - config) : 0;
    for (size_t k = 0; k < CONVERT_TOWER_FILES && config && !error->status; k++) {
        ORGAN_OWNED char *const path = organ_format("%.*s%s", (int)folder, config, names[k]);
        organ_written_file *const file = &job->files[job->file_count];
        if (!path)
            return organ_fail_memory(error, names[k]);
        if (access(path, F_OK) || organ_input_load(path, path, ORGAN_CONFIG_LIMIT, &file->bytes, &file->length, error))
            continue;
        file->name = names[k];
        file->exact = true;
        job->file_count++;
    }
    return error->status;
}

void organ_convert_release_towers(convert_towers *t)
{
    organ_layout_release(&t->layout);
    organ_gguf_writer_destroy(t->gguf);
    organ_weights_free(t->weights);
    organ_model_close(t->file);
    json_decref((json_t *)(uintptr_t)t->model.processor);
    json_decref(t->config);
    ORGAN_FREE_ARRAYS(t->name, t->config_text);
}
