#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests runs in a system that is not the usual one: files of other users, an output above 4 GiB, more threads than cores, two downloads into one
# cache, a clock that steps back. Ends with the line "N passed, N failed".
# A file system in memory may give a hole a block of 2 MiB.
if [[ ${TMPDIR:-} == /dev/shm* ]]; then export TMPDIR=/var/tmp; fi
. "$(dirname "$0")/../kit/serve_kit.sh"
checks=$golden/../../build/checks
quick=(-s 30 --method magnitude)

# ---- files of other users: a run of a user who is not root ----
cp -rL tiny-qwen2 model && chmod -R u=rwX,go=rX model
cp -r model closed && chmod 700 closed
cp -r model shard && chmod 600 shard/model-00002-of-00003.safetensors
cp -r model config && chmod 600 config/config.json
mkdir locked mine
"$organ" prune model -o locked/old "${quick[@]}" --quiet >/dev/null
"$organ" convert model --to gguf -o locked/old.gguf --quiet >/dev/null
as=()
if [[ $(id -u) == 0 ]] && setpriv --reuid=65534 --regid=65534 --clear-groups true 2>../err; then
    # The user may not open the folders above, so that it gets a copy of the program and the paths are relative.
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    cp "$organ" ../organ && chmod 755 ../organ . && chmod 711 ..
    cp -r locked/old locked/old.gguf mine && chown 65534:65534 mine
    user=../organ
elif [[ $(id -u) != 0 ]]; then
    chmod 0 closed shard/model-00002-of-00003.safetensors config/config.json
    chmod 555 locked
    user=$organ
else
    echo "skipped: files of other users: $(head -n 1 ../err)"
    user=
fi
# denied TEXT ARGS...: the user's run ends with 4, names the path in the first line of stderr and changes no file.
denied() {
    local before
    here="as another user: organ ${*:2}"
    before=$(inventory 2>../unlisted)
    "${as[@]}" "$user" "${@:2}" --quiet >../out 2>../err </dev/null
    code=$?
    judge "ends with $code instead of 4" test $code = 4
    says "$1"
    judge "something was left behind or changed" test "$(inventory 2>../unlisted)" = "$before"
}
if [[ -n $user ]]; then
    for input in closed shard config; do
        case $input in closed) path=closed ;; shard) path=shard/model-00002-of-00003.safetensors ;; config) path=config/config.json ;; esac
        denied "error: $path: " inspect $input
        denied "error: $path: " prune $input -o mine/new "${quick[@]}"
        denied "error: $path: " quantize $input -s int8-channel -o mine/new
        denied "error: $path: " convert $input --to gguf -o mine/new.gguf
        denied "error: $path: " measure $input --json
        denied "error: $path: " extract $input -o mine/new
    done
    denied locked/ prune model -o locked/new "${quick[@]}"
    denied locked/ quantize model -s int8-channel -o locked/new
    denied locked/ convert model --to gguf -o locked/new.gguf
    denied locked/ measure model -o locked/new
    denied locked/ extract model -o locked/new
    denied locked/ inspect model --html locked/new.html
    denied locked/ prune model -o locked/old "${quick[@]}" --force
    denied locked/ convert model --to gguf -o locked/old.gguf --force
    "${as[@]}" "$user" prune model -o mine/new "${quick[@]}" --quiet >../out 2>../err </dev/null
    judge "a user's run in a folder of its own ends with $?" test $? = 0
