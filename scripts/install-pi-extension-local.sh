#!/bin/sh
# Lets pi use this extension from where it is, with an engine checkout of yours.
#   install-pi-extension-local.sh [--force] [--dry-run] /path/to/engine
#   install-pi-extension-local.sh --uninstall
# The engine becomes ~/.pi/ds4/support (a link). A support directory that is there already is moved aside with --force;
# its models (gguf/*.gguf and *.part) are put into the new engine: cloned where the file system can, else linked, else copied.
set -eu

extension=$(cd "$(dirname "$0")/.." && pwd)
agent=${PI_CODING_AGENT_DIR:-$HOME/.pi/agent}
link=$agent/extensions/pi-ds4
state=${DS4_STATE_DIR:-$HOME/.pi/ds4}
support=$state/support
force=
dry=
uninstall=
checkout=

usage() {
    echo "usage: install-pi-extension-local.sh [--force] [--dry-run] /path/to/engine"
    echo "       install-pi-extension-local.sh --uninstall"
}
fail() {
    echo "error: $1" >&2
    exit 1
}
run() {
    if [ -n "$dry" ]; then echo "would run: $*"; else "$@"; fi
}

for word in "$@"; do
    case $word in
    --force) force=1 ;;
    --dry-run) dry=1 ;;
    --uninstall) uninstall=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*)
        usage >&2
        exit 1
        ;;
    *)
        [ -z "$checkout" ] || { usage >&2; exit 1; }
        checkout=$word
        ;;
    esac
done

if [ -n "$uninstall" ]; then
    [ -L "$link" ] || fail "$link is not a link that this script made"
    run rm "$link"
    [ -L "$support" ] && run rm "$support"
    echo "Removed $link and the link $support. Models and the engine are where they were."
    exit 0
fi
[ -n "$checkout" ] || { usage >&2; exit 1; }

# Everything is checked before anything is changed.
[ -d "$checkout" ] || fail "ds4 checkout does not exist: $checkout"
checkout=$(cd "$checkout" && pwd -P)
[ -f "$extension/extension/index.ts" ] || fail "$extension is not the pi package (no extension/index.ts)"
[ -f "$checkout/Makefile" ] || fail "$checkout does not look like a ds4 server checkout (missing Makefile)"
if [ ! -f "$checkout/ds4_server.c" ] && [ ! -f "$checkout/src/server/main.c" ]; then
    fail "$checkout does not look like a ds4 server checkout (missing ds4_server.c or src/server/main.c)"
fi
if [ -e "$link" ] && [ ! -L "$link" ]; then fail "$link is no link: move it away first"; fi
if [ -e "$support" ] || [ -L "$support" ]; then
    if [ "$(cd "$support" 2>/dev/null && pwd -P)" != "$checkout" ] && [ -z "$force" ]; then
        echo "error: $support already exists and is not this checkout" >&2
        echo "hint: --force moves it aside and keeps its models" >&2
        exit 1
    fi
fi
for lease in "$state"/clients/*.json; do
    [ -f "$lease" ] || continue
    pid=$(basename "$lease" .json)
    if kill -0 "$pid" 2>/dev/null && [ -z "$force" ]; then fail "pi (process $pid) uses the server: close it first, or use --force"; fi
done

# keep_model FILE DIR: the same file there, without a second copy of its bytes where that can be.
keep_model() {
    target=$2/$(basename "$1")
    if [ -e "$target" ]; then
        skipped=$((skipped + 1))
        return
    fi
    kept=$((kept + 1))
    if [ -n "$dry" ]; then
        echo "would keep: $1 -> $target"
        return
    fi
    part=$target.tmp.$$
    if ! cp -c -p "$1" "$part" 2>/dev/null && ! cp --reflink=always -p "$1" "$part" 2>/dev/null && ! ln "$1" "$part" 2>/dev/null; then
        rm -f "$part"
        need=$(du -k "$1" | cut -f 1)
        free=$(df -Pk "$2" | awk 'NR == 2 { print $4 }')
        [ "$free" -gt "$need" ] || fail "not enough disk space to copy $1: $need KiB needed, $free KiB free"
        cp -p "$1" "$part"
    fi
    mv "$part" "$target"
}

kept=0
skipped=0
run mkdir -p "$agent/extensions" "$state"
if [ "$(cd "$support" 2>/dev/null && pwd -P)" != "$checkout" ]; then
    if [ -d "$support" ]; then
        run mkdir -p "$checkout/gguf"
        for model in "$support"/gguf/*.gguf "$support"/gguf/*.gguf.part "$support"/gguf/*.gguf.part.meta; do
            [ -f "$model" ] && keep_model "$model" "$checkout/gguf"
        done
        if [ -L "$support/ds4flash.gguf" ] && [ ! -e "$checkout/ds4flash.gguf" ] && [ ! -L "$checkout/ds4flash.gguf" ]; then
            name=$(basename "$(readlink "$support/ds4flash.gguf")")
            if [ -n "$dry" ] || [ -e "$checkout/gguf/$name" ]; then run ln -s "gguf/$name" "$checkout/ds4flash.gguf"; fi
        fi
    fi
    if [ -L "$support" ]; then
        run rm "$support"
    elif [ -e "$support" ]; then
        backup=$support.backup.$(date +%Y%m%d%H%M%S)
        run mv "$support" "$backup"
        echo "moved $support to $backup"
    fi
    run ln -s "$checkout" "$support"
fi
[ ! -L "$link" ] || run rm "$link"
run ln -s "$extension" "$link"
echo "models kept: $kept, already there: $skipped"
echo "$link -> $extension"
echo "$support -> $checkout"
echo "In a running pi: /reload"
