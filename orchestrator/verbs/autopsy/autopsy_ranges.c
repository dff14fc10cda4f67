/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA    "organ.ranges/1"
#define MAX_BYTES ((size_t)1 << 20) /* largest file of ranges that is read */

/* clang-format off: tables are laid out by hand */

#define ANY INFINITY /* no limit */
/* Ranges of trained projections in models of some billion parameters: largest |mean|, smallest and largest std,
 * smallest and largest value. */
#define PROJECTION                                                                                                     \
    {                                                                                                                  \
        .expected = {0.01, 0.02, 0.05, -0.5, 0.5}, .faulty = { 0.1, 1e-4, 1, -100, 100 }                               \
    }
/* Ranges of roles whose usual values are not known: no limits. */
#define UNKNOWN                                                                                                        \
    {                                                                                                                  \
        .expected = {ANY, 0, ANY, -ANY, ANY}, .faulty = { ANY, 0, ANY, -ANY, ANY }                                     \
    }

/* Default ranges of every role. */
static const struct {
    organ_limits expected, faulty;
} defaults[ORGAN_ROLE_COUNT] = {
    [ORGAN_ROLE_OTHER] = UNKNOWN,
    [ORGAN_ROLE_COMPANION] = UNKNOWN,
    [ORGAN_ROLE_POSITION] = {.expected = {0.05, 0.005, 0.5, -5, 5}, .faulty = {1, 1e-5, 10, -1000, 1000}},
    [ORGAN_ROLE_EMBED] = {.expected = {0.05, 0.005, 0.5, -5, 5}, .faulty = {1, 1e-5, 10, -1000, 1000}},
    [ORGAN_ROLE_OUTPUT] = {.expected = {0.05, 0.005, 0.5, -5, 5}, .faulty = {1, 1e-5, 10, -1000, 1000}},
    [ORGAN_ROLE_NORM] = {.expected = {10, 0, 5, -5, 50}, .faulty = {1000, 0, 1000, -10000, 10000}},
    [ORGAN_ROLE_Q] = PROJECTION,
    [ORGAN_ROLE_K] = PROJECTION,
    [ORGAN_ROLE_V] = PROJECTION,
    [ORGAN_ROLE_QKV] = PROJECTION,
    [ORGAN_ROLE_KV] = PROJECTION,
    [ORGAN_ROLE_O] = PROJECTION,
    [ORGAN_ROLE_Q_A] = PROJECTION,
    [ORGAN_ROLE_Q_B] = PROJECTION,
    [ORGAN_ROLE_KV_A] = PROJECTION,
    [ORGAN_ROLE_KV_B] = PROJECTION,
    [ORGAN_ROLE_K_B] = PROJECTION,
    [ORGAN_ROLE_V_B] = PROJECTION,
    [ORGAN_ROLE_ATTN_GATE] = PROJECTION,
    [ORGAN_ROLE_IN_PROJ] = PROJECTION,
    [ORGAN_ROLE_X_PROJ] = PROJECTION,
    [ORGAN_ROLE_DT_PROJ] = PROJECTION,
    [ORGAN_ROLE_OUT_PROJ] = PROJECTION,
    [ORGAN_ROLE_GATE] = PROJECTION,
    [ORGAN_ROLE_UP] = PROJECTION,
    [ORGAN_ROLE_GATE_UP] = PROJECTION,
    [ORGAN_ROLE_DOWN] = PROJECTION,
    [ORGAN_ROLE_LATENT] = PROJECTION,
    [ORGAN_ROLE_PER_LAYER] = PROJECTION,
    [ORGAN_ROLE_STREAM_PROJ] = PROJECTION,
    [ORGAN_ROLE_LOW_RANK] = PROJECTION,
    [ORGAN_ROLE_INDEXER] = PROJECTION,
    [ORGAN_ROLE_STATE_GATE] = UNKNOWN,
    [ORGAN_ROLE_CONV] = UNKNOWN,
    [ORGAN_ROLE_STATE] = UNKNOWN,
    [ORGAN_ROLE_STREAMS] = UNKNOWN,
    [ORGAN_ROLE_SCALE] = UNKNOWN,
    [ORGAN_ROLE_VISION] = UNKNOWN,
    [ORGAN_ROLE_AUDIO] = UNKNOWN,
    [ORGAN_ROLE_MTP] = UNKNOWN,
    [ORGAN_ROLE_ATTENTION] = {.expected = {5, 0, 2, -20, 20}, .faulty = {100, 0, 100, -10000, 10000}},
    [ORGAN_ROLE_ROUTER] = {.expected = {0.1, 0.001, 0.5, -5, 5}, .faulty = {1, 1e-5, 10, -1000, 1000}},
    [ORGAN_ROLE_BIAS] = {.expected = {5, 0, 20, -100, 100}, .faulty = {1000, 0, 1000, -10000, 10000}},
};