fi
if [[ ${#as[@]} != 0 ]]; then
    # In its own folder a user may rename, but not empty, the folder of somebody else.
    here="as another user: organ prune --force over an output of root"
    "${as[@]}" "$user" prune model -o mine/old -s 60 --method magnitude --force --quiet >../out 2>../err </dev/null
    code=$?
    judge "ends with $code instead of 4" test $code = 4
    says "mine/.old.organ-partial"
    judge "the new output is not complete" "$organ" audit model mine/old --quiet >/dev/null
    judge "the old output lost a file" test "$(find mine/.old.organ-partial -type f -user root | wc -l)" = "$(find locked/old -type f | wc -l)"
    here="as another user: organ convert --force over a file of root"
    "${as[@]}" "$user" convert model --to gguf -o mine/old.gguf --force --quiet >../out 2>../err </dev/null
    judge "ends with $?" test $? = 0
    same "the GGUF file is another" mine/old.gguf locked/old.gguf
fi
chmod -R u+rwX . && rm -rf closed shard config locked mine ../organ

# ---- an output above 4 GiB: the first tensor is a hole, the others lie above ----
rows=$(((1 << 15) + 8))
first=$((rows * (1 << 17)))
header='{"model.embed_tokens.weight":{"dtype":"F16","shape":['$rows',65536],"data_offsets":[0,'$first']}'
header+=',"model.layers.0.mlp.up_proj.weight":{"dtype":"F16","shape":[64,64],"data_offsets":['$first','$((first + 8192))']}}'
little='{"model.layers.0.mlp.up_proj.weight":{"dtype":"F16","shape":[64,64],"data_offsets":[0,8192]}}'
# starts FILE HEADER: writes the beginning of a safetensors file.
starts() {
    # shellcheck disable=SC2059 # the format is a list of escapes
    printf "$(printf '\\x%02x' $((${#2} & 255)) $((${#2} >> 8)))\0\0\0\0\0\0%s" "$2" >"$1"
}
starts big.safetensors "$header" && starts small.safetensors "$little"
truncate -s $((8 + ${#header} + first)) big.safetensors
# Little-endian FP16 numbers from 1 to 2, as bytes of a text: 0x3c to 0x3f are '<' to '?'.
numbers=
for k in {0..4095}; do
    printf -v number '\\x%02x<' $((k * 37 % 101 + 20))
    numbers+=$number
done
printf %b "$numbers" >../numbers
cat ../numbers >>big.safetensors && cat ../numbers >>small.safetensors
if (($(stat -c '%b * %B' big.safetensors) > 1 << 24)); then
    echo "skipped: an output above 4 GiB: the file system of $scratch has no holes"
else
    up=(--select '*up_proj*' "${quick[@]}" --quiet)
    ends 0 prune small.safetensors -o little.safetensors "${up[@]}"
    LD_PRELOAD=$checks/holes.so ends 0 prune big.safetensors -o large.safetensors "${up[@]}"
    judge "the size is another" test "$(stat -c %s large.safetensors)" = "$(stat -c %s big.safetensors)"
    judge "the output has blocks for a hole" test "$(stat -c %b large.safetensors)" -lt 4096
    judge "the tensor above 4 GiB is not that of the small model" cmp -s <(tail -c 8192 large.safetensors) <(tail -c 8192 little.safetensors)
    judge "nothing was pruned" test "$(tail -c 8192 large.safetensors | cmp -s - ../numbers && echo same)" = ""
    ends 0 inspect large.safetensors --tensors --json
    judge "the offset is wrong" jq -e ".tensors[] | select(.name | test(\"up_proj\")) | .offset == $((8 + ${#header} + first))" ../out >/dev/null
fi
rm -f big.safetensors large.*

# ---- more threads than cores: the same bytes ----
# threaded VERB...: runs the verb with 1, 64 and 96 threads; {} in the arguments becomes the output, whose name begins with the verb.
threaded() {
    local threads
    for threads in 1 64 96; do
        ends 0 "${@//\{\}/$1-$threads}" --threads $threads --quiet --json
        judge "with other than $threads threads" jq -e ".run.threads == $threads" ../out >/dev/null
        jq -S 'del(.run)' ../out >"../$1-$threads.json"
    done
}
threaded prune model -o '{}' --iterations 2 --block-size 64
threaded quantize model -s int4-group32 -o '{}'
threaded convert model --to gguf --dtype q4_0 -o '{}.gguf'
threaded measure model --tensors
for threads in 64 96; do
    for verb in prune quantize; do judge "$threads threads $verb other bytes" diff -r -x organ "$verb-1" "$verb-$threads"; done
    same "$threads threads convert other bytes" convert-1.gguf convert-$threads.gguf
    same "$threads threads measure other numbers" ../measure-1.json ../measure-$threads.json
done
rm -rf prune-* quantize-* convert-*

# ---- two downloads into one cache ----
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME HF_TOKEN HF_TOKEN_PATH HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_IMPLICIT_TOKEN http_proxy
export HOME=$PWD/../user HF_HOME=$PWD/../user/hf
mkdir -p "$HOME" ../hub/tiny && cp -r model ../hub/tiny/qwen2
"$checks/hub_server" ../hub >../where &
server=$!
says_where ../where || bad "the server does not start" ../where
export HF_ENDPOINT=http://127.0.0.1:$port
big=model-00002-of-00003.safetensors
echo hold >../hub/manners
"$organ" fetch "hf:tiny/qwen2/$big" --cache --quiet >../first.out 2>../first.err </dev/null &
first_run=$!
asked_for() { grep -qs "^cdn GET .*$big" ../hub/log || ! kill -0 $first_run 2>/dev/null; }
await asked_for
ends 0 fetch hf:tiny/qwen2/config.json --cache --quiet # another file of the same model
ends 4 fetch "hf:tiny/qwen2/$big" --cache --quiet
says "another process"
judge "the first download did not wait" kill -0 $first_run
rm ../hub/manners
wait $first_run
code=$?
here="two downloads into one cache"
if [[ $code == 0 ]]; then good; else bad "the first ends with $code" ../first.err; fi
snapshot=$(find "$HF_HOME/hub/models--tiny--qwen2/snapshots" -mindepth 1 -maxdepth 1)
judge "the file is another" cmp -s "$snapshot/$big" "model/$big"
judge "the other file is another" cmp -s "$snapshot/config.json" model/config.json
: >../hub/log
ends 0 fetch "hf:tiny/qwen2/$big" --cache --json
judge "it is downloaded again" test "$(grep -c ^cdn ../hub/log)" = 0
# Two downloads of all files end well, unless one meets a file that the other is downloading; then it names the file.
rm -rf "$HF_HOME"
runs=()
for k in 0 1; do
    "$organ" fetch hf:tiny/qwen2 --cache --quiet >../out$k 2>../err$k </dev/null &
    runs+=($!)
done
for k in 0 1; do
    wait "${runs[k]}"
    code=$?
    [[ $code == 4 ]] && grep -q "another process downloads this file" ../err$k && code=0
    judge "download $k ends with $code: $(head -n 1 ../err$k)" test $code = 0
done
ends 0 fetch hf:tiny/qwen2 --cache --quiet
judge "the snapshot is another" diff -r "$HF_HOME/hub/models--tiny--qwen2/snapshots/${snapshot##*/}" model
judge "a part is left" test -z "$(find "$HF_HOME" -name '*.part' -o -name '*.incomplete')"
kill $server && wait $server 2>/dev/null
server=

# ---- a clock that steps back: journals ----
back=(LD_PRELOAD="$checks/wrong_clock.so" CLOCK_START=1700000000 CLOCK_STEP=-86400)
long=(prune model --block-size 64 --iterations 20 --threads 1)
ends 0 "${long[@]}" -o whole --quiet
interrupted INT later "${long[@]}" -o later
judge "it ends with $code instead of 130" test "$code" = 130
done_before=$(wc -l <.later.organ-partial/organ/journal.jsonl)
export "${back[@]}"
ends 0 "${long[@]}" -o later --resume --quiet
judge "the resumed output is another" diff -r -x organ whole later
judge "it began anew" jq -e '.run.resumed' later/organ/prune.json >/dev/null
judge "the journal had nothing" test "$done_before" -gt 1
judge "the clock is right" grep -q '2023-11-1' later/organ/prune.json
interrupted INT sooner "${long[@]}" -o sooner
unset LD_PRELOAD CLOCK_START CLOCK_STEP
ends 0 "${long[@]}" -o sooner --resume --quiet
judge "the output of a run from a later time is another" diff -r -x organ whole sooner

# ---- a clock that steps back: jobs of a server ----
mkdir -p root && cp -rL "${model%/*}/tiny-moe" root/moe
is_in() { http GET "/api/v1/jobs/$1" && [[ $(member state) == "$2" ]]; }
listed() { http GET '/api/v1/jobs?limit=100' && sed 1,/^.$/d "$answer" | jq -r '.jobs[].id'; }
# jobs COUNT: runs jobs in turn; their ids are in $ids, the newest first.
jobs() {
    local k id
    for ((k = 0; k < $1; k++)); do
        gives 201 POST /api/v1/jobs '{"verb":"measure","arguments":{"MODEL":["moe"],"tensors":true}}'
        id=$(member id)
        judge "the id $id is taken" test -n "$id" -a "${ids/$id/}" = "$ids"
        ids="$id${ids:+ $ids}"
        await is_in "$id" "done" || bad "job $id is not done" "$answer"
    done
}
for step in 0 -1; do
    ids=
    CLOCK_STEP=$step LD_PRELOAD=$checks/wrong_clock.so CLOCK_START=1700000000 serve
    jobs 3
    judge "the server's clock is right: $ids" test "${ids#2023111}" != "$ids"
    here="the jobs of a clock with steps of $step s"
    judge "a job is lost" test "$(listed | paste -sd ' ')" = "$ids"
    kill -TERM "$server" && wait "$server"
    # The next server's clock is a day behind.
    CLOCK_STEP=$step LD_PRELOAD=$checks/wrong_clock.so CLOCK_START=1699913600 serve
    jobs 1
    judge "a job of the server before is lost" test "$(listed | sort | paste -sd ' ')" = "$(tr ' ' '\n' <<<"$ids" | sort | paste -sd ' ')"
    kill -TERM "$server" && wait "$server"
    rm -rf root/.organ
done
# Retention: the oldest jobs go, though their times are the latest.
ids=
CLOCK_STEP=-1 LD_PRELOAD=$checks/wrong_clock.so CLOCK_START=1700000000 serve --keep-bytes 1M
jobs 6
some_are_gone() { left=$(listed | paste -sd ' ') && [[ $left != "$ids" ]]; }
await some_are_gone
here="the jobs of a server with a limit"
judge "not the oldest jobs went: $left of $ids" test -n "$left" -a "${ids#"$left "}" != "$ids"
kill -TERM "$server" && wait "$server"
server=
finish
