/* SPDX-License-Identifier: MIT
 * The view of organ.fetch/1, the report of `organ fetch`. */
#include "orchestrator/report/view/views.h"

static const organ_item highlights[] = {{NULL, "files", "{totals.files:count}"},
                                        {NULL, "size", "{totals.bytes:bytes}"}};

static const organ_field files[] = {FIELD_TEXT("file", "file", ORGAN_FIELD_SHORTENS), FIELD_BYTES("size", "bytes"),
                                    FIELD_IF("dry_run", "left", "left", "bytes", 0), FIELD_TEXT("state", "state", 0)};

static const organ_block blocks[] = {
    LINES(NULL, "{model} at {revision}, commit {commit}\n{dry_run?would be downloaded|is} in {run.folder}\n\n"),
    HEADING("{model}"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Files"),
    TABLE(ON_ALL, NULL, "files", FIELDS(files)),
    SAY_AFTER(
        ON_ALL, "!dry_run", "",
        "{totals.files:count} file{totals.files:s} with {totals.bytes:bytes}; every size and digest is that of the "
        "server's list."),
    SAY_AFTER(
        ON_ALL, "dry_run", "",
        "{totals.files:count} file{totals.files:s} with {totals.bytes:bytes}, of which {totals.left} bytes are left "
        "to download."),
};

const organ_view organ_fetch_view = {
    .schema = "organ.fetch/1", .kind = "Download", .title = "{model}", BLOCKS_OF(blocks)};
