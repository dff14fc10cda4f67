/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/schema/schema_text.h"

#include "formats/base/embedded.h"
#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/version.h"

#include <string.h>

/* Calls the macro SCHEMA(name, version) for each schema: organ.NAME/VERSION, in documents/NAME.txt; AUDIT for
 * those in documents/audits/. */
/* clang-format off */
#define SCHEMAS \
    SCHEMA(adapter_rows, 1) \
    SCHEMA(allocation, 1) \
    SCHEMA(assemble, 1) \
    SCHEMA(audit, 1) \
    AUDIT(audit_combine, 1) \
    AUDIT(audit_cut, 1) \
    AUDIT(audit_gguf, 1) \
    AUDIT(audit_labels, 1) \
    AUDIT(audit_merge, 1) \
    AUDIT(audit_patch, 1) \
    AUDIT(audit_rows, 1) \
    AUDIT(audit_vocabulary, 1) \
    SCHEMA(autopsy, 1) \
    SCHEMA(compare, 1) \
    SCHEMA(convert, 1) \
    SCHEMA(dequantize, 1) \
    SCHEMA(draft_head, 1) \
    SCHEMA(evaluate, 1) \
    SCHEMA(expert_scores, 1) \
    SCHEMA(experts, 1) \
    SCHEMA(experts_prediction, 1) \
    SCHEMA(extract, 1) \
    SCHEMA(fetch, 1) \
    SCHEMA(files, 1) \
    SCHEMA(fleet, 1) \
    SCHEMA(generate, 1) \
    SCHEMA(gguf, 1) \
    SCHEMA(graft, 1) \
    SCHEMA(imatrix, 1) \
    SCHEMA(inspect, 1) \
    SCHEMA(labels, 1) \
    SCHEMA(layers, 1) \
    SCHEMA(layers_scores, 1) \
    SCHEMA(lora_combine, 1) \
    SCHEMA(lora_extract, 1) \
    SCHEMA(lora_merge, 1) \
    SCHEMA(lora_resize, 1) \
    SCHEMA(lora_sanitize, 1) \
    SCHEMA(manifest, 1) \
    SCHEMA(measure, 1) \
    SCHEMA(merge, 1) \
    SCHEMA(models, 1) \
    SCHEMA(noise_pairs, 1) \
    SCHEMA(orthogonality, 1) \
    SCHEMA(patch, 1) \
    SCHEMA(patch_manifest, 1) \
    SCHEMA(perplexity, 1) \
    SCHEMA(progress, 1) \
    SCHEMA(prune, 1) \
    SCHEMA(purify, 1) \
    SCHEMA(quantize, 1) \
    SCHEMA(quantize_sizes, 1) \
    SCHEMA(ranges, 1) \
    SCHEMA(schemas, 1) \
    SCHEMA(smooth, 1) \
    SCHEMA(tasks, 1) \
    SCHEMA(tokenize, 1) \
    SCHEMA(topology, 1) \
    SCHEMA(untrusted, 1) \
    SCHEMA(vocabularies, 1) \
    SCHEMA(vocabulary, 1) \
    SCHEMA(vocabulary_add, 1) \
    SCHEMA(width, 1)
/* clang-format on */

#define FOLDER                "orchestrator/report/schema/documents/"
#define SCHEMA(name, version) ORGAN_EMBEDDED(organ_schema_##name, FOLDER #name ".txt")
#define AUDIT(name, version)  ORGAN_EMBEDDED(organ_schema_##name, FOLDER "audits/" #name ".txt")
SCHEMAS
#undef SCHEMA
#undef AUDIT
#define AUDIT SCHEMA
ORGAN_EMBEDDED(organ_schema_common_parts, FOLDER "common.txt")

#define SCHEMA(name, version) "organ." #name "/" #version,
static const char *const names[] = {SCHEMAS};
#undef SCHEMA
#define SCHEMA(name, version) organ_schema_##name,
static const char *const texts[] = {SCHEMAS};
#undef SCHEMA
enum { COUNT = sizeof names / sizeof *names };

const char *const *organ_schema_names(size_t *count)
{
    *count = COUNT;
    return names;
}

/* ---- a schema that refers to no other ---- */

#define COMMON "common.json#/$defs/"
#define OWN    "#/$defs/"

typedef struct bundle {
    const json_t *common; /* "$defs" of common.json */
    json_t *parts;        /* "$defs" of the schema */
    bool complete;        /* false: memory ran out */
} bundle;

