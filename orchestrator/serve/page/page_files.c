/* SPDX-License-Identifier: MIT
 * The assembler takes the files in as they are: nothing is generated, and what is served is what is read in serve/page/site/. The paths
 * count from where the compiler is called, the root of the tree. */
#include "orchestrator/serve/page/page_files.h"

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

#define FILE(symbol, name, type)                                                                                                           \
    extern const char organ_page_##symbol[] __attribute__((visibility("hidden")));                                                         \
    extern const char organ_page_##symbol##_end[] __attribute__((visibility("hidden")));                                                   \
    __asm__(".pushsection .rodata\n"                                                                                                       \
            ".global organ_page_" #symbol "\n"                                                                                             \
            ".hidden organ_page_" #symbol "\n"                                                                                             \
            "organ_page_" #symbol ":\n"                                                                                                    \
            ".incbin \"orchestrator/serve/page/site/" name "\"\n"                                                                          \
            ".global organ_page_" #symbol "_end\n"                                                                                         \
            ".hidden organ_page_" #symbol "_end\n"                                                                                         \
            "organ_page_" #symbol "_end:\n"                                                                                                \
            ".byte 0\n" /* the end of one file is never the address of the next */                                                         \
            ".popsection\n");
PAGE_FILES
#undef FILE

#define FILE(symbol, name, type) {name, type, organ_page_##symbol, organ_page_##symbol##_end},
const organ_page_file organ_page_files[] = {PAGE_FILES};
#undef FILE
const size_t organ_page_file_count = sizeof organ_page_files / sizeof *organ_page_files;
