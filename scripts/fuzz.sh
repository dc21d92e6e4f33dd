#!/bin/sh
# Runs every fuzz target for some seconds each, starting from the committed corpus. New inputs and findings stay in
# the build directory.   usage: scripts/fuzz.sh BUILD_DIR SECONDS
set -eu
cd "$(dirname "$0")/.."
build=$1
seconds=$2
found=0
for target in "$build"/bin/fuzz_*; do
    [ -x "$target" ] || {
        echo "fuzz: no targets in $build/bin" >&2
        exit 1
    }
    subject=$(basename "$target" | sed 's/^fuzz_//')
    work=$build/corpus/$subject
    mkdir -p "$work" "$build/findings"
    echo "== fuzz $subject, $seconds s"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/findings/$subject-" "$work" "tests/fuzz/corpus/$subject" \
        >"$build/findings/$subject.log" 2>&1 || {
        found=$((found + 1))
        tail -40 "$build/findings/$subject.log"
        continue
    }
    grep -E 'number_of_executed_units|new_units_added' "$build/findings/$subject.log" || true
done
echo "fuzz: $found targets with findings"
[ "$found" = 0 ]
