/* SPDX-License-Identifier: MIT
 * The view of organ.tokenize/1, the report of `organ tokenize`. If it has ids, a terminal prints nothing but these. */
#include "orchestrator/report/view/views.h"

/* SUMMARY: condition that the report has no ids. EDGE: words for the id of BOS or EOS at `path`, or "none". EDGE_TOO: a
 * comma, `name` and the id; empty if there is no id. */
#define SUMMARY              "!ids>-1"
#define EDGE(path)           "{" path ">-1?{" path ":count}|none}"
#define EDGE_TOO(name, path) "{" path ">-1?, " name " {" path "}}"

static const organ_item highlights[] = {{NULL, "tokens", "{tokens:count}"},
                                        {NULL, "bytes of text", "{text.bytes:count}"},
                                        {NULL, "bytes per token", "{bytes_per_token:.3f}"}};
static const organ_item facts[] = {
    {NULL, "text", "{text.name}"},
    {NULL, "bytes of the text", "{text.bytes:count}"},
    {NULL, "digest of the text", "{text.digest}"},
    {NULL, "tokenizer", "{tokenizer.kind}"},
    {NULL, "digest of the tokenizer", "{tokenizer.digest}"},
    {NULL, "vocabulary", "{tokenizer.vocabulary:count}"},
    {NULL, "BOS", EDGE("tokenizer.bos")},
    {NULL, "EOS", EDGE("tokenizer.eos")},
    {NULL, "the model's tokenizer puts BOS before a text; it is not counted here", "{tokenizer.adds_bos}"},
    {NULL, "names of special tokens in the text are read as these tokens", "{special}"}};

static const organ_field first[] = {FIELD_WORDS("id", "{id}", 0),
                                    FIELD_WORDS("piece", "'{piece}'", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};

static const organ_block blocks[] = {
    EACH(ON_TERMINAL, "ids", BLOCKS(LINES(NULL, "{.}\n"))),
    SAY_AFTER(ON_TERMINAL, SUMMARY, "",
              "{tokens:count} token{tokens:s} in {text.bytes:count} byte{text.bytes:s} of {text.name}"),
    LINES(SUMMARY, "{bytes_per_token?  Bytes per token: {bytes_per_token:.3f}\n}  Text digest: {text.digest}\n"
                   "  Tokenizer digest: {tokenizer.digest}\n  Tokenizer: {tokenizer.kind}, vocabulary "
                   "{tokenizer.vocabulary:count}" EDGE_TOO("BOS", "tokenizer.bos")
                       EDGE_TOO("EOS", "tokenizer.eos") "\n"
                                                        "{tokenizer.adds_bos?  The model's tokenizer puts BOS before a "
                                                        "text; it is not counted here.\n}"),
    LINES(SUMMARY "&tokens", "\nThe first tokens:\n\n"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Text and tokenizer"),
    ITEMS(ON_PAGE, NULL, .name = "setting", .value = "value", ITEM_LIST(facts),
          .caption = "Ids are comparable only if the digests of the tokenizers are equal"),
    SECTION(ON_PAGE, "first", "The first tokens"),
    TABLE(ON_TERMINAL, SUMMARY "&tokens", "first", FIELDS(first)),
    TABLE(ON_PAGE, "first", "first", FIELDS(first)),
};

const organ_view organ_tokenize_view = {
    .schema = "organ.tokenize/1", .kind = "Tokens", .title = "{text.name}", BLOCKS_OF(blocks)};
