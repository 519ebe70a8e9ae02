# What the scripts beside this one share: processes that are known by more than their number, free ports, waiting. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
self=$here/${0##*/}
# How long a server may take to answer. A loaded two-core machine is slow; none of this is a measurement.
START_SECONDS=60

say() { echo "${self##*/}: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# The path of an installed program.
program() { # NAME
    [ -n "${SEABED_TEST_SERVERS:-}" ] || die "SEABED_TEST_SERVERS is not set: the directory given to tests/servers/install.sh"
    local path
    path=$(realpath -m "$SEABED_TEST_SERVERS")/bin/$1
    [ -x "$path" ] || die "$path is not there: run tests/servers/install.sh $SEABED_TEST_SERVERS $1"
    echo "$path"
}

# When a process began, which tells it from a later one of the same number; fails when there is none, or only its remains.
began() { # PID
    local stat
    stat=$(cat "/proc/$1/stat" 2> /dev/null) || return 1
    # The name, in brackets, may hold anything.
    read -ra stat <<< "${stat##*) }"
    [ "${stat[0]}" != Z ] && [ "${stat[0]}" != X ] || return 1
    echo "${stat[19]}"
}

# Starts a process of its own session, which outlives this script, and notes which it is.
launch() { # NOTE LOG COMMAND...
    local note=$1 log=$2
    shift 2
    setsid "$@" < /dev/null >> "$log" 2>&1 9>&- &
    echo "$! $(began $! || echo gone)" > "$note"
}

alive() { # NOTE
    local pid time
    [ -f "$1" ] && read -r pid time < "$1" && [ "$(began "$pid")" = "$time" ]
}

# Ends what `launch` started, and what that started; returns when it is gone.
finish() { # NOTE [SIGNAL]
    local pid time signal=${2:-TERM} n
    if alive "$1"; then
        read -r pid time < "$1"
        # The stop that a watch runs is that watch.
        if [ "$pid" != $$ ]; then
            kill -s "$signal" -- "-$pid" 2> /dev/null || true
            for ((n = 0; n < 200; n++)); do
                alive "$1" || break
                # Five seconds to end in good order, then none.
                [ $n != 100 ] || kill -s KILL -- "-$pid" 2> /dev/null || true
                sleep 0.05
            done
            ! alive "$1" || die "process $pid does not end"
        fi
    fi
    rm -f "$1"
}

# Stops the server of DIR once OWNER is gone, however it went: a test that is killed drops nothing.
watch() { # NOTE OWNER DIR
    # shellcheck disable=SC2016
    launch "$1" /dev/null bash -c 'while kill -0 "$1" 2> /dev/null; do sleep 1; done; exec "$2" stop "$3"' watch "$2" "$self" "$3"
}

# Free ports of 127.0.0.1, all different. Another process may take one before it is used, so starting is tried again.
free_ports() { # COUNT
    python3 -c '
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))' "$1"
}

random_hex() { # BYTES
    python3 -c 'import secrets, sys; print(secrets.token_hex(int(sys.argv[1])))' "$1"
}

# Waits until a server stores, lists and returns an object. Fails when its process ends or the time is over; the reason is said.
answers() { # NOTE ENV-FILE [PREFIX-COMMAND...]
    local note=$1 file=$2 deadline=$((SECONDS + START_SECONDS)) why
    shift 2
    while alive "$note"; do
        # shellcheck disable=SC1090
        why=$(set -a; . "$file"; exec "$@" python3 "$here/s3.py" "$SEABED_TEST_S3_URL" health 2>&1) && return 0
        [ $SECONDS -lt $deadline ] || { say "no answer in $START_SECONDS s: $why"; return 1; }
        sleep 0.1
    done
    say "the server ended"
    return 1
}

# Arguments after COMMAND and DIR.
port='' owner=''
options() {
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
            --port) port=$2 ;;
            --owner) owner=$2 ;;
            *) die "unknown option $1" ;;
        esac
        shift 2
    done
}

# A node's configuration. Nothing here is fsynced: the data lives as long as the tests, and the disk would be what is measured. So
# these servers prove nothing about power cuts; a killed process loses nothing. Compression is off: what Seabed and its peers send is
# ciphertext, on which Garage would spend time for nothing.
garage_config() { # DIR S3-ADDRESS RPC-ADDRESS RPC-SECRET REPLICATION-FACTOR
    cat << TOML
metadata_dir = "$1/meta"
data_dir = "$1/data"
db_engine = "lmdb"
metadata_fsync = false
data_fsync = false
compression_level = "none"
replication_factor = $5
rpc_bind_addr = "$3"
rpc_public_addr = "$3"
rpc_secret = "$4"

[s3_api]
s3_region = "garage"
api_bind_addr = "$2"
TOML
}

# What a client of the server on $port must know.
access() { # KEY SECRET REGION
    {
        echo "SEABED_TEST_S3_URL=s3:http://127.0.0.1:$port/seabed"
        echo "AWS_ACCESS_KEY_ID=$1"
        echo "AWS_SECRET_ACCESS_KEY=$2"
        echo "AWS_REGION=$3"
    } > "$state/env"
}

# A script of one server: NAME.sh start DIR [--port N] [--owner PID] | stop DIR | status DIR. It defines `prepare`, called once before a start,
# and `serve`, which writes `access` for $port and launches the server with the note $state/server; `serve` is tried again on another port.
single() { # NAME ARGUMENT...
    local name=$1
    shift
    [ $# -ge 2 ] && [ -n "$2" ] || die "usage: $name.sh start DIR [--port N] [--owner PID] | stop DIR | status DIR"
    local command=$1 given try
    mkdir -p "$2"
    dir=$(realpath "$2")
    state=$dir/$name
    shift 2
    options "$@"
    case $command in
        start) ;;
        stop) gone && return ;;
        status)
            alive "$state/server" && cat "$state/env"
            return
            ;;
        *) die "unknown command $command" ;;
    esac
    ! alive "$state/server" || die "$state: one runs already"
    gone
    trap gone EXIT
    trap 'exit 130' INT TERM
    prepare
    given=$port
    for try in 1 2 3; do
        rm -rf "$state"
        mkdir -p "$state"
        port=${given:-$(free_ports 1)}
        serve
        if answers "$state/server" "$state/env"; then
            [ -z "$owner" ] || watch "$state/watch" "$owner" "$dir"
            trap - EXIT INT TERM
            cat "$state/env"
            return
        fi
        tail -n 20 "$state/log" >&2
        finish "$state/server"
        [ -z "$given" ] || break
    done
    die "$name does not start ($try tries)"
}

# Ends the one server of $state and removes its data.
gone() {
    finish "$state/server"
    finish "$state/watch"
    rm -rf "$state"
}
