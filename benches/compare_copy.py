#!/usr/bin/env python3
"""Copies beside restic: the same snapshots from a directory to an S3 server, in one run.

    compare_copy.py --seabed EXE --restic EXE --corpus DIR [--snapshots 20] [--runs 3] [--bar 5.0] [--server garage|rclone] [--proxy-ms 0]
                    [--work DIR] [--json FILE]

SEABED_TEST_SERVERS says where tests/servers/install.sh installed the servers; one is started for the whole run. The corpus is that of
corpus.sh: two releases of a source tree. Each tool makes the same snapshots of one path in a directory of its own: the first half of the older
release, the second of the newer one, with files edited, added and removed between each and the next. Then each copies all of them into a new
prefix of the bucket that shares its key family (`init --sibling-of`, `init --copy-chunker-params`), with empty caches, several times, in turn.
A second copy to the same place is timed too, and shown. Before anything is judged the newest snapshot is restored from there and compared.
Exit status: 0 the bar is reached, 1 it is not, 2 it could not be measured.
"""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time

from compare_find import Failed, run
from days import days

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'servers'))
from started import Proxy, start, stop

PASSWORD = 'copy'


class Tool:
    def __init__(self, name, program, work, endpoint, access):
        self.name, self.program, self.endpoint = name, os.path.abspath(program), endpoint
        self.near, self.home, self.places = os.path.join(work, name, 'repo'), os.path.join(work, name, 'home'), 0
        os.makedirs(self.home)
        self.secret = os.path.join(work, name, 'secret')
        with open(self.secret, 'w') as file:
            file.write(PASSWORD + '\n')
        self.env = {'PATH': os.environ['PATH'], 'HOME': self.home, 'XDG_CACHE_HOME': self.home + '/cache', 'TMPDIR': work, **access,
                    'AWS_DEFAULT_REGION': access['AWS_REGION'], 'RESTIC_PASSWORD': PASSWORD, 'SEABED_PASSWORD': PASSWORD}

    def run(self, *args):
        return run([self.program, *args], self.env)

    def backup(self, place):
        self.run('--repo', self.near, 'backup', place)

    def begin(self):
        """A new place of the same family, and nothing in the caches."""
        self.places += 1
        self.far = f's3:http://{self.endpoint}/seabed/copy-{self.name}-{self.places}'
        family = ('--copy-chunker-params', '--from-repo', self.near) if self.name == 'restic' else ('--sibling-of', self.near)
        self.run('--repo', self.far, 'init', *family, '--from-password-file', self.secret)
        shutil.rmtree(self.home + '/cache', ignore_errors=True)

    def copy(self):
        """Both take restic's words for it."""
        os.sync()
        return self.run('--repo', self.far, 'copy', '--from-repo', self.near, '--from-password-file', self.secret)[0]

    def restore(self, target):
        self.run('--repo', self.far, 'restore', 'latest', '--target', target)

    def count(self):
        return len(json.loads(self.run('--repo', self.far, 'snapshots', '--json')[1].splitlines()[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--restic', required=True)
    parser.add_argument('--corpus', required=True)
    parser.add_argument('--snapshots', type=int, default=20)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--bar', type=float, default=5.0)
    parser.add_argument('--server', choices=['garage', 'rclone'], default='garage')
    parser.add_argument('--proxy-ms', type=float, default=0)
    parser.add_argument('--work')
    parser.add_argument('--json')
    given = parser.parse_args()
    large = os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 9e9
    work = tempfile.mkdtemp(dir=given.work or ('/dev/shm' if large else None), prefix='compare-copy-')
    proxy = None
    try:
        access = start(given.server, work)
        endpoint = access.pop('SEABED_TEST_S3_URL').removeprefix('s3:http://').split('/')[0]
        if given.proxy_ms:
            proxy = Proxy(endpoint, given.proxy_ms)
            endpoint = proxy.endpoint
        tools = [Tool(name, program, work, endpoint, access) for name, program in (('seabed', given.seabed), ('restic', given.restic))]
        for tool in tools:
            tool.run('--repo', tool.near, 'init')
        place = os.path.join(work, 'tree')
        for day in days(given.corpus, place, given.snapshots, 6):
            for tool in tools:
                tool.backup(place)
            print(f'snapshot {day + 1} of {given.snapshots}', file=sys.stderr)
        seconds = {step: {tool.name: [] for tool in tools} for step in ('copy', 'again')}
        for number in range(given.runs):
            tools.append(tools.pop(0))
            for tool in tools:
                tool.begin()
                seconds['copy'][tool.name].append(tool.copy())
                seconds['again'][tool.name].append(tool.copy())
                if tool.count() != given.snapshots:
                    raise Failed(f'{tool.name} copied {tool.count()} of {given.snapshots} snapshots')
                if number == 0:
                    target = os.path.join(work, 'out')
                    tool.restore(target)
                    if subprocess.run(['diff', '-r', '--no-dereference', place, target + place], stdout=subprocess.DEVNULL).returncode:
                        raise Failed(f'{tool.name} restored a different tree')
                    shutil.rmtree(target)
    except (Failed, OSError, subprocess.CalledProcessError) as e:
        print(f'compare_copy.py: {e}', file=sys.stderr)
        return 2
    finally:
        if proxy:
            proxy.stop()
        stop(given.server, work)
        shutil.rmtree(work, ignore_errors=True)
    print(f'{given.snapshots} snapshots to {given.server}, {given.runs} runs, medians')
    ratios = {}
    for step, of in seconds.items():
        median = {name: statistics.median(runs) for name, runs in of.items()}
        ratios[step] = median['restic'] / median['seabed']
        print(f'{step:<8}' + ''.join(f'{name} {value:8.2f} s   ' for name, value in sorted(median.items())) + f'{ratios[step]:6.1f}x')
    if given.json:
        with open(given.json, 'w') as file:
            json.dump(seconds, file, indent=1)
    if ratios['copy'] < given.bar:
        print(f'missed: {ratios["copy"]:.1f} times as fast as restic, the bar is {given.bar:.1f}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
