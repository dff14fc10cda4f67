/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/base/yaml.h"
#include "formats/names/hub_requests.h"
#include "formats/names/names.h"
#include "formats/remote/remote.h"
#include "orchestrator/output/output.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <organ/models.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The URL is that at which the hub serves the model; call->access gets the user's token. Fails if HF_HUB_OFFLINE is
 * set; organ_name_resolve then reports that the model is not in the cache. Fails if the verb has no --header and so
 * reads no URLs; the message then gives the command that fetches the model. */
static organ_status resolve_by_hub(const char **word, const organ_verb *verb, organ_call *call, organ_error *error)
{
    organ_error absent = {0};
    const char *unused;
    if (organ_hub_is_offline()) {
        char hint[ORGAN_FETCH_HINT_ROOM];
        organ_name_resolve(*word, &call->names, &unused, &absent);
        return organ_fail(error, absent.status, "%s, and HF_HUB_OFFLINE forbids requests%s", absent.message,
                          organ_fetch_hint(*word, hint));
    }
    if (!organ_verb_option(verb, "header")) {
        organ_name_resolve(*word, &call->names, &unused, &absent);
        return organ_fail(error, ORGAN_USAGE, "%s; %s needs it there: organ fetch %s --cache", absent.message,
                          verb->name, *word);
    }
    if (organ_hub_set_token(NULL, &call->names, &call->access, error) != ORGAN_OK)
        return error->status;
    const char *const typed = *word;
    if (organ_hub_stream(typed, &call->access, &call->names, word, error) == ORGAN_OK ||
        strncmp(error->message, typed, strlen(typed)) == 0)
        return error->status;
    const organ_error fault = *error;
    *error = (organ_error){0};
    return organ_fail(error, fault.status, "%s: is not in the Hugging Face cache, and the hub cannot be read: %s",
                      typed, fault.message);
}

/* ---- adapters ---- */

enum { ADAPTER_LIMIT = 16 << 20 }; /* bytes of an adapter_config.json */

/* Writes the base that adapter_config.json in the folder names to `base`, "" if there is none. Returns false if the
 * folder is not an adapter. */
static bool is_adapter_folder(const char *folder, char base[256])
{
    organ_error ignored = {0};
    json_error_t fault;
    char path[PATH_MAX + 32], *bytes = NULL;
    size_t length = 0;
    bool no_memory;
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (access(path, F_OK) == 0)
        return false;
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    if (access(path, F_OK) || organ_input_load(path, path, ADAPTER_LIMIT, &bytes, &length, &ignored) != ORGAN_OK)
        return false;
    ORGAN_OWNED_JSON json_t *const config = organ_json_load(bytes, length, 0, &fault, &no_memory);
    const char *const name = json_string_value(json_object_get(config, "base_model_name_or_path"));
    snprintf(base, 256, "%s", name ? name : "");
    free(bytes);
    return true;
}

/* Opens the file at `path`, a GGUF file, to read its type. */
static bool is_adapter_file(const char *path)
{
    organ_error ignored = {0};
    organ_model *model = NULL;
    size_t length = 0;
    static const char type[] = "adapter";
    organ_model_open(path, &model, &ignored);
    const char *const text = model && model->gguf ? organ_gguf_string(model->gguf, "general.type", &length) : NULL;
    const bool adapter = text && length == sizeof type - 1 && memcmp(text, type, length) == 0;
    organ_model_close(model);
    return adapter;
}

/* If `path` is an adapter, sets or replaces the error by one that says so, or without `error` prints a note. `opens`:
 * also opens GGUF files. */