/* clang-format on */

organ_ranges organ_ranges_default(void)
{
    organ_ranges ranges;
    memcpy(ranges.of, defaults, sizeof ranges.of);
    return ranges;
}

/* ---- writing ---- */

/* Sets a member to the number; omits it if the number is infinite. */
#define SET_LIMIT(key, value) SET_IF(isfinite(value), key, json_real(value))

static json_t *limits_json(const organ_limits *limits)
{
    return ORGAN_OBJECT(SET_LIMIT("mean", limits->mean),
                        SET_IF(isfinite(limits->std_max), "std", json_pack("[f, f]", limits->std_min, limits->std_max)),
                        SET_LIMIT("min", limits->min), SET_LIMIT("max", limits->max));
}

/* The members of a role are the limits of findings, and its member "expected" has the narrower limits of remarks. */
json_t *organ_ranges_json(const organ_ranges *ranges)
{
    json_t *object = ORGAN_OBJECT(SET_TEXT("schema", SCHEMA));
    for (organ_role role = 0; role < ORGAN_ROLE_COUNT; role++)
        object = organ_json_joined(
            object, ORGAN_OBJECT(SET(
                        organ_role_describe(role)->name,
                        organ_json_joined(limits_json(&ranges->of[role].faulty),
                                          ORGAN_OBJECT(SET("expected", limits_json(&ranges->of[role].expected)))))));
    return object;
}

/* ---- reading ---- */

/* Messages name the position: "q_proj.expected". */
typedef struct autopsy_ranges_place {
    const char *path, *name; /* path of the file; name of the entry: a role, a group or "default" */
    bool expected;           /* the value is in the member "expected" of the entry */
} autopsy_ranges_place;

/* The message is "FILE: ENTRY.KEY: WHAT"; `key` is "" if the fault is the entry itself. */
static organ_status refuse_range(const autopsy_ranges_place *p, organ_error *error, const char *key, const char *what)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s%s%s%s: %s", p->path, p->name, p->expected ? ".expected" : "",
                      *key ? "." : "", key, what);
}

static organ_status read_number(const autopsy_ranges_place *p, const char *key, const json_t *value, double *number,
                                organ_error *error)
{
    if (!json_is_number(value))
        return refuse_range(p, error, key, "must be a number");
    *number = json_number_value(value);
    return ORGAN_OK;
}

static organ_status read_std(const autopsy_ranges_place *p, const json_t *value, organ_limits *limits,
                             organ_error *error)
{
    char what[128];
    double least, max;
    if (!json_is_array(value) || json_array_size(value) != 2)
        return refuse_range(p, error, "std", "must be two numbers, [least, most]");
    if (read_number(p, "std", json_array_get(value, 0), &least, error) ||
        read_number(p, "std", json_array_get(value, 1), &max, error))
        return error->status;
    organ_snprintf(what, sizeof what, "[%g, %g] must be at least 0 and in increasing order", least, max);
    if (!(least >= 0 && least <= max))
        return refuse_range(p, error, "std", what);
    limits->std_min = least;
    limits->std_max = max;
    return ORGAN_OK;
}

/* An entry of the file is for one role, one group or the default. Limits that are NaN are not set. */
typedef struct rule {
    organ_limits faulty, expected;
} rule;

static const organ_limits unset_limits = {(double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};

static organ_status read_limits(const autopsy_ranges_place *p, const json_t *object, rule *to, organ_error *error);

static organ_status read_member(const autopsy_ranges_place *p, const char *key, const json_t *value, rule *to,
                                organ_error *error)
{
    organ_limits *const limits = p->expected ? &to->expected : &to->faulty;
    const autopsy_ranges_place within = {p->path, p->name, true};
    char what[160];
    if (strcmp(key, "std") == 0)
        return read_std(p, value, limits, error);
    if (strcmp(key, "min") == 0)
        return read_number(p, key, value, &limits->min, error);
    if (strcmp(key, "max") == 0)
        return read_number(p, key, value, &limits->max, error);
    if (strcmp(key, "expected") == 0 && !p->expected)
        return json_is_object(value) ? read_limits(&within, value, to, error)
                                     : refuse_range(&within, error, "", "must be an object");
    if (strcmp(key, "mean") != 0) {
        snprintf(what, sizeof what, "unknown; a range has mean, std, min, max%s", p->expected ? "" : " and expected");
        return refuse_range(p, error, key, what);
    }
    if (read_number(p, key, value, &limits->mean, error))
        return error->status;
    organ_snprintf(what, sizeof what, "%g: the largest |mean| cannot be negative", limits->mean);
    return limits->mean >= 0 ? ORGAN_OK : refuse_range(p, error, key, what);
}

static organ_status read_limits(const autopsy_ranges_place *p, const json_t *object, rule *to, organ_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (read_member(p, key, value, to, error))
            return error->status;
    }
    return ORGAN_OK;
}

