#!/usr/bin/env python3
"""Mounts beside restic's: the same tree and the same file in both repositories, read through both mounts in one run.

    compare_mount.py --seabed EXE --peers DIR --corpus DIR [--runs 3] [--reads 2000] [--bar 1.0] [--work DIR] [--json FILE]

The corpus is that of corpus.sh: a release of a source tree (tree1) and 1 GiB that does not compress (rand.bin). Each run mounts anew, so
that the kernel has kept nothing: `diff -r` of the tree with its source, random reads of 4 KiB of the file, each compared with the source,
and the file from front to back. The tools take turns. restic's mount needs fusermount3 (Debian: fuse3), root too.
Exit status: 0 the bar of the random reads is reached, 1 it is not, 2 something could not be measured or came back wrong.
"""
import argparse, json, os, random, shutil, statistics, subprocess, sys, tempfile, time

READ_BYTES = 4096
READY_SECONDS = 120


class Failed(Exception):
    pass


def run(command, env):
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise Failed(f'{" ".join(command)}: exit {done.returncode}: {done.stderr[-1500:].decode(errors="replace")}')


class Tool:
    def __init__(self, name, program, work):
        self.name, self.program, self.work = name, program, os.path.join(work, name)
        self.repo, self.at = os.path.join(self.work, 'repo'), os.path.join(self.work, 'mnt')
        home = os.path.join(self.work, 'home')
        os.makedirs(home)
        os.makedirs(self.at)
        secret = {'RESTIC_PASSWORD': 'mount', 'SEABED_PASSWORD': 'mount'}
        self.env = {'PATH': os.environ['PATH'], 'HOME': home, 'XDG_CACHE_HOME': home + '/cache', **secret}
        self.process = None

    def command(self, *args):
        return [self.program, '--repo', self.repo, *args]

    def store(self, paths):
        run(self.command('init'), self.env)
        for path in paths:
            run(self.command('backup', path), self.env)

    def mount(self):
        """Returns the seconds until it can be looked at."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.command('mount', self.at), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not os.path.ismount(self.at) or not os.listdir(self.at):
            if self.process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                raise Failed(f'{self.name} does not mount: {self.process.stderr.read()[-1500:].decode(errors="replace")}')
            time.sleep(0.01)
        return time.monotonic() - began

    def peak_mb(self):
        with open(f'/proc/{self.process.pid}/status') as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith('VmHWM'))

    def unmount(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(READY_SECONDS)
        if os.path.ismount(self.at):
            subprocess.run(['umount', '-l', self.at], check=False)
        self.process = None

    def place(self, path):
        """Where a path is in the snapshot that holds it."""
        ids = os.path.join(self.at, 'ids')
        places = (os.path.join(ids, name) + path for name in os.listdir(ids))
        found = next((place for place in places if os.path.exists(place)), None)
        if not found:
            raise Failed(f'{self.name} shows no {path}')
        return found


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def random_reads(source, path, count, seed):
    """Seconds for reads of READ_BYTES anywhere; what they give is compared afterwards, so that this is not timed."""
    numbers = random.Random(seed)
    size = os.path.getsize(source)
    places = [numbers.randrange(size // READ_BYTES) * READ_BYTES for _ in range(count)]
    with open(path, 'rb', buffering=0) as file:
        began = time.monotonic()
        pieces = [os.pread(file.fileno(), READ_BYTES, at) for at in places]
        seconds = time.monotonic() - began
    with open(source, 'rb', buffering=0) as file:
        if any(os.pread(file.fileno(), READ_BYTES, at) != piece for at, piece in zip(places, pieces)):
            raise Failed(f'{path}: a read came back wrong')
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--peers', required=True)
    parser.add_argument('--corpus', required=True)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--reads', type=int, default=2000)
    parser.add_argument('--bar', type=float, default=1.0)
    parser.add_argument('--work')
    parser.add_argument('--tools', default='seabed,restic')
    parser.add_argument('--json')
    given = parser.parse_args()
    large = os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 6e9
    work = tempfile.mkdtemp(dir=given.work or ('/dev/shm' if large else None), prefix='compare-mount-')
    tree, file = (os.path.realpath(os.path.join(given.corpus, name)) for name in ('tree1', 'rand.bin'))
    programs = {'seabed': os.path.abspath(given.seabed), 'restic': os.path.join(os.path.abspath(given.peers), 'restic')}
    tools, figures = [], {}
    try:
        tools = [Tool(name, programs[name], work) for name in given.tools.split(',')]
        for tool in tools:
            tool.store([tree, file])
        for number in range(given.runs):
            tools.append(tools.pop(0))
            for tool in tools:
                # The source is in memory for whoever comes first, too.
                subprocess.run(['cat', file], stdout=subprocess.DEVNULL, check=True)
                of = figures.setdefault(tool.name, {})

                def put(step, value):
                    of.setdefault(step, []).append(value)
                    print(f'{tool.name:<8}{step:<24}{value:9.3f}', file=sys.stderr)

                put('mounted, s', tool.mount())
                put('random reads, s', random_reads(file, tool.place(file), given.reads, number))
                put('diff -r, s', timed(lambda: run(['diff', '-r', '--no-dereference', tree, tool.place(tree)], tool.env)))
                put('front to back, s', timed(lambda: run(['cmp', file, tool.place(file)], tool.env)))
                put('peak, MB', tool.peak_mb())
                tool.unmount()
    except (Failed, OSError, subprocess.CalledProcessError) as e:
        print(f'compare_mount.py: {e}', file=sys.stderr)
        return 2
    finally:
        for tool in tools:
            tool.unmount()
        shutil.rmtree(work, ignore_errors=True)
    names = sorted(figures, key=lambda name: name != 'seabed')
    print(f'{given.runs} runs, {given.reads} random reads of {READ_BYTES} bytes')
    print(f'{"":<24}' + ''.join(f'{name:>12}' for name in names) + f'{"ratio":>9}')
    ratios = {}
    for step in figures[names[0]]:
        median = {name: statistics.median(figures[name][step]) for name in names}
        others = [value for name, value in median.items() if name != 'seabed']
        ratios[step] = min(others) / median['seabed'] if others and 'seabed' in median else float('nan')
        print(f'{step:<24}' + ''.join(f'{median[name]:>12.3f}' for name in names) + f'{ratios[step]:>9.2f}')
    if given.json:
        with open(given.json, 'w') as out:
            json.dump(figures, out, indent=1)
    ratio = ratios['random reads, s']
    if ratio == ratio:
        print(f'random reads: {ratio:.2f} times as fast as the peer, the bar is {given.bar:.2f}')
    return 1 if ratio < given.bar else 0


if __name__ == '__main__':
    sys.exit(main())
