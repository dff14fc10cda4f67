/* SPDX-License-Identifier: MIT
 * Removes credentials from URLs in texts that a user or a file gets. */
#include "formats/base/text.h"

static const char *after_scheme(const char *text)
{
    const size_t length = strncasecmp(text, "https://", 8) == 0 ? 8 : 7;
    return length == 8 || strncasecmp(text, "http://", 7) == 0 ? text + length : NULL;
}

/* User and password end at the last '@' before the path. */
void organ_text_hide_passwords(char *text)
{
    for (char *at = text; (at = strcasestr(at, "http"));) {
        const char *const scheme_end = after_scheme(at);
        if (!scheme_end) {
            at += 4;
            continue;
        }
        char *const host = at + (scheme_end - at), *end = NULL;
        for (size_t k = 0, length = strcspn(host, "/?# \t\r\n\"'<>"); k < length; k++)
            end = host[k] == '@' ? host + k + 1 : end;
        if (end)
            memmove(host, end, strlen(end) + 1);
        at = host;
    }
}

void organ_text_hide_secrets(char *text)
{
    organ_text_hide_passwords(text);
    if (after_scheme(text) && !strpbrk(text, " \t\r\n"))
        text[strcspn(text, "?#")] = '\0';
}
