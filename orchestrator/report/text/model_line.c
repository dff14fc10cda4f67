/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/model_line.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/text.h"

void organ_model_line(FILE *out, const json_t *model)
{
    char size[16], count[32];
    const unsigned long long files = organ_json_count(model, "files");
    const char *const architecture = organ_json_text(model, "architecture");
    organ_text_visible(out, organ_json_text(model, "name"));
    fputs(" (", out);
    organ_text_visible(out, architecture);
    fprintf(out, "%s%s, %s file%s, %s)", *architecture ? ", " : "", organ_json_text(model, "format"), organ_count_text(files, count),
            files == 1 ? "" : "s", organ_quantity_text(organ_json_count(model, "bytes"), size));
}
