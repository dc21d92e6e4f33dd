#!/bin/sh
# Writes docs/options.md from the programs' own option tables, or with --check says whether it is up to date.
#   usage: scripts/options-doc.sh [--check] BIN_DIR
set -eu
cd "$(dirname "$0")/.."
check=
[ "$1" != --check ] || { check=1; shift; }
bin=$1
page=$(mktemp)
trap 'rm -f "$page"' EXIT
{
    echo "# Options of the programs"
    echo
    echo "Made by \`make docs\` from the tables in \`src/*/\`; edit those."
    echo
    for program in "ds4" "ds4 tokenize" "ds4 render" "ds4 parse" "ds4 logits" "ds4-server" "ds4-gguf" "ds4-gguf inspect" \
        "ds4-gguf verify" "ds4-gguf convert" "ds4-gguf quantize" "ds4-gguf splice" "ds4-gguf compare" "ds4-gguf split" "ds4-gguf merge" "ds4-gguf extract-tokenizer" "ds4-gguf synth" \
        "ds4-gguf score" "ds4-gguf imatrix" "ds4-gguf imatrix collect" "ds4-gguf imatrix show" "ds4-gguf imatrix merge" "ds4-kv" \
        "ds4-steer" "ds4-steer build" "ds4-steer inspect" "ds4-steer compare" "ds4-steer sweep" "ds4-steer plot" "ds4-steer apply" "ds4-bench"; do
        # The unquoted expansion is meant: a program and its sub-command.
        # shellcheck disable=SC2086
        "$bin"/$program --help=markdown | sed 's/^#/##/'
        echo
    done
} >"$page"
if [ -n "$check" ]; then
    diff -u docs/options.md "$page" || { echo "docs/options.md is out of date: run 'make docs'" >&2; exit 1; }
else
    cp "$page" docs/options.md
    chmod 644 docs/options.md
fi
