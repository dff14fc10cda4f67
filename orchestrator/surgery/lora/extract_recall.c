/* SPDX-License-Identifier: MIT
 * Makes the journal entries of modules, and restores results from them. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/lora/extract_job.h"
#include "orchestrator/surgery/write/write.h"

#include <stdlib.h>
#include <string.h>

/* The results of a module that are stored as members of its journal entry, in addition to rank, spectrum and note. */
#define MODULE(member, type) ORGAN_STRUCT_FIELD(organ_lora_module, member, type)
static const organ_struct_field extract_recall_fields[] = {MODULE(change, EXACT), MODULE(norm, EXACT),
                                                           MODULE(rest, EXACT),   MODULE(short_of_share, FLAG),
                                                           MODULE(passes, U32),   MODULE(seconds, EXACT)};

json_t *organ_lora_module_results(const organ_lora_module *m)
{
    json_t *const spectrum = json_array();
    for (size_t k = 0; k < m->rank; k++)
        json_array_append_new(spectrum, organ_exact_json((double)m->spectrum[k]));
    json_t *const numbers = ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_COUNT("rank", m->rank)), extract_recall_fields, m);
    return organ_json_joined(organ_json_joined(numbers, ORGAN_OBJECT(SET("spectrum", spectrum))),
                             ORGAN_OBJECT(SET_IF(m->note, "note", json_string(m->note))));
}

static bool recall_numbers(organ_lora_module *m, const json_t *results)
{
    const json_t *const spectrum = json_object_get(results, "spectrum");
    bool known = ORGAN_STRUCT_READ(results, extract_recall_fields, m) && json_array_size(spectrum) == m->rank;
    for (size_t k = 0; k < m->rank && known; k++) {
        double value = 0;
        known = organ_exact_value(json_array_get(spectrum, k), &value);
        m->spectrum[k] = (float)value;
    }
    return known;
}

bool organ_lora_module_recall(organ_lora_module *m, const json_t *results)
{
    const organ_matrices shape = organ_weight_matrices(m->base);
    const json_int_t rank = json_integer_value(json_object_get(results, "rank"));
    const char *const note = json_string_value(json_object_get(results, "note"));
    m->rank = rank >= 0 && (uint64_t)rank <= shape.rows && (uint64_t)rank <= shape.cols ? (size_t)rank : 0;
    m->spectrum = organ_floats(m->rank + 1, 1);
    m->note = note ? strdup(note) : NULL;
    if ((json_int_t)m->rank == rank && m->spectrum && (m->note || !note) && recall_numbers(m, results))
        return true;
    free(m->spectrum);
    free(m->note);
    m->spectrum = NULL;
    m->note = NULL;
    m->rank = 0;
    m->change = m->norm = m->rest = 0;
    m->short_of_share = false;
    m->passes = 0;
    return false;
}
