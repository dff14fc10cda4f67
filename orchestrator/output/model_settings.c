/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/model_settings.h"

#include "formats/architecture/settings.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the architecture ---- */

const char *organ_settings_architecture(const organ_model *model, char out[96])
{
    organ_forward_config config;
    organ_error refused = {0};
    if (model->gguf)
        snprintf(out, 96, "%s", model->config.model_type);
    else if (organ_forward_config_read(model, &config, &refused) == ORGAN_OK) {
        snprintf(out, 96, "%s", config.architecture);
        organ_forward_config_release(&config);
    } else
        snprintf(out, 96, "%s", *model->config.architecture ? model->config.architecture : model->config.model_type);
    return out;
}

/* A class of transformers may have several names in GGUF files, and the other way around. */
static bool is_pair(const char *architecture, const organ_gguf *gguf, const char *name)
{
    bool known = false;
    const forward_pairing *const back = organ_pairing_names_of_gguf(gguf, name);
    for (const forward_pairing *row = organ_pairing_rows; row->architecture; row++)
        if (strcmp(row->architecture, architecture) == 0) {
            known = true;
            if (strcmp(row->gguf, name) == 0)
                return true;
        }
    return !known || (back && strcmp(back->architecture, architecture) == 0);
}

static bool agree(const organ_model *a, const char *of_a, const organ_model *b, const char *of_b)
{
    if (!*of_a || !*of_b || strcmp(of_a, of_b) == 0)
        return true;
    if (!a->gguf == !b->gguf)
        return false;
    return a->gguf ? is_pair(of_b, a->gguf, of_a) : is_pair(of_a, b->gguf, of_b);
}

bool organ_settings_agree(const organ_model *a, const organ_model *b)
{
    char of_a[96], of_b[96];
    return agree(a, organ_settings_architecture(a, of_a), b, organ_settings_architecture(b, of_b));
}

/* ---- values ---- */

static void print_value(const forward_setting *s, double value, char text[ORGAN_SETTINGS_VALUE])
{
    const char *word = s->words;
    for (unsigned k = 0; word && k < (unsigned)value; k++)
        word = strchr(word, ' ') ? strchr(word, ' ') + 1 : NULL;
    if (word)
        snprintf(text, ORGAN_SETTINGS_VALUE, "%.*s", (int)strcspn(word, " "), word);
    else if (s->number == PAIRING_BOOL)
        snprintf(text, ORGAN_SETTINGS_VALUE, "%s", value != 0 ? "yes" : "no");
    else
        organ_snprintf(text, ORGAN_SETTINGS_VALUE, "%.10g", value);
}

/* Rounding to FP32 is no difference. */
static bool is_same(double a, double b) { return a == b || fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)); }

/* ---- rows ---- */

typedef struct settings_comparison {
    const organ_settings_side *sides;
    size_t count, form;
    organ_forward_config *configs;
    bool *known; /* configs[k] has been read */
    char (*texts)[ORGAN_SETTINGS_VALUE];
    const char **values;
    json_t *rows;
} settings_comparison;

organ_status organ_settings_row(const organ_settings_side *sides, size_t count, const char *what,
                                const char *const *values, json_t *rows, organ_error *error)
{
    char *text = NULL;
    for (size_t k = 0; k < count; k++) {
        if (!values[k])
            continue;
        char *const longer = organ_format("%s%s%s: %.*s", text ? text : "", text ? ", " : "", sides[k].label,
                                          ORGAN_SETTINGS_VALUE, values[k]);
        free(text);
        if (!(text = longer))
            return organ_fail_memory(error, what);
    }
    const int failed = json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("what", what), SET_BYTES("values", text)));
    free(text);
    return failed ? organ_fail_memory(error, what) : ORGAN_OK;
}

void organ_settings_say(const json_t *rows, json_t *sentences)
{
    size_t k;
    const json_t *row;
    json_array_foreach(rows, k, row)
        organ_say(sentences, "the models differ in %s: %s", json_string_value(json_object_get(row, "what")),
                  json_string_value(json_object_get(row, "values")));
}

/* `layer`: of the setting; -1: it is of the model. */
static bool is_compared(const settings_comparison *c, const forward_setting *s, size_t k, int layer)
{
    const bool one_format = !c->sides[k].model->gguf == !c->sides[c->form].model->gguf;
    if (!c->known[k] || (s->scope == SETTING_WINDOWED && !c->configs[k].window))
        return false;
    return (s->scope == SETTING_EVERY || one_format) && (layer < 0 || (unsigned)layer < c->configs[k].layers);
}

