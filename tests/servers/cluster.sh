#!/bin/bash
# Three Garage nodes that keep every object three times, each in a network namespace of its own, to be killed and cut off:
#   cluster.sh start DIR [--owner PID] | stop DIR | status DIR | kill N DIR | revive N DIR | cut N DIR | heal N DIR     (N: 1 to 3)
# What it keeps is in DIR/cluster, which `stop` removes, with the namespaces and the bridge. `start` and `status` print shell
# assignments for `eval`, and nothing else on stdout: one URL a node. With --owner it stops when that process is gone. Needs root.
#   kill    SIGKILL; connections are refused from then on.       revive  starts it again on its data
#   cut     neither the other nodes nor the host reach it; it runs on, what is sent to it gets lost: connections hang.      heal    joins it again
# revive and heal return when all nodes that are there serve again, unless these are too few (Garage needs two for anything).
# Seen of Garage 2.5.0: with one node killed the others go on at once. With one cut off they need 75 s to notice (five pings), and some
# requests hang that long, most of the PUTs through one of the two nodes, none through the other; one GET hung for more than 200 s.
# With two gone requests hang, later they are answered 503. A host that connects to a node cut off is told after some seconds that
# there is no route; what it had under way there hangs.
# Listings of three nodes show what was deleted: after one DELETE in ten for some 100 ms, and for minutes where a node was away during
# it and came back (more than 100 s, until Garage has compared its tables; it differs from one listing to the next). GET says 404 of such
# an object at once. What was put is always listed, and an object put again reads as the new one, also then.
# The host reaches the nodes through the bridge, an address in a private range that nothing here uses. No packet leaves the machine:
# nodes have no other route, and where a node is gone the bridge's route still holds, until `stop`: talk to no node after that.
. "$(dirname "$0")/lib.sh"
usage='usage: cluster.sh start DIR [--owner PID] | stop DIR | status DIR | kill|revive|cut|heal N DIR'
[ $# -ge 2 ] || die "$usage"
command=$1
shift
node=
if [[ $command =~ ^(kill|revive|cut|heal)$ ]]; then
    [[ $1 =~ ^[123]$ ]] || die "$usage"
    node=$1
    shift
fi
[ -n "${1:-}" ] || die "$usage"
mkdir -p "$1"
dir=$(realpath "$1")
state=$dir/cluster
shift
options "$@"
[ -z "$port" ] || die 'its ports are 3900 on each node'
garage=

# Everything a cluster makes is named after its id, so that it can be found again whatever else was lost.
load() {
    read -r id net < "$state/id" 2> /dev/null || die "$state: no cluster here"
}
space() { echo "seabed-$id-$1"; }
link() { echo "sb$id-$1"; }
inside() { # NODE COMMAND...
    local n=$1
    shift
    ip netns exec "$(space "$n")" "$@"
}
cli() { # NODE ARGUMENT...
    local n=$1
    shift
    inside "$n" env -i HOME="$state/$n" PATH="$PATH" RUST_LOG=error timeout 30 "$garage" -c "$state/$n/garage.toml" "$@"
}
is_cut() { [ -e "$state/$1/cut" ]; }
serves() { alive "$state/$1/server" && ! is_cut "$1"; }

stop() {
    local n pids space round
    if [ -f "$state/id" ]; then
        load
        for n in 1 2 3; do
            space=$(space "$n")
            if [ -e "/run/netns/$space" ]; then
                for ((round = 0; round < 200; round++)); do
                    pids=$(ip netns pids "$space")
                    [ -n "$pids" ] || break
                    # shellcheck disable=SC2086
                    kill -KILL $pids 2> /dev/null || true
                    sleep 0.05
                done
                [ -z "$pids" ] || die "processes $pids of $space do not end"
            fi
            # With it goes the end that is inside.
            ! ip link show "$(link "$n")" > /dev/null 2>&1 || ip link del "$(link "$n")"
            [ ! -e "/run/netns/$space" ] || ip netns del "$space"
        done
        ! ip link show "$(link br)" > /dev/null 2>&1 || ip link del "$(link br)"
    fi
    finish "$state/watch"
    rm -rf "$state"
}

# A /24 that no address and no route but the default one touches.
free_net() {
    ip -j route show table all | python3 -c '
import ipaddress, json, random, sys
used = []
for route in json.load(sys.stdin):
    try:
        used.append(ipaddress.ip_network(route["dst"], strict=False))
    except ValueError:
        pass
used = [u for u in used if u.version == 4 and u.prefixlen > 0]
while True:
    net = ipaddress.ip_network((0x0A000000 | random.getrandbits(16) << 8, 24))
    if not any(net.overlaps(u) for u in used):
        print(str(net)[:-len(".0/24")])
        break'
}

launch_node() { # NODE
    launch "$state/$1/server" "$state/$1/log" ip netns exec "$(space "$1")" \
        env -i HOME="$state/$1" PATH="$PATH" RUST_LOG=garage=info "$garage" -c "$state/$1/garage.toml" server
}

# Nodes try those they lost at growing intervals; being told to is quicker.
connect() { # NODE
    local n
    for n in 1 2 3; do
        [ "$n" != "$1" ] && serves "$n" || continue
        cli "$1" node connect "$(cat "$state/$n/node")" > /dev/null 2>&1 || true
        cli "$n" node connect "$(cat "$state/$1/node")" > /dev/null 2>&1 || true
    done
}

# Waits until all nodes that run and are not cut off serve, if they are enough for it.
settle() { # NODE-THAT-CAME-BACK
    local n up=()
    for n in 1 2 3; do
        ! serves "$n" || up+=("$n")
    done
    if [ ${#up[@]} -lt 2 ]; then
        say "${#up[@]} of 3 nodes can be reached: nothing is served"
        return 0
    fi
    ! serves "$1" || connect "$1"
    # Longer than they need to notice who is cut off.
    local START_SECONDS=180
    for n in "${up[@]}"; do
        answers "$state/$n/server" "$state/$n/env" || { tail -n 20 "$state/$n/log" >&2; die "node $n does not serve"; }
    done
}

start() {
    local n key secret rpc
    garage=$(program garage)
    [ "$(id -u)" = 0 ] || die 'network namespaces need root'
    command -v ip > /dev/null || die 'ip is not there: run tests/servers/install.sh DIR garage'
    ! { alive "$state/1/server" || alive "$state/2/server" || alive "$state/3/server"; } || die "$state: one runs already"
    stop
    trap failed EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$state"
    id=$(random_hex 2)
    # Two that start at once must not choose the same range.
    exec 9> /run/lock/seabed-cluster
    flock 9
    net=$(free_net)
    echo "$id $net" > "$state/id"
    ip link add "$(link br)" type bridge forward_delay 0 stp_state 0
    ip addr add "$net.254/24" dev "$(link br)"
    ip link set "$(link br)" up
    exec 9>&-
    key=GK$(random_hex 12) secret=$(random_hex 32) rpc=$(random_hex 32)
    for n in 1 2 3; do
        ip netns add "$(space "$n")"
        ip link add "$(link "$n")" type veth peer name eth0 netns "$(space "$n")"
        ip link set "$(link "$n")" master "$(link br)" up
        ip -n "$(space "$n")" addr add "$net.$n/24" dev eth0
        ip -n "$(space "$n")" link set eth0 up
        ip -n "$(space "$n")" link set lo up
        mkdir -p "$state/$n"
        garage_config "$state/$n" "$net.$n:3900" "$net.$n:3901" "$rpc" 3 > "$state/$n/garage.toml"
        chmod 600 "$state/$n/garage.toml"
        {
            echo "SEABED_TEST_S3_URL=s3:http://$net.$n:3900/seabed"
            echo "AWS_ACCESS_KEY_ID=$key"
            echo "AWS_SECRET_ACCESS_KEY=$secret"
            echo "AWS_REGION=garage"
        } > "$state/$n/env"
    done
    {
        cat "$state/1/env"
        for n in 1 2 3; do
            echo "SEABED_TEST_S3_URL_$n=s3:http://$net.$n:3900/seabed"
        done
    } > "$state/env"
    for n in 1 2 3; do
        launch_node "$n"
    done
    for n in 1 2 3; do
        until_ok named "$n"
    done
    # They keep each other's addresses, also for a node that is started again.
    until_ok together
    # shellcheck disable=SC2046
    until_ok cli 1 layout assign --zone here --capacity 100G $(cut -d@ -f1 "$state"/[123]/node)
    until_ok cli 1 layout apply --version 1
    until_ok cli 1 key import --yes -n seabed "$key" "$secret"
    until_ok cli 1 bucket create seabed
    until_ok cli 1 bucket allow --read --write --owner seabed --key "$key"
    for n in 1 2 3; do
        answers "$state/$n/server" "$state/$n/env" || die "node $n does not serve"
    done
    [ -z "$owner" ] || watch "$state/watch" "$owner" "$dir"
    trap - EXIT INT TERM
    cat "$state/env"
}

# What is left of a start that failed is nothing but its last words.
failed() {
    say 'it did not start'
    tail -n 15 "$state"/[123]/log >&2 2> /dev/null || true
    stop
}

# Notes a node's name and address, which it gives itself when it first runs.
named() { # NODE
    cli "$1" node id --quiet > "$state/$1/node"
}

# Whether each node sees all three.
together() {
    local n
    connect 1
    for n in 1 2 3; do
        [ "$(cli "$n" status | sed '/FAILED/,$d' | grep -cF "$net.")" = 3 ] || return 1
    done
}

# Tries until it works: a young cluster has no quorum yet.
until_ok() { # COMMAND...
    local deadline=$((SECONDS + START_SECONDS))
    until "$@" >> "$state/1/log" 2>&1; do
        [ $SECONDS -lt $deadline ] || die "$* does not work"
        sleep 0.2
    done
}

case $command in
    start) start ;;
    stop) stop ;;
    status)
        load
        for n in 1 2 3; do
            say "node $n $(alive "$state/$n/server" && echo runs || echo is dead)$(is_cut "$n" && echo ', cut off' || true)"
        done
        cat "$state/env"
        ;;
    kill)
        load
        finish "$state/$node/server" KILL
        ;;
    revive)
        load
        garage=$(program garage)
        alive "$state/$node/server" || launch_node "$node"
        settle "$node"
        ;;
    cut)
        load
        ip link set "$(link "$node")" down
        touch "$state/$node/cut"
        ;;
    heal)
        load
        garage=$(program garage)
        ip link set "$(link "$node")" up
        rm -f "$state/$node/cut"
        settle "$node"
        ;;
    *) die "$usage" ;;
esac
