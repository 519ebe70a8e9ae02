#!/usr/bin/env python3
"""Drills of Seabed against real S3 servers: runs are killed, nodes lost, hosts collide, requests counted.

    drill.py kills --server rclone|garage --kills 40 [--seed S]     kill -9 of backups at random moments until so many have landed,
                                                                    each run again to the end; every snapshot is restored
    drill.py cluster                                                three Garage nodes that are killed and cut off; needs root
    drill.py hosts --server rclone|garage [--hosts 4]               hosts that back up into one repository at the same time
    drill.py requests [--server garage]                             what we say of requests and bytes against what a proxy counts
    drill.py copies --server rclone|garage --kills 50               kill -9 of copies into a second place at random moments, each of which goes
                                                                    on; then all is compared, and a copy of it comes back
    drill.py soak --server rclone|garage --minutes 10 [--dumps DIR] three hosts that back up, forget and collect at the same time, some of
                                                                    them suspended; all restores, space returns

All take --seabed EXE, --work DIR (where everything is kept meanwhile; /dev/shm) and --keep. SEABED_TEST_SERVERS says where
tests/servers/install.sh installed the servers. Printed are figures. Exit status: 0 it held, 1 it did not: what did not is said, and
the logs of all runs and a listing stay; 2 it could not be run. Nothing depends on how fast the machine is but the deadlines, which
are generous.
"""
import argparse, collections, json, os, random, re, shutil, signal, statistics, sys, threading, time

from copies import copies
from counting import PHASES, depth, fetched_again, outside_upload
from drill_parts import (MIB, Bench, CannotRun, Host, NotHeld, Tree, bulk, clean_check, folders, held, is_pack, manifest, mb, restored,
                         say, script, sizes)
from soak import soak

SMALL_PACKS = ('--pack-size', '4')


# --- kills ----------------------------------------------------------------------------------------------------------------------

# What a run that was killed may cost the next one beyond what is missing: its packs end elsewhere, so that each of at most a few is
# padded anew (Padmé, at most 1/32 of 4 MiB) and has a footer; a segment names what was left (21 bytes a chunk); manifests twice.
SLACK_BYTES = 256 << 10
# What is new before it is compressed and packed has no such slack: chunks are cut the same way every time.


def rounds_max(kills):
    """Rounds in which so many kills must have landed: a run may end before its moment comes, but not most of them."""
    return kills + kills // 2 + 10


class Trigger:
    """Kills a run when the request `number` of its kind has come to `phase`."""

    def __init__(self, proxy, requests, rng):
        kinds, points = collections.Counter(), []
        for request in sorted(requests, key=lambda r: r.began):
            kinds[request.kind('main')] += 1
            points.append((request.kind('main'), kinds[request.kind('main')]))
        # Before the upload, in it and after it are as likely, however many requests each of them has.
        packs = [n for n, (kind, _) in enumerate(points) if kind in ('PUT data/', 'PUT names/', 'PUT lists/')] or [len(points)]
        parts = [points[:packs[0]], points[packs[0]:packs[-1] + 1], points[packs[-1] + 1:]]
        self.kind, self.number = rng.choice(rng.choice([part for part in parts if part]))
        self.phase, self.seen, self.run, self.hit = rng.choice(PHASES), 0, None, False
        self.lock = threading.Lock()
        proxy.watch = self

    def __call__(self, request, phase):
        with self.lock:
            if self.hit or request.kind('main') != self.kind or phase != self.phase:
                return False
            self.seen += 1
            if self.seen != self.number:
                return False
            self.hit = True
        while not self.run:
            time.sleep(0.001)
        self.run.kill()
        # What was sent whole is the server's; of everything else it hears no more, and of no answer the client.
        return phase != 'sent'


