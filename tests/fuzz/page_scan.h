/* SPDX-License-Identifier: MIT
 * Looks in a page for markup that only a name or a text of a document can have made. */
#ifndef ORGAN_FUZZ_PAGE_SCAN_H
#define ORGAN_FUZZ_PAGE_SCAN_H

/* A word that stands in no page by itself. */
#define FUZZ_PAYLOAD "zz9payload"

/* What is wrong with the page: an element or an attribute of that name or of one that runs or loads something, a script
 * or a style that is ended early, a tag or a quote without an end. NULL: nothing. */
const char *fuzz_page_fault(const char *html);

#endif