static void bundle_parts(bundle *b, json_t *value);

/* Replaces the reference `member` of `object` to a common part, which it adds to the schema once. */
static void bundle_reference(bundle *b, json_t *object, const char *name)
{
    json_t *const part = json_object_get(b->common, name), *const own = organ_json_sprintf(OWN "%s", name);
    b->complete = own && json_object_set_new(object, "$ref", own) == 0 && b->complete;
    if (!part || json_object_get(b->parts, name))
        return;
    b->complete = json_object_set(b->parts, name, part) == 0 && b->complete;
    bundle_parts(b, part);
}

/* The recursion is as deep as a schema of the program. */
static void bundle_parts(bundle *b, json_t *value)
{
    const char *key;
    json_t *member;
    size_t k;
    void *next;
    json_array_foreach(value, k, member) bundle_parts(b, member);
    json_object_foreach_safe(value, next, key, member)
    {
        const char *const reference = strcmp(key, "$ref") == 0 ? json_string_value(member) : NULL;
        char name[64];
        if (reference && strncmp(reference, COMMON, strlen(COMMON)) == 0) {
            snprintf(name, sizeof name, "%s", reference + strlen(COMMON));
            bundle_reference(b, value, name);
        } else
            bundle_parts(b, member);
    }
}

static json_t *bundled(const char *name, const char *text, organ_error *error)
{
    json_t *schema = organ_schema_expand(name, text, organ_schema_common_parts, error);
    ORGAN_OWNED_JSON json_t *const common =
        schema ? organ_schema_expand(NULL, organ_schema_common_parts, "", error) : NULL;
    bundle b = {.common = json_object_get(common, "$defs"), .parts = json_object(), .complete = true};
    if (common)
        bundle_parts(&b, schema);
    const json_t *const own = json_object_get(schema, "$defs");
    if (own)
        b.complete = json_object_update_missing(b.parts, (json_t *)own) == 0 && b.complete;
    const bool none = json_object_size(b.parts) == 0;
    const bool added = json_object_set_new(schema, "$defs", b.parts) == 0;
    if (common && (!added || !b.complete))
        organ_fail_memory(error, "a schema");
    if (none)
        json_object_del(schema, "$defs");
    if (error->status) {
        json_decref(schema);
        schema = NULL;
    }
    return schema;
}

/* ---- by name, and the list ---- */

/* Users write "prune" for "organ.prune/1". Returns NULL if no name is similar. */
static const char *suggested(const char *name)
{
#define SCHEMA(name, version) #name,
    static const char *const verbs[] = {SCHEMAS};
#undef SCHEMA
    const char *const verb = organ_nearest(name, verbs, COUNT);
    for (size_t k = 0; verb && k < COUNT; k++)
        if (strcmp(verb, verbs[k]) == 0)
            return names[k];
    return organ_nearest(name, names, COUNT);
}

json_t *organ_schema_of(const char *name, organ_error *error)
{
    for (size_t k = 0; k < COUNT; k++)
        if (strcmp(name, names[k]) == 0)
            return bundled(names[k], texts[k], error);
    const char *const near = suggested(name);
    if (near)
        organ_fail(error, ORGAN_USAGE, "unknown schema '%s'; did you mean '%s'?", name, near);
    else
        organ_fail(error, ORGAN_USAGE, "unknown schema '%s'; 'organ schema' lists all", name);
    return NULL;
}

json_t *organ_sentences(const char *name, const char *part, json_t *facts)
{
    ORGAN_OWNED_JSON json_t *const held = facts;
    for (size_t k = 0; k < COUNT; k++)
        if (strcmp(names[k], name) == 0)
            return organ_schema_sentences(texts[k], organ_schema_common_parts, part, held);
    return NULL;
}

static json_t *listed(const void *context, size_t k)
{
    (void)context;
    return ORGAN_OBJECT(SET_TEXT("name", names[k]), SET("title", organ_schema_title(texts[k])));
}

json_t *organ_schema_list(organ_error *error)
{
    json_t *list = ORGAN_OBJECT(SET_TEXT("schema", "organ.schemas/1"), SET_TEXT("organ", ORGAN_VERSION),
                                SET("schemas", organ_json_rows(COUNT, listed, NULL)));
    if (!list && !error->status)
        organ_fail_memory(error, "the list of schemas");
    if (error->status)
        organ_clear_json(&list);
    return list;
}
