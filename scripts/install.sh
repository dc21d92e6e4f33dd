#!/bin/sh
# Installs what `make man` has built.   usage: scripts/install.sh PREFIX   (DESTDIR is honoured)
set -eu
cd "$(dirname "$0")/.."
prefix=$1
root=${DESTDIR:-}$prefix
cmake --install build/release --prefix "$prefix"
install -d "$root/share/man/man1" "$root/share/bash-completion/completions" "$root/lib/systemd/user" \
    "$root/lib/systemd/system" "$root/share/ds4"
install -m 644 build/man/*.1 "$root/share/man/man1/"
for program in ds4 ds4-server ds4-gguf ds4-bench ds4-steer ds4-kv; do
    install -m 644 packaging/completions/ds4.bash "$root/share/bash-completion/completions/$program"
done
for kind in user system; do
    sed "s|@bindir@|$prefix/bin|" packaging/systemd/$kind/ds4-server.service >"$root/lib/systemd/$kind/ds4-server.service"
done
sed "s|@bindir@|$prefix/bin|" packaging/launchd/pi-ds4.ds4-server.plist >"$root/share/ds4/pi-ds4.ds4-server.plist"
echo "installed under $root"
