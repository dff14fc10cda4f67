/* SPDX-License-Identifier: MIT
 * organ.merge/1 */
#include "orchestrator/report/view/views.h"

static const organ_item highlights[] = {{NULL, "values", "{totals.values:count}"}};

static const organ_field roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS), FIELD_COUNT("values", "values")};

static const organ_block blocks[] = {
    LINES(NULL, "{model.name}\n\n"),
    HEADING("{model.name}"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Roles"),
    TABLE(ON_ALL, NULL, "roles", FIELDS(roles), .total = "all", .total_row = "totals"),
};

const organ_view organ_merge_view = {
    .schema = "organ.merge/1", .kind = "merge", .title = "{model.name}", BLOCKS_OF(blocks)};
