/* SPDX-License-Identifier: MIT */
#include "orchestrator/command/exits.h"

const organ_exit organ_exits[ORGAN_EXITS] = {
    {ORGAN_OK, "done", "done"},
    {ORGAN_CHECK_FAILED, "a requested check failed",
     "a requested check failed: audit, autopsy, inspect --untrusted, lora sanitize --check, fleet"},
    {ORGAN_USAGE, "wrong usage",
     "wrong usage: an unknown option, value or name, an output that exists, or too little --memory"},
    {ORGAN_BAD_INPUT, "unusable content",
     "unusable content: a file is malformed, unsupported, unfit or changed during the run, or a text is too short"},
    {ORGAN_IO, "a fault of the system",
     "a fault of the system: a path that is missing or cannot be read or written, a full disk, no memory, no "
     "connection"},
    {ORGAN_INTERRUPTED, "interrupted", "interrupted by a signal"}};

/* Returns what the verb adds to a title, or has in its place. */
static const char *own_text(const organ_verb *verb, int code)
{
    switch (code) {
    case ORGAN_OK:
        return verb->exits.done;
    case ORGAN_CHECK_FAILED:
        return verb->exits.check;
    case ORGAN_USAGE:
        return verb->exits.usage;
    case ORGAN_BAD_INPUT:
        return verb->exits.content;
    case ORGAN_INTERRUPTED:
        return organ_verb_option(verb, "resume") ? "--resume continues" : NULL;
    default:
        return NULL;
    }
}

bool organ_exit_of_verb(const organ_verb *verb, size_t k, char out[ORGAN_EXIT_ROOM])
{
    const int code = organ_exits[k].code;
    const bool adds = code != ORGAN_OK && code != ORGAN_CHECK_FAILED;
    const char *const own = own_text(verb, code), *const between = code == ORGAN_INTERRUPTED ? "; " : ", also if ";
    *out = '\0';
    if (code == ORGAN_CHECK_FAILED && !own)
        return false;
    snprintf(out, ORGAN_EXIT_ROOM, "%s%s%s", own && !adds ? "" : organ_exits[k].title, own && adds ? between : "",
             own ? own : "");
    return true;
}
