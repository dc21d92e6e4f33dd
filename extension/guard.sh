#!/bin/sh
# Runs a program for as long as the other end of standard input is open.   usage: guard.sh PROGRAM [ARGUMENT...]
# The parent holds a pipe and never writes. When it closes the pipe, exits or is killed in any way, the read below
# ends and the program is asked to stop, then forced. The exit status is the program's own.
exec 3<&0 </dev/null
program=
asked=
trap 'asked=1; [ -z "$program" ] || kill -TERM "$program" 2>/dev/null' TERM INT HUP
"$@" 3<&- &
program=$!
[ -z "$asked" ] || kill -TERM "$program"
(
    while read -r _; do :; done <&3
    kill -TERM "$program"
    sleep 15
    kill -KILL "$program"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
while :; do
    wait "$program"
    status=$?
    # A trapped signal interrupts wait although the program still runs.
    kill -0 "$program" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null
exit "$status"