static void name_adapter(const char *path, bool opens, organ_error *error)
{
    char base[256] = "", folder[PATH_MAX]; /* `folder`: that of the adapter */
    struct stat about;
    const char *const slash = path ? strrchr(path, '/') : NULL;
    if (!path || organ_http_is_url(path) || stat(path, &about) != 0)
        return;
    if (S_ISDIR(about.st_mode))
        snprintf(folder, sizeof folder, "%s", path);
    else
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    const bool named = S_ISDIR(about.st_mode) || organ_ends_with(path, "adapter_model.safetensors");
    if (!(named && is_adapter_folder(folder, base)) &&
        !(opens && organ_ends_with(path, ".gguf") && is_adapter_file(path)))
        return;
    if (!error) {
        organ_message(stderr, ORGAN_MESSAGE_NOTE, "%s: is a LoRA adapter, not a model", path);
        return;
    }
    *error = (organ_error){0};
    organ_refuse(error, path,
                 "is a LoRA adapter%s%s%s, not a model; to make a model: organ lora merge --base %s --adapter %s -o "
                 "MERGED",
                 *base ? " (of " : "", base, *base ? ")" : "", *base ? base : "BASE",
                 S_ISDIR(about.st_mode) || organ_ends_with(path, ".gguf") ? path : folder);
}

/* organ audit --recipe with the report of organ lora combine */
static bool audits_adapters(const organ_verb *verb, const organ_call *call)
{
    organ_verb_text text;
    for (size_t n = 0; organ_verb_text_at(verb, call, n, &text); n++)
        if (strcmp(text.argument.name, "recipe") == 0 && *text.word &&
            strcmp(organ_path_name(*text.word), "lora_combine.json") == 0)
            return true;
    return false;
}

/* An audit compares two models, or two adapters. */
static bool are_two_adapters(const organ_verb *verb, const organ_call *call)
{
    organ_verb_text text;
    size_t adapters = 0;
    for (size_t n = 0; strcmp(verb->name, "audit") == 0 && organ_verb_text_at(verb, call, n, &text); n++) {
        organ_error found = {0};
        if (text.argument.names == ORGAN_NAMES_MODEL)
            name_adapter(*text.word, /*opens=*/true, &found);
        adapters += found.status != ORGAN_OK;
    }
    return adapters == 2;
}

/* `any`: verbs whose models may be adapters. `reading`: verbs that only read the tensors of any file; they print a note
 * about their first operand. Operands of the verbs of adapters may be adapters, values of their options may not. */
void organ_call_refuse_adapters(const organ_verb *verb, const organ_call *call, organ_error *error)
{
    static const char *const any[] = {"assemble", "orthogonality", "vocabulary", NULL};
    static const char *const reading[] = {"inspect", "measure", "autopsy", "extract", NULL};
    const bool failed = error->status != ORGAN_OK,
               silent = call->quiet || (call->progress &&
                                        (strcmp(call->progress, "json") == 0 || strcmp(call->progress, "none") == 0));
    organ_verb_text text;
    const bool reads = organ_is_one_of(verb->name, reading);
    const bool any_gguf = organ_verb_is_of_family(verb, "gguf"); /* an adapter in GGUF, too, but no directory of peft */
    if (organ_is_one_of(verb->name, any) || audits_adapters(verb, call) || are_two_adapters(verb, call) ||
        (failed && error->status != ORGAN_BAD_INPUT && error->status != ORGAN_USAGE) ||
        (reads && (failed || silent || !organ_ranks_first(call->ranks))))
        return;
    const size_t first = organ_verb_is_of_family(verb, "lora") ? verb->operand_count : 0;
    for (size_t n = 0; organ_verb_text_at(verb, call, n, &text) && (!reads || text.number == 0); n++)
        if (text.number >= first && text.argument.names == ORGAN_NAMES_MODEL)
            name_adapter(*text.word, (reads || failed) && !any_gguf, reads ? NULL : error);
}

/* Returns ORGAN_USAGE if `word` (NULL: not given) is a URL, but `argument` accepts only files on this machine:
 * outputs, inputs other than models, and the models of a verb that reads no URLs (has no --header). A name of an
 * argument in lower case belongs to an option and gets dashes in the message, because operands have names in
 * capitals. */
