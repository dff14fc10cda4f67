/* SPDX-License-Identifier: MIT */
#include "formats/model/model_place.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/remote/remote.h"
#include "formats/safetensors/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* The files that find_in_directory accepts, for messages. */
#define LOOKED_FOR ORGAN_INDEX_NAME ", " ORGAN_SINGLE_NAME ", another .safetensors file or a .gguf file"

typedef struct contents {
    bool index;               /* ORGAN_INDEX_NAME exists */
    bool single;              /* ORGAN_SINGLE_NAME exists */
    size_t others;            /* number of .safetensors files other than ORGAN_SINGLE_NAME */
    const char *other;        /* name of the last of these `others` */
    const char *other_index;  /* name of an index (*.safetensors.index.json) other than ORGAN_INDEX_NAME, or NULL */
    size_t ggufs;             /* number of GGUF models: a split model counts once; exact only for 0, 1 and 2 */
    const char *gguf[2];      /* names of the first two GGUF models in byte order, each by its first file */
    size_t projectors;        /* number of GGUF files of image parts, which count as models only without others */
    const char *projector;    /* name of the last of them */
    size_t inner;             /* number of GGUF models in subfolders; exact only for 0, 1 and 2 */
    const char *below[2];     /* first files of the first two of them in byte order, SUBFOLDER/NAME */
    size_t foreign;           /* number of files with weights in formats that organ cannot read */
    const char *foreign_name; /* name of the last of these `foreign` files */
} contents;

static const char *foreign_reason(const char *name)
{
    static const struct {
        const char *suffix, *reason;
    } known[] = {
        {".bin", "a PyTorch pickle; convert it to safetensors first"},
        {".pt", "a PyTorch pickle; convert it to safetensors first"},
        {".pth", "a PyTorch pickle; convert it to safetensors first"},
        {".ckpt", "a PyTorch pickle; convert it to safetensors first"},
        {".onnx", "an ONNX graph"},
        {".h5", "a Keras file"},
        {".msgpack", "a Flax file"},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (organ_ends_with(name, known[k].suffix))
            return known[k].reason;
    return NULL;
}

static organ_status copy_name(organ_model_place *place, const char *name, const char **kept, organ_error *error)
{
    *kept = organ_arena_copy(&place->arena, name, strlen(name));
    return *kept ? ORGAN_OK : organ_fail_memory(error, place->path);
}

static bool is_same_split(const char *a, const char *b)
{
    unsigned part, a_parts, b_parts;
    const size_t length = organ_gguf_split_parse(a, &part, &a_parts);
    return length > 0 && organ_gguf_split_parse(b, &part, &b_parts) == length && a_parts == b_parts &&
           memcmp(a, b, length) == 0;
}

/* Keeps the two names of `first` that are first in byte order, so that messages do not depend on the order of
 * readdir. */
static organ_status note_gguf(organ_model_place *place, const char *name, size_t *count, const char *first[2],
                              organ_error *error)
{
    for (size_t k = 0; k < 2 && first[k]; k++)
        if (is_same_split(first[k], name))
            return strcmp(name, first[k]) < 0 ? copy_name(place, name, &first[k], error) : ORGAN_OK;
    /* index in `first`: 0 before the first name, else 1 */
    const size_t place_in_order = first[0] && strcmp(name, first[0]) > 0;
    ++*count;
    if (place_in_order == 0)
        first[1] = first[0];
    else if (first[1] && strcmp(name, first[1]) > 0)
        return ORGAN_OK;
    return copy_name(place, name, &first[place_in_order], error);
}

static bool is_projector(const char *directory, const char *name)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", directory, name);
    return organ_gguf_is_projector(name) || (path && organ_gguf_file_is_projector(path));
}

static organ_status note_entry(organ_model_place *place, const char *name, contents *found, organ_error *error)
{
    if (*name == '.')
        return ORGAN_OK;
    if (strcmp(name, ORGAN_INDEX_NAME) == 0) {
        found->index = true;
    } else if (strcmp(name, ORGAN_SINGLE_NAME) == 0) {
        found->single = true;
    } else if (organ_ends_with(name, ".safetensors")) {
        found->others++;
        return copy_name(place, name, &found->other, error);
    } else if (organ_ends_with(name, ".safetensors.index.json")) {
        return copy_name(place, name, &found->other_index, error);
    } else if (organ_ends_with(name, ".gguf") && is_projector(place->directory, name)) {
        found->projectors++;
        return copy_name(place, name, &found->projector, error);
    } else if (organ_ends_with(name, ".gguf")) {
        return note_gguf(place, name, &found->ggufs, found->gguf, error);
    } else if (foreign_reason(name)) {
        found->foreign++;
        return copy_name(place, name, &found->foreign_name, error);
    }
    return ORGAN_OK;
}

