/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "formats/base/format_rest.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/word_lists.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* LONGEST_TEXT is in characters. */
enum { LONGEST_TEXT = 4000, MAX_KEYS = 96, MAX_OPERANDS = 8, MAX_FAULTS = 32 };

typedef struct words_reader {
    organ_job_words *words;
    const organ_jail *jail;
    const json_t *arguments;
    json_t *options;  /* array of words for argv, "--name=value" */
    json_t *operands; /* array of words for argv: the operands in order */
    json_t *named;    /* object: the key is a word with the name of a model in a store, the value the same word with the
                       * model's path */
    char *absolute;   /* absolute path of the input that was checked last, if it is in a store; else NULL */
    json_t *faults;   /* array for the client, see organ_job_words_read */
    unsigned status;  /* HTTP status of the reply: 422 if any fault has this status, else the status of the first fault;
                         0: no fault */
} words_reader;

/* ---- faults ---- */

static void add_fault(words_reader *r, unsigned status, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* At most MAX_FAULTS are kept. `field` is a JSON pointer such as "/arguments/output". organ_fail escapes control
 * characters in the field and the detail. */
static void add_fault(words_reader *r, unsigned status, const char *field, const char *format, ...)
{
    organ_error where = {0}, detail = {0};
    char text[sizeof detail.message];
    ORGAN_FORMAT_REST(text, format);
    organ_fail(&where, ORGAN_USAGE, "%s", field);
    organ_fail(&detail, ORGAN_USAGE, "%s", text);
    if (r->status == 0 || status == 422)
        r->status = status;
    if (json_array_size(r->faults) < MAX_FAULTS)
        json_array_append_new(r->faults, json_pack("{s:s, s:s}", "field", where.message, "detail", detail.message));
}

static const char *json_kind(const json_t *value)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",      [JSON_FALSE] = "false",   [JSON_NULL] = "null"};
    return kinds[json_typeof(value)];
}

/* ---- values ---- */