static organ_status check_url(const char *word, const organ_option *argument, const organ_verb *verb,
                              organ_error *error)
{
    const char *const dashes = islower((unsigned char)argument->name[0]) ? "--" : "";
    if (argument->names < ORGAN_NAMES_MODEL || argument->names > ORGAN_NAMES_OUTPUT || !word ||
        !organ_http_is_url(word) || (argument->names == ORGAN_NAMES_MODEL && organ_verb_option(verb, "header")))
        return ORGAN_OK;
    if (argument->names == ORGAN_NAMES_OUTPUT)
        return organ_fail(error, ORGAN_USAGE, "%s: %s%s is a URL, but only files on this machine can be written",
                          verb->name, dashes, argument->name);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: %s%s is a URL, but this verb reads it from this machine only: download it first", verb->name,
                      dashes, argument->name);
}

/* Each value of an argument that takes a model may be a name of one; a value of another input only if it has a
 * prefix such as "hf:". NULL, paths, URLs and all other words stay unchanged. */
static organ_status resolve_word(const organ_option *argument, const char **word, const organ_verb *verb,
                                 organ_call *call, organ_error *error)
{
    const organ_names names = argument->names;
    if (check_url(*word, argument, verb, error))
        return error->status;
    if (*word && argument->adapted && strchr(*word, '+') && access(*word, F_OK))
        return ORGAN_OK;
    if (!*word || (names != ORGAN_NAMES_MODEL && !(names == ORGAN_NAMES_INPUT && organ_name_has_prefix(*word))))
        return ORGAN_OK;
    return names == ORGAN_NAMES_MODEL && organ_name_is_remote(*word, &call->names)
               ? resolve_by_hub(word, verb, call, error)
               : organ_name_resolve(*word, &call->names, word, error);
}

organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error)
{
    organ_verb_text text;
    for (size_t n = 0; !error->status && organ_verb_text_at(verb, call, n, &text); n++)
        resolve_word(&text.argument, text.word, verb, call, error);
    return error->status;
}

/* A path may have a '+', so MODEL+ADAPTER is divided at each. */
static unsigned closed_by_word(const char *word)
{
    unsigned closed = organ_closed_modes(word);
    for (const char *plus = access(word, F_OK) ? strchr(word, '+') : NULL; plus; plus = strchr(plus + 1, '+')) {
        ORGAN_OWNED char *const model = strndup(word, (size_t)(plus - word));
        closed |= organ_closed_modes(plus + 1) | (model ? organ_closed_modes(model) : 0);
    }
    return closed;
}

/* Models and texts of a recipe of merge. */
static unsigned closed_by_values(const organ_yaml *value)
{
    static const char *const names[] = {"model", "base_model", "calibration", "tokenizer_source", "source", NULL};
    unsigned closed = 0;
    for (size_t k = 0; value->kind != ORGAN_YAML_SCALAR && k < value->count; k++) {
        const organ_yaml *const inner = value->values[k];
        if (inner->kind != ORGAN_YAML_SCALAR)
            closed |= closed_by_values(inner);
        else if (value->kind == ORGAN_YAML_MAP && organ_is_one_of(value->keys[k]->text, names))
            closed |= closed_by_word(inner->text);
    }
    return closed;
}

bool organ_names_recipe(const char *word) { return organ_ends_with(word, ".yaml") || organ_ends_with(word, ".yml"); }

/* The verb reports the errors of a recipe. */
static unsigned closed_by_recipe(const char *path)
{
    organ_error ignored = {0};
    ORGAN_RELEASED_BY(organ_arena_release) organ_arena arena = {0};
    const organ_yaml *tree = NULL;
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    unsigned closed = 0;
    if (organ_names_recipe(path) &&
        organ_input_load(path, path, ORGAN_YAML_BYTES, &bytes, &length, &ignored) == ORGAN_OK &&
        organ_yaml_parse(path, bytes, length, &arena, &tree, &ignored) == ORGAN_OK)
        closed = closed_by_values(tree);
    return closed;
}

