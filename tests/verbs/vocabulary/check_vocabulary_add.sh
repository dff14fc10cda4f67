#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ vocabulary --add and --special: tokens, merges, rows, files, refusals. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/verbs/tensors_kit.sh"
cp -rL "${model%/*}/tiny-llama" llama && chmod -R u+w llama
printf ' hyperplanes\nqwzx\n hyperplane\n Gr\xc3\xbc\xc3\x9fe\r\n' >words.txt
printf '<tool>\n<|thought|>' >tags.txt

# holds CONDITION...: each is true of the report of larger.
holds() { for condition in "$@"; do judge "not: $condition" test "$(jq "$condition" larger/organ/vocabulary_add.json)" = true; done; }
# row MODEL TENSOR ROW: the bytes of a row of a tensor, as hexadecimal digits.
row() {
    local file offset width
    read -r file offset width < <("$organ" inspect "$1" --tensors --json --quiet --select "$2" |
        jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes / .shape[0])"')
    od -An -v -tx1 -j $((offset + $3 * width)) -N "$width" "$1/$file" | tr -d ' \n'
}
# ids MODEL [TEXT]: the ids of a text, in one line.
ids() { printf %s "$2" >../text && "$organ" tokenize "$1" --text ../text --ids --special --json --quiet | jq -c .ids; }

ends 0 vocabulary tiny-qwen2 --add words.txt --special tags.txt -o larger --quiet
prints "Added tokens to"
first=$(jq .vocabulary.first larger/organ/vocabulary_add.json)
judge "the first new id is $first" test "$first" = 2048
holds '.schema == "organ.vocabulary_add/1"' '[.tokens[].id] == [range(2048; 2048 + (.tokens | length))]' '[.tokens[:6][].text] ==
    [" hyperplanes", "qwzx", " hyperplane", " Grüße", "<tool>", "<|thought|>"]' '.vocabulary | .added == 4 and .special == 2 and .parts > 0' \
    '.vocabulary.rows == 2048 + (.tokens | length)' '[.tokens[6:][].kind == "part"] | all' '.tokens[0].line == 1 and .tokens[6].line == null'
judge vocab_size test "$(jq .vocab_size larger/config.json)" = "$(jq .vocabulary.rows larger/organ/vocabulary_add.json)"
judge "merges" test "$(jq '.model.merges | length' larger/tokenizer.json)" = \
    "$(($(jq '.model.merges | length' tiny-qwen2/tokenizer.json) + $(jq .vocabulary.merges larger/organ/vocabulary_add.json)))"
judge "added_tokens_decoder" test "$(jq -r '.added_tokens_decoder["2052"].content' larger/tokenizer_config.json)" = "<tool>"
judge "files that list old tokens are copied" test ! -e larger/vocab.json -a ! -e larger/merges.txt

# Texts have the new tokens, and others the tokens that they had.
judge "a new token" test "$(ids larger 'a hyperplane')" = "$(ids tiny-qwen2 a | jq -c '. + [2050]')"
judge "a longer one" test "$(ids larger 'a hyperplanes')" = "$(ids tiny-qwen2 a | jq -c '. + [2048]')"
judge "one in a word" test "$(ids larger 'xqwzx' | jq 'any(. == 2049)')" = true
judge "umlauts" test "$(ids larger 'a Grüße' | jq '.[-1]')" = 2051
judge "special tokens" test "$(ids larger '<tool>a<|thought|>')" = "$(ids tiny-qwen2 a | jq -c '[2052] + . + [2053]')"
judge "another text changes" cmp -s <("$organ" tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt --ids --quiet) \
    <("$organ" tokenize larger --text tiny-qwen2/heldout.txt --ids --quiet)

# Rows: the old ones stay; that of a token of one piece is a copy; that of two equal pieces too.
embedding=model.embed_tokens.weight
for k in 0 1 1000 2047; do
    judge "row $k changes" test "$(row larger $embedding $k)" = "$(row tiny-qwen2 $embedding $k)"
done
printf 'qqqq\n' >same.txt
ends 0 vocabulary tiny-qwen2 --add same.txt -o equal --quiet
piece=$(jq '.tokens[0].pieces | unique | .[0]' equal/organ/vocabulary_add.json)
judge "the pieces differ" test "$(jq '.tokens[0].pieces | unique | length' equal/organ/vocabulary_add.json)" = 1
judge "the mean of equal rows is another one" test "$(row equal $embedding 2048)" = "$(row tiny-qwen2 $embedding "$piece")"
# A head of its own gets rows of its own: of two pieces, the mean of the head's rows.
untied_base untied
ends 0 vocabulary untied --add same.txt --special tags.txt -o apart --quiet
judge "the head's row of equal pieces" test "$(row apart lm_head.weight 2048)" = "$(row untied lm_head.weight "$piece")"
judge "the embedding's row of equal pieces" test "$(row apart $embedding 2048)" = "$(row untied $embedding "$piece")"
judge "head and embedding have one row" test "$(row apart lm_head.weight 2048)" != "$(row apart $embedding 2048)"
ends 0 audit untied apart --quiet
ends 0 perplexity apart --text words.txt --json
ends 0 perplexity larger --text words.txt --json
ends 0 evaluate tiny-qwen2 larger --text words.txt --json
ends 0 generate larger --prompt "a hyperplane" --tokens 2
ends 0 vocabulary larger --text words.txt --json

