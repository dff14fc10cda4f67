/* SPDX-License-Identifier: MIT
 * Prints the parts of README and pages that follow from the tables formats/tensor/fused.c and formats/weights/served.c:
 * served_tables fused|served|embeddings|README. */
#include "formats/tensor/fused.h"
#include "formats/weights/served.h"

#include <stdio.h>
#include <string.h>

/* "q_proj, k_proj and v_proj"; with `star` the last part of a ragged set gets a star. */
static void print_set(size_t set, bool star)
{
    char names[160];
    organ_fused_name(set, names, sizeof names);
    printf("%s%s", names, star && organ_fused_set_at(set)->ragged ? "*" : "");
}

static void print_fused(void)
{
    puts("|matrices|model types|\n|---|---|");
    for (size_t s = 0; organ_fused_set_at(s); s++) {
        const organ_fused_set *const row = organ_fused_set_at(s);
        if (!strchr(row->parts, ' '))
            continue;
        putchar('|');
        print_set(s, /*star=*/true);
        printf("|%s|\n", row->types ? row->types : "all that have them");
    }
    for (size_t s = 0; organ_fused_set_at(s); s++)
        if (!strchr(organ_fused_set_at(s)->parts, ' '))
            printf("|%s: alone|%s|\n", organ_fused_set_at(s)->parts, organ_fused_set_at(s)->types);
}

/* "`activations.type` fp8" of a message is the option "`--activation-type` fp8". */
static void print_option(const organ_served_inputs *row)
{
    bool open = false;
    const char *const asked = row->asked && !row->declared ? row->asked : "none";
    putchar('|');
    for (const char *at = asked; *at; at++) {
        at += strncmp(at, "s.", 2) == 0;
        putchar(*at == '.' ? '-' : *at);
        open = *at == '`' ? !open : open;
        if (*at == '`' && open)
            fputs("--", stdout);
    }
}

static void print_served(void)
{
    puts("|scheme|option|activations|servers|\n|---|---|---|---|");
    for (size_t k = 0; organ_served_at(k); k++) {
        const organ_served_inputs *const row = organ_served_at(k);
        char text[ORGAN_INPUT_TEXT];
        printf("|`%s`", row->schemes[0]);
        if (row->schemes[1])
            printf(", `%s`", row->schemes[1]);
        print_option(row);
        printf("|%s|%s%s%s|\n", organ_input_text(&row->rounding, text, sizeof text), row->loaders,
               row->experts ? "; experts only with 4 bits on Arm CPUs" : "", row->instead ? "; no experts" : "");
    }
}

static void print_readme(void)
{
    size_t shown = 0;
    fputs("vLLM and SGLang multiply some matrices of a layer as one, such as ", stdout);
    for (size_t s = 0; organ_fused_set_at(s) && shown < 2; s++) {
        if (organ_fused_set_at(s)->types)
            continue;
        fputs(shown++ ? ", or " : "", stdout);
        print_set(s, /*star=*/false);
    }
    puts("; [quantize](docs/servers.md#matrices-that-servers-multiply-as-one) gives them one scheme.");
    for (size_t k = 0; organ_served_at(k); k++) {
        const organ_served_inputs *const row = organ_served_at(k);
        char text[ORGAN_INPUT_TEXT];
        if (row->unasked)
            printf("Activations of %s that config.json leaves unrounded are rounded to %s by %s.\n", row->schemes[0],
                   organ_input_text(&row->rounding, text, sizeof text), row->loaders);
    }
}

static void print_embeddings(void)
{
    for (size_t k = 0; organ_served_embeddings[k]; k++)
        printf("%s%s", k ? ", " : "", organ_served_embeddings[k]);
    puts(".");
}

int main(int argc, char **argv)
{
    const char *const what = argc == 2 ? argv[1] : "";
    if (strcmp(what, "fused") == 0)
        print_fused();
    else if (strcmp(what, "served") == 0)
        print_served();
    else if (strcmp(what, "embeddings") == 0)
        print_embeddings();
    else if (strcmp(what, "README") == 0)
        print_readme();
    else
        return 2;
    return 0;
}
