#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the memory of `organ serve` for models of very many tensors and 24 clients at once: it is limited and freed again, all clients share one
# reading of a model, pages of a list end, and lists do not wait for readings.
#
#   TENSORS=1000000 ROUNDS=8 tests/serve/check_serve_memory.sh     the long form; its figures precede the last line (`ninja soak-serve`)
. "$(dirname "$0")/../kit/serve_kit.sh"

tensors=${TENSORS:-100000}
rounds=${ROUNDS:-1}
clients=24
patience=300 # of the clients; an answer that takes this long is none
# The limit for the server's memory: its own size, and for each tensor what reading a model takes. Under a sanitizer both are larger, and freed memory
# stays in quarantine (tests/run_tests.sh sets its size).
times=1 quarantine=0
[[ -n ${ASAN_OPTIONS:-} ]] && times=4 quarantine=$((32 << 20))
limit=$(((60000000 + 300 * tensors) * times))

# safetensors FILE: makes a file with the header on stdin, without data.
safetensors() {
    local length k bytes=
    cat >../header
    length=$(stat -c %s ../header)
    for ((k = 0; k < 8; k++)); do bytes+=$(printf '\\x%02x' $((length >> (8 * k) & 255))); done
    { printf '%b' "$bytes" && cat ../header; } >"$1"
}
# memory FIELD: prints VmRSS or VmHWM of the server in bytes.
memory() { awk -v field="$1:" '$1 == field { print $2 * 1024 }' "/proc/$server/status"; }
metric() { http GET /metrics && sed -n "s/^$1 //p" "$answer" | tr -d '\r'; }
below() { here="$1" && if (($2 < $3)); then good; else bad "is $2, but must be below $3"; fi; }

mkdir root root/long
awk -v n="$tensors" 'BEGIN { printf "{"; for (k = 0; k < n; k++) printf "%s\"t%07d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", k ? "," : "", k
    printf "}" }' </dev/null | safetensors root/many.safetensors
# The names are 4,000 bytes long.
awk 'BEGIN { long = sprintf("%4000s", ""); gsub(/ /, "x", long); printf "{"
    for (k = 0; k < 600; k++) printf "%s\"%03d%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", k ? "," : "", k, long
    printf "}" }' </dev/null | safetensors root/long/names.safetensors

# ---- a list does not wait for the reading of a model ----
serve --shelf 300M
gives 200 GET /api/v1/models/long%2Fnames.safetensors # starts the process that reads models
readers=$(cat "/proc/$server/task/"*/children)
# shellcheck disable=SC2086 # a list of words
judge "no process reads models" kill -STOP $readers
gives 200 GET /api/v1/models
has '"pending":true'
# shellcheck disable=SC2086 # a list of words
kill -CONT $readers

# ---- 24 clients, one reading ----
# client NUMBER: requests pages in every order, the model, and the list; prints the requests that failed.
client() {
    local k sorts=(file name bytes layer -file -name)
    answer=../answer.$1
    for ((k = 0; k < rounds; k++)); do
        http GET "/api/v1/models/many.safetensors/tensors?limit=1000&offset=$(($1 * 1000))&sort=${sorts[$((($1 + k) % 6))]}"
        [[ $status == 200 ]] && grep -qF "\"total\":$tensors," "$answer" || echo "page: $status"
        http GET /api/v1/models/many.safetensors
        [[ $status == 200 ]] && grep -qF "\"tensors\":$tensors" "$answer" || echo "model: $status"
        http GET /api/v1/models
        [[ $status == 200 ]] || echo "list: $status"
    done
}
crowd() {
    local k pids=() began=${EPOCHREALTIME/[.,]/}
    for ((k = 0; k < clients; k++)); do
        client $k >"../said.$k" &
        pids+=($!)
    done
    wait "${pids[@]}"
    here="$clients clients at once"
    cat ../said.* >../failures
    judge "$(sort ../failures | uniq -c)" test ! -s ../failures
    figures+=("$1: $clients clients, $((3 * rounds * clients)) requests in $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms; memory at most $(($(memory VmHWM) / 1000000)) MB, now $(($(memory VmRSS) / 1000000)) MB")
}
figures=("$tensors tensors, $(stat -c %s root/many.safetensors) bytes")
crowd "first look"
below "memory at most" "$(memory VmHWM)" $limit
reads=$(metric organ_models_read_total)
here="24 clients that asked for one model"
judge "it was read $reads times" test "$reads" -le 2 # the other one is that of the long names, for the list
# A file that changes while it is served is read again, in the memory of the old list.
touch root/many.safetensors
crowd "after a change"
below "memory at most, after a change" "$(memory VmHWM)" $limit
here="24 clients that asked for a changed model"
judge "it was read $(($(metric organ_models_read_total) - reads)) times" test "$(metric organ_models_read_total)" -le $((reads + 2))
# The server keeps the list only; a request for a page leaves nothing in memory.
kept=$(metric organ_shelf_bytes)
below "memory that stays" "$(memory VmRSS)" $((kept + (limit - kept) / 2 + quarantine))

# ---- pages end, and together they contain every tensor ----
offset=0 seen=0 pages=0
while [[ $offset != null ]]; do
    gives 200 GET "/api/v1/models/long%2Fnames.safetensors/tensors?limit=1000&offset=$offset"
    below "bytes of a page" "$(stat -c %s "$answer")" 1100000
    seen=$((seen + $(grep -o '"name":"[0-9][0-9][0-9]xxx' "$answer" | wc -l)))
    offset=$(sed -n 's/.*"next":\([0-9a-z]*\)}$/\1/p' "$answer")
    ((++pages > 9)) && break
done
here="600 long names"
judge "$seen came on $pages pages" test "$seen $pages" = "600 3"
kill -TERM "$server" && wait "$server"
judge "ends with $?" test $? -eq 0

# ---- an error says that --shelf is too small ----
serve --shelf 3M
gives 507 GET /api/v1/models/many.safetensors
has 'more than the limit (--shelf 3M)'
gives 200 GET /api/v1/models/long%2Fnames.safetensors
kill -TERM "$server" && wait "$server"
server=
printf '%s\n' "${figures[@]}"
finish
