#!/usr/bin/env python3
"""Damage drills: objects of a real repository are deleted, cut or changed by lot, `check` must name exactly what that hurts, and `repair` from
another copy and a plain backup must bring it back.

    damage.py --seabed EXE --tree A --tree B [--dump FILE ...] [--python PYTHON] [--kinds data,names,…] [--counts 1,10,100]
              [--ways delete,flip,cut] [--seed 1] [--work DIR] [--json FILE]

The trees are backed up one after the other as one series, so are the dumps; beside them there are snapshots that are held, forgotten and
collected. For every kind of object, count and way a copy of the repository is damaged, and then
  (i)   `check --read-data` is compared with tests/reader/hurt.py, which knows only the specification: snapshots and paths must be the same
        (where this `check` has no `--paths all`, what it names of longer lists must be among them);
  (ii)  `repair --from-repo` with an undamaged copy must leave nothing: a clean check, and every snapshot restores as it did before;
  (iii) on another copy of the damage a plain backup of the unchanged tree must make a snapshot that restores as the tree does.
PYTHON is one with the packages of tests/reader/requirements.txt. Exit status: 0 all of it held, 1 something did not, 2 it could not be run.
"""
import argparse, hashlib, json, os, random, shutil, stat, subprocess, sys, tempfile, time
from pathlib import Path

KINDS = {'data': 'data', 'names': 'names', 'lists': 'lists', 'segments': 'index', 'snapshots': 'snapshots', 'pendings': 'pending',
         'keyrings': 'keyring', 'slots': 'slots', 'tombstones': 'forgotten', 'holds': 'holds', 'notes': 'notes', 'records': 'records',
         'descriptor': 'seabed'}
# Without these nothing opens: what they hurt is everything, or nothing that anybody can say.
ENTRANCE = {'keyrings', 'slots', 'descriptor'}
HERE = Path(__file__).resolve().parent


class Failed(Exception):
    pass


