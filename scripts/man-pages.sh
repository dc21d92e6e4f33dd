#!/bin/sh
# One manual page per program and per command of a program, from the option tables.
#   usage: scripts/man-pages.sh BIN_DIR OUTPUT_DIR
set -eu
bin=$1
out=$2
mkdir -p "$out"

# page PROGRAM [COMMAND...]: its page, then those of the commands that the page lists
page() {
    file=$out/$(echo "$*" | tr ' ' '-').1
    program=$1
    shift
    "$bin/$program" "$@" --help=man >"$file"
    for command in $(sed -n '/^\.SH COMMANDS/,/^\.PP/s/^\.B //p' "$file" | tr -d '\134'); do
        (page "$program" "$@" "$command")
    done
}

for program in ds4 ds4-server ds4-gguf ds4-bench ds4-steer ds4-kv; do
    [ ! -x "$bin/$program" ] || page "$program"
done
