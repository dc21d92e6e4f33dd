#!/bin/sh
# From a prompt in pi to a true answer: installs this package into the real pi in a temporary HOME and asks ds4-nano which
# files lie in a scratch folder. The model calls pi's bash tool, pi runs it, the model answers.
#   usage: scripts/demo.sh BIN_DIR           DEMO_PROMPT="..." asks something else
set -eu
cd "$(dirname "$0")/.."
root=$PWD
bin=$(cd "$1" && pwd)
prompt=${DEMO_PROMPT:-Which files are in this folder?}

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
trap 'exit 130' INT TERM
export HOME="$home" PI_OFFLINE=1 PI_TELEMETRY=0 PI_SKIP_VERSION_CHECK=1
unset DS4_RUNTIME_DIR DS4_MODEL DS4_STATE_DIR
export DS4_MODEL_QUANT=nano DS4_SERVER_BINARY="$bin/ds4-server" DS4_CONTEXT_KB=16
# A server of its own, which goes when the demo does.
export DS4_PORT=$((20000 + $$ % 10000)) DS4_WATCHDOG_TTL=0 DS4_WATCHDOG_POLL=1
export PATH="$root/node_modules/.bin:$PATH"

pi install "$root" >/dev/null
mkdir "$home/work"
cd "$home/work"
printf 'The ferry leaves at nine.\n' >ferry.txt
printf 'apples\nbread\nhoney\n' >shopping.md
printf 'print("hello")\n' >hello.py
set -- *
cat <<TEXT
demo: pi $(pi --version) asks ds4-nano, a toy of 13 million parameters; the folder holds $*.

> $prompt
TEXT
pi --mode json --no-session --provider ds4 --model deepseek-v4-flash "$prompt" </dev/null |
    node "$root/scripts/show-answer.mjs" ${DEMO_PROMPT:+--any} "$@"
