/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/model_line.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/text.h"

void organ_plural(FILE *out, unsigned long long count, const char *one, const char *many)
{
    char text[32];
    fprintf(out, "%s %s", organ_count_text(count, text), count == 1 ? one : many);
}

void organ_model_line(FILE *out, const json_t *model)
{
    char size[16];
    const char *const architecture = organ_json_text(model, "architecture");
    organ_text_visible(out, organ_json_text(model, "name"));
    fputs(" (", out);
    organ_text_visible(out, architecture);
    fprintf(out, "%s%s, ", *architecture ? ", " : "", organ_json_text(model, "format"));
    organ_plural(out, organ_json_count(model, "files"), "file", "files");
    fprintf(out, ", %s)", organ_quantity_text(organ_json_count(model, "bytes"), size));
}