class Home:
    """A cache of its own, and the repository that is meant."""
    def __init__(self, drills, repo, cache):
        self.drills, self.repo, self.cache = drills, repo, cache

    def run(self, *args, codes=(0,)):
        env = {'PATH': os.environ['PATH'], 'HOME': str(self.drills.work / 'home'), 'XDG_CACHE_HOME': str(self.cache),
               'SEABED_REPOSITORY': str(self.repo), 'SEABED_PASSWORD_FILE': str(self.drills.secret), 'SEABED_HOST': 'drill'}
        began = time.monotonic()
        done = subprocess.run([self.drills.seabed, *map(str, args)], env=env, stdin=subprocess.DEVNULL, capture_output=True)
        took = time.monotonic() - began
        if codes is not None and done.returncode not in codes:
            raise Failed(f'seabed {" ".join(map(str, args))}: exit {done.returncode}: {done.stderr[-1500:].decode(errors="replace")}')
        return done, took

    def json(self, *args, codes=None):
        """The summary, or `None` where there is none."""
        done, took = self.run(*args, '--json', codes=codes)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{')]
        summary = [line for line in lines if line.get('message_type') == 'summary']
        return done.returncode, summary[-1] if summary else None, took

    def said(self):
        rows = json.loads(self.run('snapshots', '--json')[0].stdout)
        return sorted((row['time'], row.get('tags') or [], row.get('description') or '') for row in rows)

    def snapshots(self):
        return [row['id'] for row in json.loads(self.run('snapshots', '--json')[0].stdout)]


def digest(top):
    """One number for a tree: names, types, modes, times, contents."""
    total = hashlib.blake2b(digest_size=16)
    for at, dirs, files in os.walk(os.fsencode(top)):
        dirs.sort()
        for name in sorted(dirs + files):
            path = os.path.join(at, name)
            info = os.lstat(path)
            # Directories above what was asked for have the time of the restore.
            row = [path[len(os.fsencode(top)):], stat.S_IFMT(info.st_mode), info.st_mode & 0o7777]
            if stat.S_ISLNK(info.st_mode):
                row.append(os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                row.append(info.st_mtime_ns)
                with open(path, 'rb') as file:
                    row.append(hashlib.file_digest(file, 'blake2b').digest())
            total.update(repr(row).encode())
    return total.hexdigest()


class Drills:
    def __init__(self, args, work):
        self.args, self.work, self.seabed = args, work, os.path.abspath(args.seabed)
        self.secret, self.golden, self.twin = work / 'secret', work / 'golden', work / 'twin'
        self.secret.write_text('drill\n')
        (work / 'home').mkdir()
        self.rng = random.Random(args.seed)
        self.home = Home(self, self.golden, work / 'cache')

    def build(self):
        self.home.run('init')
        self.tree = self.work / 'tree'
        for source in self.args.tree:
            shutil.rmtree(self.tree, ignore_errors=True)
            subprocess.run(['cp', '-a', f'{os.path.realpath(source)}/.', self.tree], check=True)
            self.home.run('backup', '--series', 'tree', self.tree)
        for dump in self.args.dump:
            self.home.run('backup', '--series', 'dump', '--exec', f"dump.sql=cat '{os.path.abspath(dump)}'")
        extra = self.work / 'extra'
        extra.mkdir()
        ids = []
        for n in range(3):
            (extra / f'{n}').write_bytes(random.Random(n).randbytes(200_000))
            self.home.run('backup', '--series', 'extra', extra)
            ids.append(json.loads(self.home.run('snapshots', '--json')[0].stdout)[-1]['id'])
        self.home.run('hold', ids[1], '--reason', 'drill')
        self.home.run('tag', '--add', 'drilled', ids[2])
        self.home.run('describe', ids[1], 'what a note says')
        self.home.run('forget', ids[0])
        self.home.run('gc', '--grace', '0', '--max-unused', '0')
        self.known = self.home.snapshots()
        subprocess.run(['cp', '-a', self.golden, self.twin], check=True)
        self.want = sorted(self.restored(self.home, id) for id in self.known)
        self.said = self.home.said()
        self.newest = self.restored(self.home, 'latest', '--series', 'tree')

    def restored(self, home, *selector):
        target = self.work / 'out'
        shutil.rmtree(target, ignore_errors=True)
        home.run('restore', *selector, '--target', target, '--quiet', '--privileged')
        found = digest(target)
        shutil.rmtree(target)
        return found

    def fork(self, repo, cache, name):
        """A copy of a repository and of who knows it. Objects are linked: damage puts another file in an object's place."""
        home = Home(self, self.work / name, self.work / f'{name}-cache')
        for place in (home.repo, home.cache):
            shutil.rmtree(place, ignore_errors=True)
        subprocess.run(['cp', '-al', repo, home.repo], check=True)
        subprocess.run(['cp', '-a', cache, home.cache], check=True)
        return home

    def damage(self, repo, kind, count, way):
        at = repo / KINDS[kind]
        objects = sorted(path for path in ([at] if at.is_file() else at.rglob('*')) if path.is_file())
        chosen = self.rng.sample(objects, min(count, len(objects)))
        for path in chosen:
            data = bytearray(path.read_bytes())
            path.unlink()
            if way == 'flip':
                data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
            elif way == 'cut':
                data = data[:self.rng.randrange(len(data))]
            if way != 'delete':
                path.write_bytes(data)
        return len(chosen), len(objects)

    def expected(self, repo):
        command = [self.args.python, HERE.parent / 'tests/reader/hurt.py', repo, '-p', self.secret, '--known', ','.join(self.known)]
        done = subprocess.run(command, capture_output=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def drill(self, kind, count, way):
        home = self.fork(self.golden, self.work / 'cache', 'hurt')
        damaged, of = self.damage(home.repo, kind, count, way)
        if not damaged:
            return None
        wrong = []
        row = {'kind': kind, 'way': way, 'damaged': damaged, 'of': of}
        want = self.expected(home.repo)
        code, summary, row['check_seconds'] = home.json('check', '--read-data', *self.all_paths)
        if code not in (0, 10, 12, 23):
            wrong.append(f'check ended with {code}')
        if summary is not None and want is not None:
            findings = summary['findings']
            said = {'snapshots': sorted({id for f in findings for id in f['snapshots']}), 'paths': sorted({p for f in findings for p in f['paths']})}
            row['snapshots'], row['paths'] = len(want['snapshots']), len(want['paths'])
            exact = self.all_paths or not any(f['more_paths'] for f in findings)
            if said['snapshots'] != want['snapshots']:
                wrong.append(f'check names snapshots {said["snapshots"]}, the reader {want["snapshots"]}')
            missed = sorted(set(want['paths']) - set(said['paths'])) if exact else []
            more = sorted(set(said['paths']) - set(want['paths']))
            if missed or more:
                wrong.append(f'check leaves out {missed[:5]} ({len(missed)}) and names {more[:5]} ({len(more)}) besides')
        elif kind not in ENTRANCE:
            wrong.append('check or the reader said nothing')

        beside = self.fork(home.repo, home.cache, 'beside') if kind not in ENTRANCE else None
        code, summary, row['repair_seconds'] = home.json('repair', '--from-repo', self.twin, '--from-password-file', self.secret, '--no-source')
        if code not in (0, 3):
            wrong.append(f'repair ended with {code}: {summary and summary["findings"][:2]}')
        elif summary is not None:
            row['fetched'] = summary['bytes_fetched']
            row['healed'] = sum(summary[f'healed_{by}']['chunks'] for by in ('own', 'other', 'source'))
            row['lost'] = summary['chunks_lost']
        code, summary, _ = home.json('check', '--read-data')
        if code != 0:
            wrong.append(f'check after repair ended with {code}: {summary and summary["findings"][:2]}')
        else:
            have = sorted(self.restored(home, id) for id in home.snapshots())
            # A tombstone that is lost where the manifest is still there would add a snapshot; nothing here may.
            if have != self.want:
                wrong.append(f'{len(have)} snapshots restore, not as the {len(self.want)} did')
            # That a note was deleted nobody can tell.
            if home.said() != self.said and (kind, way) != ('notes', 'delete'):
                wrong.append('tags or descriptions are not what they were')

        if beside is not None:
            try:
                _, row['backup_seconds'] = beside.run('backup', '--series', 'tree', self.tree, '--quiet')
                if self.restored(beside, 'latest', '--series', 'tree') != self.newest:
                    wrong.append('the next backup restores otherwise than the source')
            except Failed as error:
                # Who cannot read a record, or a hold, must not go on as if there were none.
                if kind not in ('records',):
                    wrong.append(str(error))
        row['wrong'] = wrong
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seabed', required=True)
    parser.add_argument('--tree', action='append', required=True)
    parser.add_argument('--dump', action='append', default=[])
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--kinds', default=','.join(KINDS))
    parser.add_argument('--counts', default='1,10,100')
    parser.add_argument('--ways', default='delete,flip,cut')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--work')
    parser.add_argument('--json')
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=args.work, prefix='damage-'))
    rows = []
    try:
        drills = Drills(args, work)
        text = subprocess.run([drills.seabed, 'check', '--help'], capture_output=True, text=True).stdout
        drills.all_paths = ['--paths', 'all'] if '--paths' in text else []
        drills.build()
        print(f'{"kind":<11} {"way":<7} {"damaged":>11} {"snapshots":>9} {"paths":>7} {"check s":>8} {"repair s":>8} {"fetched MB":>10} {"healed":>8} '
              f'{"lost":>5} {"backup s":>8}', flush=True)
        for kind in args.kinds.split(','):
            done = set()
            for count in map(int, args.counts.split(',')):
                for way in args.ways.split(','):
                    row = drills.drill(kind, count, way)
                    if row is None or (way, row['damaged']) in done:
                        continue
                    done.add((way, row['damaged']))
                    rows.append(row)
                    shown = lambda key, form: format(row[key], form) if key in row else '-'
                    fetched = f'{row["fetched"] / 1e6:.1f}' if 'fetched' in row else '-'
                    print(f'{kind:<11} {way:<7} {row["damaged"]:>5} of {row["of"]:<4} {shown("snapshots", "d"):>8} {shown("paths", "d"):>7} '
                          f'{shown("check_seconds", ".2f"):>8} {shown("repair_seconds", ".2f"):>8} {fetched:>10} {shown("healed", "d"):>8} '
                          f'{shown("lost", "d"):>5} {shown("backup_seconds", ".2f"):>8}', flush=True)
                    for what in row['wrong']:
                        print(f'    DID NOT HOLD: {what}', flush=True)
        if args.json:
            Path(args.json).write_text(json.dumps(rows, indent=1))
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)
    bad = sum(bool(row['wrong']) for row in rows)
    print(f'{len(rows)} drills with seed {args.seed}, {bad} did not hold')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
