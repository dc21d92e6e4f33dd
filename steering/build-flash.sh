#!/bin/sh
# Builds a direction for the big model from steering/contested.txt under two framings (docs/steering.md says how long it takes).
#   steering/build-flash.sh MODEL.gguf OUT.f32 [more options of ds4-steer build]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || {
    echo "usage: $0 MODEL.gguf OUT.f32 [options of ds4-steer build]" >&2
    exit 2
}
# shellcheck source=steering/prefixes.sh
. "$here/prefixes.sh"
model=$1
out=$2
shift 2
exec "${DS4_STEER:-ds4-steer}" build -m "$model" -o "$out" --good "$here/contested.txt" --bad "$here/contested.txt" \
    --good-prefix-en "$GOOD_EN" --good-prefix-zh "$GOOD_ZH" --bad-prefix-en "$BAD_EN" --bad-prefix-zh "$BAD_ZH" \
    --note "direct answers to views of stakeholders" "$@"
