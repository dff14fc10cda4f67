#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests progress on a terminal, in a log and as JSON events, and errors as events.
. "$(dirname "$0")/../kit/cli_kit.sh"

# event PATTERN: checks that a line of stderr is an event that matches the pattern.
event() { if grep -qE -- "^\{\"event\":$1\}$" ../err; then good; else bad "no event $1" ../err; fi; }
# Checks that stderr has only events.
only_events() { if grep -qvE '^\{"event":"(begin|advance|end|note|error)".*\}$' ../err; then bad "not only events" ../err; else good; fi; }
number='[0-9]+'

# ---- events ----
ends 0 prune tiny-qwen2 -o out --progress json
cp ../out ../shown
only_events
event '"begin","what":"pruning","bytes":8601600,"tensors":28,"unit":"tensors"'
event "\"advance\",\"bytes\":$number,\"of\":8601600,\"tensors\":28,\"tensor\":\"[a-z0-9_.]+\",\"remark\":\"$number\.$number % killed\""
event '"end","bytes":8601600,"of":8601600,"tensors":28'
judge "not an event for every tensor" test "$(grep -c '"event":"advance".*"tensor":"' ../err)" -eq 28
ends 0 prune tiny-qwen2 -o other --progress none
judge "stdout depends on --progress" diff <(sed 's/\<other\>/out/' ../out | grep -vE 'Time|Bound') <(grep -vE 'Time|Bound' ../shown)
judge "--progress none shows something" test ! -s ../err
ends 0 prune tiny-qwen2 -o other --force --quiet --progress json
judge "--quiet shows events" test ! -s ../err
ends 0 extract tiny-qwen2 -o apart --progress json
only_events
event '"end",.*'
rm -r apart other

# ---- errors as events: wrong options, wrong files, failed checks ----
ends 2 prune tiny-qwen2 --progress json -o out --method wandd
only_events
event '"error","status":"usage","code":2,"message":"prune: --method cannot be '\''wandd'\''; did you mean '\''wanda'\''\?"'
ends 2 prune --block-size 1 tiny-qwen2 -o new --progress=json
event '"error","status":"usage","code":2,.*'
ends 2 prunne --progress json
event '"error","status":"usage","code":2,"message":"unknown verb .prunne.; did you mean .prune.\?"'
ends 4 inspect nowhere --progress json
only_events
event '"error","status":"input or output","code":4,"message":"nowhere: .*"'
mkdir empty
ends 3 inspect empty --progress json --quiet
event '"error","status":"bad input","code":3,"message":"empty: .*"'
cp -r out copy
printf 'x' | dd of=copy/model-00002-of-00003.safetensors bs=1 seek=300000 conv=notrunc status=none
ends 1 audit tiny-qwen2 copy --progress json
only_events
event '"error","status":"check failed","code":1,.*'
interrupted TERM new prune tiny-qwen2 -o new --progress json --block-size 16 --iterations 10000
if ((code == 130)); then good; else bad "does not end with 130" ../err; fi
only_events
event '"error","status":"interrupted","code":130,.*'
judge "no time passes between events" test "$(grep -c '"tensor":null' ../err)" -lt 50
if [[ -e /dev/full ]]; then
    "$organ" inspect tiny-qwen2 --progress json >/dev/full 2>../err
    event '"error","status":"input or output","code":4,"message":"standard output: .*"'
fi

# ---- errors for people: the verb, and the command that lists its options ----
refused 2 "'json'" prune tiny-qwen2 -o new --progress jason
says "'organ prune -h'"

# ---- a log, and a progress bar on request ----
ends 0 prune tiny-qwen2 -o out --force --progress auto
judge "a log of less than ten seconds has progress" test -z "$(grep -v '^note: ' ../err)"
ends 0 prune tiny-qwen2 -o out --force --progress lines
judge "not a line for every tensor" test "$(grep -c '^\[[0-9]*/28\] ' ../err)" -eq 28
ends 0 prune tiny-qwen2 -o out --force --progress bar
if grep -q "$(printf '\r\033\\[K')" ../err; then good; else bad "no bar" ../err; fi
if grep -q "$(printf '\033\\[3')" ../err; then bad "colour in a file" ../err; else good; fi

# ---- a terminal: words of messages in colour, unless the user does not want it; nobody writes colours into a pipe ----
on_terminal() { script -qec "stty cols 80; env $*" /dev/null <../empty >../shown 2>&1; }
: >../empty
red=$'\033[1;31merror:\033[0m prune: '
on_terminal TERM=xterm "$organ" prune nowhere
here="an error on a terminal"
judge "the word is not red" grep -qF "$red" ../shown
for plain in NO_COLOR=1 CLICOLOR=0 TERM=dumb; do
    here="an error on a terminal with $plain"
    on_terminal TERM=xterm $plain "$organ" prune nowhere
    judge "has no message" grep -qF "error: prune: " ../shown
    judge "has colour" test -z "$(grep -F $'\033' ../shown)"
done
env TERM=xterm "$organ" prune nowhere >../out 2>../err
here="an error in a pipe"
judge "has no message" grep -q '^error: prune: ' ../err
judge "has colour" test -z "$(grep -F $'\033' ../err)"

# ---- a pager: for long texts on a terminal that can move its cursor, and only there ----
paged() { on_terminal TERM=xterm "$@"; }
here="organ prune --help with a pager"
"$organ" help prune >../whole
# plain: what a terminal shows, without carriage returns.
plain() { tr -d '\r' <../shown; }
paged PAGER="'sed s/^/A:/'" "$organ" prune --help
judge "PAGER does not get the text" test "$(plain | grep -c '^A:')" -ge 60
paged PAGER="false" ORGAN_PAGER="'sed s/^/B:/'" "$organ" help prune
judge "ORGAN_PAGER does not come first" test "$(plain | grep -c '^B:')" -ge 60
for none in PAGER= PAGER=cat PAGER=no-such-pager PATH=/no-such-folder "PAGER='head -n 0'" TERM=dumb; do
    here="organ prune --help with $none"
    paged "$none" "$organ" prune --help "&&" echo done
    judge "does not end with 0" test "$(plain | tail -n 1)" = done
    [[ $none == *head* ]] || judge "the text is not printed" diff <(plain | grep -v '^sh: .*no-such-pager' | sed '$d') ../whole
done
here="short help"
paged PAGER="'sed s/^/A:/'" "$organ" prune -h
judge "goes through a pager" test -z "$(plain | grep '^A:')"
here="help in a pipe"
TERM=xterm PAGER="sed s/^/A:/" "$organ" prune --help >../out
judge "goes through a pager" cmp -s ../out ../whole

finish
