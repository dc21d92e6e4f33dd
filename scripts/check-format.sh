#!/bin/sh
# Checks (or with --fix makes) the formatting of all C sources with clang-format.
set -eu
cd "$(dirname "$0")/.."
mode="--dry-run -Werror"
[ "${1-}" = --fix ] && mode="-i"
# Generated tables keep the generator's layout.
# shellcheck disable=SC2086 # two flags, split on purpose
find include src tests \( -name "*.c" -o -name "*.h" -o -name "*.cc" -o -name "*.cu" \) ! -name "*_tables.c" -print0 | xargs -0 clang-format $mode
