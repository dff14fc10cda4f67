#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests encrypted connections with certificates made here: errors before the server listens, requests of clients and jobs, and changes of certificate,
# tokens and audit log while the server runs. Needs curl and openssl.
. "$(dirname "$0")/../kit/serve_kit.sh"
here="the programs that this needs"
for program in curl openssl; do
    command -v "$program" >/dev/null || bad "$program is missing"
done
((failed)) && finish

# certificate NAME: makes a key and a self-signed certificate for this machine.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 2 -subj "/CN=$1" \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" 2>../made || bad "no certificate" ../made
    chmod 600 "$1.key"
}
mkdir -p root/models root/out
cp -r "$model" root/models/tiny
umask 077
certificate first
certificate second
printf 'alice run alice-alice-alice-alice\nbob read bob-bob-bob-bob-bob\n' >tokens

# ---- errors ----
echo junk >junk.pem
cp first.key open.key && chmod 644 open.key
cp first.key written.key && chmod 602 written.key
openssl ec -in first.key -aes256 -passout pass:secret -out locked.key 2>/dev/null
refused 2 --tls-key serve --root root --listen 127.0.0.1:0 --tls-cert first.pem
refused 2 --tls-cert serve --root root --listen 127.0.0.1:0 --tls-key first.key
refused 4 nowhere.pem serve --root root --listen 127.0.0.1:0 --tls-cert nowhere.pem --tls-key first.key
refused 4 nowhere.key serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key nowhere.key
refused 3 junk.pem serve --root root --listen 127.0.0.1:0 --tls-cert junk.pem --tls-key first.key
refused 3 junk.pem serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key junk.pem
refused 3 first.key serve --root root --listen 127.0.0.1:0 --tls-cert first.key --tls-key first.key
refused 3 locked.key serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key locked.key
refused 3 second.key serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key second.key
refused 3 0644 serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key open.key
refused 3 0602 serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key written.key
cp first.key root/inside.key
refused 2 root/inside.key serve --root root --listen 127.0.0.1:0 --tls-cert first.pem --tls-key root/inside.key
rm root/inside.key
refused 2 --token-file serve --root root --listen 0.0.0.0:0 --tls-cert first.pem --tls-key first.key

