#!/bin/sh
# Removes what the pi package keeps under ~/.pi/ds4, after saying what. Models stay unless --models is given.
#   uninstall-pi-extension.sh [--yes] [--models]
set -eu
state=${DS4_STATE_DIR:-$HOME/.pi/ds4}
yes=
models=
for word in "$@"; do
    case $word in
    --yes) yes=1 ;;
    --models) models=1 ;;
    -h | --help)
        echo "usage: uninstall-pi-extension.sh [--yes] [--models]"
        exit 0
        ;;
    *)
        echo "usage: uninstall-pi-extension.sh [--yes] [--models]" >&2
        exit 1
        ;;
    esac
done
if [ ! -d "$state" ]; then
    echo "Nothing to remove: $state is not there."
    exit 0
fi
for lease in "$state"/clients/*.json; do
    [ -f "$lease" ] || continue
    pid=$(basename "$lease" .json)
    if kill -0 "$pid" 2>/dev/null; then
        echo "error: pi (process $pid) uses the server: close it first" >&2
        exit 1
    fi
done

set -- "$state/clients" "$state/kv" "$state/lock" "$state/log" "$state/log.old" "$state/server.json" "$state/watchdog"
if [ -L "$state/support" ]; then
    set -- "$@" "$state/support"
else
    for part in "$state"/support/engine "$state"/support/checkout-*; do set -- "$@" "$part"; done
    if [ -n "$models" ]; then set -- "$@" "$state/support/gguf" "$state/support/ds4flash.gguf"; fi
fi
echo "To be removed:"
for part in "$@"; do
    if [ -e "$part" ] || [ -L "$part" ]; then du -sh "$part" 2>/dev/null || echo "  $part"; fi
done
[ -n "$models" ] || [ ! -d "$state/support/gguf" ] || echo "The models in $state/support/gguf stay; --models removes them too."
if [ -z "$yes" ]; then
    printf 'Remove? [y/N] '
    read -r answer || answer=
    case $answer in y | Y | yes) ;; *) exit 1 ;; esac
fi
if [ -f "$state/server.json" ]; then
    pid=$(sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' "$state/server.json")
    case $(ps -o args= -p "${pid:-0}" 2>/dev/null) in
    *ds4*)
        kill "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 1; done
        ;;
    esac
fi
rm -rf -- "$@"
rmdir "$state/support" "$state" 2>/dev/null || true
echo "Done. To take the package out of pi: pi remove <source>, as \`pi list\` shows it."
