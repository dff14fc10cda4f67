/* SPDX-License-Identifier: MIT
 * Writes the sums of a finished tensor to the journal, and reads them back for --resume. */
#include "orchestrator/verbs/merge/merge_job.h"

/* The sums of each input, and of the base. */
static json_t *moved_json(const merge_tensor *t)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < organ_merge_item_inputs(&t->item); k++)
        if (json_array_append_new(list, json_pack("[o, o, o]", organ_exact_json(t->moved[k].square),
                                                  organ_exact_json(t->moved[k].distance),
                                                  organ_exact_json(t->moved[k].change))))
            organ_memory_count_refusal();
    return list;
}

json_t *organ_merge_tensor_results(const merge_tensor *t)
{
    const merge_fitted *const f = t->fitted;
    return ORGAN_OBJECT(SET("moved", moved_json(t)),
                        SET_IF(f, "fitted",
                               json_pack("[I, I, o, o]", (json_int_t)f->tokens, (json_int_t)f->means,
                                         organ_exact_json(f->before), organ_exact_json(f->after))));
}

/* `list` is [tokens, means, before, after]. */
static bool recall_fitted(merge_fitted *f, const json_t *list)
{
    f->tokens = (uint64_t)json_integer_value(json_array_get(list, 0));
    f->means = (uint64_t)json_integer_value(json_array_get(list, 1));
    f->left = 0;
    return organ_exact_value(json_array_get(list, 2), &f->before) &&
           organ_exact_value(json_array_get(list, 3), &f->after);
}

bool organ_merge_recall_tensor(void *context, size_t tensor, const json_t *results)
{
    const model_merge *const job = context;
    if (tensor >= job->tensor_count)
        return true;
    const merge_tensor *const t = &job->tensors[tensor];
    const json_t *const list = json_object_get(results, "moved");
    bool sane = json_array_size(list) == organ_merge_item_inputs(&t->item);
    for (size_t k = 0; k < organ_merge_item_inputs(&t->item) && sane; k++) {
        const json_t *const one = json_array_get(list, k);
        sane = organ_exact_value(json_array_get(one, 0), &t->moved[k].square) &&
               organ_exact_value(json_array_get(one, 1), &t->moved[k].distance) &&
               organ_exact_value(json_array_get(one, 2), &t->moved[k].change);
    }
    return sane && (!t->fitted || recall_fitted(t->fitted, json_object_get(results, "fitted")));
}
