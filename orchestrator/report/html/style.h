/* SPDX-License-Identifier: MIT
 * The style sheet and the script of every HTML page of this program. */
#ifndef ORGAN_HTML_STYLE_H
#define ORGAN_HTML_STYLE_H

extern const char organ_html_style[]; /* without <style> */
/* without <script>: it sorts and filters tables, copies commands, and makes boxes that scroll focusable */
extern const char organ_html_script[];
#endif
