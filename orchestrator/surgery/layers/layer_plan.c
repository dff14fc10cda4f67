/* SPDX-License-Identifier: MIT
 * Changes and refuses members of the edited object. */
#include "formats/base/owned.h"
#include "orchestrator/surgery/layers/layer_settings.h"

void organ_layers_set(organ_layer_plan *p, const char *key, json_t *value)
{
    json_t *const old = json_object_get(p->now, key);
    if (!value)
        organ_fail_memory(p->error, key);
    else if (!(old && json_equal(old, value)) &&
             organ_json_edit_set(p->edit, p->inside, key, value, p->error) == ORGAN_OK) {
        if (p->changed)
            p->changed(p->context, p->inside, key, json_incref(old), json_incref(value), p->error);
        if (json_object_set(p->now, key, value))
            organ_fail_memory(p->error, key);
    }
    json_decref(value);
}

void organ_layers_refuse(const organ_layer_plan *p, const char *key, const char *why)
{
    const json_t *const value = json_object_get(p->object, key);
    ORGAN_OWNED char *const text = value ? organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    organ_fail(p->error, ORGAN_BAD_INPUT, "%s: %s is %.120s: %s", p->edit->label, key, text ? text : "absent", why);
}
