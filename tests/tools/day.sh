#!/bin/bash
# One day with Seabed as somebody sees it who has just installed it: tests/tools/day.sh SEABED [COLUMNS [LINES]]
# Runs the commands of a day in a terminal of 80 by 24 (tmux), in an empty home, and prints the screen after each of them.
# It judges nothing: it is there to be read. A command that the program does not have is left out.
set -euo pipefail
seabed=$(realpath "$1")
columns=${2:-80} rows=${3:-24}
work=$(mktemp -d)
tmux=(tmux -f /dev/null -S "$work/tmux")
end() {
    "${tmux[@]}" kill-server 2> /dev/null || true
    rm -rf "$work"
}
trap end EXIT

home=$work/ann
mkdir -p "$home/bin" "$home/letters" "$home/photos"
ln -s "$seabed" "$home/bin/seabed"
for n in 1 2 3 4 5; do seq "$n" 2000 > "$home/letters/letter-$n.txt"; done
for n in 1 2 3; do head -c 3000000 /dev/urandom > "$home/photos/photo-$n.jpg"; done
echo 'Dear Bob,' > "$home/letters/bob.txt"

"${tmux[@]}" new-session -d -x "$columns" -y "$rows" \
    "cd '$home' && env -i HOME='$home' PATH='$home/bin:/usr/bin:/bin' TERM=screen LANG=C.UTF-8 PS1='$ ' bash --norc"

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
    sed '/^$/d' <<< "$screen" | sed '$d'
    echo
}

has() {
    "$seabed" "$1" --help > /dev/null 2>&1
}

types 'seabed backup letters photos'
types 'seabed init' ''
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
echo 'Dear Bob, how are you?' > "$home/letters/bob.txt"
rm "$home/letters/letter-5.txt"
types 'seabed backup letters photos --exclude "*.tmp" --tag home'
types 'seabed snapshots'
types 'seabed ls latest'
has find && types 'seabed find bob.txt'
has history && types "seabed history letters/bob.txt"
has diff && types 'seabed diff latest~1 latest'
types 'seabed restore latest~2 --target old --include letter-5.txt'
types 'seabed dump latest ~/letters/bob.txt'
types 'seabed forget --keep-last 1 --dry-run'
types 'seabed forget --keep-last 1'
types 'seabed gc --dry-run --grace 0'
types 'seabed gc --grace 0'
types 'seabed check --read-data'
types 'seabed stats'
types 'seabed restore latest --target back'
types 'diff -r letters "back$PWD/letters" && echo the same'
types 'seabed mout'
