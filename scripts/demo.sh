#!/bin/sh
# From a prompt in pi to a streamed answer: makes a tiny random model, installs this package into the real pi in a
# temporary HOME, asks one question and prints the answer while it arrives.   usage: scripts/demo.sh BIN_DIR
set -eu
cd "$(dirname "$0")/.."
root=$PWD
bin=$(cd "$1" && pwd)
prompt=${DEMO_PROMPT:-What is in this directory?}
model=$root/build/demo/tiny.gguf

if [ -z "$(find "$model" -newer "$bin/ds4-gguf" 2>/dev/null)" ]; then
    mkdir -p build/demo
    echo "demo: making a tiny model with random weights"
    "$bin/ds4-gguf" synth --preset tiny --seed 42 -o "$model"
fi

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
trap 'exit 130' INT TERM
export HOME="$home" PI_OFFLINE=1 PI_TELEMETRY=0 PI_SKIP_VERSION_CHECK=1
unset DS4_RUNTIME_DIR
export DS4_MODEL="$model" DS4_SERVER_BINARY="$bin/ds4-server" DS4_CONTEXT_KB=16 DS4_MAX_TOKENS=200
export PATH="$root/node_modules/.bin:$PATH"

pi install "$root" >/dev/null
mkdir "$home/work"
cd "$home/work"
cat <<TEXT
demo: pi $(pi --version) asks the model in build/demo. Its weights are random, so the answer is gibberish:
what you see working is the way from pi through ds4-server to the engine and back.

> $prompt
TEXT
# A random model may end its answer with the first token (show-answer: status 3); another seed then says more.
for seed in 42 43 44; do
    status=0
    DS4_REPRODUCIBLE_SEED=$seed pi --mode json --no-session --thinking off --provider ds4 \
        --model deepseek-v4-flash "$prompt" </dev/null | node "$root/scripts/show-answer.mjs" || status=$?
    [ "$status" = 3 ] || exit "$status"
done
exit "$status"
