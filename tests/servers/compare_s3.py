#!/usr/bin/env python3
"""Seabed beside restic on one S3 server, the same work in one run.

    compare_s3.py --seabed EXE --restic EXE --corpus DIR [--runs 3] [--bar 2.0] [--bar-seconds 0.3] [--proxy-ms 50]
                  [--steps tree,snapshots,dump]

SEABED_TEST_SERVERS says where tests/servers/install.sh installed Garage; one node of it is started for the whole run. Each tool has
prefixes of its own in the same bucket, new ones every run, and goes first in every other run. The corpus is that of corpus.sh: a tree
(tree1) and the dumps of following days (dump0.sql, dump1.sql …). Steps:

    tree        init; first backup of the tree; restore of it, compared with the source
    snapshots   the list of snapshots of that repository, by the host that made it: its cache is warm
    dump        init; first backup of the dump of day 0 from standard input (shown, not judged); then day 1

Caches belong to the tool and are kept from step to step, as they would be on a host; the restore finds what its backup left there.
--proxy-ms puts tests/servers/delay.py in front: so much longer takes every round trip. Printed are medians, and restic's time through
Seabed's. Judged are that ratio, Seabed's own seconds for `snapshots`, which people wait for, and its peak memory. Exit status: 0 every
bar is reached, 1 one is not, 2 it could not be measured.
"""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time

from started import Proxy, start, stop

STEPS = ('tree', 'snapshots', 'dump')
JUDGED = ('tree first', 'tree restore', 'dump next day')
# DESIGN section 8 allows the engine 128 MB. What a network adds is bytes under way, and those have bounds of their own: a pack for every
# upload that runs, and in a restore the windows of reading ahead. Both together are given as much again, here as in .ci/nightly.
PEAK_MB_MAX = 256
# A command of a moment, in which one slow start would count.
SNAPSHOTS_PER_RUN = 5
PASSWORD = 'compare'


class Failed(Exception):
    pass


def run(command, env, stdin=None):
    """Runs one command; replies with its wall seconds and its peak memory in MB. What it prints belongs to its failure."""
    os.sync()
    with open(stdin or os.devnull, 'rb') as i, tempfile.TemporaryFile() as o:
        began = time.monotonic()
        process = subprocess.Popen(command, env=env, stdin=i, stdout=o, stderr=o)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            o.seek(0)
            raise Failed(f'{" ".join(command)}: exit {process.returncode}: {o.read()[-1500:].decode(errors="replace")}')
    return wall, usage.ru_maxrss / 1024


