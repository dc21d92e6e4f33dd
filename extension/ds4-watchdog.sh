#!/bin/sh
# Starts the server that pi processes share, and stops it when nobody uses it any more. No pi has to live for that.
#   ds4-watchdog.sh run   STATE_DIR PORT -- PROGRAM [ARGUMENT...]
#       Starts PROGRAM, writes its process into STATE_DIR/server.json, keeps a watch over it, notes how it ended.
#   ds4-watchdog.sh keep  STATE_DIR PORT PID START
#       Keeps a watch over a server that runs already.
# The keeper starts a second process, the watch, and replaces it when it is killed; the watch replaces a killed keeper.
# The server is stopped when for TTL seconds no lease under STATE_DIR/clients was live, nobody held the lock and no
# client was connected. Leases, lock and server.json are described in lease.ts, lock.ts and server-state.ts.
set -u
LC_ALL=C
export LC_ALL
umask 077

ttl=${DS4_WATCHDOG_TTL:-45}
poll=${DS4_WATCHDOG_POLL:-5}
grace=${DS4_WATCHDOG_GRACE:-60}
tick=${DS4_WATCHDOG_TICK:-1}
proc=${DS4_WATCHDOG_PROC:-/proc}

mode=$1
state=$2
port=$3
server_json=$state/server.json
host=$(uname -n)

log() { printf 'ds4-watchdog: %s\n' "$*" >&2; }

now() { date +%s; }

# start_of PID: its start time, see process-id.ts; fails when there is no such process or only its remains.
start_of() {
    if [ -r "$proc/self/stat" ]; then
        { read -r stat_line <"$proc/$1/stat"; } 2>/dev/null || return 1
        # The name in parentheses may hold anything: fields are counted from the last parenthesis.
        # shellcheck disable=SC2086 # split into fields on purpose
        set -- ${stat_line##*) }
        case $1 in
        X) return 1 ;;
        Z) [ "${18}" -gt 1 ] || return 1 ;;
        esac
        printf 't%s' "${20}"
    else
        stat_line=$(TZ=UTC0 ps -o stat=,lstart= -p "$1" 2>/dev/null) || return 1
        # shellcheck disable=SC2086
        set -- $stat_line
        case ${1:-Z} in Z*) return 1 ;; esac
        shift
        printf '%s' "$*"
    fi
}

# is_running PID START: whether exactly this process runs; an unknown start time is taken on trust.
is_running() {
    case $1 in '' | *[!0-9]* | 0) return 1 ;; esac
    kill -0 "$1" 2>/dev/null || [ -d "$proc/$1" ] || return 1
    found=$(start_of "$1") || return 1
    [ -z "$2" ] || [ -z "$found" ] || [ "$found" = "$2" ]
}

# field FILE NAME: a string or number from a JSON file with one field per line.
field() {
    sed -n -e 's/^ *"'"$2"'": "\(.*\)",\{0,1\}$/\1/p' -e 's/^ *"'"$2"'": \(-\{0,1\}[0-9][0-9]*\),\{0,1\}$/\1/p' "$1" 2>/dev/null |
        head -n 1
}

# set_field FILE NAME VALUE: VALUE as it stands in JSON. The file is replaced whole.
set_field() {
    value=$(printf '%s' "$3" | sed 's/[\\&|]/\\&/g')
    sed 's|^\( *"'"$2"'": \).*[^,]\(,\{0,1\}\)$|\1'"$value"'\2|' "$1" >"$1.$$.new" && mv -f "$1.$$.new" "$1"
}

# lease_is_live FILE. A process of our machine counts as long as it is there, however old its heartbeat: it may be stopped.
lease_is_live() {
    pid=$(field "$1" pid)
    start=$(field "$1" start)
    beat=$(field "$1" heartbeat)
    age=$(($(now) - ${beat:-0}))
    if is_running "$pid" "$start"; then
        [ -n "$start" ] || [ "$age" -le "$ttl" ]
    else
        [ "$(field "$1" host)" != "$host" ] && [ "$age" -le "$ttl" ]
    fi
}