# ---- served ----
# serve_encrypted OPTION...: starts a server on $port.
serve_encrypted() {
    here="organ serve $*"
    : >../serve
    "$organ" serve --root root "$@" >/dev/null 2>../serve &
    server=$!
    says_where ../serve && return
    bad "does not serve" ../serve
    finish
}
# ask STATUS CA PATH [CURL OPTION...]: checks the status of a request; 000 means no connection.
ask() {
    here="${*:3}"
    local status
    status=$(curl -sS --max-time 120 --cacert "$2" -o "$answer" -D ../head -w '%{http_code}' "https://localhost:$port$3" "${@:4}" 2>../curl)
    if [[ $status == "$1" ]]; then good; else bad "gives $status instead of $1" ../curl; fi
}
alice=(-H 'Authorization: Bearer alice-alice-alice-alice')
bob=(-H 'Authorization: Bearer bob-bob-bob-bob-bob')
json=(-H 'Content-Type: application/json')
job='{"verb":"inspect","arguments":{"MODEL":"models/tiny"}}'
serve_encrypted --listen 0.0.0.0:0 --token-file tokens --tls-cert first.pem --tls-key first.key --audit-log audit --host localhost
ask 200 first.pem /healthz
ask 000 second.pem /healthz
ask 000 first.pem /healthz --tls-max 1.1
ask 200 first.pem /healthz --tlsv1.3
ask 401 first.pem /metrics
ask 200 first.pem /metrics "${alice[@]}"
ask 200 first.pem /files/models/tiny/model-00001-of-00003.safetensors "${bob[@]}"
judge "a download has other bytes" cmp -s "$answer" "$model/model-00001-of-00003.safetensors"
ask 206 first.pem /files/models/tiny/model-00001-of-00003.safetensors "${bob[@]}" -r 100-199
ask 200 first.pem /api/v1/models/models/tiny "${bob[@]}"
has '"architecture":"Qwen2ForCausalLM"'
ask 403 first.pem /api/v1/jobs "${bob[@]}" "${json[@]}" -d "$job"
ask 403 first.pem /api/v1/jobs "${alice[@]}" "${json[@]}" -H "Origin: http://localhost:$port" -d "$job"
ask 201 first.pem /api/v1/jobs "${alice[@]}" "${json[@]}" -H "Origin: https://localhost:$port" -d "$job"
id=$(member id)
ask 200 first.pem "/api/v1/jobs/$id/events" "${bob[@]}" -N
has '"state":"done"'
ask 204 first.pem /api/v1/login "${json[@]}" -d '{"token":"bob-bob-bob-bob-bob"}'
judge "the cookie is not for encrypted connections alone" grep -qi '^set-cookie: .*; secure' ../head
ask 200 first.pem /metrics -H "Cookie: $(sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\).*/\1/p' ../head)"
# organ itself as the client: it trusts the authorities of SSL_CERT_FILE. It runs in a directory of its own: in this one the server may still write about
# earlier requests and the ended job.
pems=$PWD
mkdir ../client
cd ../client || exit 1
shard="https://127.0.0.1:$port/files/models/tiny/model-00001-of-00003.safetensors"
SSL_CERT_FILE=$pems/first.pem ends 0 inspect "$shard" --header "${bob[1]}" --json
judge "organ reads another file over TLS" test "$(jq '.tensors | length' ../out)" = "$("$organ" inspect "$model/model-00001-of-00003.safetensors" --json 2>/dev/null | jq '.tensors | length')"
SSL_CERT_FILE=$pems/second.pem ends 4 inspect "$shard" --header "${bob[1]}"
SSL_CERT_FILE=nowhere.pem refused 4 "SSL_CERT_FILE" inspect "$shard" --header "${bob[1]}"
cd "$pems" || exit 1
# A client without TLS gets no answer and does not disturb others.
here="a plain request"
(
    trap '' PIPE # the server may have closed before all is said
    exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3
    timeout 5 cat <&3
) >../plain 2>/dev/null
judge "is answered" test -z "$(grep -a HTTP ../plain)"

# A request that the library rejects gets one answer, encrypted.
ask 400 first.pem /api/v1/login -X POST -H 'Content-Length: x'
judge "is answered twice" test "$(grep -c '^HTTP/' ../head)" -eq 1

# ---- changes ----
# renewed PART: checks that the server reports the change after SIGHUP.
renewed() {
    here="SIGHUP: $1"
    kill -HUP "$server"
    judge "is not said" await grep -qF -- "$1" ../serve
}
cp first.pem kept.pem && cp first.key kept.key
cp second.pem first.pem
renewed "first.key: is not the key of certificate first.pem"
ask 200 kept.pem /healthz
cp second.key first.key
mv audit audit.1
renewed "first.pem: reloaded, with its key"
opened_twice() { test "$(grep -cF 'audit: reopened' ../serve)" -eq 2; } # at each signal, after the certificate
judge "the audit log is not opened again" await opened_twice
ask 200 second.pem /healthz
ask 000 kept.pem /healthz
here="the audit log"
judge "has no line of the answer" await grep -q '"path":"/healthz","status":200' audit # which may be there before the line
judge "does not say who did what" await grep -q "\"token\":\"alice\",\"method\":\"POST\",\"path\":\"/api/v1/jobs\",\"status\":201,\"job\":\"$id\"" audit.1
judge "has lines that are none" test "$(grep -c '^{"time":"20.*}$' audit.1)" -eq "$(wc -l <audit.1)"
printf 'carol read carol-carol-carol-carol\n' >tokens
here="a changed file of tokens"
judge "is not read" await grep -qF "tokens: reloaded: 1 tokens" ../serve
ask 401 second.pem /metrics "${alice[@]}"
ask 200 second.pem /metrics -H 'Authorization: Bearer carol-carol-carol-carol'
here="the end"
kill -TERM "$server" && wait "$server"
judge "is not 0" test $? -eq 0
judge "a token or a key is in the log" test -z "$(grep -e alice-alice -e bob-bob -e carol-carol -e PRIVATE ../serve audit audit.1)"
server=
finish
