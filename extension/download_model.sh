#!/bin/sh
# Fetches the GGUF file of DeepSeek V4 Flash: about 87 GB (81 GiB), once, resumable.
#   download_model.sh [q2] [--json-progress] [--token TOKEN] [--no-verify]
# DS4_MODEL_REPO, DS4_MODEL_FILE, DS4_GGUF_DIR, HF_ENDPOINT, HF_TOKEN, DS4_IGNORE_MEMORY: docs/configuration.md.
# The file grows as NAME.part beside NAME.part.meta (size and checksum that the host announced) and gets its name when
# its size and SHA-256 are right. ds4flash.gguf in the directory above then points to it.
# Exit status: 0 there, 1 failed, 2 usage, 3 not enough memory or disk, 130 interrupted.
set -u
LC_ALL=C
export LC_ALL

repo=${DS4_MODEL_REPO:-audreyt/CyberNeurova-DeepSeek-V4-Flash-abliterated-GGUF}
name=${DS4_MODEL_FILE:-cyberneurova-DeepSeek-V4-Flash-abliterated-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix-aligned.gguf}
dir=${DS4_GGUF_DIR:-$HOME/.pi/ds4/support/gguf}
endpoint=${HF_ENDPOINT:-https://huggingface.co}
url=${endpoint%/}/$repo/resolve/main/$name
tick=${DS4_DOWNLOAD_TICK:-1}
backoff_unit=${DS4_DOWNLOAD_BACKOFF:-1}
json=
verify=1
token=${HF_TOKEN:-}

usage() {
    echo "usage: download_model.sh [q2] [--json-progress] [--token TOKEN] [--no-verify]"
    echo "  q2   DeepSeek V4 Flash, 2 bits per expert weight, about 87 GB (81 GiB) into $dir"
}
while [ $# -gt 0 ]; do
    case $1 in
    q2) ;;
    --json-progress) json=1 ;;
    --no-verify) verify= ;;
    --token)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        token=$2
        shift
        ;;
    -h | --help | help)
        usage
        exit 0
        ;;
    *)
        echo "ds4 download: unknown target $1: only q2 can be fetched" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done
if [ -z "$token" ] && [ -s "$HOME/.cache/huggingface/token" ]; then
    token=$(tr -d '\r\n' <"$HOME/.cache/huggingface/token")
fi

file=$dir/$name
part=$file.part
meta=$part.meta
lock=$file.lock
link=$(dirname "$dir")/ds4flash.gguf
curl_pid=
have_lock=
scratch=

say() { echo "ds4 download: $*" >&2; }
die() {
    say "$2"
    exit "$1"
}
finish() {
    [ -z "$curl_pid" ] || kill "$curl_pid" 2>/dev/null
    [ -z "$have_lock" ] || rm -f "$lock"
    [ -z "$scratch" ] || rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

size_of() {
    if [ -f "$1" ]; then stat -L -c %s "$1" 2>/dev/null || stat -L -f %z "$1"; else echo 0; fi
}
# gb BYTES: "87.0 GB (81.0 GiB)"
gb() { awk -v b="$1" 'BEGIN { printf "%.1f GB (%.1f GiB)", b / 1e9, b / 1073741824 }'; }

# progress PHASE DONE RATE
progress() {
    eta=0
    [ "$3" -gt 0 ] && eta=$(((size - $2) / $3))
    if [ -n "$json" ]; then
        printf '{"phase":"%s","done":%s,"total":%s,"rate":%s,"eta":%s}\n' "$1" "$2" "$size" "$3" "$eta"
    elif [ -t 2 ]; then
        awk -v p="$1" -v d="$2" -v t="$size" -v r="$3" -v e="$eta" 'BEGIN {
            printf "\r%s %.1f of %.1f GB (%d %%), %.1f MB/s, %d:%02d left   ", p, d / 1e9, t / 1e9, t ? d * 100 / t : 0,
                r / 1e6, e / 3600, e % 3600 / 60 }' >&2
    fi
}

# web ARGUMENT...: curl with the token in its standard input, where no list of processes shows it.
web() {
    if [ -n "$token" ]; then printf 'header = "Authorization: Bearer %s"\n' "$token"; fi |
        curl -K - --proto '=http,https' --connect-timeout 30 "$@"
}

# explain STATUS: what an answer of the host that will not change means.
explain() {
    case $1 in
    401 | 403)
        if [ -n "$token" ]; then
            die 1 "the host refuses access to $repo (HTTP status $1) with the token that was given. Ask for access at ${endpoint%/}/$repo, or set HF_TOKEN to another token."
        fi
        die 1 "the host refuses access to $repo (HTTP status $1). Ask for access at ${endpoint%/}/$repo and set HF_TOKEN to a token of yours."
        ;;
    404 | 410) die 1 "$url does not exist (HTTP status $1). DS4_MODEL_REPO and DS4_MODEL_FILE name repository and file." ;;
    4*) die 1 "the host refuses $url (HTTP status $1)." ;;
    esac
}

