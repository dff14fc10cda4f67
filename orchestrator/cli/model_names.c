/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/model_names.h"

#include "formats/names/names.h"

static organ_status resolve_word(organ_names names, const char **word, organ_call *call, organ_error *error)
{
    if (!*word || (names != ORGAN_NAMES_MODEL && !(names == ORGAN_NAMES_INPUT && organ_name_has_prefix(*word))))
        return ORGAN_OK;
    return organ_name_resolve(*word, &call->names, word, error);
}

static organ_status resolve_argument(const organ_option *argument, organ_call *call, organ_error *error)
{
    void *const at = (char *)call + argument->offset;
    organ_words *const words = argument->value == ORGAN_VALUE_WORDS ? at : NULL;
    if (argument->value == ORGAN_VALUE_TEXT)
        return resolve_word(argument->names, at, call, error);
    for (size_t k = 0; words && k < words->count && !error->status; k++)
        resolve_word(argument->names, &words->word[k], call, error);
    return error->status;
}

organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error)
{
    for (size_t k = 0; k < verb->operand_count && !error->status; k++) {
        const organ_option operand = organ_operand_as_option(&verb->operands[k]);
        resolve_argument(&operand, call, error);
    }
    const organ_option *option;
    for (size_t k = 0; !error->status && (option = organ_verb_option_at(verb, k)); k++)
        resolve_argument(option, call, error);
    return error->status;
}
