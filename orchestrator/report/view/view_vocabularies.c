/* SPDX-License-Identifier: MIT
 * The view of organ.vocabularies/1, the report of `organ evaluate` on models with different vocabularies. */
#include "orchestrator/report/view/view_parts.h"

/* Words about the comparison with the first model; "-" for the first model itself. */
#define COMPARED(words) "{comparison?" words "|-}"
#define KEPT(words)     "{comparison.kept?" words "|-}"
#define MODEL_FIELD     FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)

static const organ_field bits[] = {MODEL_FIELD,
                                   FIELD_WORDS("vocabulary", "{tokenizer.vocabulary:count}", 0),
                                   FIELD_WORDS("tokens", "{figures.tokens_scored:count}", 0),
                                   FIELD_WORDS("more", COMPARED("{comparison.more_tokens_percent:percent}"), 0),
                                   FIELD_WORDS("bits/byte", "{figures.bits_per_byte:measured}", 0),
                                   FIELD_WORDS("difference", COMPARED("{comparison.difference:+measured}"), 0)};

static const organ_field kept[] = {MODEL_FIELD,
                                   FIELD_WORDS("tokens of the donor", KEPT("{comparison.kept.tokens:count}"), 0),
                                   FIELD_WORDS("KL", KEPT("{comparison.kept.kl_divergence:measured}"), 0),
                                   FIELD_WORDS("top-1 %", KEPT("{comparison.kept.top1_agreement:%.2}"), 0),
                                   FIELD_WORDS("dropped %", KEPT("{comparison.kept.dropped:%measured}"), 0),
                                   FIELD_WORDS("at most %", KEPT("{comparison.kept.dropped_most:%.2}"), 0)};

static const organ_item vocabularies_highlights[] = {
    {"comparison",
     "bits per byte of {model.name} minus those of the donor{comparison.difference:~deviation}; "
     "{comparison.more_tokens_percent:percent} more tokens",
     "{comparison.difference:+figure}"},
    {"comparison.kept", "KL divergence of {model.name} over its tokens, nats per token",
     "{comparison.kept.kl_divergence:figure}"},
    {"comparison.kept", "probability that the donor gives to tokens that {model.name} lacks",
     "{comparison.kept.dropped:%.2} %"},
    {NULL, "bytes scored", "{/experiment.bytes_scored:count}"}};

#define EXPERIMENT                                                                                                     \
    "Text {experiment.text.name}: {experiment.text.bytes:count} bytes, XXH3 {experiment.text.xxh3}. Context "          \
    "{experiment.context}, compute {experiment.compute}{experiment.compute_isa? by {experiment.compute_isa}}: "        \
    "{experiment.windows:count}{experiment.text_windows>experiment.windows? of {experiment.text_windows:count}} "      \
    "window{experiment.windows:s}, {experiment.bytes_scored:count} bytes {dry_run?to score|scored} by every model."

static const organ_block vocabularies_blocks[] = {
    HEADING("Evaluation of {models.0.model.name} and models with other vocabularies"),
    WARNINGS,
    LINES("dry_run", "Dry run, nothing was scored.\n"),
    EACH(ON_ALL, "models", BLOCKS(SAY_AFTER(ON_ALL, "/dry_run", "  ", "{model:model}"))),
    GAP("dry_run"),
    HIGHLIGHTS_OF("!dry_run", "models", vocabularies_highlights),
    SECTION(ON_FILES, "!dry_run", "Bits per byte"),
    TABLE(ON_ALL, "!dry_run", "models", FIELDS(bits),
          .caption = "Bits per byte on the same bytes, with standard errors; tokens of these bytes"),
    SECTION(ON_FILES, "!dry_run&models.*.comparison.kept", "Tokens of the donor"),
    TABLE(ON_ALL, "!dry_run&models.*.comparison.kept", "models", FIELDS(kept),
          .caption =
              "KL divergence from the donor over the model's tokens, in nats per token, and the probability that "
              "the donor gives to all others"),
    EACH(ON_ALL, "models",
         BLOCKS(SAY(ON_ALL, "comparison.why_not",
                    "{model.name} has no KL divergence: its tokens are not some of the donor's in the same order: "
                    "{comparison.why_not}."),
                SAY(ON_ALL, "kv_cache.rounded", CACHE_NOTE("{model.name}")),
                SAY(ON_ALL, "rounded_activations", ROUNDED_NOTE("{model.name}")),
                SAY(ON_ALL, "activations.rounded&figures", SERVED_NOTE("{model.name}", "")))),
    SAY(ON_TERMINAL, "models.*.comparison.kept",
        "KL in nats per token over the model's tokens, to which the donor's distribution is restricted; dropped: "
        "probability that the donor gives to all others."),
    PLAN_NEEDS,
    SAY(ON_ALL, NULL, EXPERIMENT),
    SAY(ON_TERMINAL, "!dry_run", "Time: {run.seconds:time}."),
    LINES("run.output&!dry_run", "\nReport:  {run.output}/VOCABULARIES_REPORT.md (and .html)\n"),
    DEFINITIONS,
};

const organ_view organ_vocabularies_view = {.schema = "organ.vocabularies/1",
                                            .kind = "Evaluation",
                                            .title = "{models.0.model.name}",
                                            .lead = "Models with different vocabularies: all scored the same bytes.",
                                            .files = {"vocabularies.json", "VOCABULARIES_REPORT.md", NULL},
                                            BLOCKS_OF(vocabularies_blocks)};
