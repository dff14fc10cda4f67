/* SPDX-License-Identifier: MIT
 * The view of organ.untrusted/1, the report of an examination of a downloaded model before it is loaded. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/view/views.h"

#include <stdint.h>
#include <string.h>

#define CHECKED                                                                                                        \
    "{looked_at.files:count} file{looked_at.files:s} examined, {looked_at.bytes:bytes}; {looked_at.weights:count} "    \
    "of them "                                                                                                         \
    "hold{looked_at."                                                                                                  \
    "weights=1?s} weights.{looked_at.passed_over? Directories of version control were skipped.}"
#define CLEAN "No risk of loading it was found."
#define SOME  "{findings_in_all:count} finding{findings_in_all:s}: do not load it before you understand each."
#define LIMIT                                                                                                          \
    "organ ran, unpickled, rendered and unpacked nothing of it. A clean verdict covers only these checks, not "        \
    "the behaviour of the weights."

static json_t *findings_of(const json_t *findings, const char *kind)
{
    json_t *const list = json_array();
    size_t k;
    json_t *one;
    json_array_foreach(findings, k, one)
    {
        if (strcmp(organ_json_text(one, "kind"), kind) == 0)
            json_array_append(list, one);
    }
    return list;
}

static json_t *with_grouped_findings(const json_t *report)
{
    const json_t *const findings = json_object_get(report, "findings");
    json_t *const extended = json_copy((json_t *)(uintptr_t)report), *const groups = json_array(), *kind;
    size_t k;
    json_array_foreach(json_object_get(report, "kinds"), k, kind)
    {
        json_t *const group = json_copy(kind);
        ORGAN_ADD(group, SET("rows", findings_of(findings, organ_json_text(kind, "kind"))));
        json_array_append_new(groups, group);
    }
    ORGAN_ADD(extended, SET("groups", groups));
    return extended;
}

static const organ_item highlights[] = {{NULL, "findings", "{findings_in_all:count}"},
                                        {NULL, "files examined", "{looked_at.files:count}"},
                                        {NULL, "of weights", "{looked_at.weights:count}"}};

static const organ_field rows[] = {FIELD_WORDS("file", "{file}", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("where", "{where?{where}|-}", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("what", "{what}", ORGAN_FIELD_LEFT)};

static const organ_block blocks[] = {
    LINES(NULL, "{model.name}: {findings_in_all?{findings_in_all:count} finding{findings_in_all:s}|no findings}\n\n"),
    HIGHLIGHTS(NULL, highlights),
    SAY(ON_ALL, NULL, CHECKED),
    EACH(ON_TERMINAL, "groups",
         BLOCKS(LINES(NULL, "\n"), SAY_AFTER(ON_TERMINAL, NULL, "  ", "{title} ({severity}). {why}"),
                EACH(ON_TERMINAL, "rows",
                     BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "    - ", "{file}{where?, {where}}: {what}"))))),
    GAP(NULL),
    EACH(ON_FILES, "groups",
         BLOCKS(SECTION(ON_FILES, NULL, "{title}"), SAY(ON_FILES, NULL, "Severity {severity}. {why}"),
                TABLE(ON_FILES, NULL, "rows", FIELDS(rows)))),
    SAY(ON_ALL, "!findings", CLEAN),
    SAY(ON_ALL, NULL, LIMIT),
};

const organ_view organ_untrusted_view = {.schema = "organ.untrusted/1",
                                         .kind = "Examination of a download",
                                         .title = "{model.name}",
                                         .lead = "{findings?" SOME "|" CLEAN "}",
                                         .make = with_grouped_findings,
                                         BLOCKS_OF(blocks)};
