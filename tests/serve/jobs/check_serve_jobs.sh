#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests jobs over HTTP: started, followed, cancelled, resumed, and continued while servers end and restart. Their outputs are compared with those of
# the program without a server.
. "$(dirname "$0")/../../kit/serve_kit.sh"

mkdir -p root/models root/out
cp -r "$model" root/models/tiny
echo secret >outside
ln -s ../outside root/leak
mkdir root/models/linked && cp root/models/tiny/config.json root/models/linked && ln -s ../../../outside root/models/linked/model.safetensors

# prune OUTPUT [MORE]: starts a job that takes some time; sets $id. $as is a further header of the request.
prune() {
    gives 201 POST /api/v1/jobs "{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/tiny\",\"output\":\"$1\",\"block-size\":16,\"iterations\":$iterations${2:-}}}" \
        "${as:-}"
    id=$(member id)
}
is_in() { http GET "/api/v1/jobs/$id" '' "${as:-}" && [[ $(member state) == "$1" ]]; }
# reaches STATE: waits until the job is in this state.
reaches() {
    await is_in "$1" && good && return
    bad "is not $1" ../answer
}
# caught OUTPUT: starts a job and stops it after part of its work, so that it can be resumed and no test depends on the speed of this script. A job that
# ends before is started again. `kill -CONT $job` continues it.
caught() {
    local tries
    for tries in {1..20}; do
        prune "$1"
        await grep -qs '"tensor":"' "root/.organ/jobs/$id/events.jsonl" || bad "job $id does not begin"
        job=$(jq .process.pid "root/.organ/jobs/$id/job.json")
        if kill -STOP "$job" 2>/dev/null && [[ ! -e root/$1 ]]; then return; fi
        echo "try $tries: the job was over"
        await is_in done
        http DELETE "/api/v1/jobs/$id" '' "${as:-}"
        rm -rf "root/$1"
    done
    bad "no job is caught"
}
# same OUTPUT: checks that it equals the output of the program without a server.
same() { judge "$1 has other bytes" diff -r -x organ expected "root/$1"; }

iterations=250
"$organ" prune root/models/tiny -o expected --block-size 16 --iterations $iterations --quiet >/dev/null || bad "cannot be pruned at all"

# ---- a job from its start to its end ----
serve
prune out/a
has "Location: /api/v1/jobs/$id"
gives 200 GET "/api/v1/jobs/$id/events"
has 'Content-Type: text/event-stream'
has 'data: {"event":"begin","what":"pruning"'
has '"tensor":"model.layers.0.self_attn.q_proj.weight"'
has '"state":"done"'
last=$(sed -n 's/^id: \([0-9]*-end\)$/\1/p' ../answer | tail -n 1)
middle=$(sed -n 's/^id: \([0-9]*\)$/\1/p' ../answer | sed -n 3p)
gives 204 GET "/api/v1/jobs/$id/events" '' "Last-Event-ID: $last"
gives 200 GET "/api/v1/jobs/$id/events" '' "Last-Event-ID: $middle"
judge "what was seen comes again" test "$(grep -c '"event":"begin","what":"pruning"' ../answer)" -eq 0
has '"state":"done"'
same out/a
gives 200 GET "/api/v1/jobs/$id/result"
has '"schema": "organ.prune/1"'
# --memory auto: half of the free memory, divided by the jobs, within --job-memory (4 GiB).
judge "the job has no share of the memory" jq -e '.run.memory_auto | .limit > 0 and .limit <= 4294967296 and .ceiling <= .limit' "root/.organ/jobs/$id/result.json"
gives 200 GET "/api/v1/jobs/$id/report"
has '<!doctype html>'
has 'sandbox allow-scripts'
gives 200 GET "/api/v1/jobs/$id/log"
gives 200 GET /metrics
has 'organ_jobs{state="done"} 1'
gives 200 GET '/api/v1/jobs?state=done&limit=1'
has '"total":1'
gives 400 GET '/api/v1/jobs?state=sleeping'
gives 204 DELETE "/api/v1/jobs/$id"
gives 404 GET "/api/v1/jobs/$id"
judge "the output went with the record" test -f root/out/a/config.json
gives 200 GET /api/v1/openapi.json
has '"JobOfPrune"'
gives 200 GET /api/v1/verbs/lora%20merge
has '"name":"adapter"'
gives 404 GET /api/v1/verbs/serve

# ---- hidden states in a directory of the server ----
gives 201 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"out/spilled","method":"wanda","sparsity":50,
    "calibration":"models/tiny/calibration.txt","samples":8,"context":64,"targets":"*.0.self_attn.*_proj.weight","scratch":"out"}}'
id=$(member id)
reaches done
"$organ" prune root/models/tiny -o held --method wanda --sparsity 50 --calibration root/models/tiny/calibration.txt --samples 8 --context 64 \
    --select '*.0.self_attn.*_proj.weight' --quiet >/dev/null || bad "cannot be pruned without a server"