static size_t utf8_length(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

static const char *plain_text(words_reader *r, const char *field, const json_t *value)
{
    const char *const text = json_string_value(value);
    if (!text)
        add_fault(r, 422, field, "is %s, but must be a text", json_kind(value));
    else if (*text == '\0' || utf8_length(text) > LONGEST_TEXT)
        add_fault(r, 422, field, "has %zu characters, but must have 1 to %d", utf8_length(text), LONGEST_TEXT);
    else if (strlen(text) != json_string_length(value))
        add_fault(r, 422, field, "contains NUL");
    else
        return text;
    return NULL;
}

/* A config.json in the directory that contains the output marks it as that of a model, which the job would change.
 * Does not check the root, which contains a path without '/'. If there is no fault and nothing exists at the path,
 * appends the path to words->made. */
static void words_check_output(words_reader *r, const char *field, const char *path)
{
    organ_error ignored = {0};
    struct stat about;
    const char *const slash = strrchr(path, '/');
    char config[PATH_MAX];
    const int length = slash ? snprintf(config, sizeof config, "%.*s/config.json", (int)(slash - path), path) : 0;
    if (length > 0 && (size_t)length < sizeof config && organ_jail_stat(r->jail, config, &about, &ignored) == 0)
        add_fault(r, 409, field, "'%s' is in the directory of a model (config.json), which jobs must not change", path);
    else if (organ_jail_stat(r->jail, path, &about, &ignored) == 404)
        json_array_append_new(r->words->made, json_string(path));
}

/* *absolute becomes the path of an input in a store, else NULL; the caller frees it. Returns 0 or an HTTP status. */
static unsigned find_input(words_reader *r, const char *path, char **absolute, organ_error *error)
{
    bool stored = false;
    const unsigned refused = organ_jail_input(r->jail, path, absolute, &stored, error);
    if (!stored)
        organ_clear(absolute);
    if (!refused)
        json_array_append_new(r->words->reads, json_string(path));
    return refused;
}

/* Returns the '+' of MODEL+ADAPTER: the last one after a path that exists. NULL: `path` exists itself, or there is no
 * such '+'. */
static const char *plus_of(const words_reader *r, const char *path)
{
    organ_error ignored = {0};
    struct stat about;
    const char *plus = NULL;
    if (organ_jail_stat(r->jail, path, &about, &ignored) == 0)
        return NULL;
    for (const char *at = path; (at = strchr(at + 1, '+'));) {
        ORGAN_OWNED char *const model = strndup(path, (size_t)(at - path));
        ignored = (organ_error){0};
        if (model && organ_jail_stat(r->jail, model, &about, &ignored) == 0)
            plus = at;
    }
    return plus;
}

/* If one of the two is in a store, r->absolute becomes MODEL+ADAPTER with its path. */
static unsigned find_adapted(words_reader *r, const char *path, const char *plus, organ_error *error)
{
    ORGAN_OWNED char *const model = strndup(path, (size_t)(plus - path)), *of_model = NULL, *of_adapter = NULL;
    unsigned refused = model ? find_input(r, model, &of_model, error) : 500;
    if (!refused)
        refused = find_input(r, plus + 1, &of_adapter, error);
    if (!refused && (of_model || of_adapter) &&
        !(r->absolute = organ_format("%s+%s", of_model ? of_model : model, of_adapter ? of_adapter : plus + 1)))
        refused = 500;
    return refused;
}

static void check_path(words_reader *r, const char *field, const char *path, const organ_option *option)
{
    organ_error error = {0};
    const bool output = option->names == ORGAN_NAMES_OUTPUT;
    organ_clear(&r->absolute);
    if (strstr(path, "://")) {
        add_fault(r, 422, field,
                  "is a URL, but must be a path below the root: the server does not contact other servers");
        return;
    }
    const char *const plus = option->adapted ? plus_of(r, path) : NULL;
    unsigned refused;
    if (output)
        refused = organ_jail_output(r->jail, path, &error);
    else
        refused = plus ? find_adapted(r, path, plus, &error) : find_input(r, path, &r->absolute, &error);
    if (refused) {
        /* A malformed path, 400, is a fault of the JSON like a value of a wrong type: 422. */
        add_fault(r, refused == 400 ? 422 : refused, field, "%s", error.message);
        return;
    }
    if (output) {
        words_check_output(r, field, path);
        json_array_append_new(r->words->writes, json_string(path));
    }
}

/* Returns NULL after a fault. A path that begins with "-" gets the prefix "./", because "-" would mean standard
 * input or an option. */
static json_t *text_word(words_reader *r, const char *field, const json_t *value, const organ_option *option)
{
    const char *const text = plain_text(r, field, value);
    /* a value that is one of the option's words is no path */
    if (text && option->names != ORGAN_NAMES_NOTHING && !organ_lists_word(option->choices, '|', text, strlen(text)))
        check_path(r, field, text, option);
    return text ? organ_json_sprintf("%s%s", option->names != ORGAN_NAMES_NOTHING && *text == '-' ? "./" : "", text)
                : NULL;
}

/* The amounts are the texts that the JSON Schema of the verb allows (bytes_schema in verb_catalog.c). */
static bool read_amount(const json_t *value, uint64_t *bytes)
{
    const char *const text = json_is_string(value) ? json_string_value(value) : "";
    const size_t digits = strspn(text, "0123456789");
    const bool mega = text[digits] == 'M' || text[digits] == 'm', giga = text[digits] == 'G' || text[digits] == 'g';
    return *text != '0' && ((mega && digits >= 2 && digits <= 4) || (giga && digits >= 1 && digits <= 3)) &&
           organ_quantity_parse(text, bytes);
}

static json_t *number_word(words_reader *r, const char *field, const organ_option *option, const json_t *value)
{
    char allowed[160];
    uint64_t bytes = 0;
    const bool amount = option->value == ORGAN_VALUE_BYTES && read_amount(value, &bytes);
    const double number = amount ? (double)bytes : json_number_value(value);
    /* Counts and amounts must be whole; below 9e18 the conversion to uint64_t is defined. */
    const bool valid =
        option->value == ORGAN_VALUE_REAL || (number >= 0 && number < 9e18 && number == (double)(uint64_t)number);
    if (option->automatic && json_is_string(value) && strcmp(json_string_value(value), ORGAN_AUTOMATIC) == 0)
        return json_string(ORGAN_AUTOMATIC);
    organ_option_allows(option, allowed, sizeof allowed);
    if (!amount && !json_is_number(value))
        add_fault(r, 422, field, "is %s, but must be %s", json_kind(value), allowed);
    else if (!valid || !organ_in_range(option, number))
        add_fault(r, 422, field, "is %.15g, but must be %s", number, allowed);
    else if (option->value != ORGAN_VALUE_REAL)
        return organ_json_sprintf("%llu", amount ? (unsigned long long)bytes : (unsigned long long)number);
    else
        return organ_json_sprintf("%.*g", organ_real_digits(number), number);
    return NULL;
}

/* ---- options and operands ---- */

/* Returns the word of an operand if `name` is NULL. */
static json_t *named_word(const char *name, const char *value)
{
    return name ? organ_json_sprintf("--%s=%s", name, value) : json_string(value);
}

/* Takes the reference of `word`; NULL appends nothing. `name` is NULL for an operand. If the value is a model in a
 * store (r->absolute), also adds its path to r->named. */
static void add_word(words_reader *r, json_t *to, const char *name, json_t *word)
{
    json_t *const shown = word ? named_word(name, json_string_value(word)) : NULL;
    if (shown && r->absolute)
        json_object_set_new(r->named, json_string_value(shown), named_word(name, r->absolute));
    if (shown)
        json_array_append_new(to, shown);
    json_decref(word);
    organ_clear(&r->absolute);
}

/* Each use of an option has option->takes values: the first is written as "--name=value", the others follow as
 * separate words. */
static void each_word(words_reader *r, json_t *to, const char *field, const json_t *value, const organ_option *option)
{
    const size_t takes = option->takes ? option->takes : 1;
    if (!json_is_array(value) || json_array_size(value) == 0 || json_array_size(value) > ORGAN_MAX_WORDS) {
        add_fault(r, 422, field, "must be an array of 1 to %d texts", ORGAN_MAX_WORDS);
        return;
    }
    if (json_array_size(value) % takes != 0)
        add_fault(r, 422, field, "has %zu texts, but %zu belong together", json_array_size(value), takes);
    for (size_t k = 0; k < json_array_size(value); k++) {
        char item[192];
        snprintf(item, sizeof item, "%s/%zu", field, k);
        add_word(r, to, to == r->options && k % takes == 0 ? option->name : NULL,
                 text_word(r, item, json_array_get(value, k), option));
    }
}

/* Sets *key to the name that the client has used for the argument: that of the option, or one of its former names. */
static const json_t *value_of(words_reader *r, const organ_option *option, const char **key)
{
    const json_t *found = NULL, *value;
    const char *given;
    *key = option->name;
    json_object_foreach((json_t *)r->arguments, given, value)
    {
        char field[160];
        if (strcmp(given, option->name) != 0 && !organ_is_former(option->former, given, strlen(given)))
            continue;
        snprintf(field, sizeof field, "/arguments/%.100s", given);
        if (found)
            add_fault(r, 422, field, "is a former name of \"%s\", and this argument is given twice", option->name);
        found = value;
        *key = given;
    }
    return found;
}

static void read_argument(words_reader *r, json_t *to, const organ_option *option)
{
    const char *key;
    const json_t *const value = value_of(r, option, &key);
    const char *const name = to == r->options ? option->name : NULL;
    char field[160];
    snprintf(field, sizeof field, "/arguments/%.100s", key);
    if (!value && option->required)
        add_fault(r, 422, field, "is missing: %s", option->help);
    if (!value)
        return;
    if (option->value == ORGAN_VALUE_FLAG) {
        if (!json_is_boolean(value))
            add_fault(r, 422, field, "is %s, but must be true or false", json_kind(value));
        else if (json_is_true(value))
            json_array_append_new(to, organ_json_sprintf("--%s", name));
    } else if (option->value == ORGAN_VALUE_WORDS)
        each_word(r, to, field, value, option);
    else if (option->value != ORGAN_VALUE_TEXT)
        add_word(r, to, name, number_word(r, field, option, value));
    else if (option->choices && !option->open && json_is_string(value) &&
             !organ_option_has_choice(option, json_string_value(value), strlen(json_string_value(value))))
        add_fault(r, 422, field, "is '%.60s', but must be one of %s", json_string_value(value), option->choices);
    else
        add_word(r, to, name, text_word(r, field, value, option));
}

/* Operands have no names on a command line, so the program would use a given operand as the missing one before it. */
static void refuse_gaps(words_reader *r)
{
    const organ_verb *const verb = r->words->verb;
    char key[64], field[96];
    bool gap = false;
    for (size_t k = 0; k < verb->operand_count; k++) {
        const bool given = json_object_get(r->arguments, organ_operand_key(&verb->operands[k], key)) != NULL;
        snprintf(field, sizeof field, "/arguments/%s", key);
        if (given && gap)
            add_fault(r, 422, field, "is given without the operand before it");
        gap = gap || !given;
    }
}

/* Returns whether `key` is a former name of an option that clients may set, or one of the former options. */
static bool is_former_argument(const organ_verb *verb, const organ_option *option, const char *key)
{
    const organ_option *settable;
    for (size_t k = 0; (settable = organ_job_option(verb, k)); k++)
        if (settable == option)
            return organ_is_former(option->former, key, strlen(key));
    bool found = false;
    for (size_t k = 0; k < verb->former_count && !found; k++)
        found = &verb->former_options[k] == option;
    return found;
}

static void refuse_unknown(words_reader *r)
{
    const organ_verb *const verb = r->words->verb;
    const char *names[MAX_KEYS], *key;
    char operands[MAX_OPERANDS][64];
    size_t count = 0;
    json_t *value;
    const organ_option *option;
    for (; count < verb->operand_count && count < MAX_OPERANDS; count++)
        names[count] = organ_operand_key(&verb->operands[count], operands[count]);
    for (size_t k = 0; count < MAX_KEYS && (option = organ_job_option(verb, k)); k++)
        names[count++] = option->name;
    json_object_foreach((json_t *)r->arguments, key, value)
    {
        const organ_option *const former = organ_verb_option(verb, key);
        bool known = former && is_former_argument(verb, former, key);
        for (size_t k = 0; k < count && !known; k++)
            known = strcmp(names[k], key) == 0;
        if (known)
            continue;
        char field[160], hint[ORGAN_HINT_ROOM];
        snprintf(field, sizeof field, "/arguments/%.100s", key);
        add_fault(r, 422, field, "%s has no such argument%s", verb->name,
                  organ_nearest_hint(key, names, count, "", hint));
    }
}

/* ---- the request ---- */

static const organ_verb *find_verb(words_reader *r, const organ_verb *const *verbs, size_t count, const json_t *request)
{
    const json_t *const value = json_object_get(request, "verb");
    const char *const name = value ? plain_text(r, "/verb", value) : NULL, *names[MAX_KEYS];
    const organ_verb *const verb = name ? organ_job_verb(verbs, count, name) : NULL;
    size_t jobs = 0;
    if (verb)
        return verb;
    for (size_t k = 0; k < count && jobs < MAX_KEYS; k++)
        if (organ_verb_is_job(verbs[k]))
            names[jobs++] = verbs[k]->name;
    char hint[ORGAN_HINT_ROOM];
    if (!value)
        add_fault(r, 422, "/verb", "is missing: the verb, for example \"inspect\"");
    else if (name)
        add_fault(r, 422, "/verb", "'%.60s' is not a verb that can run as a job%s", name,
                  organ_nearest_hint(name, names, jobs, "", hint));
    return NULL;
}

/* Collects all faults instead of stopping at the first, so that a client can show each at its field. */
static void read_request(words_reader *r, const organ_verb *const *verbs, size_t count, const json_t *request)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)request, key, value) if (strcmp(key, "verb") != 0 && strcmp(key, "arguments") != 0)
    {
        char field[160];
        snprintf(field, sizeof field, "/%.100s", key);
        add_fault(r, 422, field, "a job has \"verb\" and \"arguments\" only");
    }
    r->words->verb = find_verb(r, verbs, count, request);
    r->arguments = json_object_get(request, "arguments");
    if (!json_is_object(r->arguments))
        add_fault(r, 422, "/arguments", r->arguments ? "must be an object" : "is missing: an object");
    if (!r->words->verb || !json_is_object(r->arguments))
        return;
    refuse_unknown(r);
    refuse_gaps(r);
    for (size_t k = 0; k < r->words->verb->operand_count; k++) {
        char own[64];
        const organ_option operand = organ_job_operand(&r->words->verb->operands[k], own);
        read_argument(r, r->operands, &operand);
    }
    const organ_option *option;
    for (size_t k = 0; (option = organ_job_option(r->words->verb, k)); k++)
        read_argument(r, r->options, option);
    /* organ_verb_option finds a present option of the same name first. */
    for (size_t k = 0; k < r->words->verb->former_count; k++)
        if (organ_verb_option(r->words->verb, r->words->verb->former_options[k].name) ==
            &r->words->verb->former_options[k])
            read_argument(r, r->options, &r->words->verb->former_options[k]);
}