static void set_if_given(double *to, double value)
{
    if (!isnan(value))
        *to = value;
}

static void apply_limits(organ_limits *to, const organ_limits *given)
{
    set_if_given(&to->mean, given->mean);
    set_if_given(&to->std_min, given->std_min);
    set_if_given(&to->std_max, given->std_max);
    set_if_given(&to->min, given->min);
    set_if_given(&to->max, given->max);
}

/* A limit of findings also becomes the limit of remarks, unless the entry sets the limit of remarks in its member
 * "expected". */
static void apply_rule(organ_ranges *ranges, organ_role role, const rule *given)
{
    apply_limits(&ranges->of[role].faulty, &given->faulty);
    apply_limits(&ranges->of[role].expected, &given->faulty);
    apply_limits(&ranges->of[role].expected, &given->expected);
}

static bool is_role(organ_role role, const char *name) { return strcmp(organ_role_describe(role)->name, name) == 0; }

static bool is_group(organ_role role, const char *name)
{
    return strcmp(organ_group_name(organ_role_describe(role)->group), name) == 0;
}

static bool ranges_is_known(const char *name)
{
    bool known = strcmp(name, "default") == 0 || strcmp(name, "schema") == 0;
    for (organ_role role = 0; role < ORGAN_ROLE_COUNT; role++)
        known = known || is_role(role, name) || is_group(role, name);
    return known;
}

static organ_status check_order(const char *path, const organ_ranges *ranges, organ_error *error)
{
    for (organ_role role = 0; role < ORGAN_ROLE_COUNT; role++)
        for (int expected = 0; expected < 2; expected++) {
            const organ_limits *const l = expected ? &ranges->of[role].expected : &ranges->of[role].faulty;
            if (!(l->min <= l->max))
                return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s%s: min %g is above max %g", path,
                                  organ_role_describe(role)->name, expected ? ".expected" : "", l->min, l->max);
        }
    return ORGAN_OK;
}

/* Level 0 is "default", level 1 are groups, level 2 roles. The caller applies them in this order, so that more
 * specific entries take precedence. */
static organ_status apply_level(const char *path, const json_t *document, int level, organ_ranges *ranges,
                                organ_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)document, name, value)
    {
        const autopsy_ranges_place p = {path, name, false};
        rule given = {unset_limits, unset_limits};
        if (!ranges_is_known(name))
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s: '%s' is not a role, a group or \"default\"; 'organ autopsy --print-ranges' shows them all", path,
                name);
        if (strcmp(name, "schema") == 0)
            continue;
        if (!json_is_object(value))
            return refuse_range(&p, error, "", "must be an object");
        if (read_limits(&p, value, &given, error))
            return error->status;
        for (organ_role role = 0; role < ORGAN_ROLE_COUNT; role++)
            if ((level == 0 && strcmp(name, "default") == 0) || (level == 1 && is_group(role, name)) ||
                (level > 1 && is_role(role, name)))
                apply_rule(ranges, role, &given);
    }
    return ORGAN_OK;
}

static organ_status apply_document(const char *path, const json_t *document, organ_ranges *ranges, organ_error *error)
{
    if (!json_is_object(document))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: ranges must be an object", path);
    const json_t *const schema = json_object_get(document, "schema");
    if (!json_is_string(schema) || strcmp(json_string_value(schema), SCHEMA) != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: schema must be \"%s\", it is %s%s%s", path, SCHEMA,
                          json_is_string(schema) ? "\"" : "",
                          json_is_string(schema) ? json_string_value(schema) : "missing",
                          json_is_string(schema) ? "\"" : "");
    for (int level = 0; level < 3; level++)
        if (apply_level(path, document, level, ranges, error))
            return error->status;
    return check_order(path, ranges, error);
}

organ_status organ_ranges_read(const char *path, organ_ranges *ranges, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    size_t length = 0;
    ORGAN_OWNED_JSON json_t *document = NULL;
    *ranges = organ_ranges_default();
    if (organ_input_load(path, path, MAX_BYTES, &text, &length, error) == ORGAN_OK) {
        const organ_json_source all = {path, text, length};
        if (organ_json_parse(&all, (organ_json_span){0, length}, NULL, &document, error) == ORGAN_OK)
            apply_document(path, document, ranges, error);
    }
    return error->status;
}