judge "out/spilled has other bytes" diff -r -x organ held root/out/spilled

# ---- a failed job gives the reason ----
gives 201 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"out"}}'
id=$(member id)
reaches failed
has '"exit_code":3'
has 'no model here'
gives 409 GET "/api/v1/jobs/$id/result"

# ---- inspect --untrusted on a download; findings are a result, not a failure ----
gives 201 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"models/tiny","untrusted":true}}'
id=$(member id)
reaches done
gives 200 GET "/api/v1/jobs/$id/result"
has '"verdict": "clean"'
mkdir root/download && echo 'import os' >root/download/x.py
gives 201 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"download","untrusted":true}}'
id=$(member id)
reaches done
has '"exit_code":1'
gives 200 GET "/api/v1/jobs/$id/result"
has 'it is Python source'
rm -r root/download

# ---- cancelled and resumed with the same bytes; no other job can take the output meanwhile ----
caught out/b
gives 409 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"out"}}'
has 'belongs to job'
gives 409 POST /api/v1/jobs '{"verb":"purify","arguments":{"MODEL":"out/a","method":"fft","output":"models/tiny"}}'
gives 202 DELETE "/api/v1/jobs/$id"
kill -CONT "$job"
reaches cancelled
has '"resumable":true'
judge "half a model is there" test ! -e root/out/b
gives 202 POST "/api/v1/jobs/$id/resume"
gives 200 GET "/api/v1/jobs/$id/events"
has '"state":"done"'
same out/b
judge "it began anew" grep -q '"resumed": true' root/out/b/organ/prune.json

# ---- the server is killed, the job continues ----
caught out/c
second=$("$organ" serve --root root --listen 127.0.0.1:0 2>&1 </dev/null)
judge "a second server has the same root: $second" grep -q 'another server uses this directory' <<<"$second"
kill -CONT "$job" # or the system would tell it that nobody can let it go on any more
kill -9 "$server" && wait "$server" 2>/dev/null
serve
gives 200 GET "/api/v1/jobs/$id/events"
has '"state":"done"'
has '"exit_code":0'
same out/c

# ---- server and job are killed ----
caught out/d
kill -9 "$server" && wait "$server" 2>/dev/null
kill -9 "$job"
serve --job-memory 1G
reaches interrupted
gives 202 POST "/api/v1/jobs/$id/resume"
reaches done
same out/d

# ---- paths out of the root ----
for path in leak ../outside /etc/passwd models/../../outside models/linked http://127.0.0.1/x .organ/jobs 'models\\u0000'; do
    http POST /api/v1/jobs "{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":\"$path\"}}"
    if [[ $status == 4?? && $status != 409 ]]; then good; else bad "gives $status" ../answer; fi
    if grep -q "$scratch" ../answer; then bad "tells where the root is" ../answer; else good; fi
done
for path in leak leak/x ../x /tmp/x .organ/x models/linked/model.safetensors; do
    http POST /api/v1/jobs "{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/tiny\",\"output\":\"$path\",\"force\":true}}"
    if [[ $status == 403 || $status == 422 ]]; then good; else bad "gives $status" ../answer; fi
done
judge "something outside was changed" test "$(cat outside)" = secret

# ---- jobs do not delete, replace or extend models ----
find root/models/tiny -type f -exec sha256sum {} + | sort >before
gives 409 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"models/tiny/model.safetensors"}}'
has 'is in the directory of a model'
mkdir root/theirs && cp -r root/models/tiny root/theirs/model
gives 409 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"theirs/model","force":true}}'
has 'was not written by a job of this server'
gives 201 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"theirs/model","force":true,"dry-run":true}}'
for sparsity in 20 30 40; do # the second and third replace what a job has made
    gives 201 POST /api/v1/jobs "{\"verb\":\"prune\",\"arguments\":{\"DONOR\":\"models/tiny\",\"output\":\"out/again\",\"method\":\"magnitude\",\"sparsity\":$sparsity,\"force\":true}}"
    id=$(member id)
    reaches done