/* A dry run writes nothing, so that it conflicts with no other job. */
static void drop_outputs_of_dry_run(organ_job_words *words)
{
    if (json_is_true(json_object_get(words->arguments, "dry-run"))) {
        json_array_clear(words->writes);
        json_array_clear(words->made);
    }
}

static void append_verb(json_t *argv, const char *name)
{
    json_array_append_new(argv, json_string("organ"));
    for (const char *at = name; *at; at += strcspn(at, " "), at += *at == ' ')
        json_array_append_new(argv, json_stringn(at, strcspn(at, " ")));
}

/* The command is what a user could type in a shell. Operands come before the options, except if one begins with '-':
 * then they follow the options and "--". The caller frees it; NULL if memory runs out. */
static char *make_command(const words_reader *r)
{
    organ_text text;
    organ_error error = {0};
    char *command = NULL;
    bool dashes = false;
    if (organ_text_open(&text, &error) != ORGAN_OK)
        return NULL;
    fprintf(text.out, "organ %s", r->words->verb->name);
    for (size_t k = 0; k < json_array_size(r->operands); k++)
        dashes = dashes || json_string_value(json_array_get(r->operands, k))[0] == '-';
    for (size_t list = 0; list < 2; list++) {
        const bool is_operands = dashes ? list == 1 : list == 0;
        const json_t *const words = is_operands ? r->operands : r->options;
        fputs(dashes && list == 1 ? " --" : "", text.out);
        for (size_t k = 0; k < json_array_size(words); k++) {
            fputc(' ', text.out);
            organ_shell_word(text.out, json_string_value(json_array_get(words, k)));
        }
    }
    if (organ_text_finish(&text, &command, &error) == ORGAN_OK)
        organ_text_hide_passwords(command);
    return command;
}

