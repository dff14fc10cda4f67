/* SPDX-License-Identifier: MIT
 * Makes the journal entries of modules and of weights that are stored whole, and restores results from them if a run is
 * continued. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/lora/extract_job.h"
#include "orchestrator/surgery/write/write.h"

#include <string.h>

json_t *organ_lora_note_json(const char *note) { return ORGAN_OBJECT(SET_IF(note, "note", json_string(note))); }

organ_status organ_lora_note_recall(const organ_lora_job *job, const json_t *results, char **note, organ_error *error)
{
    const char *const text = json_string_value(json_object_get(results, "note"));
    if (text && !(*note = strdup(text)))
        organ_fail_memory(error, job->options->write.output);
    return error->status;
}

/* The results of a module that are stored as members of its journal entry, in addition to rank, spectrum and note. */
#define MODULE(member, type) ORGAN_STRUCT_FIELD(organ_lora_module, member, type)
static const organ_struct_field extract_recall_fields[] = {MODULE(change, EXACT), MODULE(norm, EXACT),
                                                           MODULE(rest, EXACT),   MODULE(short_of_share, FLAG),
                                                           MODULE(passes, U32),   MODULE(seconds, EXACT)};

/* Makes the journal entry: rank, the fields of extract_recall_fields, the spectrum, and the note. */
json_t *organ_lora_module_results(const organ_lora_module *m)
{
    json_t *const spectrum = json_array();
    for (size_t k = 0; k < m->rank; k++)
        json_array_append_new(spectrum, organ_exact_json((double)m->spectrum[k]));
    json_t *const numbers = ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_COUNT("rank", m->rank)), extract_recall_fields, m);
    return organ_json_joined(organ_json_joined(numbers, ORGAN_OBJECT(SET("spectrum", spectrum))),
                             organ_lora_note_json(m->note));
}

/* Restores the results in extract_recall_fields and the m->rank values of the spectrum. The caller has allocated
 * m->spectrum. Returns false if the entry lacks one of the results or has another number of values. */
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

/* Restores rank, spectrum, fields and note. Rejects a rank above the smaller dimension of the weight. */
organ_status organ_lora_module_recall(const organ_lora_job *job, organ_lora_module *m, const json_t *results,
                                      organ_error *error)
{
    const json_int_t rank = json_integer_value(json_object_get(results, "rank"));
    const organ_matrices shape = organ_weight_matrices(m->base);
    const json_int_t least = (json_int_t)(shape.rows < shape.cols ? shape.rows : shape.cols);
    const bool sane = rank >= 0 && rank <= least;
    m->rank = sane ? (size_t)rank : 0;
    if (sane && m->rank && !(m->spectrum = organ_floats(m->rank, 1)))
        return organ_fail_memory(error, m->name);
    if (!sane || !recall_numbers(m, results))
        return organ_fail(error, ORGAN_IO, "%s: the journal entry of '%s' is malformed", job->options->write.output,
                          m->name);
    return organ_lora_note_recall(job, results, &m->note, error);
}
