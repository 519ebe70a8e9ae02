#!/bin/bash
# Proves the format from outside: what the program stored, the Python reader brings back from the specification alone, once through
# index segments and once through pack footers. The walker that compares knows neither. Usage: check.sh SEABED [PYTHON]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
seabed=$(realpath "$1")
python=${2:-python3}
tools=$here/../tools
scratch=$(mktemp -d "${TMPDIR:-/tmp}/seabed-reader.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

export HOME=$scratch/home XDG_CACHE_HOME=$scratch/home/cache XDG_CONFIG_HOME=$scratch/home/config XDG_DATA_HOME=$scratch/home/data
export SEABED_REPOSITORY=$scratch/repository SEABED_PASSWORD_FILE=$scratch/passphrase
mkdir "$HOME"
echo 'correct horse' > "$scratch/passphrase"

say() { echo "reader check: $*"; }
# The id of the newest snapshot, without asking the program: names of manifests are ids.
newest() { ls -t "$SEABED_REPOSITORY/snapshots" | head -n 1; }
same() { python3 "$tools/walker.py" "$@"; }
# No tar holds a socket: nothing else may differ.
same_but_sockets() {
    local sockets others
    python3 "$tools/walker.py" "$1" "$2" > "$scratch/differences" || true
    sockets=$(find "$1" -type s | wc -l)
    others=$(grep -v '^walker: ' "$scratch/differences" | grep -vc ': only in: A | -$' || true)
    if [ "$others" != 0 ] || [ "$(grep -c ': only in: A | -$' "$scratch/differences")" != "$sockets" ]; then
        cat "$scratch/differences"
        return 1
    fi
}

"$python" "$here/reader.py" vectors "$here/../../format-spec/vectors" | tail -n 1
"$python" "$here/reader.py" cuts "$here/../../format-spec/vectors" | tail -n 1

say 'a tree with everything in it, and a stream and an archive beside it'
python3 "$tools/trees.py" "$scratch/tree" --seed 7
python3 - > "$scratch/dump.sql" <<'PY'
import random
r = random.Random(8)
for n in range(120_000):
    print(f'INSERT INTO orders VALUES ({n}, {r.randrange(10**9)}, \'{r.randbytes(12).hex()}\');')
PY
"$seabed" init --quiet
export_tree="tar c --format=posix --sparse --xattrs --xattrs-include='*' --acls -C '$scratch/tree' ."
"$seabed" backup --quiet --series check "$scratch/tree" --exec dump.sql="cat '$scratch/dump.sql'" --exec-tar export/tree="$export_tree"
first=$(newest)

say 'the same, edited'
cp -a "$scratch/tree" "$scratch/before"
python3 "$tools/trees.py" "$scratch/tree" --change --seed 9
sed 's/INSERT INTO orders VALUES (7/UPDATE (7/' "$scratch/dump.sql" > "$scratch/dump-2.sql"
"$seabed" backup --quiet --series check "$scratch/tree" --exec dump.sql="cat '$scratch/dump-2.sql'" --exec-tar export/tree="$export_tree"
second=$(newest)
[ "$first" != "$second" ]

restored() { # SNAPSHOT TREE DUMP [--footers]
    local out=$scratch/out
    "$python" "$here/reader.py" restore "$SEABED_REPOSITORY" "$1" "$out" -p "$scratch/passphrase" "${@:4}" 2> "$scratch/complaints"
    if [ -s "$scratch/complaints" ]; then cat "$scratch/complaints"; return 1; fi
    cmp "$3" "$out/dump.sql"
    same "$2" "$out$scratch/tree"
    same_but_sockets "$2" "$out/export/tree"
    rm -rf "$out"
}
say 'read by the reader through segments'
restored "$second" "$scratch/tree" "$scratch/dump-2.sql"
say 'the older snapshot, through footers'
rm -rf "$SEABED_REPOSITORY/index"
restored "$first" "$scratch/before" "$scratch/dump.sql" --footers
say 'and by the program, once it has rebuilt its index'
"$seabed" rebuild --quiet
"$seabed" restore --quiet "$first" --privileged --target "$scratch/own"
same "$scratch/before" "$scratch/own$scratch/tree"
same_but_sockets "$scratch/before" "$scratch/own/export/tree"
cmp "$scratch/dump.sql" "$scratch/own/dump.sql"
say 'and as an archive'
mkdir "$scratch/unpacked"
"$seabed" dump "$first:$scratch/tree" | tar x -p --xattrs --xattrs-include='*' --acls --numeric-owner -C "$scratch/unpacked" 2> /dev/null
touch -r "$scratch/before" "$scratch/unpacked"
same_but_sockets "$scratch/before" "$scratch/unpacked"
say 'no difference'