# ---- audits ----
for made in larger equal; do
    ends 0 audit tiny-qwen2 $made
    prints "Passed: "
done
# damaged FILE FILTER TEXT: a copy with another setting fails the audit, which says the text.
damaged() {
    rm -rf damaged && cp -r larger damaged
    jq "$2" "larger/$1" >"damaged/$1"
    ends 1 audit tiny-qwen2 damaged --quiet
    says "$3"
}
damaged config.json '.vocab_size = 2048' "config.json of damaged is not the donor's with"
damaged organ/vocabulary_add.json '.tokens[1].pieces |= .[1:]' "row 2049 is not the mean of the rows of its pieces"
ends 1 audit tiny-qwen2 damaged --json
judge "the problems lack the pieces" test "$(jq '.problems | any(. == "token 2049 of damaged is not spelled by its pieces")' ../out)" = true
damaged tokenizer.json '.model.vocab |= (to_entries | (.[5].value, .[6].value) |= 11 - . | from_entries)' "is not that of the donor"

# The merges, the flags and the steps of the tokenizer are those that adding makes, and the report's tokens too.
other_tokens="tokens, merges, added tokens or steps are not the donor's with the new tokens"
damaged tokenizer.json '.model.merges = []' "$other_tokens"
damaged tokenizer.json '.model.merges |= .[:-1]' "$other_tokens"
damaged tokenizer.json '.added_tokens |= map(select(.content != "<tool>"))' "$other_tokens"
damaged tokenizer.json '.added_tokens[-1].lstrip = true' "$other_tokens"
damaged tokenizer.json '.normalizer = null' "$other_tokens"
damaged tokenizer.json 'del(.decoder)' "'decoder' is not the donor's with the new tokens"
damaged tokenizer_config.json 'del(.added_tokens_decoder["2052"])' "tokenizer_config.json of damaged is not the donor's with the new tokens"
damaged organ/vocabulary_add.json '.tokens[1].kind = "special"' "the tokens that the report lists are 16 new ones, not 18"
damaged organ/vocabulary_add.json '.tokens[1].text = " the"' "the tokens that the report lists cannot be added: damaged: line 2: ' the' is a token already"
damaged organ/vocabulary_add.json '.tokens[1].text = ""' "the tokens that the report lists cannot be added: damaged: line 2: '' has 0 bytes, not 1 to 512"
rm -rf damaged && cp -r larger damaged
jq --indent 7 . larger/tokenizer.json >damaged/tokenizer.json # another layout is no difference
ends 0 audit tiny-qwen2 damaged --quiet

# Threads and ISA do not matter; a second run adds to the first.
ORGAN_ISA=scalar ends 0 vocabulary tiny-qwen2 --add words.txt --special tags.txt -o again --threads 1 --quiet
for file in tokenizer.json tokenizer_config.json config.json model.safetensors; do
    judge "$file differs" cmp -s "larger/$file" "again/$file"
done
printf 'zzqqy\n' >more.txt
ends 0 vocabulary larger --add more.txt -o twice --quiet
judge "a second run" test "$(ids twice 'a hyperplane zzqqy' | jq 'any(. == 2050)')" = true

# The mark of the order of bytes is no part of the first token.
printf '\xef\xbb\xbfzzqqy\n' >marked.txt
ends 0 vocabulary tiny-qwen2 --add marked.txt -o marked --quiet
judge "a mark of the order of bytes" test "$(jq -r '.tokens[0].text' marked/organ/vocabulary_add.json)" = zzqqy

# Another tokenizer, and a plan.
ends 0 vocabulary llama --add more.txt --special tags.txt -o llama2 --quiet
new=$(jq .vocabulary.first llama2/organ/vocabulary_add.json)
judge "a token of llama" test "$(ids llama2 'zzqqy' | jq "any(. == $new)")" = true
# If a new merge makes a token that the model has, but that none of its merges makes, other texts may have this token too: a warning names it.
cp -rL tiny-qwen2 unmade && chmod -R u+w unmade && rm unmade/merges.txt unmade/vocab.json
jq '.model.merges |= map(select(. != "\u0120th e"))' tiny-qwen2/tokenizer.json >unmade/tokenizer.json
printf ' theqwzx\n' >list.txt
ends 0 vocabulary unmade --add list.txt -o remade
the=$(jq '.model.vocab["\u0120the"]' unmade/tokenizer.json)
says "new merges make 1 token of unmade, such as $the 'Ġthe': texts without new tokens change where they now have it"
judge "tokens that are reused" test "$(jq -c '.reused, (.warnings | length)' remade/organ/vocabulary_add.json | tr -d '\n')" = "[{\"id\":$the,\"text\":\"Ġthe\"}]1"
judge "the reused token" test "$(ids unmade 'a the' | jq 'length') $(ids remade 'a the' | jq -c .)" = "3 $(ids tiny-qwen2 'a the')"
ends 0 audit unmade remade
judge "no token is reused" test "$(jq -c '.reused, .warnings' larger/organ/vocabulary_add.json | tr -d '\n')" = "[]null"

