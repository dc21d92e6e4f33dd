#!/bin/sh
# One part of the training on a machine with one GPU; results go to the folder OUT.
#
#   sh models/nano/gpu.sh 1 OUT      checks, then the first part (9.5 minutes in all)
#   sh models/nano/gpu.sh 2 OUT      the rest (9.5 minutes), the final held-out figures and the curves
#
# Part 2 takes the checkpoint of part 1 from the machine's /tmp/ds4-nano/part1, or else from models/nano/.cache/part1,
# where the files of part 1 are put when the machine is another one.
set -eu
part=$1
out=$2
here=$(dirname "$0")
scratch=/tmp/ds4-nano
mkdir -p "$scratch" "$out"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
plain=
case $part in
1)
    begin=$(date +%s)
    status=0
    timeout 210 python3 "$here/check.py" --gpu || status=$?
    case $status in
    0) ;;
    3 | 124) plain="--no-compile --rows 8" ;;
    *) exit "$status" ;;
    esac
    printf '%s' "$plain" >"$scratch/plain"
    python3 "$here/train.py" --out "$out" --seconds $((begin + 550 - $(date +%s))) $plain
    rm -rf "$scratch/part1"
    cp -r "$out" "$scratch/part1"
    ;;
2)
    before=$scratch/part1
    [ -e "$before/state.json" ] || before=$here/.cache/part1
    [ -e "$scratch/plain" ] && plain=$(cat "$scratch/plain")
    python3 "$here/train.py" --out "$out" --seconds 530 --resume "$before" --finish $plain
    python3 "$here/plot.py" "$out/log.jsonl" "$out/curves.png" || echo "no curves: matplotlib is missing?"
    ;;
*)
    echo "usage: gpu.sh 1|2 OUT" >&2
    exit 2
    ;;
esac
