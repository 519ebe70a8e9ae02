#!/usr/bin/env python3
"""Forgetting and collecting beside restic and rustic: the same history, the same policy, in one run.

    compare_gc.py --seabed EXE --peers DIR --corpus DIR [--days 20] [--runs 3] [--bar 2.0] [--work DIR] [--history DIR] [--json FILE]

The corpus is that of corpus.sh with DAYS=20: a dump per day (dump0.sql …) and two releases of a source tree. Each tool backs up a dump
and a tree each day, the trees in turn under one path; then all but the last three of each are forgotten and collected at once. What is
timed is that one command, on copies of the repository, in turn. --history keeps the repositories for another run, or takes those of one. Then the repository is compared with a fresh one of the same snapshots,
all data is checked, and the last dump and tree are compared with their sources.
At last a restore of the tree and a backup of the next dump are timed while Seabed collects in the same repository, and while it collects
in another one, which costs the machine as much: between the two stands only what a collection makes others wait for.
Exit status: 0 every bar is reached, 1 one is not, 2 it could not be measured.
"""
import argparse, filecmp, json, os, shutil, statistics, subprocess, sys, tempfile, time

KEEP = 3
SIZE_MAX = 1.05
PEAK_MB_MAX = 128
# Of two medians on a machine whose seconds vary by a third.
BESIDE_MAX = 1.2


class Failed(Exception):
    pass


def run(command, env, stdin=None, stdout=None):
    """Wall seconds and peak memory in MB of one command."""
    with open(stdin or os.devnull, 'rb') as i, tempfile.TemporaryFile() as e:
        began = time.monotonic()
        process = subprocess.Popen(command, env=env, stdin=i, stdout=stdout or e, stderr=e)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            e.seek(0)
            raise Failed(f'{" ".join(command)}: exit {process.returncode}: {e.read()[-1500:].decode(errors="replace")}')
    return wall, usage.ru_maxrss / 1024


class Tool:
    def __init__(self, name, program, work, history):
        self.name, self.program, self.work = name, program, os.path.join(work, name)
        self.history = os.path.join(history or work, name)
        self.repo = os.path.join(self.history, 'repo')
        home = os.path.join(self.work, 'home')
        os.makedirs(home)
        os.makedirs(self.history, exist_ok=True)
        secret = {'RESTIC_PASSWORD': 'gc', 'RUSTIC_PASSWORD': 'gc', 'SEABED_PASSWORD': 'gc'}
        self.env = {'PATH': os.environ['PATH'], 'HOME': home, 'XDG_CACHE_HOME': home + '/cache', 'TMPDIR': work, **secret}

    def command(self, *args, repo=None):
        # A cache would answer for one repository what was asked of another.
        return [self.program, '--repo', repo or self.repo, '--no-cache', *args]

    def init(self, repo=None):
        run(self.command('init', repo=repo), self.env)

    def stream(self, path, repo=None):
        # Without --force rustic takes every stream after the first for unchanged.
        args = ['backup', '--force', '--stdin-filename', 'dump.sql', '-'] if self.name == 'rustic' else ['backup', '--stdin', '--stdin-filename', 'dump.sql']
        return run(self.command(*args, repo=repo), self.env, stdin=path)

    def tree(self, path, repo=None):
        return run(self.command('backup', path, repo=repo), self.env)

    def collect(self, repo):
        args = {'restic': ['--prune'], 'rustic': ['--prune', '--instant-delete'], 'seabed': ['--gc', '--grace', '0', '--force']}[self.name]
        return run(self.command('forget', '--keep-last', str(KEEP), *args, repo=repo), self.env)


def bytes_of(path):
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)


def history(tools, given, work):
    """The same days for all of them; the tree of each day stands under one path."""
    place, dump = os.path.join(given.history or work, 'tree'), os.path.join(given.corpus, f'dump{given.days - 1}.sql')
    fresh = {tool.name: os.path.join(tool.history, 'fresh') for tool in tools}
    ours, tools = fresh.get('seabed'), [tool for tool in tools if not os.path.isdir(tool.repo)]
    if not tools:
        return place, dump, ours
    trees = [os.path.join(given.history or work, f'release{n}') for n in range(2)]
    for n, tree in enumerate(trees):
        if n == (given.days - 1) % 2 and os.path.isdir(place):
            os.rename(place, tree)
        elif not os.path.isdir(tree):
            subprocess.run(['cp', '-a', os.path.realpath(os.path.join(given.corpus, f'tree{n + 1}')), tree], check=True)
    for tool in tools:
        tool.init()
        if tool.name == 'seabed':
            tool.init(fresh[tool.name])
    for day in range(given.days):
        os.rename(trees[day % 2], place)
        dump = os.path.join(given.corpus, f'dump{day}.sql')
        for tool in tools:
            repos = [None] + ([fresh[tool.name]] if tool.name == 'seabed' and day >= given.days - KEEP else [])
            for repo in repos:
                tool.stream(dump, repo)
                tool.tree(place, repo)
        if day < given.days - 1:
            os.rename(place, trees[day % 2])
        print(f'day {day + 1} of {given.days}', file=sys.stderr)
    return place, dump, ours


def verify(tool, repo, place, dump):
    run(tool.command('check', '--read-data', repo=repo), tool.env)
    out = os.path.join(tool.work, 'out')
    with open(out, 'wb') as file:
        run(tool.command('dump', 'latest', '/dump.sql', '--series', 'dump.sql', repo=repo), tool.env, stdout=file)
    if not filecmp.cmp(out, dump, shallow=False):
        raise Failed('the last dump is another one')
    os.remove(out)
    run(tool.command('restore', 'latest', '--series', place, '--target', out, repo=repo), tool.env)
    found = out + place if os.path.isdir(out + place) else out
    if subprocess.run(['diff', '-r', '--no-dereference', place, found], stdout=subprocess.DEVNULL).returncode:
        raise Failed('the last tree is another one')
    shutil.rmtree(out)


