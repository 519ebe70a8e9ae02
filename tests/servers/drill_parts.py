"""What the drills of drill.py are made of: a server and runs against it, trees that change, what must come back."""
import collections, contextlib, hashlib, json, os, random, re, shutil, signal, stat, subprocess, tempfile, threading, time

import counting
from s3 import S3

HERE = os.path.dirname(os.path.abspath(__file__))
# A deadline for what takes seconds.
RUN_SECONDS = 600
MIB = 1 << 20


class NotHeld(Exception):
    """What was promised and did not hold."""


class CannotRun(Exception):
    """The drill says nothing: its own means failed."""


def held(truth, what):
    if not truth:
        raise NotHeld(what)


def say(text):
    print(text, flush=True)


def mb(n):
    return f'{n / 1e6:.2f} MB'


def script(name, *args, timeout=300):
    """Runs a script that is beside this one; replies with the assignments that it prints."""
    try:
        done = subprocess.run([f'{HERE}/{name}', *args], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as e:
        raise CannotRun(f'{name} {" ".join(args)}: not done in {timeout} s') from e
    if done.returncode:
        raise CannotRun(f'{name} {" ".join(args)}: exit {done.returncode}')
    return dict(line.split('=', 1) for line in done.stdout.splitlines())


class Bench:
    """The directory of a drill, its server, and the log of every run."""

    def __init__(self, given, server):
        self.given, self.server = given, server
        self.dir = tempfile.mkdtemp(prefix='seabed-drill-', dir=given.work)
        self.log_path = f'{self.dir}/log'
        self.log_lock, self.proxies = threading.Lock(), []
        try:
            self.access = script(f'{server}.sh', 'start', self.dir, '--owner', str(os.getpid()))
        except CannotRun:
            self.close(keep=False)
            raise
        self.s3_url = self.access.pop('SEABED_TEST_S3_URL')
        self.env = {k: v for k, v in self.access.items() if k.startswith('AWS_')}

    def s3(self, prefix='', url=None):
        keys = (self.env[f'AWS_{name}'] for name in ('ACCESS_KEY_ID', 'SECRET_ACCESS_KEY', 'REGION'))
        return S3(f'{url or self.s3_url}/{prefix}', *keys)

    def proxy(self, hold=0.0):
        """A counting proxy before the server, and the bucket's URL through it."""
        proxy = counting.Proxy(*self.s3().address, hold=hold)
        self.proxies.append(proxy)
        return proxy, f's3:http://127.0.0.1:{proxy.port}/seabed'

    def log(self, text):
        with self.log_lock, open(self.log_path, 'a') as file:
            file.write(f'{time.strftime("%H:%M:%S")} {text}\n')

    def evidence(self):
        """Keeps what the server has and said: stopping it removes all of that."""
        with contextlib.suppress(Exception), open(f'{self.dir}/listing', 'w') as file:
            for key, size in sorted(sizes(self.s3()).items()):
                print(size, key, file=file)
        for name in ('log', '1/log', '2/log', '3/log'):
            with contextlib.suppress(OSError):
                shutil.copy(f'{self.dir}/{self.server}/{name}', f'{self.dir}/server-{name.replace("/", "-")}')

    def close(self, keep):
        for proxy in self.proxies:
            proxy.stop()
        with contextlib.suppress(CannotRun):
            script(f'{self.server}.sh', 'stop', self.dir)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def sizes(s3, prefix=''):
    """Length of every object below a prefix. A page says when it was cut."""
    found, query = {}, {'list_type': 2, 'prefix': prefix}
    while True:
        keys, _, answer, tree = s3.page(**query)
        if keys is None:
            raise CannotRun(f'listing {prefix!r}: {answer}')
        found |= zip(keys, (int(e.findtext('{*}Size')) for e in tree.findall('{*}Contents')))
        if tree.findtext('{*}IsTruncated') != 'true':
            return found
        query['continuation_token'] = tree.findtext('{*}NextContinuationToken')


def folders(objects):
    """Number and bytes of objects by their folder."""
    by = collections.defaultdict(lambda: [0, 0])
    for key, size in objects.items():
        folder = by[key.partition('/')[0]]
        folder[0] += 1
        folder[1] += size
    return dict(by)


def is_pack(key):
    return key.startswith(('data/', 'names/', 'lists/'))


class Done:
    """How a run ended."""

    def __init__(self, args, status, out, err, seconds):
        self.args, self.status, self.out, self.err, self.seconds = args, status, out, err, seconds
        self.lines = []
        for text in (out, err):
            for line in text.splitlines():
                # A killed run's last line may be torn.
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(line))
        messages = [line for line in self.lines if isinstance(line, dict)]
        ends = [m for m in messages if m.get('message_type') in ('summary', 'initialized', 'traffic')]
        self.summary = ends[-1] if ends else {}
        self.snapshot = self.summary.get('snapshot_id')
        self.warnings = [m['message'] for m in messages if m.get('message_type') == 'warning']
        self.failure = ''.join(m['message'] for m in messages if m.get('message_type') == 'exit_error')

    def __str__(self):
        return f'{" ".join(self.args)}: exit {self.status} after {self.seconds:.1f} s: {self.err.strip()[-1000:]}'


