/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/page/page_files.h"

#include "orchestrator/command/embedded.h"

#define HTML   "text/html; charset=utf-8"
#define STYLE  "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define IMAGE  "image/svg+xml"

/* FILE(symbol, name, type) */
#define PAGE_FILES                                                                                                                         \
    FILE(index_html, "index.html", HTML)                                                                                                   \
    FILE(style_css, "style.css", STYLE)                                                                                                    \
    FILE(organ_svg, "organ.svg", IMAGE)                                                                                                    \
    FILE(page_js, "page.js", SCRIPT)                                                                                                       \
    FILE(path_picker_js, "path_picker.js", SCRIPT)                                                                                         \
    FILE(elements_js, "elements.js", SCRIPT)                                                                                               \
    FILE(files_list_js, "files_list.js", SCRIPT)                                                                                           \
    FILE(wire_js, "wire.js", SCRIPT)                                                                                                       \
    FILE(words_js, "words.js", SCRIPT)                                                                                                     \
    FILE(models_view_js, "models_view.js", SCRIPT)                                                                                         \
    FILE(model_view_js, "model_view.js", SCRIPT)                                                                                           \
    FILE(tensor_table_js, "tensor_table.js", SCRIPT)                                                                                       \
    FILE(anatomy_js, "anatomy.js", SCRIPT)                                                                                                 \
    FILE(verbs_view_js, "verbs_view.js", SCRIPT)                                                                                           \
    FILE(form_view_js, "form_view.js", SCRIPT)                                                                                             \
    FILE(form_fields_js, "form_fields.js", SCRIPT)                                                                                         \
    FILE(command_line_js, "command_line.js", SCRIPT)                                                                                       \
    FILE(jobs_view_js, "jobs_view.js", SCRIPT)                                                                                             \
    FILE(job_panel_js, "job_panel.js", SCRIPT)                                                                                             \
    FILE(job_view_js, "job_view.js", SCRIPT)                                                                                               \
    FILE(progress_js, "progress.js", SCRIPT)

#define FILE(symbol, name, type) ORGAN_EMBEDDED(organ_page_##symbol, "orchestrator/serve/page/site/" name)
PAGE_FILES
#undef FILE

#define FILE(symbol, name, type) {name, type, organ_page_##symbol, organ_page_##symbol##_end},
const organ_page_file organ_page_files[] = {PAGE_FILES};
#undef FILE
const size_t organ_page_file_count = sizeof organ_page_files / sizeof *organ_page_files;