done
judge "the last job's output is not there" grep -q '"sparsity": 40' root/out/again/organ/*.json
judge "a model was changed" diff before <(find root/models/tiny -type f -exec sha256sum {} + | sort)
judge "another model was changed" diff -r root/models/tiny root/theirs/model
gives 415 POST /api/v1/jobs
gives 422 POST /api/v1/jobs '{"verb":"serve","arguments":{"root":"/"}}'
gives 422 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"o","sparsity":130,"oops":1}}'
has '{"field":"/arguments/sparsity","detail":"is 130, but must be a number (above 0, below 100)"}'
has '"/arguments/oops"'
gives 422 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"models/tiny","output":"o","memory":"2G"}}'
has '"errors":[{"field":"/arguments/memory","detail":"the job requests 2G (2147483648 bytes), but the limit of this server is 1G (--job-memory)"}]'
iterations=4000 # the server ends before
if sampled; then iterations=600; fi
caught out/e
kill -CONT "$job"
kill -TERM "$server" && wait "$server"
judge "ends with $?" test $? -eq 0
judge "says nothing of the job that goes on" grep -q '1 running and 0 waiting jobs are left' ../serve
serve
reaches done
kill -TERM "$server" && wait "$server"
judge "ends with $?" test $? -eq 0

# ---- a truncated result is shown by whole lines ----
serve --job-output 64K
gives 201 POST /api/v1/jobs '{"verb":"measure","arguments":{"MODEL":["models/tiny","out/e"],"tensors":true}}'
id=$(member id)
reaches done
gives 200 GET "/api/v1/jobs/$id/result"
has '"cut":true'
has '"beginning":"{\n  \"schema\": \"organ.measure/1\",\n'
kill -TERM "$server" && wait "$server"

# ---- clients that only read keep nobody from cancelling a job ----
# One network may have 32 connections: 4 streams of events for one token, 8 of one job, and 28 connections of tokens that only read.
printf '%s\n' "alice run alice-alice-alice-alice" "bob read bob-bob-bob-bob-bob" "carol read carol-carol-carol" "dave read dave-dave-dave-dave" >../tokens
chmod 600 ../tokens
serve --token-file ../tokens --connections 64 --per-address 32 --timeout 600
alice="Authorization: Bearer alice-alice-alice-alice" bob="Authorization: Bearer bob-bob-bob-bob-bob"
carol="Authorization: Bearer carol-carol-carol" dave="Authorization: Bearer dave-dave-dave-dave"
as=$alice
caught out/f
# holds HEADER PATH: sends a request on a connection that stays open, and reads the first line of the answer to $status.
held=()
holds() {
    local s line
    here="GET $2 ($1)"
    exec {s}<>"/dev/tcp/127.0.0.1/$port" || { bad "no connection" && return; }
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n' "$2" "$1" >&"$s"
    read -r -t 60 line <&"$s"
    status=${line:9:3}
    held+=("$s")
}
for who in "$bob" "$bob" "$bob" "$bob" "$carol" "$carol" "$carol" "$carol"; do
    holds "$who" "/api/v1/jobs/$id/events"
    judge "gives $status" test "$status" = 200
done
gives 429 GET "/api/v1/jobs/$id/events" '' "$bob"
has "the token 'bob' has 4 streams of events open; the limit is 4"
has "Retry-After: 5"
gives 429 GET "/api/v1/jobs/$id/events" '' "$dave"
has "8 streams of the events of job '$id' are open; the limit is 8"
gives 200 GET /metrics '' "$bob"
has "organ_job_token_streams 4"
has "organ_job_streams 8"
for k in {9..28}; do
    holds "$dave" /healthz
    judge "connection $k gives $status" test "$status" = 200
done
gives 429 GET /healthz '' "$dave"
has "the other connections are reserved for tokens with the role run; 'dave' has the role read"
holds "$dave" /healthz
judge "gives $status" test "$status" = 429
gives 200 GET "/api/v1/jobs/$id" '' "$alice"
gives 202 DELETE "/api/v1/jobs/$id" '' "$alice"
kill -CONT "$job"
reaches cancelled
for s in "${held[@]}"; do exec {s}>&-; done
# A stream that its client has closed counts no more.
reads_events() { http GET "/api/v1/jobs/$id/events" '' "$bob" && [[ $status == 200 ]]; }
if await reads_events; then good; else bad "the streams are not free again" "$answer"; fi
kill -TERM "$server" && wait "$server"

# ---- requests that wait for a model keep nobody from cancelling a job either ----
# 256 requests may wait, 224 of them of tokens that only read. The process that reads models is stopped, so that they wait.
serve --token-file ../tokens --connections 512 --per-address 512 --timeout 600
caught out/g
cp -r "$model" root/models/second
gives 200 GET /api/v1/models/models/tiny '' "$bob"
job_reader() { local p; for p in $(cat /proc/"$server"/task/*/children); do [[ $p != "$job" ]] && reader=$p; done; [[ -n ${reader:-} ]]; }
await job_reader && kill -STOP "$reader"
held=()
waits() { http GET /metrics '' "$alice" && [[ $(sed -n 's/^organ_http_waiting_requests \([0-9]*\).*/\1/p' "$answer") -ge $1 ]]; }
for k in {1..224}; do
    exec {s}<>"/dev/tcp/127.0.0.1/$port" && held+=("$s")
    printf 'GET /api/v1/models/models/second HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n' "$bob" >&"$s"
done
if await waits 224; then good; else bad "the requests do not wait" "$answer"; fi
gives 503 GET /api/v1/models/models/second '' "$bob"
has "too many requests are waiting for the disk"
gives 202 DELETE "/api/v1/jobs/$id" '' "$alice"
kill -CONT "$job" "$reader"
for s in "${held[@]}"; do exec {s}>&-; done
reaches cancelled
kill -TERM "$server" && wait "$server"
as=
server=
finish