class Kills:
    def __init__(self, given, bench):
        self.given, self.bench, self.s3 = given, bench, bench.s3('main')
        self.proxy, url = bench.proxy()
        self.hosts = {name: Host(bench, name, f'{url}/main') for name in ('ann', 'bob')}
        self.tree = Tree(f'{bench.dir}/tree', given.seed)
        # Snapshots by id: the state of the tree, and whether a run said that it is there.
        self.states, self.acknowledged, self.unsaid = {}, [], []
        self.points, self.worst, self.beyond, self.taken_over = collections.Counter(), [], [], 0
        # Kills that found their run alive; any other round proves nothing of kills.
        self.landed = self.rounds = 0

    def backup(self, host):
        return ('backup', self.tree.root, *SMALL_PACKS, '--series', 'tree', '--host', host.name)

    def acknowledge(self, done):
        if done.snapshot:
            self.states[done.snapshot] = self.tree.state
            self.acknowledged.append(done.snapshot)

    def twin(self, host):
        """What the run would do undisturbed: the same backup into a copy of the repository, with a copy of the cache."""
        if not self.proxy.quiet(120):
            raise CannotRun('the server does not end what it began')
        twin = self.bench.s3('twin')
        ours, theirs = sizes(self.s3), sizes(twin)
        for key in theirs.keys() - ours.keys():
            self.copied(twin.ask('DELETE', key), key)
        for key in ours.keys() - theirs.keys():
            self.copied(twin.put(key, headers={'x-amz-copy-source': f'/{self.s3.bucket}/main/{key}'}), key)
        if sizes(twin) != ours:
            raise CannotRun('the server does not copy as it should')
        other = Host(self.bench, 'twin', host.url.removesuffix('main') + 'twin')
        other.forget()
        if os.path.isdir(host.cache):
            shutil.copytree(host.cache, other.cache)
        self.proxy.reset()
        done = other.must(*self.backup(host))
        return done, self.proxy.reset()

    def plain(self, key):
        """Length of the chunks in a pack."""
        done = self.hosts['ann'].must('cat', 'pack', key.rpartition('/')[2])
        return sum(frame['plain'] for frame in json.loads(done.out)['frames'])

    @staticmethod
    def copied(answer, key):
        if not answer.ok:
            raise CannotRun(f'copying {key}: {answer}')

    def round(self, number):
        rng = random.Random(f'{self.given.seed} round {number}')
        self.tree.change()
        host = self.hosts[rng.choices(('ann', 'bob'), (4, 1))[0]]
        if rng.random() < 0.2:
            host.forget()
        before = sizes(self.s3)
        whole, requests = self.twin(host)
        killed = self.killed(rng, number, host, whole, requests)
        after = sizes(self.s3)
        self.acknowledge(killed)
        self.look(number, killed)
        # Whoever runs next: the same, the same without its cache, another.
        if rng.random() < 0.2:
            host.forget()
        host = self.hosts['bob'] if rng.random() < 0.2 else host
        again = host.must(*self.backup(host))
        self.acknowledge(again)
        left = {key: size for key, size in after.items() if key not in before}
        stored = sum(size for key, size in left.items() if is_pack(key))
        named = any(key.startswith('index/') for key in left)
        plain = sum(self.plain(key) for key in left if is_pack(key))
        bound = max(0, whole.summary['bytes_up'] - stored) + SLACK_BYTES
        up = again.summary['bytes_up']
        self.worst.append((up - max(0, whole.summary['bytes_up'] - stored)) / 1000)
        if stored and not named:
            self.taken_over += 1
        say(f'{number:4} {self.point:<28} {"acknowledged" if killed.snapshot else "":<13}'
            f'whole run {mb(whole.summary["bytes_up"]):>9}, left {mb(stored):>9}{" named" if named else "":<6}, '
            f'again {mb(up):>9} by {host.name}, {again.summary["requests"]} requests')
        held(up <= bound, f'round {number}: {mb(up)} were sent again where {mb(bound)} are the bound ({mb(stored)} were there)')
        beyond = again.summary['data_added'] - (whole.summary['data_added'] - plain)
        self.beyond.append(beyond)
        held(beyond <= 0, f'round {number}: {beyond} bytes of chunks were stored again that lay in packs')
        held(not again.warnings, f'round {number}: {again.warnings}')
        self.look(number, again)

    def killed(self, rng, number, host, whole, requests):
        """One run that is killed; by time and by request in turn."""
        if number % 2:
            moment = rng.uniform(0, 1.1 * whole.seconds)
            self.point = f'{moment:.3f} of {whole.seconds:.3f} s'
            self.proxy.watch = None
            run = host.start(*self.backup(host))
            time.sleep(max(0, moment - run.seconds))
            run.kill()
            what = 'by time'
        else:
            # The twin's requests are those of another prefix.
            for request in requests:
                request.key = request.key.replace('twin', 'main', 1)
            trigger = Trigger(self.proxy, requests, rng)
            run = trigger.run = host.start(*self.backup(host))
            self.watch_over(trigger)
            self.point = f'{trigger.number} {trigger.kind} {trigger.phase}'
            what = f'{trigger.kind} {trigger.phase}'
        done = run.wait()
        self.proxy.watch = None
        self.proxy.reset()
        held(done.status in (0, -9), f'round {number}: {done}')
        held(done.snapshot or done.status, f'round {number}: exit 0 without a snapshot: {done}')
        # It may have been over before, or have made fewer requests than its twin: only its end says that the kill came in time.
        if done.status == -9:
            self.landed += 1
            self.points[what] += 1
        else:
            self.point += ', too late'
        return done

    @staticmethod
    def watch_over(trigger):
        deadline = time.monotonic() + 300
        while not trigger.hit and not trigger.run.is_over and time.monotonic() < deadline:
            time.sleep(0.01)

    def look(self, number, done):
        """Every acknowledged snapshot is listed, and whatever else is there is whole."""
        listed = self.hosts['ann'].snapshots(*(['--no-cache'] if number % 2 else []))
        lost = [i for i in self.acknowledged if i not in listed]
        held(not lost, f'round {number}: acknowledged and not listed: {lost}')
        for new in [i for i in listed if i not in self.states]:
            # Committed, and killed before it could say so.
            held(done.status == -9, f'round {number}: a snapshot of nobody: {new}')
            self.states[new] = self.tree.state
            self.unsaid.append(new)
            self.restore(new)

    def restore(self, snapshot):
        restored(self.hosts['ann'], snapshot, self.tree.root, self.states[snapshot])

    def finish(self):
        new = Host(self.bench, 'new', self.hosts['ann'].url)
        # What killed runs leave is worth a warning, no more.
        checked = clean_check(new, allowed=r'\d+ manifests in `pending` are left over ')
        # All of them: each was acknowledged in a state of the store that no other one was.
        began = time.monotonic()
        for snapshot in self.acknowledged:
            self.restore(snapshot)
        held(checked['snapshots'] == len(self.states), f'check saw {checked["snapshots"]} snapshots of {len(self.states)}')
        say('')
        say(f'{len(self.acknowledged)} snapshots acknowledged, '
            f'{len(self.unsaid)} more committed by runs that were killed before they said so')
        say(f'all of them restored and compared, those acknowledged in {time.monotonic() - began:.0f} s; '
            f'check read {mb(checked["bytes_read"])}: nothing found')
        say(f'after {self.taken_over} kills packs lay there that no segment named, and were used')
        say(f'sent again beyond what was missing, in kB: median {statistics.median(self.worst):.1f}, most {max(self.worst):.1f}, '
            f'least {min(self.worst):.1f}; of chunks that lay in packs: '
            f'{max(self.beyond)} bytes, and to the byte what was missing in {self.beyond.count(0)} of {len(self.beyond)} rounds')
        say('objects: ' + ', '.join(f'{folder} {n} ({mb(size)})' for folder, (n, size) in sorted(folders(sizes(self.s3)).items())))
        say(f'{self.landed} runs killed in {self.rounds} rounds, at: ' + ', '.join(f'{what} {n}' for what, n in sorted(self.points.items())))


