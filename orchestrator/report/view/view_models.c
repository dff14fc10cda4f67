/* SPDX-License-Identifier: MIT
 * The view of organ.models/1, the report of `organ models`. */
#include "orchestrator/report/view/views.h"

static const organ_item highlights[] = {{NULL, "models", "{totals.models:count}"},
                                        {NULL, "open", "{totals.opens:count}"}};

static const organ_field stores[] = {
    FIELD_TEXT("store", "store", 0), FIELD_COUNT("models", "models"),
    FIELD_WORDS("folder", "{folder?{folder}|none}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field models[] = {
    FIELD_TEXT("name", "name", ORGAN_FIELD_SHORTENS),
    FIELD_WORDS("architecture", "{architecture?{architecture}|-}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("format", "{format?{format} {dtype}|-}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("size", "{opens?{bytes:bytes}|-}", 0),
    FIELD_WORDS("organ can", "{opens?open|-}{scores?, score}{calibrates?, calibrate}{cuts?, cut}", ORGAN_FIELD_LEFT)};
static const organ_field reasons[] = {FIELD_TEXT("name", "name", ORGAN_FIELD_SHORTENS),
                                      FIELD_TEXT("why it does not score or open", "reason", ORGAN_FIELD_SHORTENS)};

static const organ_block blocks[] = {
    HEADING("Models on this machine"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Stores"),
    TABLE(ON_ALL, NULL, "stores", FIELDS(stores)),
    WARN(ON_ALL, "cut", "The list ends after {totals.models:count} models."),
    SECTION(ON_PAGE, NULL, "Models"),
    TABLE(ON_ALL, "models", "models", FIELDS(models)),
    SAY_AFTER(ON_ALL, "!models", "", "No model was found."),
    SECTION(ON_PAGE, NULL, "Reasons"),
    TABLE_WHERE(ON_FILES, "models", "models", "reason", FIELDS(reasons),
                .caption = "Models that do not open or do not score"),
};

const organ_view organ_models_view = {
    .schema = "organ.models/1", .kind = "Models", .title = "Models on this machine", BLOCKS_OF(blocks)};
