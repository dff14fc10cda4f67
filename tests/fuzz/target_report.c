/* SPDX-License-Identifier: MIT
 * A report as a page. If the first byte is '+', every text of the document except its schema gets a suffix that would
 * break out of every place in a page where it is not escaped, and the page is searched for it. */
#include "tests/fuzz/page_scan.h"
#include "tests/fuzz/targets.h"
#include <organ/report.h>

#include <stdlib.h>
#include <string.h>

/* Ends a tag, an attribute, a script, a style and a comment, then opens an element; FUZZ_PAYLOAD is the element's name
 * and that of an attribute. */
static const char ending[] =
    "-->'\"></title></script></style><" FUZZ_PAYLOAD " " FUZZ_PAYLOAD "=1 onload=" FUZZ_PAYLOAD ">&" FUZZ_PAYLOAD ";";

static json_t *with_ending(const json_t *value)
{
    const size_t length = json_string_length(value);
    char *const text = malloc(length + sizeof ending);
    fuzz_require(text != NULL, "there is memory");
    memcpy(text, json_string_value(value), length);
    memcpy(text + length, ending, sizeof ending);
    json_t *const made = json_stringn(text, length + sizeof ending - 1);
    free(text);
    return made;
}

/* Inserts the text into every string of the document. jansson limits the depth of documents. */
static void spoil(json_t *value)
{
    const char *key;
    json_t *member;
    void *next;
    size_t k;
    json_object_foreach_safe(value, next, key, member)
    {
        if (json_is_string(member) && strcmp(key, "schema") != 0)
            json_object_set_new(value, key, with_ending(member));
        else
            spoil(member);
    }
    json_array_foreach(value, k, member)
    {
        if (json_is_string(member))
            json_array_set_new(value, k, with_ending(member));
        else
            spoil(member);
    }
}

void fuzz_report(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    char *html = NULL;
    if (size == 0)
        return;
    const bool spoiled = data[0] == '+';
    json_t *const report = json_loadb((const char *)data + spoiled, size - spoiled, 0, NULL);
    if (!report)
        return;
    if (spoiled)
        spoil(report);
    const organ_status status = organ_html_report(report, &html, &error);
    fuzz_check_verdict(status, &error);
    fuzz_require((status == ORGAN_OK) == (html != NULL), "there is a page if there is no error");
    if (html) {
        const char *const fault = fuzz_page_fault(html);
        fuzz_require(!fault, fault ? fault : "a page has no markup of its texts");
    }
    free(html);
    json_decref(report);
}
