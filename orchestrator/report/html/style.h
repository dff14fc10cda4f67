/* SPDX-License-Identifier: MIT
 * The style sheet and the script of every HTML page of this program. */
#ifndef ORGAN_HTML_STYLE_H
#define ORGAN_HTML_STYLE_H

extern const char organ_html_style[];  /* without <style> */
extern const char organ_html_script[]; /* without <script>: tables sort and filter, boxes that scroll take the focus,
                                          commands are copied */
#endif
