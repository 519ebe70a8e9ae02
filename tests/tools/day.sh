#!/bin/bash
# One day with Seabed as somebody sees it who has just installed it: tests/tools/day.sh SEABED [COLUMNS [LINES]]
# Runs the commands of a day in a terminal of 80 by 24 (tmux), in an empty home, and prints the screen after each of them: README.md carries
# what it prints. It judges nothing: it is there to be read. In namespaces of its own, so that the home is /home/ann on a machine `laptop`
# whoever runs it; the mount needs /dev/fuse.
set -euo pipefail
if [ -z "${SEABED_DAY:-}" ]; then
    exec env SEABED_DAY=1 unshare --map-root-user --mount --uts --pid --fork --mount-proc "$0" "$(realpath "$1")" "${@:2}"
fi
seabed=$1
columns=${2:-80} rows=${3:-24}
work=$(mktemp -d)
cp "$seabed" "$work/seabed"
hostname laptop
mount -t tmpfs none /home
tmux=(tmux -f /dev/null -S "$work/tmux")
end() {
    "${tmux[@]}" kill-server 2> /dev/null || true
    rm -rf "$work"
}
trap end EXIT

home=/home/ann
mkdir -p "$home/letters" "$home/photos"
for n in 1 2 3 4 5; do seq "$n" 2000 > "$home/letters/letter-$n.txt"; done
for n in 1 2 3; do head -c 3000000 /dev/urandom > "$home/photos/photo-$n.jpg"; done
echo 'Dear Bob,' > "$home/letters/bob.txt"

"${tmux[@]}" new-session -d -x "$columns" -y "$rows" \
    "cd '$home' && env -i HOME='$home' PATH='$work:/usr/bin:/bin' TERM=screen LANG=C.UTF-8 PS1='$ ' bash --norc"

# Types a line, answers what it asks for if an answer is given, waits until the prompt is back, and prints the screen, which was empty before.
types() {
    "${tmux[@]}" send-keys "clear" Enter
    sleep 0.3
    "${tmux[@]}" clear-history
    "${tmux[@]}" send-keys -l "$1"
    "${tmux[@]}" send-keys Enter
    if [ $# -gt 1 ]; then
        sleep 2
        "${tmux[@]}" send-keys -l "$2"
        "${tmux[@]}" send-keys Enter
    fi
    local before=""
    for _ in $(seq 600); do
        sleep 0.2
        screen=$("${tmux[@]}" capture-pane -p -S -200)
        # The last line that is not empty is a prompt, and nothing moved.
        if [ "$(sed '/^$/d' <<< "$screen" | tail -n 1)" = '$' ] && [ "$screen" = "$before" ]; then
            break
        fi
        before=$screen
    done
    # Blank lines below the prompt are the rest of the screen.
    sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' <<< "$screen" | sed '$d'
    echo
}

# So that no two snapshots are of one second.
later() {
    sleep 2
}

types 'seabed backup letters photos'
types 'seabed init' ''
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
later
echo 'Dear Bob, how are you?' > "$home/letters/bob.txt"
rm "$home/letters/letter-5.txt" "$home/photos/photo-3.jpg"
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
later
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
types 'seabed snapshots'
types 'seabed diff latest~2 latest'
types 'seabed find "letter-5*"'
types 'seabed history letters/bob.txt'
types 'seabed ls latest ~/letters -l'
types 'seabed dump latest~2 ~/letters/bob.txt'
types 'seabed restore latest~2 --target old --include letter-5.txt'
mkdir "$home/all"
types 'seabed mount all & sleep 2'
types 'cat all/snapshots/latest/home/ann/letters/bob.txt'
types 'umount all; wait'
types 'seabed stats'
types 'seabed check --read-data'
types 'seabed forget --keep-last 2 --dry-run'
types 'seabed forget --keep-last 2'
types 'seabed gc --dry-run --grace 0'
types 'seabed restore latest --target back'
types 'diff -r letters back/home/ann/letters && echo the same'
types 'seabed mout all'
