/* SPDX-License-Identifier: MIT
 * Searches a page for markup that only a name or text of a document can have inserted. */
#ifndef ORGAN_FUZZ_PAGE_SCAN_H
#define ORGAN_FUZZ_PAGE_SCAN_H

/* A word that no page contains. */
#define FUZZ_PAYLOAD "zz9payload"

/* Returns a fault of the page: an element or an attribute with that name, one that runs or loads something, a script or
 * a style that ends early, a tag or a quote without an end. NULL: none. */
const char *fuzz_page_fault(const char *html);

#endif