static organ_status list_directory(organ_model_place *place, contents *found, organ_error *error)
{
    ORGAN_OWNED_FOLDER DIR *directory = organ_open_folder(place->directory);
    if (!directory)
        return organ_fail_errno(error, errno, "%s: cannot be listed", place->directory);
    while (!error->status) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            if (errno != 0)
                organ_fail_errno(error, errno, "%s: cannot be listed", place->directory);
            break;
        }
        note_entry(place, entry->d_name, found, error);
    }
    return error->status;
}

static organ_status list_subfolder(organ_model_place *place, const char *name, contents *found, organ_error *error)
{
    const char *const path = organ_path_join(&place->arena, place->directory, name);
    ORGAN_OWNED_FOLDER DIR *const folder = path ? organ_open_folder(path) : NULL;
    char inner[NAME_MAX * 2 + 2];
    if (!path)
        return organ_fail_memory(error, place->path);
    for (const struct dirent *entry; folder && !error->status && (entry = readdir(folder));) {
        snprintf(inner, sizeof inner, "%s/%s", name, entry->d_name);
        if (*entry->d_name != '.' && organ_ends_with(entry->d_name, ".gguf") && !organ_gguf_is_projector(inner))
            note_gguf(place, inner, &found->inner, found->below, error);
    }
    return error->status;
}

/* Repositories with several quantisations have a folder for each. */
static organ_status list_subfolders(organ_model_place *place, contents *found, organ_error *error)
{
    ORGAN_OWNED_FOLDER DIR *const directory = organ_open_folder(place->directory);
    for (const struct dirent *entry; directory && !error->status && (entry = readdir(directory));)
        if (*entry->d_name != '.')
            list_subfolder(place, entry->d_name, found, error);
    return error->status;
}

static organ_status enter_subfolder(organ_model_place *place, const char *file, organ_error *error)
{
    const char *const path = organ_path_join(&place->arena, place->directory, file);
    if (!path)
        return organ_fail_memory(error, place->path);
    place->path = path;
    place->file = organ_path_name(path);
    place->directory = organ_arena_copy(&place->arena, path, (size_t)(place->file - path) - 1);
    place->whole_directory = false;
    place->gguf = true;
    return place->directory ? ORGAN_OK : organ_fail_memory(error, path);
}

/* An entry of the Hugging Face cache has a folder "snapshots". */
static void list_cached_snapshots(const organ_model_place *place, char *names, size_t size)
{
    enum { MAX = 4 };
    char path[4096];
    size_t count = 0, used = 0;
    *names = '\0';
    if ((size_t)snprintf(path, sizeof path, "%s/snapshots", place->directory) >= sizeof path)
        return;
    ORGAN_OWNED_FOLDER DIR *const folder = organ_open_folder(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && count++ < MAX && used < size)
            used +=
                (size_t)snprintf(names + used, size - used, "%ssnapshots/%.200s", count > 1 ? ", " : "", entry->d_name);
    if (count > MAX && used < size)
        snprintf(names + used, size - used, " and %zu more", count - MAX);
}

static organ_status fail_not_one_model(const organ_model_place *place, const contents *found, organ_error *error)
{
    char snapshots[1024];
    list_cached_snapshots(place, snapshots, sizeof snapshots);
    if (*snapshots)
        return organ_refuse(
            error, place->directory,
            "no model here; it is an entry of the Hugging Face cache, whose models are %s: name one of these",
            snapshots);
    if (found->other_index)
        return organ_refuse(error, place->directory,
                            "has neither " ORGAN_INDEX_NAME " nor " ORGAN_SINGLE_NAME ", but %s: name that file",
                            found->other_index);
    if (found->others > 0)
        return organ_refuse(error, place->directory,
                            "holds %zu .safetensors files and no " ORGAN_INDEX_NAME " nor " ORGAN_SINGLE_NAME
                            " that lists the files of one model: name one file",
                            found->others);
    if (found->ggufs > 1 || found->inner > 1)
        return organ_refuse(
            error, place->directory, "holds more than one GGUF model, among them %s and %s: name one file",
            found->ggufs > 1 ? found->gguf[0] : found->below[0], found->ggufs > 1 ? found->gguf[1] : found->below[1]);
    if (found->foreign > 0)
        return organ_refuse(error, place->directory, "no model here: looked for " LOOKED_FOR "; %s is %s",
                            found->foreign_name, foreign_reason(found->foreign_name));
    return organ_refuse(error, place->directory, "no model here: looked for " LOOKED_FOR);
}

