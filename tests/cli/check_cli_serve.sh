#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ serve: output, log, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# ---- a server from its start to its end ----
mkdir models && cp tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf models/q8.gguf && ln -s /etc models/etc && echo "# Notes" >models/notes.md

options=()
# begin ARGS...: starts a server on any port; sets $port and $server.
begin() {
    options=("$@")
    here="organ serve $*"
    : >../served
    env --default-signal=INT,TERM "$organ" serve --listen 127.0.0.1:0 "$@" >../out 2>../served </dev/null &
    server=$!
    says_where ../served && return
    bad "does not say where it serves" ../served
    finish
}
# asks LINE [HEADER]: sends a request and writes the answer to ../answer. It waits for the log line, which a thread writes after the answer.
asks() {
    local lines
    lines=$(wc -l <../served)
    is_logged() { (($(wc -l <../served) > lines)) || [[ " ${options[*]} " == *" --quiet "* ]]; }
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n' "$1" "${2:+$2$'\r\n'}" >&3
    cat <&3 >../answer
    exec 3>&-
    judge "no line of '$1' in the log" await is_logged
}
answers() { if grep -qF -- "$1" ../answer; then good; else bad "the answer does not have '$1'" ../answer; fi; }
# stopped SIGNAL: ends the server, which must exit with 0.
stopped() {
    kill -"$1" $server
    wait $server
    code=$?
    if ((code == 0)); then good; else bad "ends with $code after SIG$1" ../served; fi
}

begin --root models
asks "GET /healthz"
answers '"status":"ok"'
asks "GET /api/v1/models"
answers '"path":"q8.gguf"'
asks "GET /files/notes.md" "Range: bytes=2-4"
answers "Content-Range: bytes 2-4/8"
asks "GET /files/..%2f..%2fetc/passwd"
answers "400 Bad Request"
asks "GET /files/etc/passwd"
answers "403 Forbidden"
stopped INT
sed -e 's/[0-9.]*ms/TIME/' -e "s/:$port/:PORT/" -e 's/ 200 [0-9]* TIME/ 200 BYTES TIME/' ../served >../log
matches serve/serve_log ../log
judge "nothing is on stdout" test ! -s ../out

# SIGHUP makes the server read its files again, even before it has printed its address: the signal is sent while it waits to print.
begun=(serve --root models --listen 127.0.0.1:0)
here="organ ${begun[*]}, SIGHUP at once"
: >../served
log_room=0 hold "${begun[@]}"
server=$runner
has_threads() { (($(find "/proc/$server/task" -maxdepth 1 2>/dev/null | wc -l) > 2)) || is_over; }
await has_threads
kill -HUP "$server"
exec 4<../pipe 3>&-
cat <&4 >../served &
exec 4<&-
says_where ../served
asks "GET /healthz"
answers '"status":"ok"'
stopped TERM
rm ../pipe

# The log shows marks of bidirectional text in escaped form, wherever a client sends them.
begin --root models
asks "GET /files/x%e2%80%aey"
answers "404 Not Found"
stopped TERM
here="the log"
judge "has the mark as it is" test -z "$(grep -a $'\xe2\x80\xae' ../served)"
judge "does not show the mark" grep -qF 'x\xe2\x80\xaey' ../served

mkdir other
begin --root models --quiet
asks "GET /nothing"
answers "404 Not Found"
refused 4 "127.0.0.1:$port" serve --root other --listen "127.0.0.1:$port"
stopped TERM

umask 077
echo "a-token-of-22-letters!" >token
begin --root models --token-file token
asks "GET /api/v1/models"
answers "401 Unauthorized"
answers "WWW-Authenticate: Bearer"
asks "GET /api/v1/models" "Authorization: Bearer a-token-of-22-letters!"
answers "200 OK"
stopped TERM
judge "says that there is a token" grep -q "(with a token)" ../served
judge "says nothing of a token that only its owner reads" test -z "$(grep "may read" ../served)"
chmod 640 token
begin --root models --token-file token
stopped TERM
judge "says that the group may read the token" grep -q "token: the file's group may read the tokens" ../served
chmod 644 token
refused 3 "0644" serve --root models --token-file token
if grep -q "22-letters" ../served; then bad "the token is in the log" ../served; else good; fi

# ---- errors ----
refused 2 "--root" serve
refused 4 "nowhere" serve --root nowhere
refused 4 "token" serve --root token
refused 2 "'8935'" serve --root models --listen 8935
refused 2 "--token-file" serve --root models --listen 0.0.0.0:0
refused 3 "5 characters" serve --root models --token-file <(echo short)
# A pipe whose writer writes only after the program has opened it.
mkfifo late
exec 3<>late
here="organ serve --token-file late"
"$organ" serve --root models --token-file late >../out 2>../err </dev/null 3>&- &
waiting=$!
# Before exec the process is a copy of this shell, which has the pipe open too but no argument "late".
opened() {
    ! kill -0 "$waiting" 2>/dev/null ||
        { grep -qzx late "/proc/$waiting/cmdline" && [[ -n $(find "/proc/$waiting/fd" -lname '*/late') ]]; } 2>/dev/null
}
await opened
echo short >&3
exec 3>&-
wait "$waiting"
judge "it does not end with 3" test $? = 3
says "5 characters"
refused 3 "0 characters" serve --root models --token-file /dev/null
refused 4 "nowhere" serve --root models --token-file nowhere
refused 2 "--jobs" serve --root models --jobs 0
refused 2 "--timeout" serve --root models --timeout 0
# Only this verb loads libmicrohttpd.
if grep -q libmicrohttpd < <(ldd "$organ"); then bad "libmicrohttpd is loaded at every start"; else good; fi
mkdir ../libraries && echo none >../libraries/libmicrohttpd.so.12
export LD_LIBRARY_PATH=$scratch/libraries
refused 4 "HTTP" serve --root models
unset LD_LIBRARY_PATH
finish
