#!/bin/sh
# One part of the training on a machine with one GPU; results go to the folder OUT.
#
#   sh models/nano/gpu.sh 1 OUT      checks, then the first part (9.5 minutes in all)
#   sh models/nano/gpu.sh 2 OUT      the rest (9.5 minutes), the final held-out figures and the curves
#   sh models/nano/gpu.sh 3 OUT      SECONDS_3 (400) more, from half the learning rate down
#
# Each part takes the checkpoint of the part before from the machine's /tmp/ds4-nano/partN, or else from
# models/nano/.cache/partN, where its files are put when the machine is another one.
set -eu
part=$1
out=$2
here=$(dirname "$0")
scratch=/tmp/ds4-nano
mkdir -p "$scratch" "$out"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
plain=
# shellcheck disable=SC2086 # $plain is a list of options
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
    ;;
2 | 3)
    before=part$((part - 1))
    seconds=530
    [ "$part" = 2 ] || seconds=${SECONDS_3:-400}
    if [ -e "$scratch/$before/state.json" ]; then before=$scratch/$before; else before=$here/.cache/$before; fi
    [ -e "$scratch/plain" ] && plain=$(cat "$scratch/plain")
    python3 "$here/train.py" --out "$out" --seconds "$seconds" --resume "$before" --finish $plain
    python3 "$here/plot.py" "$out/log.jsonl" "$out/curves.png" || echo "no curves: matplotlib is missing?"
    ;;
*)
    echo "usage: gpu.sh 1|2|3 OUT" >&2
    exit 2
    ;;
esac
rm -rf "$scratch/part$part"
cp -r "$out" "$scratch/part$part"