/* Returns whether the index names other files than model.safetensors, or cannot be read. */
static bool index_names_others(const char *directory)
{
    organ_error unread = {0};
    organ_shards shards = {0};
    ORGAN_OWNED char *const path = organ_format("%s/" ORGAN_INDEX_NAME, directory);
    const bool alone = path && organ_shards_read(path, ORGAN_INDEX_NAME, &shards, &unread) == ORGAN_OK &&
                       shards.file_count == 1 && strcmp(shards.files[0], ORGAN_SINGLE_NAME) == 0;
    organ_shards_release(&shards);
    return !alone;
}

/* model.safetensors precedes the index, as in transformers. An index of another name excludes the models in
 * subfolders and projectors. */
static organ_status find_in_directory(organ_model_place *place, organ_error *error)
{
    contents found = {0};
    place->directory = place->path;
    place->whole_directory = true;
    if (list_directory(place, &found, error) != ORGAN_OK)
        return error->status;
    place->unread = found.index && found.single && index_names_others(place->path) ? ORGAN_INDEX_NAME : NULL;
    if (found.single)
        place->file = ORGAN_SINGLE_NAME;
    else if (found.index)
        place->index = ORGAN_INDEX_NAME;
    else if (found.others == 1 && !found.other_index)
        place->file = found.other;
    else if (found.ggufs == 1 && found.others == 0 && !found.other_index)
        place->file = found.gguf[0];
    else if (found.others || found.ggufs || found.other_index || list_subfolders(place, &found, error))
        return error->status ? error->status : fail_not_one_model(place, &found, error);
    else if (found.inner == 1)
        return enter_subfolder(place, found.below[0], error);
    else if (found.inner == 0 && found.projectors == 1)
        place->file = found.projector;
    else
        return fail_not_one_model(place, &found, error);
    place->gguf = place->file && organ_ends_with(place->file, ".gguf");
    return ORGAN_OK;
}

static organ_status set_file(organ_model_place *place, const char *name, organ_error *error)
{
    place->gguf = organ_ends_with(name, ".gguf");
    if (place->gguf || organ_ends_with(name, ".safetensors"))
        place->file = name;
    else if (organ_ends_with(name, ".safetensors.index.json"))
        place->index = name;
    else if (foreign_reason(name))
        return organ_refuse(error, place->path, "is %s", foreign_reason(name));
    else if (organ_ends_with(name, ".json"))
        return organ_refuse(error, place->path, "is no model: name its directory if it is a file of one");
    else
        return organ_refuse(error, place->path,
                            "is neither a directory nor a .safetensors or .gguf file nor a .safetensors.index.json");
    return ORGAN_OK;
}

/* Some programs name GGUF files by digests, so the ending does not show the format. */
static bool has_gguf_magic(const char *path)
{
    organ_error ignored = {0};
    struct stat info;
    char magic[4];
    ORGAN_OWNED_FILE int fd = -1;
    if (organ_input_open(path, &fd, &info, &ignored) != ORGAN_OK)
        return false;
    const organ_status status = organ_input_read(fd, path, magic, sizeof magic, 0, &ignored);
    return status == ORGAN_OK && memcmp(magic, "GGUF", sizeof magic) == 0;
}

/* A file that begins with "GGUF" is accepted under any name that does not end with .safetensors or .json. */
static organ_status set_from_path(organ_model_place *place, organ_error *error)
{
    const char *const name = organ_path_name(place->path);
    /* bytes of the directory with its slash, because the directory of "/name" is "/" */
    const size_t length = (size_t)(name - place->path);
    place->directory = length ? organ_arena_copy(&place->arena, place->path, length > 1 ? length - 1 : 1) : ".";
    if (!place->directory)
        return organ_fail_memory(error, place->path);
    if (organ_ends_with(name, ".safetensors") || organ_ends_with(name, ".json") || !has_gguf_magic(place->path))
        return set_file(place, name, error);
    place->file = name;
    place->gguf = true;
    return ORGAN_OK;
}

static organ_status set_from_url(organ_model_place *place, const char *url, organ_error *error)
{
    const char *name;
    if (organ_http_place(url, &place->arena, &place->path, &place->directory, &name, error) != ORGAN_OK)
        return error->status;
    place->whole_directory = !name;
    return name ? set_file(place, name, error) : ORGAN_OK;
}

organ_status organ_model_place_find(const char *path, organ_model_place *place, organ_error *error)
{
    struct stat info;
    *place = (organ_model_place){0};
    if (organ_http_is_url(path))
        return set_from_url(place, path, error);
    place->path = organ_arena_copy(&place->arena, path, organ_path_length(path));
    if (!place->path)
        return organ_fail_memory(error, path);
    if (stat(place->path, &info) != 0)
        return organ_fail_errno(error, errno, "%s: no model here", place->path);
    return S_ISDIR(info.st_mode) ? find_in_directory(place, error) : set_from_path(place, error);
}