def kills(given, bench):
    drill = Kills(given, bench)
    drill.hosts['ann'].must('init')
    drill.acknowledge(drill.hosts['ann'].must(*drill.backup(drill.hosts['ann'])))
    while drill.landed < given.kills:
        held(drill.rounds < rounds_max(given.kills), f'{drill.landed} of {given.kills} kills landed in {drill.rounds} rounds')
        drill.rounds += 1
        drill.round(drill.rounds)
    drill.finish()


# --- cluster --------------------------------------------------------------------------------------------------------------------

CLUSTER_BYTES = 220 * MIB
RATE = ('--limit-upload', '8M')


class Cluster:
    def __init__(self, given, bench):
        self.bench, self.urls = bench, [bench.access[f'SEABED_TEST_S3_URL_{n}'] + '/r' for n in (1, 2, 3)]
        self.host = Host(bench, 'ann', self.urls[0])
        self.s3 = bench.s3('r', url=self.urls[0].removesuffix('/r'))
        self.seed, self.states = given.seed, {}

    def do(self, what, node):
        began = time.monotonic()
        script('cluster.sh', what, str(node), self.bench.dir, timeout=400)
        self.say(f'{what} {node} ({time.monotonic() - began:.1f} s)')

    @staticmethod
    def say(text):
        say(f'{time.strftime("%H:%M:%S")} {text}')

    def source(self, name):
        root = f'{self.bench.dir}/{name}'
        return root, bulk(root, f'{self.seed} {name}', CLUSTER_BYTES)

    def begin(self, name):
        """A backup of something new, until its first packs are up."""
        root, state = self.source(name)
        before = len(self.s3.list('data/')[0])
        run = self.host.start('backup', root, *SMALL_PACKS, *RATE)
        run.until(lambda: len(self.s3.list('data/')[0]) >= before + 3)
        self.say(f'{name}: first packs are up after {run.seconds:.1f} s')
        return run, root, state

    def end(self, name, run, root, state, others=(), seconds=1500):
        done = run.wait(seconds)
        self.say(f'{name}: exit {done.status} after {done.seconds:.1f} s, {done.summary.get("requests")} requests, '
                 f'{mb(done.summary.get("bytes_up", 0))} up; {done.warnings}{done.err.strip()[-300:] if done.status else ""}')
        held(done.status in (0, *others), str(done))
        if done.status == 0:
            self.states[done.snapshot] = (root, state)
        return done

    def lost_node(self):
        run, *what = self.begin('a')
        self.do('kill', 2)
        self.end('a: backup, node 2 killed', run, *what)
        self.do('revive', 2)

    def lost_node_in_restore(self):
        snapshot, (root, state) = list(self.states.items())[-1]
        out = f'{self.bench.dir}/out-b'
        os.makedirs(out)
        run = self.host.start('restore', snapshot, '--target', out, '--limit-download', '10M')
        run.until(lambda: below(out) > CLUSTER_BYTES // 8)
        self.do('kill', 3)
        done = run.wait(1500)
        self.say(f'b: restore, node 3 killed: exit {done.status} after {done.seconds:.1f} s; {done.warnings}')
        held(done.status == 0, str(done))
        held(manifest(out + root) == state, 'the restore without node 3 is not what was stored')
        shutil.rmtree(out)
        self.do('revive', 3)

    def cut_off(self):
        run, root, state = self.begin('c')
        self.do('cut', 2)
        done = self.end('c: backup, node 2 cut off', run, root, state, others=(22,))
        if done.status == 22:
            held(done.seconds < 16 * 60 + 120, f'it gave up after {done.seconds:.0f} s only')
        self.do('heal', 2)
        if done.status == 22:
            self.end('c: the run after it', self.host.start('backup', root, *SMALL_PACKS), root, state)

    def cut_off_itself(self):
        run, root, state = self.begin('e')
        began = time.monotonic()
        self.do('cut', 1)
        time.sleep(40)
        self.do('heal', 1)
        self.say(f'e: node 1 was away for {time.monotonic() - began:.1f} s')
        self.end('e: backup through node 1, which was cut off', run, root, state)

    def after(self):
        for n, url in enumerate(self.urls, 1):
            host = Host(self.bench, f'node{n}', url)
            checked = clean_check(host)
            listed = host.snapshots()
            lost = [i for i in self.states if i not in listed]
            held(not lost, f'node {n} does not list {lost}')
            took = checked['total_duration']
            self.say(f'd: node {n}: {len(listed)} snapshots, check read {mb(checked["bytes_read"])} in {took:.1f} s: clean')
        for n, (snapshot, (root, state)) in enumerate(self.states.items()):
            restored(Host(self.bench, f'node{n % 3 + 1}', self.urls[n % 3]), snapshot, root, state)
        self.say(f'd: {len(self.states)} snapshots restored and compared')


def below(directory):
    """Bytes of all files below a directory in which somebody works."""
    total = 0
    for at, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(at, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def cluster(given, bench):
    drill = Cluster(given, bench)
    drill.host.must('init')
    for step in (drill.lost_node, drill.lost_node_in_restore, drill.cut_off, drill.cut_off_itself, drill.after):
        step()


# --- hosts ----------------------------------------------------------------------------------------------------------------------

HOST_BYTES = 60 * MIB
# What a run may upload that finds everything stored: two manifests, packs of names for directories above the tree, a segment.
NOTHING_NEW_BYTES = 64 << 10


def hosts(given, bench):
    repo = 'r'
    proxy, url = bench.proxy()
    several = [Host(bench, f'host{n}', f'{url}/{repo}') for n in range(given.hosts)]
    roots = [f'{bench.dir}/tree{n}' for n in range(given.hosts)]
    trees = []
    for n, root in enumerate(roots):
        os.makedirs(root)
        bulk(f'{root}/shared', f'{given.seed} shared', HOST_BYTES * 7 // 10)
        bulk(f'{root}/own', f'{given.seed} own {n}', HOST_BYTES * 3 // 10)
        trees.append(manifest(root))
    several[0].must('init')
    states = {}

    def all_at_once(of):
        runs = [host.start('backup', roots[of(n)], *SMALL_PACKS) for n, host in enumerate(several)]
        for n, run in enumerate(runs):
            done = run.wait()
            held(done.status == 0, str(done))
            held(not done.warnings, str(done))
            states[done.snapshot] = of(n)
            s = done.summary
            say(f'{several[n].name}: tree {of(n)}, {done.seconds:.1f} s, {s["requests"]} requests, {mb(s["bytes_up"])} up, '
                f'{mb(s["bytes_down"])} down, {s["data_blobs"]} new chunks of data')
            yield done

    say(f'{given.hosts} hosts at once, {mb(HOST_BYTES)} each, of which 70 % shared')
    up = sum(done.summary['bytes_up'] for done in all_at_once(lambda n: n))
    once = HOST_BYTES * 7 // 10 + given.hosts * HOST_BYTES * 3 // 10
    say(f'{mb(up)} up in all; each chunk once would be {mb(once)}, every tree for itself {mb(HOST_BYTES * given.hosts)}')
    held(up <= HOST_BYTES * given.hosts * 1.05, 'they uploaded more than they had')
    check_all(bench, several, states, roots, trees, url, repo)
    say('each the tree of the next')
    for done in all_at_once(lambda n: (n + 1) % given.hosts):
        held(done.summary['data_blobs'] == 0, f'{done.summary["data_blobs"]} chunks were uploaded that are there')
        held(done.summary['bytes_up'] <= NOTHING_NEW_BYTES, f'{mb(done.summary["bytes_up"])} were uploaded where nothing is new')
    check_all(bench, several, states, roots, trees, url, repo)
    newcomer(bench, states, url, repo, proxy)


def check_all(bench, several, states, roots, trees, url, repo):
    checked = clean_check(Host(bench, 'checker', f'{url}/{repo}'))
    held(checked['snapshots'] == len(states), f'check saw {checked["snapshots"]} snapshots of {len(states)}')
    for n, (snapshot, tree) in enumerate(states.items()):
        restored(several[n % len(several)], snapshot, roots[tree], trees[tree])
    say(f'{len(states)} snapshots restored and compared, check read {mb(checked["bytes_read"])}: clean')


def newcomer(bench, states, url, repo, proxy):
    """A host that has only the place and the password."""
    there = sizes(bench.s3(repo))
    by = folders(there)
    say('bucket: ' + ', '.join(f'{folder} {n} ({size} bytes)' for folder, (n, size) in sorted(by.items())))
    proxy.reset()
    done = Host(bench, 'newcomer', f'{url}/{repo}').must('snapshots')
    requests = proxy.reset()
    listed = {s['id'] for s in done.lines[0]}
    held(listed == set(states), f'a new host lists {len(listed)} of {len(states)} snapshots')
    small = sum(size for folder, (_, size) in by.items() if not is_pack(f'{folder}/'))
    got = sum(r.down for r in requests if r.method == 'GET')
    of_listings = sum(r.down for r in requests if r.method == 'LIST')
    say(f'new host: {len(listed)} snapshots listed with {done.summary["requests"]} requests, {done.summary["bytes_down"]} bytes down '
        f'(the proxy saw {got} of objects, {of_listings} of listings); all but packs is {small} bytes')
    of_packs = [r.key for r in requests if r.method == 'GET' and is_pack(r.key.removeprefix(f'{repo}/'))]
    held(not of_packs, f'a new host read packs to list snapshots: {of_packs[:3]}')
    held(done.summary['bytes_down'] <= small + of_listings, f'{done.summary["bytes_down"]} bytes down where {small} are there')


# --- requests -------------------------------------------------------------------------------------------------------------------

BAR_UNCHANGED, BAR_GIB, BAR_DEPTH = 20, 60, 8


class Requests:
    def __init__(self, bench, hold):
        self.bench, self.missed = bench, []
        self.proxy, self.url = bench.proxy(hold)

    def host(self, name):
        return Host(self.bench, name, f'{self.url}/{name}')

    def logged(self):
        """How many requests the server's own log has."""
        with open(f'{self.bench.dir}/garage/log', errors='replace') as file:
            # It says what it refused a second time, as `… in response to …`.
            return sum(1 for line in file if re.search(r'\(key \w+\) (GET|PUT|HEAD|DELETE|POST) ', line) and ' in response to ' not in line)

    def count(self, host, what, *args, show=False, most=None, bar_depth=False):
        """One run, its figures beside what the proxy saw."""
        prefix = host.name
        self.proxy.reset()
        before = self.logged() if self.bench.server == 'garage' else None
        done = host.must(*args)
        requests, s = self.proxy.reset(), done.summary
        logged = self.logged() - before if before is not None else s['requests']
        # Down comes what was asked for and listed, and what the store says where it refuses: the length that a HEAD tells does not.
        up, down = sum(r.up for r in requests), sum(r.down for r in requests if r.method != 'HEAD')
        outside = outside_upload(requests, prefix)
        chain, objects = depth(outside), len(sizes(self.bench.s3(prefix)))
        say(f'{what:<26}{s["requests"]:>4} requests, {s["bytes_up"]:>11} up, {s["bytes_down"]:>11} down, {done.seconds:6.2f} s; '
            f'depth {chain} of {len(outside)} outside the upload')
        if show:
            show_requests(outside if show == 'outside' else requests, prefix)
        else:
            kinds = collections.Counter(r.kind(prefix) for r in requests)
            say(f'{"":<26}' + ', '.join(f'{n} {kind}' for kind, n in kinds.most_common()))
        twice = fetched_again(requests)
        if twice:
            say(f'{"":<26}{mb(twice)} of them fetched more than once')
        self.equal(what, 'requests', s['requests'], len(requests), 'the proxy')
        self.equal(what, 'requests', s['requests'], logged, "the server's log")
        self.equal(what, 'bytes_up', s['bytes_up'], up, 'the proxy')
        self.equal(what, 'bytes_down', s['bytes_down'], down, 'the proxy')
        odd = [f'{r.kind(prefix)}: {r.status}' for r in requests if r.status is None or r.status >= 300]
        if odd:
            say(f'{"":<26}answers that are no success: {", ".join(f"{n} {what}" for what, n in collections.Counter(odd).items())}')
        if most and s['requests'] > most:
            self.miss(f'{what}: {s["requests"]} requests, the bar is {most}')
        if bar_depth and chain > BAR_DEPTH + objects // 1000:
            self.miss(f'{what}: {chain} sequential round trips outside the upload stream, the bar is {BAR_DEPTH + objects // 1000}')
        return done

    def equal(self, what, name, ours, theirs, whose):
        if ours != theirs:
            self.miss(f'{what}: we say {ours} {name}, {whose} {theirs}')

    def miss(self, text):
        self.missed.append(text)


def show_requests(requests, prefix):
    began = min(r.began for r in requests)
    for r in sorted(requests, key=lambda r: r.began):
        more = f' {r.up} up' if r.up else f' {r.down} down' if r.down else ''
        say(f'    {(r.began - began) * 1000:7.0f} to {(r.ended - began) * 1000:7.0f} ms  {r.kind(prefix):<16} {r.status}{more}')


def requests(given, bench):
    drill = Requests(bench, given.hold / 1000)
    say(f'each request reaches the server {given.hold} ms later')
    tree, small = f'{bench.dir}/gib', Tree(f'{bench.dir}/small', given.seed)
    state, out = bulk(tree, given.seed, 1024 * MIB), f'{bench.dir}/out'

    def all_of(host, root, wanted, most, show):
        drill.count(host, 'init', 'init', show=show)
        done = drill.count(host, 'first backup', 'backup', root, show=show or 'outside', most=most, bar_depth=True)
        drill.count(host, 'unchanged', 'backup', root, show=show, most=BAR_UNCHANGED, bar_depth=True)
        drill.count(host, 'snapshots', 'snapshots', show=show)
        drill.count(host, 'check', 'check')
        drill.count(host, 'check --read-data', 'check', '--read-data')
        drill.count(host, 'restore', 'restore', done.snapshot, '--target', out)
        held(manifest(out + root) == wanted, 'what was restored is not what was stored')
        shutil.rmtree(out)
        host.forget()
        drill.count(host, 'unchanged, empty cache', 'backup', root, show=show)
        host.forget()
        drill.count(host, 'snapshots, empty cache', 'snapshots', show=show)

    say(f'small tree, {mb(below(small.root))}')
    all_of(drill.host('small'), small.root, small.state, None, True)
    say('1 GiB that does not compress')
    all_of(drill.host('gib'), tree, state, BAR_GIB, False)
    held(not drill.missed, '\n  '.join(['figures that are not right, or bars that are missed:', *drill.missed]))


# --- the program ----------------------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('drill', choices=['kills', 'cluster', 'hosts', 'requests', 'copies', 'soak'])
    parser.add_argument('--seabed', required=True, metavar='EXE')
    parser.add_argument('--server', choices=['rclone', 'garage'], default='garage')
    parser.add_argument('--kills', type=int, default=40, help='how many kills must find a run alive')
    parser.add_argument('--hosts', type=int, default=4)
    parser.add_argument('--hold', type=float, default=30, metavar='MS', help='by how much the requests drill makes each request later')
    parser.add_argument('--minutes', type=float, default=10, help='how long the soak lasts, what comes behind it aside')
    parser.add_argument('--dumps', metavar='DIR', help='where dump0.sql, dump1.sql … of successive days are; without it rows are made up')
    parser.add_argument('--whole', action='store_true', help='take the dumps whole, not only the first 60 MiB of each')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--work', default='/dev/shm', metavar='DIR')
    parser.add_argument('--keep', action='store_true', help='leave the work directory also where all held')
    given = parser.parse_args()
    given.seabed = os.path.abspath(given.seabed)
    # A timeout's SIGTERM cleans up like an end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    began, bench, keep = time.monotonic(), None, True
    try:
        bench = Bench(given, 'cluster' if given.drill == 'cluster' else given.server)
        globals()[given.drill](given, bench)
        keep = given.keep
        say(f'held, in {time.monotonic() - began:.0f} s')
        return 0
    except NotHeld as e:
        say(f'did not hold, after {time.monotonic() - began:.0f} s: {e}')
        return 1
    except (CannotRun, OSError, KeyError) as e:
        say(f'could not be run: {type(e).__name__}: {e}')
        return 2
    finally:
        if bench:
            if keep:
                bench.evidence()
                say(f'logs and listing are in {bench.dir}')
            bench.close(keep)


if __name__ == '__main__':
    sys.exit(main())