# pause WHY: before another attempt. Gives up after 3 attempts in vain, or 20 once something came.
attempts=0
came=
best=0
restarted=
pause() {
    attempts=$((attempts + 1))
    limit=3
    [ -n "$came" ] && limit=20
    [ "$attempts" -lt "$limit" ] || die 1 "$1; gave up after $attempts attempts in a row. What has been fetched is kept: the next attempt goes on from there."
    wait_for=$((attempts < 6 ? 1 << attempts : 60))
    say "$1; trying again"
    progress waiting "$(size_of "$part")" 0
    sleep "$(awk -v n="$wait_for" -v u="$backoff_unit" 'BEGIN { print n * u / 2 }')" &
    wait $!
}

header() { awk -v want="$1" '{ sub(/\r$/, "") } tolower($1) == want ":" { value = $2 } END { print value }' "$scratch/headers"; }

# Asks for size and checksum: those of the file, or of the storage that the host points to.
ask_host() {
    size=0
    while :; do
        status=$(web -sS -L -I --max-time 60 -o "$scratch/headers" -w '%{http_code}' "$url" 2>"$scratch/error")
        problem=$?
        case $problem-$status in
        0-200) break ;;
        0-429 | 0-408) pause "the host asks to come back later (HTTP status $status)" ;;
        0-4*) explain "$status" ;;
        0-*) pause "the host cannot answer now (HTTP status $status)" ;;
        *) pause "no connection to ${endpoint%/}: $(sed 's/^curl: //' "$scratch/error" | tail -n 1)" ;;
        esac
    done
    size=$(header x-linked-size)
    [ -n "$size" ] || size=$(header content-length)
    sum=$(header x-linked-etag)
    [ -n "$sum" ] || sum=$(header etag)
    sum=$(printf '%s' "$sum" | sed 's/^W\///; s/"//g')
    case $size in '' | *[!0-9]* | 0) die 1 "the host does not say how large $url is." ;; esac
}

memory_bytes() {
    if [ -r /proc/meminfo ]; then
        awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo
    else
        sysctl -n hw.memsize
    fi
}

