#!/bin/sh
# One manual page per program, from its option table.   usage: scripts/man-pages.sh BIN_DIR OUTPUT_DIR
set -eu
bin=$1
out=$2
mkdir -p "$out"
for program in ds4 ds4-server ds4-gguf ds4-bench ds4-steer ds4-kv; do
    [ -x "$bin/$program" ] || continue # not in every version
    "$bin/$program" --help=man >"$out/$program.1"
done