def beside(tool, place, dump, runs):
    """Medians of seconds of two commands: alone, while another repository is collected, while theirs is. The collection has a grace period, as
    at night: it condemns, and backups copy what they rely on out of what is condemned. Without one a backup may be overtaken and fail."""
    out = os.path.join(tool.work, 'beside')

    def restore(repo):
        run(tool.command('restore', 'latest', '--series', place, '--target', out, repo=repo), tool.env)

    def backup(repo):
        tool.stream(dump, repo)

    seconds = {}
    for name, work in (('restore of the tree', restore), ('backup of the next dump', backup)):
        for _ in range(runs):
            for where in ('alone', 'other', 'same'):
                repo, other = os.path.join(tool.work, 'copy'), os.path.join(tool.work, 'other')
                for copy in [repo] + ([other] if where == 'other' else []):
                    shutil.copytree(tool.repo, copy)
                os.sync()
                gc = None
                if where != 'alone':
                    keep = tool.command('forget', '--keep-last', str(KEEP), '--gc', '--grace', '1s', '--force', repo=other if where == 'other' else repo)
                    gc = subprocess.Popen(keep, env=tool.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(0.3)
                began = time.monotonic()
                work(repo)
                seconds.setdefault(name, {}).setdefault(where, []).append(time.monotonic() - began)
                if gc and gc.wait():
                    raise Failed(f'a collection beside a {name}: exit {gc.returncode}')
                if where == 'same':
                    run(tool.command('check', '--read-data', repo=repo), tool.env)
                for left in (repo, other, out):
                    shutil.rmtree(left, ignore_errors=True)
    return {name: {where: statistics.median(of) for where, of in by.items()} for name, by in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--peers', required=True)
    parser.add_argument('--corpus', required=True)
    parser.add_argument('--days', type=int, default=20)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--bar', type=float, default=2.0)
    parser.add_argument('--work')
    parser.add_argument('--history')
    parser.add_argument('--tools', default='seabed,restic,rustic')
    parser.add_argument('--json')
    given = parser.parse_args()
    large = os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 11e9
    work = tempfile.mkdtemp(dir=given.work or ('/dev/shm' if large else None), prefix='compare-gc-')
    try:
        programs = {'seabed': os.path.abspath(given.seabed), **{p: os.path.join(os.path.abspath(given.peers), p) for p in ('restic', 'rustic')}}
        tools = [Tool(name, programs[name], work, given.history) for name in given.tools.split(',')]
        place, dump, fresh = history(tools, given, work)
        figures, sizes = {tool.name: [] for tool in tools}, {}
        for tool in tools:
            sizes[tool.name] = [bytes_of(tool.repo)]
        for number in range(given.runs):
            tools.append(tools.pop(0))
            for tool in tools:
                copy = os.path.join(tool.work, 'copy')
                shutil.copytree(tool.repo, copy)
                os.sync()
                seconds, peak = tool.collect(copy)
                figures[tool.name].append((seconds, peak))
                print(f'{tool.name:<8}{seconds:8.2f} s {peak:6.0f} MB', file=sys.stderr)
                if number == given.runs - 1:
                    sizes[tool.name].append(bytes_of(copy))
                    if tool.name == 'seabed':
                        verify(tool, copy, place, dump)
                shutil.rmtree(copy)
        whole = bytes_of(fresh)
        next_dump = os.path.join(given.corpus, f'dump{given.days}.sql')
        ours = next(tool for tool in tools if tool.name == 'seabed')
        at_once = beside(ours, place, next_dump if os.path.exists(next_dump) else dump, given.runs)
    except (Failed, OSError, subprocess.CalledProcessError) as e:
        print(f'compare_gc.py: {e}', file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)
    median = {name: statistics.median(f[0] for f in of) for name, of in figures.items()}
    peak = {name: max(f[1] for f in of) for name, of in figures.items()}
    print(f'{given.days} days, --keep-last {KEEP}, {given.runs} runs')
    for name, of in sizes.items():
        print(f'{name:<8}{median[name]:8.2f} s {peak[name]:6.0f} MB   {of[0] / 1e6:8.1f} MB before {of[1] / 1e6:8.1f} MB after')
    missed = []
    others = [seconds for name, seconds in median.items() if name != 'seabed']
    if others:
        ratio = min(others) / median['seabed']
        print(f'{ratio:.2f} times as fast as the best peer, the bar is {given.bar:.2f}')
        if ratio < given.bar:
            missed.append('time')
    grown = sizes['seabed'][1] / whole
    print(f'{grown:.3f} of a fresh repository ({whole / 1e6:.1f} MB), the bar is {SIZE_MAX:.2f}; {peak["seabed"]:.0f} MB, the bar is {PEAK_MB_MAX} MB')
    if grown > SIZE_MAX:
        missed.append('size')
    if peak['seabed'] > PEAK_MB_MAX:
        missed.append('memory')
    for name, of in at_once.items():
        ratio = of['same'] / of['other']
        print(f'{name}: {of["alone"]:.2f} s alone, {of["other"]:.2f} s while another repository is collected, {of["same"]:.2f} s while its own is: {ratio:.2f}, the bar is {BESIDE_MAX:.2f}')
        if ratio > BESIDE_MAX:
            missed.append(f'{name} beside a collection')
    if given.json:
        with open(given.json, 'w') as file:
            json.dump({'figures': figures, 'sizes': sizes, 'fresh': whole, 'beside': at_once}, file, indent=1)
    for what in missed:
        print(f'missed: {what}')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