# SentencePiece puts a blank before a text, but not before the pieces of a new token; characters that bytes write become parts.
cp -r llama pieces && cp "$model/../tokenizers/llama2.json" pieces/tokenizer.json && echo '{}' >pieces/tokenizer_config.json
for file in config.json generation_config.json; do jq '.bos_token_id = 1 | .eos_token_id = 2' llama/$file >pieces/$file; done
printf ' hyperplane\nw\xc3\xb6rld\n' >sentence.txt
printf '<tool>\n<two words>\n<mark\xe2\x96\x81>\n' >blank.txt
ends 0 vocabulary pieces --add sentence.txt --special blank.txt -o pieces2 --quiet
judge "the first piece of a special token is not '<'" test "$(jq '[.tokens[2:4][].pieces[0]] | unique | length' pieces2/organ/vocabulary_add.json)$(
    jq '.tokens[2].pieces[0]' pieces2/organ/vocabulary_add.json)" = "1$(jq '.model.vocab["<"]' pieces/tokenizer.json)"
judge "a special token after a letter" test "$(ids pieces2 'a<two words>' | jq '.[-1]')" = 903
ends 0 audit pieces pieces2
prints "Passed: "
before=$(inventory)
ends 0 vocabulary tiny-qwen2 --add words.txt -o none --dry-run --json
judge "a dry run lists no tokens" test "$(jq '.dry_run and (.tokens | length > 4)' ../out)" = true
judge "a dry run writes" test "$(inventory)" = "$before"

# ---- refusals ----
# listed TEXT MESSAGE: a list with this text is refused.
listed() {
    printf "$1" >list.txt
    refused 3 "list.txt: $2" vocabulary tiny-qwen2 --add list.txt -o made
}
listed '' "is empty"
listed '\xef\xbb\xbf' "is empty"
listed 'abcqz\n\nxyzzy\n' "line 2 is empty"
listed 'abcqz\nxyz\xff\n' "line 2 is no text in UTF-8"
listed 'ab\0c\n' "line 1 is no text in UTF-8"
listed 'qwzx\nabcqz\nqwzx\n' "line 3: 'qwzx' is that of line 1 of list.txt, too"
listed 'qwzx\n the\n' "line 2: ' the' is a token already:"
listed '<|endoftext|>\n' "line 1: '<|endoftext|>' is a token already: 2047"
listed 'two words\n' "line 1: 'two words' cannot occur: the tokenizer splits it into"
listed "$(head -c 600 /dev/zero | tr '\0' q)\n" "line 1 has 600 bytes, but a token has at most 512"
# Parts are bounded: each of these tokens has hundreds, of hundreds of bytes. So is their memory.
awk 'BEGIN { srand(7); for (n = 0; n < 160; n++) { line = " "; for (k = 0; k < 511; k++) line = line sprintf("%c", 97 + int(26 * rand())); print line } }' >list.txt
refused 2 "the new tokens and their parts" vocabulary tiny-qwen2 --add list.txt -o made --memory 32M
refused 3 "new tokens and their parts are at most 1048576, of 16777216 bytes" vocabulary tiny-qwen2 --add list.txt -o made --memory 2G
printf 'qwzx\n' >list.txt
refused 3 "list.txt: line 1: 'qwzx' is that of line 2 of words.txt, too" vocabulary tiny-qwen2 --add words.txt --special list.txt -o made
refused 2 "--add writes a model" vocabulary tiny-qwen2 --add words.txt
refused 2 "--add adds tokens: it excludes --keep-all" vocabulary tiny-qwen2 --add words.txt --keep-all -o made
refused 2 "--special adds tokens: it excludes --text" vocabulary tiny-qwen2 --special tags.txt --text words.txt -o made
refused 2 "config.json" vocabulary tiny-qwen2 --add words.txt -o one.safetensors
refused 4 "gone.txt" vocabulary tiny-qwen2 --add gone.txt -o made
refused 3 "is GGUF and has no tokenizer.json" vocabulary tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --add words.txt -o made
refused 2 "larger" vocabulary tiny-qwen2 --add words.txt -o larger
cp -rL tiny-qwen2 other && chmod -R u+w other
jq '.vocab_offset = 2048' tiny-qwen2/config.json >other/config.json
refused 3 "vocab_offset is 2048" vocabulary other --add words.txt -o made
jq '.model.type = "WordPiece"' tiny-qwen2/tokenizer.json >other/tokenizer.json
refused 3 "WordPiece" vocabulary other --add words.txt -o made
finish