/* Fills `values`. Returns whether two of them differ. */
static bool differs(const settings_comparison *c, const forward_setting *s, int layer)
{
    bool differ = false, any = false;
    double first = 0;
    for (size_t k = 0; k < c->count; k++) {
        c->values[k] = NULL;
        if (!is_compared(c, s, k, layer))
            continue;
        const organ_forward_config *const config = &c->configs[k];
        const double value =
            organ_setting_value(s, layer < 0 ? (const void *)config : (const void *)&config->kinds[(unsigned)layer]);
        differ |= any && !is_same(first, value);
        first = any ? first : value;
        any = true;
        print_value(s, value, c->texts[k]);
        c->values[k] = c->texts[k];
    }
    return differ;
}

static organ_status compare_settings(const settings_comparison *c, organ_error *error)
{
    for (const forward_setting *s = organ_model_settings; s->name; s++)
        if (differs(c, s, -1) && organ_settings_row(c->sides, c->count, s->name, c->values, c->rows, error))
            return error->status;
    return ORGAN_OK;
}

/* The rows of the model state values that all layers have. */
static bool is_uniform(const settings_comparison *c, const forward_setting *s)
{
    for (size_t k = 0; k < c->count; k++)
        for (unsigned layer = 1; c->known[k] && layer < c->configs[k].layers; layer++)
            if (organ_setting_value(s, &c->configs[k].kinds[layer]) != organ_setting_value(s, &c->configs[k].kinds[0]))
                return false;
    return true;
}

/* A row states the first layer in which a setting differs. */
static organ_status compare_layer_setting(const settings_comparison *c, const forward_setting *s, unsigned layers,
                                          organ_error *error)
{
    char what[80];
    for (unsigned layer = 0; layer < layers && !is_uniform(c, s); layer++)
        if (differs(c, s, (int)layer)) {
            snprintf(what, sizeof what, "%s of layer %u", s->name, layer);
            return organ_settings_row(c->sides, c->count, what, c->values, c->rows, error);
        }
    return ORGAN_OK;
}

static organ_status compare_layers(const settings_comparison *c, organ_error *error)
{
    const forward_setting *const count = &organ_layers_setting;
    unsigned layers = 0;
    if (differs(c, count, -1) && organ_settings_row(c->sides, c->count, count->name, c->values, c->rows, error))
        return error->status;
    for (size_t k = 0; k < c->count; k++)
        layers = c->known[k] && c->configs[k].layers > layers ? c->configs[k].layers : layers;
    for (const forward_setting *s = organ_layer_settings; s->name && !error->status; s++)
        compare_layer_setting(c, s, layers, error);
    return error->status;
}

static organ_status read_configs(const settings_comparison *c, json_t *notes, organ_error *error)
{
    for (size_t k = 0; k < c->count && !error->status; k++) {
        organ_error refused = {0};
        c->known[k] = organ_forward_config_read(c->sides[k].model, &c->configs[k], &refused) == ORGAN_OK;
        if (refused.status == ORGAN_BAD_INPUT && notes)
            organ_say(notes, "The settings of %s are not compared: %s", c->sides[k].label, refused.message);
        else if (refused.status != ORGAN_BAD_INPUT && refused.status)
            *error = refused;
    }
    return error->status;
}

organ_status organ_settings_compare(const organ_settings_side *sides, size_t count, size_t form, bool by_layer,
                                    json_t *rows, json_t *notes, organ_error *error)
{
    settings_comparison c = {.sides = sides,
                             .count = count,
                             .form = form,
                             .configs = calloc(count, sizeof *c.configs),
                             .known = calloc(count, sizeof *c.known),
                             .texts = calloc(count, sizeof *c.texts),
                             .values = calloc(count, sizeof *c.values),
                             .rows = rows};
    if (!c.configs || !c.known || !c.texts || !c.values)
        organ_fail_memory(error, sides[0].model->path);
    else if (read_configs(&c, notes, error) == ORGAN_OK && compare_settings(&c, error) == ORGAN_OK && by_layer)
        compare_layers(&c, error);
    for (size_t k = 0; c.known && k < count; k++)
        if (c.known[k])
            organ_forward_config_release(&c.configs[k]);
    ORGAN_FREE_ARRAYS(c.configs, c.known, c.texts, c.values);
    return error->status;
}

organ_status organ_settings_compare_architectures(const organ_settings_side *sides, size_t count, json_t *rows,
                                                  organ_error *error)
{
    char(*const names)[96] = calloc(count, sizeof *names);
    ORGAN_OWNED const char **const values = calloc(count, sizeof *values);
    bool differ = false;
    if (!names || !values)
        organ_fail_memory(error, sides[0].model->path);
    for (size_t k = 0; k < count && !error->status; k++) {
        organ_settings_architecture(sides[k].model, names[k]);
        differ |= !agree(sides[0].model, names[0], sides[k].model, names[k]);
        values[k] = *names[k] ? names[k] : NULL;
    }
    if (differ)
        organ_settings_row(sides, count, "architecture", values, rows, error);
    free(names);
    return error->status;
}
