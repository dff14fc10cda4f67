/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/findings.h"

#include "formats/base/path.h"
#include "formats/base/file_calls.h"
#include <organ/base.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Largest number of findings of one kind in the list. */
enum { MAX_LISTED = 200 };

/* For each kind: its name and severity in the report, its title, and the reason why it is dangerous. */

static const struct {
    const char *name, *severity, *title, *why;
} kinds[ORGAN_FINDING_KINDS] = {
    [ORGAN_FINDING_PICKLE] = {"pickle", "high", "Pickles",
                              "A pickle can run any function when a program loads it by torch.load without "
                              "weights_only, by joblib, or by numpy with allow_pickle."},
    [ORGAN_FINDING_PROGRAM] =
        {"program", "high", "Programs next to the weights",
         "Weights need no program. Loaders import files that a config names, and people run files that look useful."},
    [ORGAN_FINDING_REMOTE_CODE] =
        {"remote-code", "high", "Configs that name code to load",
         "With trust_remote_code, or in a loader that follows these keys, the Python code named here runs on loading."},
    [ORGAN_FINDING_TEMPLATE] =
        {"template", "high", "Chat templates that run code or never end",
         "Servers render the chat template for each request. If the renderer has no sandbox, or a flawed one, such a "
         "template runs code (as in CVE-2024-34359 and CVE-2026-5760) or never ends."},
    [ORGAN_FINDING_HEADER] = {"header", "high", "Malformed headers",
                              "A loader that trusts such a header reads or writes outside its memory, or exhausts it."},
    [ORGAN_FINDING_TENSOR] = {"tensor", "high", "Tensors with wrong positions",
                              "They extend past the end, overlap or have another size: a loader that does not check "
                              "reads foreign memory into the "
                              "weights, or writes beyond a buffer."},
    [ORGAN_FINDING_LINK] =
        {"link", "high", "Links out of the directory",
         "A program that copies, serves or loads the model reads another file of this machine instead."},
    [ORGAN_FINDING_NAME] = {"name", "high", "Misleading names",
                            "A person mistakes the file for another one and reviews or trusts the wrong one."},
    [ORGAN_FINDING_TOKENIZER] = {"tokenizer", "medium", "Tokenizers that grow without bound",
                                 "A short text, or loading alone, takes memory or time without limit; ids out of range "
                                 "write outside the tokens."},
    [ORGAN_FINDING_MODEL] = {"model", "medium", "Files that do not form a model",
                             "The loaded model differs from the files' description: shards missing or in excess, sizes "
                             "that do not add up."},
    [ORGAN_FINDING_CONFIG] = {"config", "medium", "Configs that programs read differently",
                              "The program that checks and the program that loads may read different values."},
    [ORGAN_FINDING_DEVICE] = {"device", "medium", "Devices, pipes and sockets",
                              "Opening one can block forever or act on the machine; models have none."},
    [ORGAN_FINDING_ARCHIVE] = {"archive", "low", "Archives",
                               "They were not unpacked: their contents and unpacked size are unknown."},
    [ORGAN_FINDING_UNREAD] = {"unread", "low", "Files that could not be examined",
                              "They were not checked: the verdict is incomplete."},
    [ORGAN_FINDING_NO_WEIGHTS] = {"no-weights", "low", "No weights", "There is no safetensors or GGUF file to check."},
};

/* The finding has the file's name in another member. */
static const char *message_without_file(const char *message, const char *file)
{
    const size_t length = strlen(file);
    return strncmp(message, file, length) == 0 && strncmp(message + length, ": ", 2) == 0 ? message + length + 2
                                                                                          : message;
}

void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
{
    char sentence[1000];
    if (findings->counts[kind]++ >= MAX_LISTED)
        return;
    va_list args;
    va_start(args, format);
    organ_vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    json_t *const row = ORGAN_OBJECT(SET_TEXT("severity", kinds[kind].severity), SET_TEXT("kind", kinds[kind].name),
                                     SET_BYTES("file", findings->file), SET_BYTES("where", where),
                                     SET_BYTES("what", sentence), SET_TEXT("why", kinds[kind].why));
    if (json_array_append_new(findings->list, row) != 0)
        organ_memory_count_refusal();
}

void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error)
{
    if (error->status == ORGAN_OK)
        return;
    if (error->status == ORGAN_IO && error->errnum == ENOMEM)
        organ_memory_count_refusal();
    else if (error->status == ORGAN_IO && organ_is_system_failure(error->errnum))
        findings->failure = findings->failure.status ? findings->failure : *error;
    else
        organ_findings_add(findings, error->status == ORGAN_IO ? ORGAN_FINDING_UNREAD : kind, "", "%s",
                           message_without_file(error->message, findings->file));
}

bool organ_findings_have(const organ_findings *findings, const char *message)
{
    for (size_t k = 0; k < json_array_size(findings->list); k++) {
        const char *const what = organ_json_text(json_array_get(findings->list, k), "what");
        if (*what && (strcmp(message, what) == 0 || organ_ends_with(message, what)))
            return true;
    }
    return false;
}

size_t organ_findings_count(const organ_findings *findings)
{
    size_t count = 0;
    for (size_t k = 0; k < ORGAN_FINDING_KINDS; k++)
        count += findings->counts[k];
    return count;
}

static json_t *kind_json(const void *context, size_t k)
{
    const organ_findings *const findings = context;
    if (findings->counts[k] == 0)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("kind", kinds[k].name), SET_TEXT("severity", kinds[k].severity),
                        SET_TEXT("title", kinds[k].title), SET_TEXT("why", kinds[k].why),
                        SET_COUNT("findings", findings->counts[k]));
}

json_t *organ_findings_kinds(const organ_findings *findings)
{
    return organ_json_rows(ORGAN_FINDING_KINDS, kind_json, findings);
}
