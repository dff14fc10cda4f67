/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/report_text.h"

#include "formats/base/format_rest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool organ_stream_has_colour(FILE *stream)
{
    const char *const type = getenv("TERM"), *const plain = getenv("NO_COLOR"), *const colour = getenv("CLICOLOR");
    return isatty(fileno(stream)) && type && *type && strcmp(type, "dumb") != 0 && !(plain && *plain) &&
           !(colour && strcmp(colour, "0") == 0);
}

void organ_message_begin(FILE *out, organ_message_kind kind)
{
    static const struct {
        const char *word, *colour;
    } kinds[] = {[ORGAN_MESSAGE_ERROR] = {"error:", "\033[1;31m"},
                 [ORGAN_MESSAGE_WARNING] = {"warning:", "\033[1;33m"},
                 [ORGAN_MESSAGE_NOTE] = {"note:", "\033[1;36m"}};
    const bool coloured = organ_stream_has_colour(out);
    fprintf(out, "%s%s%s ", coloured ? kinds[kind].colour : "", kinds[kind].word, coloured ? "\033[0m" : "");
}

void organ_message(FILE *out, organ_message_kind kind, const char *format, ...)
{
    char text[2000];
    ORGAN_FORMAT_REST(text, format);
    flockfile(out); /* messages of two threads do not mix */
    organ_message_begin(out, kind);
    organ_text_visible(out, text);
    fputc('\n', out);
    funlockfile(out);
}
