#!/usr/bin/env python3
"""Finding paths beside restic and rustic: the same snapshots, the same questions, in one run.

    compare_find.py --seabed EXE --peers DIR --corpus DIR [--snapshots 30] [--runs 3] [--bar 2.0] [--work DIR] [--json FILE]

The corpus is that of corpus.sh: two releases of a source tree. Each tool makes the same snapshots of one path: the first half of the older
release, the second of the newer one, with files edited, added and removed between each and the next. Every tool keeps its cache, as it would
at a user's. What is timed is one command per question, whole processes, in turn; first that restic and Seabed name the same paths in the same
number of snapshots. `history` is the question for one path in all snapshots, which the peers answer by finding it.
Exit status: 0 every bar is reached, 1 one is not, 2 it could not be measured.
"""
import argparse, fnmatch, json, os, shutil, statistics, subprocess, sys, tempfile, time

from days import days

QUESTIONS = {
    'a name': ('find', 'ext4_jbd2.c'),
    'an ending': ('find', '*.rst'),
    'no literal': ('find', '[a-c]?[0-9]*'),
    'nothing there': ('find', 'no-such-name-anywhere'),
    'history of a path': ('history', 'fs/ext4/inode.c'),
}


class Failed(Exception):
    pass


def run(command, env):
    began = time.monotonic()
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wall = time.monotonic() - began
    if done.returncode:
        raise Failed(f'{" ".join(command)}: exit {done.returncode}: {done.stderr[-1500:].decode(errors="replace")}')
    return wall, done.stdout


class Tool:
    def __init__(self, name, program, work):
        self.name, self.program, self.repo = name, program, os.path.join(work, name, 'repo')
        home = os.path.join(work, name, 'home')
        os.makedirs(home)
        secret = {'RESTIC_PASSWORD': 'find', 'RUSTIC_PASSWORD': 'find', 'SEABED_PASSWORD': 'find'}
        self.env = {'PATH': os.environ['PATH'], 'HOME': home, 'XDG_CACHE_HOME': home + '/cache', 'TMPDIR': work, **secret}

    def run(self, *args):
        return run([self.program, '--repo', self.repo, *args], self.env)

    def question(self, kind, what, place, extra=()):
        full = os.path.join(place, what)
        if self.name == 'seabed':
            return self.run(kind, full if kind == 'history' else what, *extra)
        if self.name == 'restic':
            return self.run('find', full if kind == 'history' else what, *extra)
        return self.run('find', '--path', full, *extra) if kind == 'history' else self.run('find', '--glob', what, *extra)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--peers', required=True)
    parser.add_argument('--corpus', required=True)
    parser.add_argument('--snapshots', type=int, default=30)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--bar', type=float, default=2.0)
    parser.add_argument('--work')
    parser.add_argument('--json')
    given = parser.parse_args()
    large = os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 8e9
    work = tempfile.mkdtemp(dir=given.work or ('/dev/shm' if large else None), prefix='compare-find-')
    try:
        programs = {'seabed': os.path.abspath(given.seabed), **{p: os.path.join(os.path.abspath(given.peers), p) for p in ('restic', 'rustic')}}
        tools = [Tool(name, program, work) for name, program in programs.items()]
        for tool in tools:
            tool.run('init')
        place = os.path.join(work, 'tree')
        for day in days(given.corpus, place, given.snapshots, 5):
            for tool in tools:
                tool.run('backup', place)
            print(f'snapshot {day + 1} of {given.snapshots}', file=sys.stderr)
        by_name = {tool.name: tool for tool in tools}
        for label, (kind, what) in QUESTIONS.items():
            if kind != 'find':
                continue
            ours = json.loads(by_name['seabed'].question(kind, what, place, ('--json',))[1])
            theirs = json.loads(by_name['restic'].question(kind, what, place, ('--json',))[1] or '[]') or []
            # restic names all that is below a directory of the name, too.
            of_name = lambda snapshot: sorted(m['path'] for m in snapshot['matches'] if fnmatch.fnmatchcase(os.path.basename(m['path']), what))
            flat = lambda found: sorted(paths for paths in map(of_name, found) if paths)
            if flat(ours) != flat(theirs):
                raise Failed(f'{label}: Seabed and restic do not find the same')
        seconds = {label: {tool.name: [] for tool in tools} for label in QUESTIONS}
        for _ in range(given.runs):
            tools.append(tools.pop(0))
            for label, (kind, what) in QUESTIONS.items():
                for tool in tools:
                    seconds[label][tool.name].append(tool.question(kind, what, place)[0])
    except (Failed, OSError, subprocess.CalledProcessError) as e:
        print(f'compare_find.py: {e}', file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)
    missed = []
    print(f'{given.snapshots} snapshots, {given.runs} runs, medians')
    for label, of in seconds.items():
        median = {name: statistics.median(runs) for name, runs in of.items()}
        ratio = min(value for name, value in median.items() if name != 'seabed') / median['seabed']
        print(f'{label:<20}' + ''.join(f'{name} {value:7.3f} s   ' for name, value in sorted(median.items())) + f'{ratio:6.1f}x')
        if ratio < given.bar:
            missed.append(label)
    if given.json:
        with open(given.json, 'w') as file:
            json.dump(seconds, file, indent=1)
    for what in missed:
        print(f'missed: {what}')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