/* Models in stores get their paths (r->named), because the environment of a job lacks the variables that name the
 * stores. */
static void append_words(const words_reader *r, json_t *argv, const json_t *words)
{
    for (size_t k = 0; k < json_array_size(words); k++) {
        json_t *const word = json_array_get(words, k), *const path = json_object_get(r->named, json_string_value(word));
        json_array_append(argv, path ? path : word);
    }
}

/* In argv the operands follow "--", so that no value from a client can become an option. Returns false if memory
 * runs out. */
static bool finish_words(words_reader *r)
{
    organ_job_words *const words = r->words;
    words->arguments = json_deep_copy(r->arguments);
    words->argv = json_array();
    words->command = make_command(r);
    words->resumes = organ_verb_option(words->verb, "resume") != NULL;
    if (!words->arguments || !words->argv || !words->command)
        return false;
    append_verb(words->argv, words->verb->name);
    append_words(r, words->argv, r->options);
    json_array_append_new(words->argv, json_string("--json"));
    if (organ_verb_option(words->verb, "progress"))
        json_array_append_new(words->argv, json_string("--progress=json"));
    json_array_append_new(words->argv, json_string("--"));
    append_words(r, words->argv, r->operands);
    drop_outputs_of_dry_run(words);
    return true;
}

/* Appending to an array ignores a lack of memory, so the number of refused allocations is compared: a job without one
 * of its words or paths must not run. */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults)
{
    const unsigned long refusals = organ_memory_refusals();
    *words = (organ_job_words){.reads = json_array(), .writes = json_array(), .made = json_array()};
    *faults = NULL;
    words_reader r = {.words = words,
                      .jail = jail,
                      .options = json_array(),
                      .operands = json_array(),
                      .named = json_object(),
                      .faults = json_array()};
    if (words->reads && words->writes && words->made && r.options && r.operands && r.named && r.faults) {
        read_request(&r, verbs, count, request);
        if (r.status == 0 && (!finish_words(&r) || organ_memory_refusals() != refusals))
            r.status = 500;
    } else {
        r.status = 500;
    }
    if (r.status != 0) {
        organ_job_words_release(words);
        *faults = r.status == 500 ? NULL : json_incref(r.faults);
    }
    ORGAN_DECREF(r.options, r.operands, r.named, r.faults);
    return r.status;
}