/* The umask is of the process, so it covers all that the run creates: weights, reports, caches, journals. */
void organ_call_close_modes(const organ_verb *verb, const organ_call *call)
{
    unsigned closed = 0;
    if (strcmp(verb->name, "serve") == 0)
        return; /* its jobs are processes, and its own inputs are keys and the root */
    organ_verb_text text;
    for (size_t n = 0; organ_verb_text_at(verb, call, n, &text); n++)
        if ((text.argument.names == ORGAN_NAMES_MODEL || text.argument.names == ORGAN_NAMES_INPUT) &&
            !text.argument.temporary && *text.word)
            closed |= closed_by_word(*text.word) | closed_by_recipe(*text.word);
    umask(umask(077) | (mode_t)closed); /* the umask can only be read by setting it */
}

typedef struct command_path {
    const char *name;     /* of its operand or option, without dashes */
    const char *word;     /* as the user wrote it; NULL: standard output */
    bool written;         /* the run writes it */
    bool whole;           /* it is the output of -o, a single file or a directory that --force replaces as a whole */
    bool exists;          /* `file` is set */
    struct stat file;     /* the file or directory at the path */
    char place[PATH_MAX]; /* absolute, without links; "" for standard output */
} command_path;

#define DERIVED ((size_t)67) /* most outputs whose names a run derives: of each size, their record, and an adapter */

typedef struct command_paths {
    const organ_verb *verb;
    command_path *path; /* room for all values of operands and options, derived outputs, and standard output */
    size_t count;
    char *derived[DERIVED]; /* paths of derived outputs */
    size_t derived_count;
} command_paths;

/* ---- places ---- */

/* Resolves "." and ".." by text alone. Returns false if the path becomes too long. */
static bool append_component(char place[PATH_MAX], const char *component, size_t length)
{
    size_t end = strlen(place);
    if (length == 0 || (length == 1 && *component == '.'))
        return true;
    if (length == 2 && strncmp(component, "..", 2) == 0) {
        char *const slash = strrchr(place, '/');
        slash[slash == place] = '\0';
        return true;
    }
    end -= end == 1; /* the root */
    return snprintf(place + end, PATH_MAX - end, "/%.*s", (int)length, component) < (int)(PATH_MAX - end);
}

/* Links are resolved only in the longest part of `word` that exists. Returns false if the path is too long or its
 * beginning cannot be resolved. */
static bool resolve_place(const char *word, char place[PATH_MAX])
{
    char part[PATH_MAX];
    size_t length = strlen(word);
    if (length >= sizeof part)
        return false;
    memcpy(part, word, length + 1);
    while (length && !realpath(part, place)) { /* drops the last component, with the slashes before it */
        while (length && part[length - 1] == '/')
            length--;
        while (length && part[length - 1] != '/')
            length--;
        part[length] = '\0';
    }
    if (length == 0 && !realpath(*word == '/' ? "/" : ".", place))
        return false;
    for (const char *rest = word + length; *rest;) {
        const size_t next = strcspn(rest, "/");
        if (!append_component(place, rest, next))
            return false;
        rest += next + (rest[next] == '/');
    }
    return true;
}

static bool is_below(const char *inner, const char *outer)
{
    const size_t length = strlen(outer);
    return length && strncmp(inner, outer, length) == 0 && (inner[length] == '/' || (length == 1 && inner[1]));
}

/* ---- the paths of a command ---- */

/* A recipe takes the place of a model on the command line. */
static bool is_recipe(const organ_option *argument, const char *word)
{
    return argument->names == ORGAN_NAMES_MODEL && organ_names_recipe(word);
}

/* Leaves out what each verb compares with its output itself (models, and directories that it reads), standard input,
 * and paths that do not resolve. */