void organ_model_place_release(organ_model_place *place)
{
    organ_arena_release(&place->arena);
    *place = (organ_model_place){0};
}

#define DIGITS 16                /* of a digest */
#define STEP   ((size_t)1 << 16) /* bytes that are hashed at a time */

static const struct {
    const char *before, *after;
} forms[ORGAN_SEAL_FORMS] = {[ORGAN_SEAL_COMMENT] = {"<!-- organ: ", " -->\n"},
                             [ORGAN_SEAL_RUN] = {",\n    \"seal\": \"", "\"\n  }\n}\n"},
                             [ORGAN_SEAL_DOCUMENT] = {",\n  \"seal\": \"", "\"\n}\n"},
                             [ORGAN_SEAL_LINE] = {",\"seal\":\"", "\"}\n"},
                             [ORGAN_SEAL_YAML] = {"# organ: ", "\n"}};

const char *organ_seal_end(organ_seal_form form)
{
    return form == ORGAN_SEAL_COMMENT || form == ORGAN_SEAL_YAML ? "" : forms[form].after + 1;
}

size_t organ_seal_text(organ_seal_form form, uint64_t xxh3, char *seal)
{
    return (size_t)snprintf(seal, ORGAN_SEAL_BYTES, "%s%016" PRIx64 "%s", forms[form].before, xxh3, forms[form].after);
}

static bool ends_with_seal(organ_seal_form form, const char *tail, size_t length, char digest[DIGITS + 1])
{
    const size_t before = strlen(forms[form].before), after = strlen(forms[form].after);
    if (length < before + DIGITS + after)
        return false;
    const char *const seal = tail + length - before - DIGITS - after;
    memcpy(digest, seal + before, DIGITS);
    digest[DIGITS] = '\0';
    return memcmp(seal, forms[form].before, before) == 0 && strspn(digest, "0123456789abcdef") == DIGITS &&
           memcmp(seal + before + DIGITS, forms[form].after, after) == 0;
}

/* Returns false without an error if the file is shorter than `size`. */
static bool digest_start(int fd, off_t size, const char *path, char digest[DIGITS + 1], organ_error *error)
{
    char bytes[STEP];
    XXH3_state_t *const state = XXH3_createState();
    off_t at = 0;
    ssize_t got = state ? 1 : -1;
    if (state)
        XXH3_64bits_reset(state);
    while (got > 0 && at < size) {
        const size_t count = size - at < (off_t)STEP ? (size_t)(size - at) : STEP;
        got = organ_pread_full(fd, bytes, count, at);
        if (got > 0)
            XXH3_64bits_update(state, bytes, (size_t)got);
        at += got > 0 ? got : 0;
    }
    if (got < 0)
        organ_fail_errno(error, state ? errno : ENOMEM, "%s: cannot be read", path);
    if (state)
        snprintf(digest, DIGITS + 1, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return at == size && got >= 0;
}

organ_seal_state organ_seal_check(int fd, const char *path, organ_error *error)
{
    char tail[ORGAN_SEAL_BYTES], sealed[DIGITS + 1], found[DIGITS + 1];
    struct stat info;
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        return ORGAN_SEAL_MISSING;
    const off_t from = info.st_size > ORGAN_SEAL_BYTES ? info.st_size - ORGAN_SEAL_BYTES : 0;
    const ssize_t got = organ_pread_full(fd, tail, sizeof tail, from);
    if (got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    for (organ_seal_form form = 0; got > 0 && form < ORGAN_SEAL_FORMS; form++) {
        const size_t seal = strlen(forms[form].before) + DIGITS + strlen(forms[form].after);
        if (!ends_with_seal(form, tail, (size_t)got, sealed))
            continue;
        if (digest_start(fd, info.st_size - (off_t)seal, path, found, error) && strcmp(found, sealed) == 0)
            return ORGAN_SEAL_WHOLE;
        return error->status ? ORGAN_SEAL_MISSING : ORGAN_SEAL_BROKEN;
    }
    return ORGAN_SEAL_MISSING;
}

/* A verb that needs all bytes of the model must not download it unasked. */
organ_status organ_model_is_here(const organ_model *model, const char *doing, organ_error *error)
{
    if (model->file_count == 0 || !model->files[0].remote)
        return ORGAN_OK;
    return organ_fail(
        error, ORGAN_USAGE,
        "%s: a model at a URL can be read (inspect, measure, autopsy, perplexity), but not %s: download it first",
        model->path, doing);
}
