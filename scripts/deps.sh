#!/bin/sh
# Installs what this project needs. Says each command before it runs it; does nothing where nothing is missing,
# so it also works offline once everything is there.
#   scripts/deps.sh          build, demo and tests
#   scripts/deps.sh --dev    the same plus formatter, linters, clang, the Arm cross compiler and Chromium
#   scripts/deps.sh --npm    only the npm packages (pi itself, its Node.js, TypeScript)
set -eu
cd "$(dirname "$0")/.."

APT="gcc libc6-dev make cmake ninja-build pkg-config libevent-dev libjson-c-dev libedit-dev libpcre2-dev
     libxxhash-dev libcmocka-dev libcairo2-dev python3 python3-numpy git tmux"
APT_DEV="clang clang-format clang-tidy libclang-rt-dev shellcheck gcc-aarch64-linux-gnu libc6-dev-arm64-cross
         qemu-user chromium"
BREW="cmake ninja pkg-config libevent json-c libedit pcre2 xxhash cmocka cairo node numpy tmux"
BREW_DEV="llvm shellcheck"

run() {
    echo "+ $*"
    "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then run "$@"; else run sudo "$@"; fi
}

install_apt() {
    command -v npm >/dev/null || APT="$APT nodejs npm"
    missing=
    for package in $APT $1; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] && continue
        missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        echo "system packages: all present"
        return
    fi
    as_root apt-get update -q
    known= # not every release has every name: libclang-rt-dev is younger than Debian 11
    for package in $missing; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            known="$known $package"
        else
            echo "deps: this release has no package $package; going on without it" >&2
        fi
    done
    # shellcheck disable=SC2086 # a list of names, split on purpose
    [ -z "$known" ] || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $known
}

install_brew() {
    missing=
    for package in $BREW $1; do
        brew list --versions "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        echo "system packages: all present"
        return
    fi
    # shellcheck disable=SC2086 # a list of names, split on purpose
    run brew install $missing
}

install_system() {
    if command -v apt-get >/dev/null; then
        if [ "$1" = --dev ]; then install_apt "$APT_DEV"; else install_apt ""; fi
    elif command -v brew >/dev/null; then
        if [ "$1" = --dev ]; then install_brew "$BREW_DEV"; else install_brew ""; fi
    else
        echo "deps: neither apt-get nor brew is here. Install these by hand (Debian's names):" >&2
        echo "    $APT nodejs npm" >&2
        exit 1
    fi
}

install_npm() {
    stamp=node_modules/.package-lock.json
    if [ -e $stamp ] && [ -x node_modules/.bin/node ] &&
        [ -z "$(find package.json package-lock.json -newer $stamp)" ]; then
        echo "npm packages: all present"
        return
    fi
    command -v npm >/dev/null || {
        echo "deps: npm is missing; run \`make deps\` first" >&2
        exit 1
    }
    run npm ci --no-audit --no-fund --loglevel=error
    [ -x node_modules/.bin/node ] || {
        echo "deps: the npm package \"node\" brought no binary (its install script must be allowed to run)" >&2
        exit 1
    }
    touch $stamp
}

case "${1-}" in
--npm) ;;
"" | --dev) install_system "${1-}" ;;
*)
    echo "usage: scripts/deps.sh [--dev | --npm]" >&2
    exit 2
    ;;
esac
install_npm
if [ "${1-}" != --npm ] && [ ! -e build/v4/tokenizer.json ]; then
    # Only tests want it, and they skip what needs it: no reason to fail here.
    run node_modules/.bin/node scripts/make-v4-tokenizer.mjs || [ $? = 77 ]
fi