class Host:
    """One machine: its name, home and cache, and the URL by which it knows the repository."""

    def __init__(self, bench, name, url, password='drill'):
        self.bench, self.name, self.url = bench, name, url
        self.home = f'{bench.dir}/home-{name}'
        self.cache = f'{self.home}/cache'
        os.makedirs(self.home, exist_ok=True)
        self.env = {'PATH': os.environ['PATH'], 'HOME': self.home, 'XDG_CACHE_HOME': self.cache, 'XDG_CONFIG_HOME': f'{self.home}/config',
                    'XDG_DATA_HOME': f'{self.home}/data', 'SEABED_HOST': name, 'SEABED_PASSWORD': password, 'SEABED_REPOSITORY': url,
                    'TMPDIR': bench.dir, **bench.env}

    def forget(self):
        """Its cache is gone."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def start(self, *args, stdin=subprocess.DEVNULL):
        return Run(self, args, stdin)

    def run(self, *args, seconds=RUN_SECONDS):
        return Run(self, args).wait(seconds)

    def must(self, *args, seconds=RUN_SECONDS):
        done = self.run(*args, seconds=seconds)
        held(done.status == 0, str(done))
        return done

    def snapshots(self, *args):
        """Ids in the order of their list."""
        return [s['id'] for s in self.must('snapshots', *args).lines[0]]


class Run:
    """A command under way."""

    def __init__(self, host, args, stdin=subprocess.DEVNULL):
        self.host, self.args = host, [*args, '--json', *(['--allow-http'] if '//127.' not in host.url else [])]
        self.out, self.err = (tempfile.TemporaryFile(mode='w+', dir=host.bench.dir) for _ in range(2))
        self.began = time.monotonic()
        command = [host.bench.given.seabed, *self.args]
        self.process = subprocess.Popen(command, env=host.env, stdin=stdin, stdout=self.out, stderr=self.err)

    @property
    def seconds(self):
        return time.monotonic() - self.began

    @property
    def is_over(self):
        return self.process.poll() is not None

    def kill(self):
        self.signal(signal.SIGKILL)

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def wait(self, seconds=RUN_SECONDS):
        late = False
        try:
            self.process.wait(max(1, seconds - self.seconds))
        except subprocess.TimeoutExpired:
            late = True
            self.kill()
            self.process.wait()
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read())
            file.close()
        done = Done(self.args, self.process.returncode, *texts, self.seconds)
        self.host.bench.log(f'{self.host.name}: {" ".join(self.args)}: exit {done.status} after {done.seconds:.2f} s\n{texts[0]}{texts[1]}')
        held(not late, f'not over in {seconds} s: {done}')
        return done

    def until(self, ready, seconds=RUN_SECONDS):
        """Waits until `ready()` while this runs."""
        while not ready():
            held(not self.is_over, f'over before it could be disturbed: {self.wait()}' if self.is_over else '')
            if self.seconds > seconds:
                raise CannotRun(f'nothing came to disturb in {seconds} s')
            time.sleep(0.05)


def words(rng, length):
    """Text that compresses to about a third."""
    return ' '.join(rng.choices(WORDS, k=length // 6 + 1)).encode()[:length]


WORDS = [f'{a}{b}' for a in ('sea', 'bed', 'tide', 'kelp', 'reef', 'salt') for b in ('', 'ed', 'ing', 's', 'ly', 'ward', 'less')]


class Tree:
    """A source that changes from round to round, the same way for the same seed."""

    def __init__(self, root, seed, small=150, middle=20, large=2):
        self.root, self.seed, self.number, self.known = root, seed, 0, {}
        os.makedirs(root)
        rng = random.Random(f'{seed} base')
        for n in range(small):
            self.write(f'd{n % 7}/s{n}', self.content(rng, rng.randrange(0, 40_000)))
        for n in range(middle):
            self.write(f'd{n % 7}/sub/m{n}', self.content(rng, rng.randrange(100_000, 500_000)))
        for n in range(large):
            self.write(f'large{n}', rng.randbytes(rng.randrange(4 * MIB, 8 * MIB)))
        self.write('empty', b'')
        os.symlink('d0/s0', f'{root}/link')
        os.link(f'{root}/large0', f'{root}/d0/hard')
        self.manifest()

    @staticmethod
    def content(rng, length):
        return rng.randbytes(length) if rng.random() < 0.5 else words(rng, length)

    def write(self, name, data):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(data)

    def files(self, start):
        return sorted(p for p in self.state if p.rpartition('/')[2].startswith(start) and stat.S_ISREG(self.state[p][0]))

    def change(self):
        """The next round: some files changed, some new, some gone, some only with other attributes."""
        self.number += 1
        rng = random.Random(f'{self.seed} {self.number}')
        small = self.files('s')
        for name in rng.sample(small, 12):
            self.write(name, self.content(rng, rng.randrange(0, 40_000)))
        for name in rng.sample(small, 3):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{self.root}/{name}')
        for name in rng.sample(small, 3):
            with contextlib.suppress(FileNotFoundError):
                os.chmod(f'{self.root}/{name}', rng.choice((0o600, 0o640, 0o755)))
        for n in range(6):
            self.write(f'd{n}/s-{self.number}-{n}', self.content(rng, rng.randrange(0, 40_000)))
        # A long file that changes in its middle, one that is moved, and new ones; old ones of those go.
        with open(f'{self.root}/large1', 'r+b') as file:
            file.seek(rng.randrange(0, 2 * MIB))
            file.write(rng.randbytes(300_000))
        self.write(f'new/n{self.number}', rng.randbytes(rng.randrange(8 * MIB, 14 * MIB)))
        self.write(f'new/t{self.number}', words(rng, rng.randrange(1 * MIB, 4 * MIB)))
        for old in (f'n{self.number - 2}', f't{self.number - 3}'):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{self.root}/new/{old}')
        if self.number % 3 == 0:
            os.rename(f'{self.root}/new/n{self.number - 1}', f'{self.root}/moved')
        return self.manifest()

    def manifest(self):
        self.state = manifest(self.root, self.known)
        return self.state


def manifest(root, known=None):
    """What a tree holds: of every path mode, time, length and content. `known` saves reading what did not change."""
    known = {} if known is None else known
    found = {}
    for directory, names, files in os.walk(root):
        for name in ('', *names, *files):
            path = os.path.join(directory, name) if name else directory
            info = os.lstat(path)
            content = ''
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                key = (path, info.st_ino, info.st_ctime_ns, info.st_size)
                if key not in known:
                    with open(path, 'rb') as file:
                        known[key] = hashlib.file_digest(file, 'sha256').hexdigest()
                content = known[key]
            # What a directory's length and links are is up to the file system.
            size, links = (0, 0) if stat.S_ISDIR(info.st_mode) else (info.st_size, info.st_nlink)
            found[os.path.relpath(path, root)] = (info.st_mode, info.st_mtime_ns, size, links, content)
    return found


def compare(what, wanted, got):
    wrong = [p for p in sorted(wanted.keys() | got.keys()) if wanted.get(p) != got.get(p)]
    details = '; '.join(f'{p}: {wanted.get(p)} became {got.get(p)}' for p in wrong[:5])
    held(not wrong, f'{what}: {len(wrong)} paths differ: {details}')


def restored(host, snapshot, root, wanted, must=True):
    """Restores a snapshot and compares it with what its source was. One that nobody `must` have may be gone, but never be another."""
    out = tempfile.mkdtemp(prefix='out-', dir=host.bench.dir)
    done = host.must('restore', snapshot, '--target', out) if must else host.run('restore', snapshot, '--target', out)
    if done.status == 0:
        compare(f'snapshot {snapshot[:8]}', wanted, manifest(out + root))
    shutil.rmtree(out)
    return done


def clean_check(host, allowed=None):
    """A check that reads everything with an empty cache, and finds nothing but warnings that are allowed; replies with its summary."""
    host.forget()
    done = host.must('check', '--read-data', seconds=1800)
    found = [w for w in done.summary['warnings'] + done.warnings if not (allowed and re.match(allowed, w))]
    held(not done.summary['num_errors'] and not done.summary['findings'] and not found, f'check finds {done.summary["findings"]} {found}')
    return done.summary


def bulk(root, seed, size, pieces=40):
    """A tree of `size` bytes that do not compress."""
    rng = random.Random(f'{seed} bulk')
    os.makedirs(root)
    for n in range(pieces):
        with open(f'{root}/b{n}', 'wb') as file:
            for at in range(0, size // pieces, 16 * MIB):
                file.write(rng.randbytes(min(16 * MIB, size // pieces - at)))
    return manifest(root)