static void add_path(command_paths *all, const organ_option *argument, const char *word)
{
    command_path *const p = &all->path[all->count];
    const bool output = argument->names == ORGAN_NAMES_OUTPUT;
    if (!word || !*word ||
        (!output && !is_recipe(argument, word) && (argument->names != ORGAN_NAMES_INPUT || strcmp(word, "-") == 0)))
        return;
    *p = (command_path){.name = argument->name, .word = word, .written = output || argument->written};
    p->whole = output && strcmp(argument->name, "output") == 0 && organ_verb_option(all->verb, "force");
    if (!resolve_place(word, p->place))
        return;
    p->exists = stat(word, &p->file) == 0;
    if (p->written || !p->exists || !S_ISDIR(p->file.st_mode))
        all->count++;
}

/* Only a regular file is added; a terminal, a pipe or another device is no path. */
static void add_standard_output(command_paths *all)
{
    command_path *const p = &all->path[all->count];
    *p = (command_path){.name = "standard output", .written = true};
    if (fstat(STDOUT_FILENO, &p->file) || !S_ISREG(p->file.st_mode))
        return;
    p->exists = true;
    all->count++;
}

/* ---- outputs whose names a run derives ---- */

/* Returns the value of the option; NULL if the verb has no such option with a text, or it is not given. */
static const char *text_option(const command_paths *all, const char *name, const void *values)
{
    const organ_option *const option = organ_verb_option(all->verb, name);
    return option && option->value == ORGAN_VALUE_TEXT ? *(const char *const *)((const char *)values + option->offset)
                                                       : NULL;
}

/* Adds the output whose path is `output`, without an ending ".gguf", followed by `end`. Takes over `end`; NULL: memory
 * ran out. */
static organ_status add_derived(command_paths *all, const char *output, char *end, organ_error *error)
{
    static const organ_option derived = {.name = "output", .value = ORGAN_VALUE_TEXT, .names = ORGAN_NAMES_OUTPUT};
    size_t length = organ_path_length(output);
    organ_cut_end(output, &length, ".gguf");
    char *const path = end ? organ_format("%.*s%s", (int)length, output, end) : NULL;
    free(end);
    if (!path)
        return organ_fail_memory(error, output);
    bool again = all->derived_count == DERIVED;
    for (size_t k = 0; k < all->derived_count && !again; k++)
        again = strcmp(all->derived[k], path) == 0;
    if (again) {
        free(path);
        return ORGAN_OK; /* the verb refuses as many sizes, and equal ones */
    }
    all->derived[all->derived_count++] = path;
    add_path(all, &derived, path);
    return ORGAN_OK;
}

/* Several sizes of --target-size are OUT-SIZE.gguf with the record OUT.sizes.json, and the adapter of --repair-rank is
 * OUT-adapter. */
