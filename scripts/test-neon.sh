#!/bin/sh
# Builds the block-format kernels for 64-bit Arm, runs them under qemu-user against the scalar kernels, and compares
# the hash of all results with this machine's. Needs gcc-aarch64-linux-gnu and qemu-user (Debian).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "test-neon: $tool is not installed, skipped"; exit 77; }
done

flags="-std=c11 -O2 -Wall -Wextra -Wshadow -Wconversion -Werror -ffp-contract=off -fno-math-errno -D_POSIX_C_SOURCE=200809L
       -I$root/include -I$root/src -I$root/tests/unit/quant"
sources="$root/tests/unit/quant/neon_check.c $root/src/base/error.c"

# build NAME COMPILER [FLAG...]: $work/NAME
build() {
    name=$1 compiler=$2
    shift 2
    objects=
    for source in "$root"/src/quant/*.c $sources; do
        isa=
        case $compiler,$source in
        aarch64*,*) ;;
        *_avx2.c) isa="-mavx2 -mfma -mf16c" ;;
        *_avx512.c)
            isa="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mavx512bitalg -mavx2 -mfma -mf16c" ;;
        esac
        object=$work/$name.$(basename "$source").o
        # shellcheck disable=SC2086 # flag lists are meant to be split
        "$compiler" $flags $isa "$@" -c "$source" -o "$object"
        objects="$objects $object"
    done
    # shellcheck disable=SC2086
    "$compiler" -static $objects -lm -o "$work/$name"
}

build arm aarch64-linux-gnu-gcc
build arm-dotprod aarch64-linux-gnu-gcc -march=armv8.2-a+dotprod+fp16
neon=$(qemu-aarch64 "$work/arm" neon)
dotprod=$(qemu-aarch64 -cpu max "$work/arm-dotprod" neon)
echo "neon          $neon"
echo "neon, dotprod $dotprod"
[ "$neon" = "$dotprod" ] || { echo "test-neon: the dot-product extension changes results"; exit 1; }

build host "${CC:-cc}"
for set in scalar avx2 avx512 neon; do
    if host=$("$work/host" "$set" 2>/dev/null); then
        echo "this machine, $set $host"
        [ "$host" = "$neon" ] || { echo "test-neon: $set differs from neon"; exit 1; }
    elif [ $? -eq 1 ]; then
        echo "test-neon: $set differs from scalar"
        exit 1
    fi
done
echo "test-neon: equal"
