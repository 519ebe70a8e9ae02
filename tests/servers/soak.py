"""The soak of drill.py: three hosts share a repository, and all of them back up, forget, collect, undelete and restore all the time.

What a run acknowledged is remembered with its content, and with when a forgetting began that took it away. Some runs are suspended,
backups and collections alike, for longer than the grace period by which the others collect meanwhile. In the end all that nobody forgot
restores, and when nearly all is forgotten the space returns.
"""
import collections, contextlib, hashlib, os, random, re, shutil, signal, threading, time

from drill_parts import (MIB, RUN_SECONDS, CannotRun, Host, NotHeld, Tree, clean_check, folders, held, is_pack, mb, restored, say, sizes,
                         words)

HOSTS = 3
DAYS = 8
DAY_BYTES = 60 * MIB
# What follows from the minutes, in seconds: how old packs must be for the collections that wait, within bounds.
GRACE_LEAST, GRACE_MOST = 4, 20
SMALL_PACKS = ('--pack-size', '4')
# Slow backups cost little, and more happens while they last.
RATES = (None, '2M', '5M', '20M')
KEEP = '3'
# The bucket may hold so much more than a new repository with the same snapshots.
SPACE = 1.10
# A collection that deletes at once may take away what a backup has just found, and then the backup says so. That must be rare.
OVERTAKEN_MAX = 0.1

OVERTAKEN = 'a collection of the repository overtook this run'
RESCUED = 'copied out of packs that are to go'
# Ends other than 0 that are right while others forget and collect: what the run may say, by command.
MAY_SAY = {
    'backup': ((1, OVERTAKEN),),
    'gc': ((1, OVERTAKEN),),
    # Somebody else forgot the same, and it was collected, before this run came to it.
    'forget': ((1, 'no snapshot matches'), (1, OVERTAKEN), (25, 'more than half')),
    # Or somebody else has brought it back.
    'undelete': ((1, 'cannot come back: a collection'), (1, 'no forgotten snapshot is called'), (1, 'no snapshot matches'),
                 (1, 'is back already')),
}


# --- what is backed up ----------------------------------------------------------------------------------------------------------


class Dump:
    """A dump of which every run stores the next day; after the last day comes the first."""
    series = 'shop'

    def __init__(self, days, first):
        self.days, self.number = days, first

    def change(self):
        self.number += 1

    @property
    def state(self):
        return self.days[self.number % len(self.days)]

    def start(self, host, *args):
        with open(self.state[0], 'rb') as file:
            return host.start('backup', '--stdin', '--stdin-filename', 'dump.sql', '--series', self.series, *args, stdin=file)

    @staticmethod
    def compare(host, snapshot, state):
        out = f'{host.bench.dir}/dump-{host.name}'
        done = host.run('restore', snapshot, '--target', out)
        if done.status == 0:
            held(os.path.exists(f'{out}/dump.sql') and digest(f'{out}/dump.sql') == state[1], f'{snapshot} is not what was in {state[0]}')
        shutil.rmtree(out, ignore_errors=True)
        return done


class Files(Tree):
    """A tree, the same on all hosts when it has changed as often."""
    series = 'files'

    def start(self, host, *args):
        return host.start('backup', self.root, '--series', self.series, *args)

    def compare(self, host, snapshot, state):
        return restored(host, snapshot, self.root, state, must=False)


