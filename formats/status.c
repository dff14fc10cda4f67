/* SPDX-License-Identifier: MIT */
#include "formats/status.h"

#include "formats/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends `text` to the message, with everything a terminal could trip over made visible. */
static void append(organ_error *error, const char *text)
{
    size_t used = strlen(error->message);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        const size_t length = organ_utf8_length(s);
        const int plain = length > 1 ? !(s[0] == 0xC2 && s[1] < 0xA0) : length == 1 && *s >= 0x20 && *s != 0x7F;
        if (used + 5 > sizeof error->message)
            return;
        if (plain) {
            memcpy(error->message + used, s, length);
            used += length;
            s += length;
        } else {
            used += (size_t)snprintf(error->message + used, sizeof error->message - used, "\\x%02x", *s);
            s++;
        }
        error->message[used] = '\0';
    }
}

static void begin(organ_error *error, organ_status status, const char *format, va_list args)
{
    char text[sizeof error->message];
    vsnprintf(text, sizeof text, format, args);
    error->status = status;
    error->errnum = strstr(format, "no memory") ? ENOMEM : 0;
    error->message[0] = '\0';
    append(error, text);
}

organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
{
    if (error->status != ORGAN_OK)
        return error->status;
    va_list args;
    va_start(args, format);
    begin(error, status, format, args);
    va_end(args);
    return status;
}

organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
{
    if (error->status != ORGAN_OK)
        return error->status;
    va_list args;
    va_start(args, format);
    begin(error, ORGAN_IO, format, args);
    va_end(args);
    error->errnum = errnum;
    char text[128] = "";
    append(error, ": ");
    append(error, strerror_r(errnum, text, sizeof text)); /* the GNU form, which returns the text */
    return ORGAN_IO;
}
