#!/bin/sh
# Static checks: clang-tidy over every compiled source of src/, tsc over the TypeScript, shellcheck over the scripts.
# usage: scripts/lint.sh BUILD_DIR JOBS      (the build directory needs only to be configured)
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
jobs=$2
status=0

echo "lint: clang-tidy"
# Only files that this build compiles have flags; sources for other instruction sets share a file with those.
node -e '
const root = process.cwd() + "/src/";
const commands = JSON.parse(require("fs").readFileSync(process.argv[1] + "/compile_commands.json", "utf8"));
const files = new Set(commands.map((c) => c.file).filter((f) => f.startsWith(root) && !f.endsWith("_tables.c")));
process.stdout.write([...files].join("\0"));
' "$build" | xargs -0 -n 4 -P "$jobs" clang-tidy --quiet -p "$build" || status=1

echo "lint: tsc"
node_modules/.bin/tsc --noEmit || status=1

if command -v shellcheck >/dev/null; then
    echo "lint: shellcheck"
    shellcheck -x scripts/*.sh steering/*.sh extension/*.sh .ci/run || status=1
fi
[ $status = 0 ] && echo "lint: ok"
exit $status