def digest(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def days(given, bench):
    """Dumps of days that follow each other, with their digests: those that are given, or else rows that are made."""
    if given.dumps:
        found = [name for name in os.listdir(given.dumps) if re.fullmatch(r'dump\d+\.sql', name)]
        paths = [f'{given.dumps}/{name}' for name in sorted(found, key=lambda name: int(name[4:-4]))[:DAYS]]
        if not paths:
            raise CannotRun(f'{given.dumps} holds no dump0.sql')
    else:
        paths = list(made_days(f'{bench.dir}/days', given.seed))
    if given.dumps and not given.whole:
        paths = [beginning(path, f'{bench.dir}/{os.path.basename(path)}') for path in paths]
    return [(path, digest(path)) for path in paths]


def beginning(path, copy):
    with open(path, 'rb') as file, open(copy, 'wb') as out:
        out.write(file.read(DAY_BYTES))
    return copy


def made_days(root, seed, rows=150_000):
    """What pg_dump prints of a table, of which by the day some rows change and some are new."""
    os.makedirs(root)
    rng = random.Random(f'{seed} rows')

    def row(number):
        return b'%d\t2024-%02d-%02d\t%d.%02d\t%s\t%s\n' % (
            number, rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(1000), rng.randrange(100), rng.randbytes(8).hex().encode(),
            words(rng, rng.randrange(10, 150)))

    table = [row(number) for number in range(rows)]
    for day in range(DAYS):
        path = f'{root}/dump{day}.sql'
        with open(path, 'wb') as file:
            file.write(b'-- PostgreSQL database dump\n\nCOPY public.orders (id, day, price, reference, note) FROM stdin;\n')
            file.writelines(table)
            file.write(b'\\.\n')
        yield path
        for number in rng.sample(range(len(table)), rows // 50):
            table[number] = row(number)
        table += [row(len(table) + n) for n in range(rows // 60)]


# --- what is known --------------------------------------------------------------------------------------------------------------


class Known:
    """What was acknowledged, what was forgotten and since when, and what looked wrong and may be explained by a forgetting that was
    under way: a policy says what it takes only when it is at it."""

    def __init__(self):
        self.lock, self.stored, self.gone, self.forgetting, self.doubts = threading.Lock(), {}, {}, [], []

    def acknowledge(self, snapshot, source, state):
        with self.lock:
            held(snapshot not in self.stored, f'{snapshot} was acknowledged twice')
            self.stored[snapshot] = (source, state)

    def standing(self):
        """What is acknowledged and not known to be forgotten; the newest last."""
        with self.lock:
            return {snapshot: what for snapshot, what in self.stored.items() if snapshot not in self.gone}

    @contextlib.contextmanager
    def forgets(self):
        """While somebody forgets; it yields what takes the ids in the end."""
        began = time.monotonic()
        with self.lock:
            self.forgetting.append(began)
        removed = []
        try:
            yield removed
        finally:
            with self.lock:
                self.forgetting.remove(began)
                for snapshot in removed:
                    # A run may hear of its own snapshot after somebody forgot it.
                    self.gone[snapshot] = min(began, self.gone.get(snapshot, began))
        self.judge()

    def doubt(self, snapshot, what):
        with self.lock:
            self.doubts.append((time.monotonic(), snapshot, what))
        self.judge()

    def judge(self):
        with self.lock:
            until = min(self.forgetting, default=float('inf'))
            ripe = [d for d in self.doubts if d[0] < until]
            self.doubts = [d for d in self.doubts if d[0] >= until]
            wrong = [f'{snapshot}: {what}' for at, snapshot, what in ripe if self.gone.get(snapshot, float('inf')) > at]
        held(not wrong, 'acknowledged and forgotten by nobody, ' + '; '.join(wrong))


class Suspension:
    """Stops a run when one of its requests was answered, and lets it go on when the others have forgotten and collected for long enough."""

    def __init__(self, soak, command, request):
        self.soak, self.command, self.request = soak, command, request
        self.run, self.began, self.ended = None, None, None
        self.lock, self.collections = threading.Lock(), 0

    def __call__(self, request, phase):
        with self.lock:
            if self.began or phase != 'answered' or request.kind('r') != self.request:
                return False
            self.run.signal(signal.SIGSTOP)
            self.began = time.monotonic()
        threading.Thread(target=self.last, daemon=True).start()
        return False

    @property
    def is_on(self):
        return self.began is not None and self.ended is None

    def last(self):
        # Two collections, of which the second finds the grace period of what the first condemned over.
        while not self.soak.failed and self.seconds < RUN_SECONDS / 2 and (self.seconds < self.soak.suspended or self.collections < 2):
            time.sleep(0.05)
        self.ended = time.monotonic()
        self.run.signal(signal.SIGCONT)

    @property
    def seconds(self):
        return (self.ended or time.monotonic()) - self.began

    def __str__(self):
        return f'{self.command} suspended behind {self.request}'


# --- the hosts ------------------------------------------------------------------------------------------------------------------


class Worker(threading.Thread):
    """A host, which does one thing after the other."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.known, self.number = soak, soak.known, number
        self.proxy, url = soak.bench.proxy()
        self.host = Host(soak.bench, f'host{number}', f'{url}/r')
        self.rng = random.Random(f'{soak.given.seed} host {number}')
        self.dump = Dump(soak.days, number * 2)
        self.files = Files(f'{soak.bench.dir}/tree{number}', soak.given.seed)
        # What is under way, to be ended where all ends.
        self.current, self.suspension = None, None

    def run(self):
        try:
            while not self.soak.is_over:
                self.step()
        except BaseException as e:
            self.soak.fail(e)

    def step(self):
        self.suspension = self.soak.due(self)
        if self.suspension:
            if self.suspension.command == 'gc':
                self.forget('--keep-last', '2')
            self.collect() if self.suspension.command == 'gc' else self.backup(self.rng.choice((self.dump, self.files)))
            self.soak.ended(self, self.suspension)
            self.suspension = None
            return
        # Where somebody is suspended, the others do what could hurt him.
        harm = 3 if self.soak.is_suspended else 1
        step = self.rng.choices((self.backup_dump, self.backup_files, self.forget, self.collect, self.forget_and_collect, self.undelete,
                                 self.restore, self.lose_cache), (4, 4, 3 * harm, 4 * harm, harm, 2, 1, 0.3))
        step[0]()

    def end(self, run):
        """Waits for a run that ends well, or in one of the ways that are right."""
        self.current = run
        if self.suspension and self.suspension.command == run.args[0] and not self.suspension.began:
            self.suspension.run, self.proxy.watch = run, self.suspension
        done = run.wait()
        self.proxy.watch = self.current = None
        command, requests = done.args[0], self.proxy.reset()
        if done.status:
            self.soak.bench.log('its requests:\n' + '\n'.join(f'{r.began - run.began:8.3f} {r.kind("r")} {r.key} {r.status}' for r in requests))
        self.soak.figures.add({
            'bytes up': sum(request.up for request in requests), 'bytes deleted': done.summary.get('deleted_bytes', 0),
            'rescues': sum(RESCUED in warning for warning in done.warnings)})
        for warning in done.warnings:
            if RESCUED not in warning:
                self.soak.figures.remark(f'{command}: {re.sub("[0-9a-f]{8,}", "…", warning)}')
        may = any(done.status == status and text in done.failure for status, text in MAY_SAY.get(command, ()))
        # What a restore says is judged by what it restores.
        held(done.status == 0 or may or command == 'restore', str(done))
        self.soak.figures.add({command: 1, f'{command}: exit {done.status}': bool(done.status)})
        return done

    def do(self, *args):
        return self.end(self.host.start(*args))

    def backup(self, source):
        source.change()
        rate = self.rng.choice(RATES)
        args = (*SMALL_PACKS, *(('--limit-upload', rate) if rate else ()))
        done = self.end(source.start(self.host, *args))
        if done.status:
            done = self.again(source)
        self.known.acknowledge(done.snapshot, source, source.state)

    def again(self, source):
        """The run after one that was overtaken, which stores what was lost to that. Where all others wait for their grace period nobody
        is in its way, but for a collection that had begun before."""
        with self.soak.patience:
            done = self.end(source.start(self.host, *SMALL_PACKS))
            if done.status:
                done = self.end(source.start(self.host, *SMALL_PACKS))
        held(done.status == 0, f'overtaken three times in a row: {done}')
        return done

    def backup_dump(self):
        self.backup(self.dump)

    def backup_files(self):
        self.backup(self.files)

    def forget(self, *args):
        with self.known.forgets() as removed:
            done = self.do('forget', *(args or ('--keep-last', KEEP)))
            if done.status == 25:
                # More than half of a series: whoever does it means it.
                done = self.do('forget', *(args or ('--keep-last', KEEP)), '--force')
            for line in done.lines:
                if line.get('message_type') == 'forget' and done.status != 25:
                    removed += [row['id'] for group in line['groups'] for row in group['remove']]
        self.soak.figures.add({'snapshots forgotten': len(removed)})

    def how(self):
        grace = f'{self.soak.grace}s'
        if self.suspension:
            # Those that wait condemn, and those that do not delete what they condemned themselves.
            return ('--grace', grace if self.suspension.request == 'PUT records/' else '0', '--max-unused', '0', *SMALL_PACKS)
        if self.soak.is_suspended or self.soak.patience.wanted:
            return ('--grace', grace, '--max-unused', '0', *SMALL_PACKS)
        hows = (('--grace', grace, '--max-unused', '0'), ('--grace', grace), ('--grace', '0'), ('--grace', '0', '--max-unused', '0'))
        return (*self.rng.choices(hows, (4, 1, 1, 1))[0], *SMALL_PACKS)

    def collect(self):
        done = self.do('gc', *self.how())
        if done.status == 0:
            self.soak.collected()

    def forget_and_collect(self):
        self.forget('--keep-last', KEEP, '--gc', *self.how())

    def undelete(self):
        # Collections that delete at once leave little to bring back but what was forgotten just now.
        self.forget()
        listed = [s['id'] for s in self.do('snapshots', '--forgotten').lines[0]]
        # A run that gave up may have left one that it never acknowledged: nobody knows what was in it.
        listed = [snapshot for snapshot in listed if snapshot in self.known.stored]
        if listed:
            origin = self.rng.choice(listed)
            for line in self.do('undelete', origin).lines:
                if line.get('message_type') == 'undeleted':
                    self.known.acknowledge(line['id'], *self.known.stored[origin])

    def restore(self):
        standing = self.known.standing()
        listed = {s['id'] for s in self.do('snapshots').lines[0]}
        for snapshot in standing.keys() - listed:
            self.known.doubt(snapshot, 'and not listed')
        if standing:
            snapshot = self.rng.choice(list(standing))
            source, state = standing[snapshot]
            done = source.compare(self.host, snapshot, state)
            self.proxy.reset()
            self.soak.figures.add({'restore': 1})
            if done.status:
                self.soak.figures.add({f'restore: exit {done.status}, of what was forgotten meanwhile': 1})
                self.known.doubt(snapshot, str(done))

    def lose_cache(self):
        self.host.forget()


class Patience:
    """While somebody is within, all collections wait for their grace period."""

    def __init__(self):
        self.lock, self.wanted = threading.Lock(), 0

    def __enter__(self):
        with self.lock:
            self.wanted += 1

    def __exit__(self, *_):
        with self.lock:
            self.wanted -= 1


class Figures:
    def __init__(self):
        self.lock, self.counts, self.remarks = threading.Lock(), collections.Counter(), collections.Counter()

    def add(self, counts):
        with self.lock:
            self.counts.update(counts)

    def remark(self, text):
        with self.lock:
            self.remarks[text] += 1

    def __getitem__(self, what):
        return self.counts[what]


class Soak:
    def __init__(self, given, bench):
        self.given, self.bench = given, bench
        self.seconds = given.minutes * 60
        self.grace = int(min(GRACE_MOST, max(GRACE_LEAST, self.seconds / 30)))
        self.suspended = self.grace * 2.25
        self.known, self.figures, self.patience, self.lock = Known(), Figures(), Patience(), threading.Lock()
        self.failed, self.is_over = [], False
        # A short soak has the time for two.
        what = (('backup', 'PUT data/'), ('gc', 'PUT records/'), ('backup', 'PUT snapshots/'), ('gc', 'DELETE data/'))
        self.suspensions = [Suspension(self, *each) for each in what[:4 if given.minutes >= 5 else 2]]
        self.days = days(given, bench)
        self.workers = [Worker(self, number) for number in range(HOSTS)]
        self.began = time.monotonic()

    @property
    def at(self):
        return time.monotonic() - self.began

    def due(self, worker):
        """The suspension that this host is to have now."""
        with self.lock:
            for number, each in enumerate(self.suspensions):
                if not each.began:
                    mine = number % HOSTS == worker.number and self.at > self.seconds * (number + 0.5) / len(self.suspensions)
                    return each if mine and not self.is_suspended else None

    @property
    def is_suspended(self):
        return any(each.is_on for each in self.suspensions)

    def ended(self, worker, suspension):
        """One more run under a suspension is over; it may never have come so far."""
        if suspension.began:
            held(suspension.seconds > self.grace, 'a suspended run went on too early')
            say(f'{self.at:4.0f} s  {worker.host.name}: {suspension} for {suspension.seconds:.0f} s, '
                f'meanwhile {suspension.collections} collections by others')

    def collected(self):
        for each in self.suspensions:
            if each.is_on:
                each.collections += 1

    def fail(self, error):
        self.failed.append(error)

    def soak(self):
        """Lets the hosts loose until the time is over and every suspension was."""
        self.workers[0].host.must('init')
        self.began = time.monotonic()
        for worker in self.workers:
            worker.start()
        try:
            self.watch()
        except BaseException as e:
            self.fail(e)
        self.is_over = True
        if self.failed:
            self.end_all()
        for worker in self.workers:
            worker.join(RUN_SECONDS)
        if self.failed:
            raise self.failed[0]
        self.known.judge()
        held(not self.known.doubts, f'{self.known.doubts}')

    def watch(self):
        told = 0
        while not self.failed and (self.at < self.seconds or not all(each.ended for each in self.suspensions)):
            if self.at > 3 * self.seconds + RUN_SECONDS:
                raise CannotRun('nothing came to suspend')
            time.sleep(0.1)
            if self.at > told + 30:
                told = self.at
                counts = self.figures
                say(f'{told:4.0f} s  {counts["backup"]} backups ({counts["backup: exit 1"]} overtaken, {counts["rescues"]} rescues), '
                    f'{counts["forget"]} forgets, {counts["gc"]} collections, {counts["undelete"]} undeletes, {counts["restore"]} restores, '
                    f'{mb(counts["bytes up"])} up, {mb(counts["bytes deleted"])} deleted')

    def end_all(self):
        for worker in self.workers:
            if worker.current:
                worker.current.kill()

    # Afterwards.

    def figures_so_far(self):
        counts = self.figures
        say('')
        say(f'{counts["backup"]} backups, of which {counts["backup: exit 1"]} were overtaken and run again; '
            f'{counts["rescues"]} rescues; {counts["snapshots forgotten"]} snapshots forgotten')
        say('runs: ' + ', '.join(f'{what} {n}' for what, n in sorted(counts.counts.items()) if n and not what.startswith('bytes')))
        say(f'{mb(counts["bytes up"])} written, {mb(counts["bytes deleted"])} deleted')
        for remark, count in counts.remarks.most_common():
            say(f'said {count} times: {remark}')
        bound = max(3, OVERTAKEN_MAX * counts['backup'])
        held(counts['backup: exit 1'] <= bound, f'{counts["backup: exit 1"]} backups of {counts["backup"]} were overtaken')

    def all_restore(self):
        standing, host = self.known.standing(), Host(self.bench, 'reader', self.workers[0].host.url)
        listed = host.snapshots()
        lost = [snapshot for snapshot in standing if snapshot not in listed]
        held(not lost, f'acknowledged, forgotten by nobody and not listed: {lost}')
        began = time.monotonic()
        for snapshot, (source, state) in standing.items():
            done = source.compare(host, snapshot, state)
            held(done.status == 0, str(done))
        say(f'{len(standing)} snapshots restored and compared in {time.monotonic() - began:.0f} s')

    def checked(self, allowed=None):
        checked = clean_check(Host(self.bench, 'checker', self.workers[0].host.url), allowed)
        say(f'check read {mb(checked["bytes_read"])} in {checked["packs"]} packs, {checked["snapshots"]} snapshots: clean')
        return checked

    def pendings(self):
        """What runs that gave up left: points to resume from, which stay for two weeks. Nobody can wait for that here."""
        s3 = self.bench.s3('r')
        left = sizes(s3, 'pending/')
        say(f'{len(left)} pending manifests of runs that gave up')
        gave_up = sum(self.figures[f'{command}: exit 1'] for command in ('backup', 'undelete'))
        held(len(left) <= gave_up, f'{len(left)} pending manifests are left of {gave_up} runs that gave up')
        for key in left:
            answer = s3.ask('DELETE', key)
            held(answer.ok, f'DELETE {key}: {answer}')

    def space_returns(self):
        for worker in self.workers:
            worker.backup(worker.dump)
            worker.backup(worker.files)
        worker = self.workers[0]
        worker.forget('--keep-last', '1', '--force')
        for _ in range(2):
            worker.do('gc', '--grace', '0', '--max-unused', '0')
        held(len(self.known.standing()) == 2 * HOSTS, f'--keep-last 1 leaves {len(self.known.standing())} snapshots of {2 * HOSTS} series')
        self.all_restore()
        checked = self.checked()
        left = folders(sizes(self.bench.s3('r')))
        held(checked['snapshots'] == left['snapshots'][0] == 2 * HOSTS, f'{left["snapshots"][0]} manifests of {2 * HOSTS} snapshots are left')
        held('pending' not in left, f'{left.get("pending")} pending manifests are left')
        fresh = [Host(self.bench, f'new{worker.number}', worker.host.url.removesuffix('r') + 'fresh') for worker in self.workers]
        fresh[0].must('init')
        for worker, host in zip(self.workers, fresh):
            for source in (worker.dump, worker.files):
                done = source.start(host).wait()
                held(done.status == 0, str(done))
        ours, theirs = packs(self.bench.s3('r')), packs(self.bench.s3('fresh'))
        say('left: ' + ', '.join(f'{folder} {n} ({mb(size)})' for folder, (n, size) in sorted(left.items())))
        say(f'{mb(ours)} of packs are left, a new repository with the same snapshots has {mb(theirs)}: {ours / theirs:.3f} of it')
        held(ours <= theirs * SPACE, 'space does not return')


def packs(s3):
    """Bytes of all packs."""
    return sum(size for key, size in sizes(s3).items() if is_pack(key))


def soak(given, bench):
    drill = Soak(given, bench)
    say(f'{HOSTS} hosts, {given.minutes:g} minutes, a grace period of {drill.grace} s, {len(drill.days)} days of a dump, '
        f'the last of {mb(os.path.getsize(drill.days[-1][0]))}')
    drill.soak()
    drill.figures_so_far()
    # A resume point that is not whole is none, and hurts nobody.
    drill.checked(r'\d+ manifests in `pending` are left over |pending/\S+ cannot be resumed')
    drill.all_restore()
    drill.pendings()
    drill.space_returns()