class Tool:
    """One program. Both take the same words for what is done here, and their repositories the same URLs."""

    def __init__(self, name, program, work, endpoint, access):
        self.name, self.program, self.endpoint = name, os.path.abspath(program), endpoint
        self.home = os.path.join(work, name)
        self.prefixes = 0
        self.env = {'PATH': os.environ['PATH'], 'HOME': self.home, 'XDG_CACHE_HOME': self.home + '/cache', 'TMPDIR': work,
                    'XDG_CONFIG_HOME': self.home + '/config', 'XDG_DATA_HOME': self.home + '/data', **access,
                    'AWS_DEFAULT_REGION': access['AWS_REGION'], 'RESTIC_PASSWORD': PASSWORD, 'SEABED_PASSWORD': PASSWORD}

    def fresh(self):
        """A new repository, and nothing in the caches."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home)
        self.prefixes += 1
        self.repo = f's3:http://{self.endpoint}/seabed/{self.name}-{self.prefixes}'
        run(self.command('init'), self.env)

    def command(self, *args):
        return [self.program, '--repo', self.repo, '--quiet', *args]

    def backup(self, path):
        return run(self.command('backup', path), self.env)

    def stream(self, path):
        return run(self.command('backup', '--stdin', '--stdin-filename', 'dump.sql'), self.env, stdin=path)

    def restore(self, target):
        return run(self.command('restore', 'latest', '--target', target), self.env)

    def snapshots(self):
        return run(self.command('snapshots'), self.env)


def warm(*paths):
    """Reads all of it, so that no tool pays for the disk."""
    subprocess.run(['find', *paths, '-type', 'f', '-exec', 'cat', '--', '{}', '+'], stdout=subprocess.DEVNULL, check=True)


def measure(tools, given, work):
    """Seconds and megabytes by step and tool."""
    results = {}

    def put(step, tool, figures):
        results.setdefault(step, {}).setdefault(tool.name, []).append(figures)
        print(f'{step:<16}{tool.name:<8}{figures[0]:8.2f} s {figures[1]:6.0f} MB', file=sys.stderr)

    tree, days = os.path.join(given.corpus, 'tree1'), [os.path.join(given.corpus, f'dump{n}.sql') for n in range(2)]
    for _ in range(given.runs):
        tools.append(tools.pop(0))
        if 'tree' in given.steps:
            warm(tree)
            for tool in tools:
                tool.fresh()
                put('tree first', tool, tool.backup(tree))
            for tool in tools:
                target = os.path.join(work, 'out')
                put('tree restore', tool, tool.restore(target))
                # The whole path below the target, or the tree alone.
                found = target + tree if os.path.isdir(target + tree) else target
                if subprocess.run(['diff', '-r', '--no-dereference', tree, found], stdout=subprocess.DEVNULL).returncode:
                    raise Failed(f'{tool.name} restored a different tree')
                shutil.rmtree(target)
        if 'snapshots' in given.steps:
            for tool in tools:
                for _ in range(SNAPSHOTS_PER_RUN):
                    put('snapshots', tool, tool.snapshots())
        if 'dump' in given.steps:
            warm(*days)
            for tool in tools:
                tool.fresh()
                put('dump first', tool, tool.stream(days[0]))
            for tool in tools:
                put('dump next day', tool, tool.stream(days[1]))
    return results


def table(results, bar, bar_seconds):
    """Prints it; replies with the bars that are missed."""
    missed = []
    print(f'{"step":<16}{"restic":>18}{"seabed":>18}{"ratio":>8}{"bar":>8}')
    for step, by in results.items():
        median = {name: statistics.median(f[0] for f in figures) for name, figures in by.items()}
        peak = {name: max(f[1] for f in figures) for name, figures in by.items()}
        cells = ''.join(f'{median[n]:>8.2f} s {peak[n]:>4.0f} MB' if n in by else f'{"-":>18}' for n in ('restic', 'seabed'))
        ratio = median['restic'] / median['seabed'] if len(median) == 2 else None
        shown, wrong = '-', []
        if step in JUDGED and ratio is not None:
            shown = f'{bar:.2f}'
            if ratio < bar:
                wrong.append(f'{ratio:.2f} times as fast as restic, the bar is {bar:.2f}')
        if step == 'snapshots' and 'seabed' in median:
            shown = f'{bar_seconds:.2f} s'
            if median['seabed'] > bar_seconds:
                wrong.append(f'{median["seabed"]:.2f} s, the bar is {bar_seconds:.2f} s')
        if peak.get('seabed', 0) > PEAK_MB_MAX:
            wrong.append(f'{peak["seabed"]:.0f} MB, the bar is {PEAK_MB_MAX} MB')
        print(f'{step:<16}{cells}{"" if ratio is None else format(ratio, ".2f"):>8}{shown:>8}{"  MISSED" if wrong else ""}')
        missed += [f'{step}: {what}' for what in wrong]
    for what in missed:
        print(f'missed: {what}')
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', help='without it only the other is measured, and nothing judged')
    parser.add_argument('--restic')
    parser.add_argument('--corpus', required=True)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--bar', type=float, default=2.0)
    parser.add_argument('--bar-seconds', type=float, default=0.3, help='for `snapshots` (0.3, which has to hold 50 ms away)')
    parser.add_argument('--proxy-ms', type=float, default=0)
    parser.add_argument('--steps', default=','.join(STEPS))
    parser.add_argument('--work', help='where Garage and what is restored lie; needs some 8 GB (default: /dev/shm if that is large, else the temporary directory)')
    parser.add_argument('--json', help='a file for all figures')
    given = parser.parse_args()
    given.corpus, given.steps = os.path.realpath(given.corpus), given.steps.split(',')
    if not given.seabed and not given.restic or set(given.steps) - set(STEPS) or ('snapshots' in given.steps and 'tree' not in given.steps):
        parser.error(f'--seabed or --restic is needed; --steps are {", ".join(STEPS)}; snapshots are those of tree')
    large = os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 9e9
    work = tempfile.mkdtemp(dir=given.work or ('/dev/shm' if large else None), prefix='compare-s3-')
    proxy, tools = None, []
    try:
        access = start('garage', work)
        endpoint = access.pop('SEABED_TEST_S3_URL').removeprefix('s3:http://').split('/')[0]
        if given.proxy_ms:
            proxy = Proxy(endpoint, given.proxy_ms)
            endpoint = proxy.endpoint
        tools = [Tool(n, p, work, endpoint, access) for n, p in (('seabed', given.seabed), ('restic', given.restic)) if p]
        results = measure(tools, given, work)
    except (Failed, OSError, subprocess.CalledProcessError) as e:
        print(f'compare_s3.py: {e}', file=sys.stderr)
        return 2
    finally:
        if proxy:
            proxy.stop()
        stop('garage', work)
        shutil.rmtree(work, ignore_errors=True)
    print(f'{given.runs} runs' + (f', every round trip {given.proxy_ms:g} ms longer' if given.proxy_ms else ''))
    missed = table(results, given.bar, given.bar_seconds)
    if given.json:
        with open(given.json, 'w') as file:
            json.dump(results, file, indent=1)
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