void organ_job_words_release(organ_job_words *words)
{
    ORGAN_DECREF(words->arguments, words->argv, words->reads, words->writes, words->made);
    free(words->command);
    *words = (organ_job_words){0};
}

json_t *organ_job_words_resumed(const json_t *argv)
{
    json_t *const resumed = json_copy((json_t *)argv);
    bool there = false;
    size_t before = 0; /* the options end at "--" */
    while (before < json_array_size(argv) && strcmp(json_string_value(json_array_get(argv, before)), "--") != 0)
        there = strcmp(json_string_value(json_array_get(argv, before++)), "--resume") == 0 || there;
    if (resumed && !there)
        json_array_insert_new(resumed, before, json_string("--resume"));
    return resumed;
}

/* ---- clashes ---- */

static bool paths_overlap(const char *a, const char *b)
{
    const size_t m = strlen(a), n = strlen(b), least = m < n ? m : n;
    if (strcmp(a, ".") == 0 || strcmp(b, ".") == 0)
        return true;
    return strncmp(a, b, least) == 0 && (m == n || (m < n ? b : a)[least] == '/');
}

/* Sets *path to the first path of `a` that contains or is inside one of `b`. */
static bool any_overlap(const json_t *a, const json_t *b, const char **path)
{
    for (size_t k = 0; k < json_array_size(a); k++)
        for (size_t j = 0; j < json_array_size(b); j++)
            if (paths_overlap(json_string_value(json_array_get(a, k)), json_string_value(json_array_get(b, j)))) {
                *path = json_string_value(json_array_get(a, k));
                return true;
            }
    return false;
}

bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path)
{
    return any_overlap(writes, other_writes, path) || any_overlap(writes, other_reads, path) ||
           any_overlap(reads, other_writes, path);
}
