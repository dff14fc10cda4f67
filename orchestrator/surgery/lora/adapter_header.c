/* SPDX-License-Identifier: MIT
 * The header of an adapter that grows: an entry for each tensor, and the turns in which they came. */
#include "orchestrator/surgery/lora/adapter_write_parts.h"

void organ_adapter_writer_turn(organ_adapter_writer *w, size_t turn)
{
    w->turn = turn;
    w->since = w->bytes;
    json_array_clear(w->of_turn);
}

organ_status organ_adapter_enter(organ_adapter_writer *w, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error)
{
    if (width > w->narrowest || json_object_get(w->header, name))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': %s", w->output.path, name,
                          width > w->narrowest ? "a wide type came behind a narrow one" : "comes twice");
    w->narrowest = width;
    json_t *const place = json_pack("[I, I]", (json_int_t)w->bytes, (json_int_t)(w->bytes + bytes));
    if (json_object_set_new(entry, "data_offsets", place) || json_object_set(w->header, name, entry) ||
        (w->of_turn && json_array_append_new(w->of_turn, json_pack("[s, I, O]", name, (json_int_t)width, entry))) ||
        (w->told && json_array_append_new(
                        w->told, json_pack("[I, I, s, O]", (json_int_t)w->turn, (json_int_t)width, name, entry))))
        return organ_fail_memory(error, w->output.path);
    return ORGAN_OK;
}