# Before the first byte: the file has to fit on the disk, and in memory when it is served.
check_room() {
    have=$(size_of "$part")
    free=$(df -Pk "$dir" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')
    wanted=$((size - have + 1073741824))
    if [ "$free" -lt "$wanted" ]; then
        die 3 "not enough disk space in $dir: $(gb "$wanted") needed, $(gb "$free") free. Make room, or set DS4_GGUF_DIR to another disk."
    fi
    memory=$(memory_bytes)
    # A tenth more than the weights: 96 GB for the 87 GB file.
    needed=$((size * 11 / 10))
    if [ "$memory" -lt "$needed" ] && [ "${DS4_IGNORE_MEMORY:-0}" != 1 ]; then
        die 3 "not enough memory for this model: about $(gb "$needed") needed, this machine has $(gb "$memory"). DS4_MODEL_QUANT=nano tries the toy; DS4_IGNORE_MEMORY=1 fetches it all the same."
    fi
    if [ "$(uname -s)" = Darwin ]; then
        mib=$((needed / 1048576))
        limit=$(sysctl -n iogpu.wired_limit_mb 2>/dev/null || echo 0)
        if [ "$limit" -lt "$mib" ]; then
            say "macOS lets the GPU wire less memory than the model needs; until the next restart: sudo sysctl iogpu.wired_limit_mb=$mib"
        fi
    fi
}

# A part belongs to what the host announced when it was begun; another file starts anew.
check_part() {
    if [ -s "$part" ] && [ -f "$meta" ] && [ "$(cat "$meta")" != "$size $sum" ]; then
        say "the file at the host has changed; starting anew"
        rm -f "$part"
    fi
    if [ "$(size_of "$part")" -gt "$size" ]; then
        say "the part is longer than the file; starting anew"
        rm -f "$part"
    fi
    printf '%s %s\n' "$size" "$sum" >"$meta" || die 1 "cannot write to $dir"
    [ "$(cat "$meta")" = "$size $sum" ] || die 1 "cannot write to $dir: is the disk full?"
}

# One transfer, from where the part ends.
transfer() {
    last=$(size_of "$part")
    [ "$last" -le "$best" ] || best=$last
    rate=0
    last_time=$(date +%s)
    : >"$scratch/status"
    if [ -n "$token" ]; then printf 'header = "Authorization: Bearer %s"\n' "$token"; fi |
        curl -K - --proto '=http,https' --connect-timeout 30 -sS -f -L -C - --speed-limit 1000 --speed-time 60 \
            -o "$part" -w '%{http_code}' "$url" >"$scratch/status" 2>"$scratch/error" &
    curl_pid=$!
    while kill -0 "$curl_pid" 2>/dev/null; do
        time=$(date +%s)
        if [ "$time" -gt "$last_time" ]; then
            done_now=$(size_of "$part")
            sample=$(((done_now - last) / (time - last_time)))
            if [ "$rate" = 0 ]; then rate=$sample; else rate=$(((rate * 4 + sample) / 5)); fi
            last=$done_now
            last_time=$time
            progress download "$done_now" "$rate"
        fi
        sleep "$tick"
    done
    wait "$curl_pid"
    problem=$?
    curl_pid=
    status=$(cat "$scratch/status")
    # Only bytes that were never here before are progress.
    if [ "$(size_of "$part")" -gt "$best" ]; then
        best=$(size_of "$part")
        attempts=0
        came=1
    fi
}

fetch() {
    while :; do
        have=$(size_of "$part")
        [ "$have" -eq "$size" ] && return
        if [ "$have" -gt "$size" ]; then
            rm -f "$part"
            die 1 "the host sent more than the $size bytes it announced."
        fi
        transfer
        # Some versions of curl take this status for success: the file might be complete.
        if [ "$status" = 416 ]; then
            [ -z "$restarted" ] || die 1 "the host announced $size bytes but has no more than $have."
            restarted=1
            rm -f "$part"
            pause "the host does not know the part that is here; starting anew"
            continue
        fi
        case $problem in
        0) [ "$(size_of "$part")" -ge "$size" ] || pause "the host ended the transfer early" ;;
        22)
            case $status in
            408 | 429) pause "the host asks to come back later (HTTP status $status)" ;;
            4*) explain "$status" ;;
            *) pause "the host cannot answer now (HTTP status $status)" ;;
            esac
            ;;
        23)
            free=$(df -Pk "$dir" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')
            die 3 "cannot write $part: $(gb "$free") free, $(gb $((size - $(size_of "$part")))) to come. Make room and try again: what has been fetched is kept."
            ;;
        33 | 36)
            rm -f "$part"
            pause "the host cannot send the rest of a file; starting anew"
            ;;
        *) pause "the transfer broke ($(sed 's/^curl: //' "$scratch/error" | tail -n 1))" ;;
        esac
    done
}

sha256() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

check_whole() {
    if [ "$(head -c 4 "$part")" != GGUF ]; then
        start=$(head -c 60 "$part" | tr -c '[:print:]' ' ')
        rm -f "$part" "$meta"
        die 1 "what the host sent is not a GGUF file; it began with: $start"
    fi
    [ -n "$verify" ] || return 0
    case $sum in
    *[!0-9a-f]*) return 0 ;;
    esac
    # Only 64 digits are a SHA-256; other hosts put anything there.
    [ ${#sum} -eq 64 ] || return 0
    progress verify "$size" 0
    found=$(sha256 "$part")
    [ "$found" = "$sum" ] && return 0
    rm -f "$part" "$meta"
    die 1 "the file is damaged: its SHA-256 is $found, the host announced $sum. It has been removed; try again."
}

# The link is replaced in one step. What is no link is somebody's file: it stays.
make_link() {
    if [ -e "$link" ] && [ ! -L "$link" ]; then
        say "$link is no link: left as it is. The model is $file"
        return
    fi
    case $dir in
    */gguf) target=gguf/$name ;;
    *) target=$file ;;
    esac
    ln -s "$target" "$link.$$" && mv -f "$link.$$" "$link"
    say "$link -> $target"
}

take_lock() {
    while ! ln -s "$$" "$lock" 2>/dev/null; do
        other=$(readlink "$lock") || die 1 "cannot write to $dir"
        if kill -0 "$other" 2>/dev/null; then
            die 1 "process $other is fetching $name already"
        fi
        rm -f "$lock"
    done
    have_lock=1
}

command -v curl >/dev/null 2>&1 || die 1 "the program curl is missing; install it and try again"
mkdir -p "$dir" || die 1 "cannot create $dir"
if [ -s "$file" ]; then
    say "the model is there: $file"
    make_link
    exit 0
fi
scratch=$(mktemp -d) || die 1 "cannot create a temporary directory"
take_lock
ask_host
check_room
check_part
say "fetching $name, $(gb "$size"), from ${endpoint%/}/$repo"
fetch
check_whole
mv -f "$part" "$file" || die 1 "cannot rename $part"
rm -f "$meta"
progress "done" "$size" 0
say "done: $file"
make_link
