/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/model_names.h"

#include "formats/base/closed_modes.h"
#include "formats/names/hub_requests.h"
#include "formats/remote/remote.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

/* The URL is that at which the hub serves the model; call->access gets the user's token. Fails if HF_HUB_OFFLINE is
 * set; organ_name_resolve then reports that the model is not in the cache. Fails if the verb has no --header and so
 * reads no URLs; the message then gives the command that fetches the model. */
static organ_status resolve_by_hub(const char **word, const organ_verb *verb, organ_call *call, organ_error *error)
{
    organ_error absent = {0};
    const char *unused;
    if (organ_hub_is_offline())
        return organ_name_resolve(*word, &call->names, &unused, error);
    if (!organ_verb_option(verb, "header")) {
        organ_name_resolve(*word, &call->names, &unused, &absent);
        return organ_fail(error, ORGAN_BAD_INPUT, "%s; %s needs it there: organ fetch %s --cache", absent.message,
                          verb->name, *word);
    }
    if (organ_hub_set_token(NULL, &call->names, &call->access, error) != ORGAN_OK)
        return error->status;
    return organ_hub_stream(*word, &call->access, &call->names, word, error);
}

/* Returns ORGAN_USAGE if `word` (NULL: not given) is a URL, but `argument` accepts only files on this machine:
 * outputs, inputs other than models, and the models of a verb that reads no URLs (has no --header). A name of an
 * argument in lower case belongs to an option and gets dashes in the message, because operands have names in
 * capitals. */
static organ_status check_url(const char *word, const organ_option *argument, const organ_verb *verb,
                              organ_error *error)
{
    const char *const dashes = islower((unsigned char)argument->name[0]) ? "--" : "";
    if (argument->names < ORGAN_NAMES_MODEL || argument->names > ORGAN_NAMES_OUTPUT || !word ||
        !organ_http_is_url(word) || (argument->names == ORGAN_NAMES_MODEL && organ_verb_option(verb, "header")))
        return ORGAN_OK;
    if (argument->names == ORGAN_NAMES_OUTPUT)
        return organ_fail(error, ORGAN_USAGE, "%s: %s%s is a URL, but only files on this machine can be written",
                          verb->name, dashes, argument->name);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: %s%s is a URL, but this verb reads it from this machine only: download it first", verb->name,
                      dashes, argument->name);
}

/* Each value of an argument that takes a model may be a name of one; a value of another input only if it has a
 * prefix such as "hf:". NULL, paths, URLs and all other words stay unchanged. */
static organ_status resolve_word(const organ_option *argument, const char **word, const organ_verb *verb,
                                 organ_call *call, organ_error *error)
{
    const organ_names names = argument->names;
    if (check_url(*word, argument, verb, error))
        return error->status;
    if (!*word || (names != ORGAN_NAMES_MODEL && !(names == ORGAN_NAMES_INPUT && organ_name_has_prefix(*word))))
        return ORGAN_OK;
    return names == ORGAN_NAMES_MODEL && organ_name_is_remote(*word, &call->names)
               ? resolve_by_hub(word, verb, call, error)
               : organ_name_resolve(*word, &call->names, word, error);
}

static organ_status resolve_argument(const organ_option *argument, const organ_verb *verb, organ_call *call,
                                     organ_error *error)
{
    void *const at = (char *)call + argument->offset;
    organ_words *const words = argument->value == ORGAN_VALUE_WORDS ? at : NULL;
    if (argument->value == ORGAN_VALUE_TEXT)
        return resolve_word(argument, at, verb, call, error);
    for (size_t k = 0; words && k < words->count && !error->status; k++)
        resolve_word(argument, &words->word[k], verb, call, error);
    return error->status;
}

organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error)
{
    for (size_t k = 0; k < verb->operand_count && !error->status; k++) {
        const organ_option operand = organ_operand_as_option(&verb->operands[k]);
        resolve_argument(&operand, verb, call, error);
    }
    const organ_option *option;
    for (size_t k = 0; !error->status && (option = organ_verb_option_at(verb, k)); k++)
        resolve_argument(option, verb, call, error);
    return error->status;
}

static unsigned closed_by_argument(const organ_option *argument, const organ_call *call)
{
    const void *const at = (const char *)call + argument->offset;
    const organ_words *const words = argument->value == ORGAN_VALUE_WORDS ? at : NULL;
    const char *const word = argument->value == ORGAN_VALUE_TEXT ? *(const char *const *)at : NULL;
    unsigned closed = 0;
    if ((argument->names != ORGAN_NAMES_MODEL && argument->names != ORGAN_NAMES_INPUT) || argument->temporary)
        return 0;
    if (word)
        closed = organ_closed_modes(word);
    for (size_t k = 0; words && k < words->count; k++)
        closed |= organ_closed_modes(words->word[k]);
    return closed;
}

/* The umask is of the process, so it covers all that the run creates: weights, reports, caches, journals. */
void organ_call_close_modes(const organ_verb *verb, const organ_call *call)
{
    unsigned closed = 0;
    if (strcmp(verb->name, "serve") == 0)
        return; /* its jobs are processes, and its own inputs are keys and the root */
    for (size_t k = 0; k < verb->operand_count; k++) {
        const organ_option operand = organ_operand_as_option(&verb->operands[k]);
        closed |= closed_by_argument(&operand, call);
    }
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        closed |= closed_by_argument(option, call);
    umask(umask(077) | (mode_t)closed);
}
