/* SPDX-License-Identifier: MIT */
#include <organ/base.h>

#include "formats/base/plain_numbers.h"
#include "formats/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Characters that could disturb a terminal, and bytes that are no UTF-8, become \xNN. Stops when the message is
 * full. */
static void append_visible(organ_error *error, const char *text)
{
    size_t used = strlen(error->message);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t code;
        const size_t length = organ_utf8_decode(s, &code), step = length ? length : 1;
        const bool plain = length > 0 && !organ_utf8_hidden(code);
        if (used + (plain ? step : 4 * step) + 1 > sizeof error->message)
            return;
        if (plain)
            memcpy(error->message + used, s, step);
        else
            for (size_t k = 0; k < step; k++)
                snprintf(error->message + used + 4 * k, 5, "\\x%02x", s[k]);
        used += plain ? step : 4 * step;
        s += step;
        error->message[used] = '\0';
    }
}

/* errnum has this value while the status is ORGAN_OK and `message` contains the prefix that organ_error_set_output
 * wrote. */
enum { WHOLE_OUTPUT = -1 };

/* If organ_error_set_output has written a prefix and the status is ORGAN_IO or ORGAN_INTERRUPTED, the prefix stays
 * before the text. Sets errnum to ENOMEM if the format contains the words "no memory", else to 0. */
static void begin_message(organ_error *error, organ_status status, const char *format, va_list args)
{
    char text[sizeof error->message];
    organ_vsnprintf(text, sizeof text, format, args);
    if (error->errnum != WHOLE_OUTPUT || (status != ORGAN_IO && status != ORGAN_INTERRUPTED))
        error->message[0] = '\0';
    error->status = status;
    error->errnum = strstr(format, "no memory") ? ENOMEM : 0;
    append_visible(error, text);
}

/* An error that is already set stays unchanged, because the first fault is the cause. */
organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
{
    if (error->status != ORGAN_OK)
        return error->status;
    va_list args;
    va_start(args, format);
    begin_message(error, status, format, args);
    va_end(args);
    return status;
}

organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
{
    if (error->status != ORGAN_OK)
        return error->status;
    va_list args;
    va_start(args, format);
    begin_message(error, ORGAN_IO, format, args);
    va_end(args);
    error->errnum = errnum;
    char text[128] = "";
    append_visible(error, ": ");
    append_visible(error, strerror_r(errnum, text, sizeof text)); /* the GNU variant, which returns the text */
    return ORGAN_IO;
}

organ_status organ_fail_memory(organ_error *error, const char *what)
{
    return organ_fail_errno(error, ENOMEM, "%s", what);
}

void organ_error_set_output(organ_error *error, const char *path)
{
    char shown[sizeof error->message / 2];
    if (error->status != ORGAN_OK || error->errnum == WHOLE_OUTPUT)
        return;
    snprintf(shown, sizeof shown, "%s", path);
    error->message[0] = '\0';
    append_visible(error, shown);
    append_visible(error, " is complete, but a later step failed: ");
    error->errnum = WHOLE_OUTPUT;
}
