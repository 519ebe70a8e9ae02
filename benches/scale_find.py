#!/usr/bin/env python3
"""`find` and `history` over many snapshots of many files, against their bars.

    scale_find.py --seabed EXE [--files 1000000] [--snapshots 100] [--runs 5] [--work DIR] [--keep DIR]

Makes a tree of small files in directories of a hundred, backs it up so many times with some two thousand files changed, added and removed
between each and the next, and asks. Bars: 100 ms to the first 1,000 hits where the pattern has a literal of three bytes or more, 0.5 s per million
distinct paths where it has none; the index fills behind each backup. Times are of whole processes, offline (the catalog alone) and with
the repository. --keep keeps the repository and its cache for another run, or takes those of one.
Exit status: 0 every bar is reached, 1 one is not, 2 it could not be measured.
"""
import argparse, os, random, shutil, sqlite3, statistics, subprocess, sys, tempfile, time

FIRST = 1000
FIRST_SECONDS = 0.1
PER_MILLION_SECONDS = 0.5
# Label, arguments, whether the pattern has a literal.
QUESTIONS = [
    ('many hits', ['find', '*alpha*'], True),
    ('few hits', ['find', 'file-0123456-*'], True),
    ('no hits', ['find', 'not-there-at-all'], True),
    ('a directory in the path', ['find', '/**/d01234/*'], True),
    ('an expression with a literal', ['find', '--regex', 'file-00[0-9]{5}-beta$'], True),
    ('either case', ['find', '-i', '*GAMMA-new*'], True),
    ('no literal', ['find', '*[0-4][0-9]-[bd]*'], False),
    ('an expression without', ['find', '--regex', '[0-9][02468]-[a-b][a-z]+$'], False),
    ('sizes alone', ['find', '--larger', '20'], False),
    ('history', ['history', 'TREE/d00012/file-0001234-gamma'], True),
]
WORDS = ('alpha', 'beta', 'gamma', 'delta')


class Failed(Exception):
    pass


def write(tree, number, text):
    path = f'{tree}/d{number // 100:05}/file-{number:07}-{WORDS[number % 4]}'
    with open(path, 'w') as file:
        file.write(text)


def first_hits(command, env):
    """Seconds to the first thousand lines, or to the end where there are fewer; and how many lines came."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = 0
    while lines < FIRST:
        block = os.read(process.stdout.fileno(), 1 << 16)
        if not block:
            break
        lines += block.count(b'\n')
    seconds = time.monotonic() - began
    while block := os.read(process.stdout.fileno(), 1 << 20):
        lines += block.count(b'\n')
    whole = time.monotonic() - began
    if process.wait():
        raise Failed(f'{" ".join(command)}: exit {process.returncode}: {process.stderr.read()[-800:].decode(errors="replace")}')
    return seconds, whole, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--files', type=int, default=1_000_000)
    parser.add_argument('--snapshots', type=int, default=100)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--work')
    parser.add_argument('--keep')
    given = parser.parse_args()
    work = given.keep or tempfile.mkdtemp(dir=given.work, prefix='scale-find-')
    os.makedirs(work, exist_ok=True)
    tree, home, seabed = os.path.join(work, 'tree'), os.path.join(work, 'home'), os.path.abspath(given.seabed)
    env = {'PATH': os.environ['PATH'], 'HOME': home}
    missed = []
    try:
        if not os.path.isdir(home):
            os.makedirs(home)
            rng = random.Random(3)
            for number in range(given.files):
                if number % 100 == 0:
                    os.makedirs(f'{tree}/d{number // 100:05}')
                write(tree, number, f'{number}\n' if number % 50 == 0 else '')
            total = given.files
            for day in range(given.snapshots):
                for _ in range(1800 if day else 0):
                    write(tree, rng.randrange(given.files), f'day {day} and what it brought\n')
                for _ in range(100 if day else 0):
                    write(tree, rng.randrange(given.files) // 100 * 100, '')
                    path = f'{tree}/d{rng.randrange(given.files) // 100:05}/gamma-new-{day}-{total}'
                    total += 1
                    open(path, 'w').close()
                done = subprocess.run([seabed, 'backup', '--init', '--quiet', '--series', 'scale', tree], env=env, capture_output=True)
                if done.returncode:
                    raise Failed(f'backup {day}: exit {done.returncode}: {done.stderr[-800:].decode(errors="replace")}')
                print(f'snapshot {day + 1} of {given.snapshots}', file=sys.stderr)
        index = next(os.path.join(at, 'paths.sqlite') for at, _, names in os.walk(home) if 'paths.sqlite' in names)
        db = sqlite3.connect(f'file:{index}?mode=ro', uri=True)
        paths, versions, known = (db.execute(f'SELECT count(*) FROM {table}').fetchone()[0] for table in ('paths', 'versions', 'snapshots'))
        db.close()
        if known < given.snapshots:
            raise Failed(f'the index knows {known} snapshots of {given.snapshots}: they are to be taken in behind each backup')
        print(f'{known} snapshots, {paths} paths, {versions} versions, {os.path.getsize(index) / 1e6:.0f} MB of index')
        # The first search makes the blocks.
        first_hits([seabed, 'find', 'x', '--offline'], env)
        for label, question, literal in QUESTIONS:
            command = [seabed, *(word.replace('TREE', tree) for word in question)]
            of = {where: [first_hits(command + more, env) for _ in range(given.runs)] for where, more in (('offline', ['--offline']), ('asked', []))}
            first, whole = (statistics.median(run[at] for run in of['offline']) for at in (0, 1))
            asked = statistics.median(run[0] for run in of['asked'])
            bar = FIRST_SECONDS if literal else PER_MILLION_SECONDS * max(paths, 1_000_000) / 1e6
            measured = first if literal else whole
            print(f'{label:<30}{of["offline"][0][2]:>9} lines   first {FIRST}: {first:6.3f} s   all: {whole:6.3f} s   with the repository: {asked:6.3f} s   bar {bar:.2f} s', flush=True)
            if measured > bar:
                missed.append(label)
    except (Failed, OSError) as e:
        print(f'scale_find.py: {e}', file=sys.stderr)
        return 2
    finally:
        if not given.keep:
            shutil.rmtree(work, ignore_errors=True)
    for what in missed:
        print(f'missed: {what}')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
