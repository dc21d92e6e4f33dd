#!/bin/sh
# Runs a program for as long as the other end of standard input is open.   usage: guard.sh [--group] PROGRAM [ARGUMENT...]
# With --group its children are ended too; the caller has made this process the leader of a process group.
# The parent holds a pipe and never writes. When it closes the pipe, exits or is killed in any way, the read below
# ends and the program is asked to stop, then forced. The exit status is the program's own.
group=
if [ "$1" = --group ]; then
    group=1
    shift
fi
exec 3<&0 </dev/null
program=
asked=
trap 'asked=1; [ -z "$program" ] || kill -TERM "$program" 2>/dev/null' TERM INT HUP
"$@" 3<&- &
program=$!
[ -z "$asked" ] || kill -TERM "$program"
(
    while read -r _; do :; done <&3
    whom=$program
    if [ -n "$group" ]; then
        trap '' TERM
        whom=0
    fi
    kill -TERM "$whom"
    sleep 15
    kill -KILL "$whom"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
while :; do
    wait "$program"
    status=$?
    # A trapped signal interrupts wait although the program still runs.
    kill -0 "$program" 2>/dev/null || break
done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
