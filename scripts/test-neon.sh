#!/bin/sh
# Builds the block-format kernels for 64-bit Arm, runs them under qemu-user against the scalar kernels, and compares
# the hash of all results with this machine's. Needs gcc-aarch64-linux-gnu and qemu-user (Debian).
#   scripts/test-neon.sh [NEON_CHECK]     tests/unit/quant/neon_check.c as built for this machine; else it is built here
# DS4_TEST_BLOCKS=10000 compares that many blocks of each format and of each refit: minutes instead of seconds.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blocks=${DS4_TEST_BLOCKS:-200}
refit_blocks=${DS4_TEST_BLOCKS:-20}

for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "test-neon: $tool is not installed, skipped"; exit 77; }
done

flags="-std=c11 -O2 -Wall -Wextra -Wshadow -Wconversion -Werror -ffp-contract=off -fno-math-errno -D_POSIX_C_SOURCE=200809L
       -I$root/include -I$root/src -I$root/tests/unit/quant"

# compile COMPILER FOLDER SOURCE [FLAG...]: FOLDER/SOURCE.o
compile() {
    compiler=$1 object=$2/$(basename "$3").o source=$3
    shift 3
    # shellcheck disable=SC2086 # a flag list is meant to be split
    "$compiler" $flags "$@" -c "$source" -o "$object"
}

# build COMPILER FOLDER: FOLDER/neon_check from all sources
build() {
    mkdir "$2"
    for source in "$root"/src/quant/*.c "$root/src/base/error.c" "$root/tests/unit/quant/neon_check.c"; do
        case $1,$source in
        aarch64*) compile "$1" "$2" "$source" ;;
        *_avx2.c) compile "$1" "$2" "$source" -mavx2 -mfma -mf16c ;;
        *_avx512.c)
            compile "$1" "$2" "$source" -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi \
                -mavx512bitalg -mavx2 -mfma -mf16c
            ;;
        *) compile "$1" "$2" "$source" ;;
        esac
    done
    "$1" -static "$2"/*.o -lm -o "$2/neon_check"
}

build aarch64-linux-gnu-gcc "$work/arm"
neon=$(qemu-aarch64 "$work/arm/neon_check" neon "$blocks" "$refit_blocks")
echo "neon          $neon: equals scalar on $blocks blocks of each format, on $refit_blocks with refit"

# Only the vector code looks at the extension.
for source in "$root"/src/quant/*_neon.c; do
    compile aarch64-linux-gnu-gcc "$work/arm" "$source" -march=armv8.2-a+dotprod+fp16
done
aarch64-linux-gnu-gcc -static "$work"/arm/*.o -lm -o "$work/arm/neon_check"
dotprod=$(qemu-aarch64 -cpu max "$work/arm/neon_check" neon "$blocks" "$refit_blocks")
echo "neon, dotprod $dotprod"
[ "$neon" = "$dotprod" ] || { echo "test-neon: the dot-product extension changes results"; exit 1; }

check=${1:-$work/host/neon_check}
[ $# -gt 0 ] || build "${CC:-cc}" "$work/host"
for set in scalar avx2 avx512 neon; do
    if host=$("$check" "$set" "$blocks" "$refit_blocks" 2>/dev/null); then
        echo "this machine, $set $host"
        [ "$host" = "$neon" ] || { echo "test-neon: $set differs from neon"; exit 1; }
    elif [ $? -eq 1 ]; then
        echo "test-neon: $set differs from scalar"
        exit 1
    fi
done
echo "test-neon: equal"