# Looks at all of them, so that dead ones are removed also while others live.
has_live_lease() {
    live=1
    for lease in "$state"/clients/*.json; do
        [ -f "$lease" ] || continue
        if lease_is_live "$lease"; then live=0; else rm -f "$lease"; fi
    done
    return $live
}

owner_text() { readlink "$state/lock/$1" 2>/dev/null; }

# is_stale TEXT: whether the owner that TEXT names is gone.
is_stale() {
    owner_pid=${1%%|*}
    owner_rest=${1#*|}
    owner_start=${owner_rest%%|*}
    owner_rest=${owner_rest#*|}
    [ "${owner_rest%%|*}" = "$host" ] && ! is_running "$owner_pid" "$owner_start"
}

lock_is_held() {
    text=$(owner_text owner) || return 1
    ! is_stale "$text"
}

take_lock() {
    mine="$me|$my_start|$host|$(now)"
    mkdir -p "$state/lock" 2>/dev/null
    ln -s "$mine" "$state/lock/owner" 2>/dev/null && return 0
    text=$(owner_text owner) && is_stale "$text" || return 1
    other=$(owner_text taking) && is_stale "$other" && rm -f "$state/lock/taking"
    ln -s "$mine" "$state/lock/taking" 2>/dev/null || return 1
    text=$(owner_text owner) && is_stale "$text" && mv -f "$state/lock/taking" "$state/lock/owner" && return 0
    rm -f "$state/lock/taking"
    return 1
}

release_lock() { [ "$(owner_text owner)" = "$mine" ] && rm -f "$state/lock/owner"; }

# Whether somebody is connected to the server's port.
has_client() {
    if [ -r "$proc/net/tcp" ]; then
        hex=$(printf '%04X' "$port")
        cat "$proc/net/tcp" "$proc/net/tcp6" 2>/dev/null |
            awk -v port=":$hex" 'substr($2, length($2) - 4) == port && $4 == "01" { found = 1 } END { exit !found }'
    elif command -v lsof >/dev/null 2>&1; then
        [ -n "$(lsof -nP -t -iTCP:"$port" -sTCP:ESTABLISHED 2>/dev/null)" ]
    else
        netstat -an 2>/dev/null |
            awk -v port="$port" '$4 ~ "[.:]" port "$" && $NF == "ESTABLISHED" { found = 1 } END { exit !found }'
    fi
}

in_use() { has_live_lease || lock_is_held || has_client; }

describes_us() { [ "$(field "$server_json" pid)" = "$server" ] && [ "$(field "$server_json" start)" = "$server_start" ]; }

stop_server() {
    log "stopping the server (process $server)"
    kill -TERM "$server" 2>/dev/null
    deadline=$(($(now) + grace))
    while is_running "$server" "$server_start"; do
        if [ "$(now)" -ge "$deadline" ]; then
            log "the server did not end in $grace seconds; killing it"
            kill -KILL "$server" 2>/dev/null
            deadline=$(($(now) + grace + 60))
        fi
        sleep "$tick"
    done
    log "the server is gone"
    describes_us && rm -f "$server_json"
}

# Marks the server as stopping unless somebody came back meanwhile; pi processes look at the mark under the same lock.
begin_stop() {
    take_lock || return 1
    if has_live_lease || has_client; then
        release_lock
        return 1
    fi
    describes_us && set_field "$server_json" state '"stopping"'
    release_lock
    return 0
}

watch() {
    me=$(exec sh -c 'echo "$PPID"')
    my_start=$(start_of "$me")
    printf '%s|%s\n' "$me" "$my_start" >"$state/watchdog.$me" && mv -f "$state/watchdog.$me" "$state/watchdog"
    idle_since=
    next_look=0
    while is_running "$server" "$server_start"; do
        if describes_us && [ "$(field "$server_json" state)" = stopping ]; then
            stop_server
            return
        fi
        if [ "$(now)" -ge "$next_look" ]; then
            next_look=$(($(now) + poll))
            if in_use; then
                idle_since=
            else
                [ -n "$idle_since" ] || idle_since=$(now)
                if [ $(($(now) - idle_since)) -ge "$ttl" ] && begin_stop; then
                    stop_server
                    return
                fi
                # The moment when the time is up is not missed by a poll.
                [ $((idle_since + ttl)) -ge "$next_look" ] || next_look=$((idle_since + ttl))
            fi
            if ! is_running "$keeper" "$keeper_start"; then
                log "the keeper is gone; starting another"
                /bin/sh "$0" keep "$state" "$port" "$server" "$server_start" &
                return
            fi
        fi
        sleep "$tick"
    done
}

# Watches until the server is gone; a watch that is killed is started again.
keep() {
    keeper=$$
    keeper_start=$(start_of $$)
    while is_running "$server" "$server_start"; do
        watch &
        wait $!
    done
}

case $mode in
run)
    shift 4
    "$@" </dev/null &
    server=$!
    server_start=$(start_of "$server")
    set_field "$server_json" start "\"$server_start\""
    set_field "$server_json" pid "$server"
    keep
    wait "$server"
    status=$?
    log "the server (process $server) ended with status $status"
    if describes_us; then
        set_field "$server_json" status "$status"
        set_field "$server_json" state '"ended"'
    fi
    ;;
keep)
    server=$4
    server_start=$5
    keep
    ;;
*)
    echo "usage: ds4-watchdog.sh run|keep STATE_DIR PORT ..." >&2
    exit 2
    ;;
esac