static organ_status add_derived_paths(command_paths *all, const void *values, organ_error *error)
{
    const char *const output = text_option(all, "output", values),
                      *const sizes = text_option(all, "target-size", values), *at = sizes;
    const organ_option *const rank = organ_verb_option(all->verb, "repair-rank");
    for (at = output && at && strchr(at, ',') ? at : NULL; at && !error->status;
         at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        add_derived(all, output, organ_format("-%.*s.gguf", (int)strcspn(at, ","), at), error);
    if (!error->status && output && sizes && strchr(sizes, ','))
        add_derived(all, output, strdup(".sizes.json"), error);
    if (!error->status && output && rank && *(const unsigned *)(const void *)((const char *)values + rank->offset))
        add_derived(all, output, strdup("-adapter"), error);
    return error->status;
}

/* ---- comparisons ---- */

/* Writes how messages name the path: its option or operand, and its word. Returns `out`. */
static const char *label(const command_path *p, char out[PATH_MAX + 64])
{
    const char *const dashes = islower((unsigned char)p->name[0]) && p->word ? "--" : "";
    snprintf(out, PATH_MAX + 64, "%s%s%s%s", dashes, p->name, p->word ? " " : "", p->word ? p->word : "");
    return out;
}

static organ_status fail_paths(const command_paths *all, const command_path *a, const char *how, const command_path *b,
                               organ_error *error)
{
    char first[PATH_MAX + 64], second[PATH_MAX + 64];
    return organ_fail(error, ORGAN_USAGE, "%s: %.300s %s %.300s", all->verb->name, label(a, first), how,
                      label(b, second));
}

/* Paths that do not exist yet are the same if they will be. */
static bool are_same_path(const command_path *a, const command_path *b)
{
    if (a->exists && b->exists && a->file.st_dev == b->file.st_dev && a->file.st_ino == b->file.st_ino)
        return true;
    return *a->place && strcmp(a->place, b->place) == 0;
}

/* Returns whether `p` is, or is inside, a hidden file or directory of the output `of`: ".NAME.organ-..." next to it. */
static bool is_hidden_path_of(const command_path *p, const command_path *of)
{
    const char *const name = organ_path_name(of->place);
    const size_t folder = (size_t)(name - of->place), length = strlen(name);
    return *of->place && strlen(p->place) > folder + length && strncmp(p->place, of->place, folder) == 0 &&
           p->place[folder] == '.' && strncmp(p->place + folder + 1, name, length) == 0 &&
           strncmp(p->place + folder + 1 + length, ".organ-", strlen(".organ-")) == 0;
}

/* Returns whether `p` has the name of a report that a run writes next to its output `of`, a single file. */
static bool is_report_next_to(const command_path *p, const command_path *of)
{
    static const char *const reports[] = {"*REPORT.md",      "*REPORT.html",  "prune.json",      "prune.jsonl",
                                          "purify.json",     "experts.json",  "layers.json",     "width.json",
                                          "dequantize.json", "quantize.json", "lora_merge.json", "convert.json"};
    const char *const dot = strrchr(of->place, '.');
    const size_t stem = dot ? (size_t)(dot + 1 - of->place) : 0;
    if (!of->whole || !organ_output_is_file(of->place) || strncmp(p->place, of->place, stem) != 0)
        return false;
    for (size_t k = 0; k < sizeof reports / sizeof *reports; k++)
        if (fnmatch(reports[k], p->place + stem, FNM_PATHNAME) == 0)
            return true;
    return false;
}

/* Refuses two paths that cannot both be used; the run writes `a`. The caller also checks the pair (b, a) if the run
 * writes `b`. */
static organ_status check_command_path(const command_paths *all, const command_path *a, const command_path *b,
                                       organ_error *error)
{
    const bool distinct_standard = (!a->word || !b->word) && !(a->exists && b->exists);
    if (distinct_standard)
        return ORGAN_OK;
    if (are_same_path(a, b))
        return fail_paths(
            all, a, b->written ? "is the same path as another output:" : "would be written over its input", b, error);
    if (is_below(b->place, a->place) && (b->written || a->whole))
        return fail_paths(all, b,
                          b->written ? "is inside another output," : "is inside the output, which would replace it,", a,
                          error);
    if (b->written && is_hidden_path_of(b, a))
        return fail_paths(all, b, "has the name of an unfinished output of", a, error);
    if (b->written && is_report_next_to(b, a))
        return fail_paths(all, b, "has the name of a report next to", a, error);
    return ORGAN_OK;
}

organ_status organ_call_check_outputs(const organ_verb *verb, const organ_call *call, organ_error *error)
{
    command_paths all = {.verb = verb};
    organ_verb_text text;
    size_t count = 0;
    while (organ_verb_text_at(verb, call, count, &text))
        count++;
    all.path = calloc(count + DERIVED + 1, sizeof *all.path);
    if (!all.path)
        return organ_fail_errno(error, ENOMEM, "the paths of %s", verb->name);
    for (size_t n = 0; organ_verb_text_at(verb, call, n, &text); n++)
        add_path(&all, &text.argument, *text.word);
    add_derived_paths(&all, call, error);
    add_standard_output(&all);
    for (size_t a = 0; a < all.count; a++)
        for (size_t b = 0; b < all.count && !error->status; b++)
            if (a != b && all.path[a].written)
                check_command_path(&all, &all.path[a], &all.path[b], error);
    for (size_t k = 0; k < all.derived_count; k++)
        free(all.derived[k]);
    free(all.path);
    return error->status;
}
