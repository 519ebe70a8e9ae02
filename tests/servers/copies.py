"""The drill of copies: runs that bring snapshots to a second place are killed at random moments, and go on, until all is there. Then every
snapshot is restored from there and compared, packs are the same bytes in both places, and a copy that comes back is known."""
import json, os, random, statistics, time

from drill_parts import Host, Tree, clean_check, folders, held, is_pack, mb, restored, say, sizes

SMALL_PACKS = ('--pack-size', '4')
SNAPSHOTS = 20
# Rounds that prove nothing, for a run may end before its moment comes.
ROUNDS_SPARE = 3


def origin_of(manifest):
    """What a manifest says of where it comes from."""
    if isinstance(manifest, dict):
        return manifest.get('origin') or next(filter(None, map(origin_of, manifest.values())), None)
    return None


class Copies:
    def __init__(self, given, bench):
        self.given, self.bench, self.rng = given, bench, random.Random(f'{given.seed} copies')
        # The first place is a directory, as most people's is; the second one is the server's.
        self.near = Host(bench, 'near', f'{bench.dir}/near')
        self.tree, self.states = Tree(f'{bench.dir}/tree', given.seed), {}

    def make(self):
        self.near.must('init')
        for _ in range(SNAPSHOTS):
            done = self.near.must('backup', self.tree.root, *SMALL_PACKS, '--series', 'tree')
            self.states[done.snapshot] = self.tree.state
            self.tree.change()
        say(f'{SNAPSHOTS} snapshots in a directory')

    def place(self, number):
        """A new second place, empty."""
        prefix = f'far{number}'
        url = f'{self.bench.s3_url}/{prefix}'
        self.near.must('init', '--repo', url, '--sibling-of', self.near.url, *self.secret())
        return Host(self.bench, prefix, url), url

    def secret(self):
        path = f'{self.bench.dir}/secret'
        if not os.path.exists(path):
            with open(path, 'w') as file:
                file.write('drill\n')
        return ('--from-password-file', path)

    def copied(self, host):
        """What is there: ids in the first place by ids in the second."""
        return {s['id']: s['original'] for s in self.listed(host)}

    def listed(self, host):
        found = []
        for snapshot in host.snapshots():
            origin = origin_of(json.loads(host.must('cat', 'manifest', snapshot).out))
            held(origin and origin['how'] == 'copy' and origin['snapshot'] in self.states, f'a snapshot of nobody: {snapshot}')
            found.append({'id': snapshot, 'original': origin['snapshot']})
        return found

    def run(self):
        self.make()
        _, url = self.place(0)
        began = time.monotonic()
        undisturbed = self.near.must('copy', '--to', url)
        seconds = time.monotonic() - began
        sent = undisturbed.summary['bytes_sent']
        say(f'undisturbed: {seconds:.2f} s, {mb(sent)} sent')
        landed, rounds, number, again, left = 0, 0, 0, [], []
        far = url = None
        while landed < self.given.kills:
            rounds += 1
            held(rounds < self.given.kills * 4 + ROUNDS_SPARE, f'{landed} of {self.given.kills} kills landed in {rounds} rounds')
            if far is None:
                number += 1
                far, url = self.place(number)
                up = 0
            moment = self.rng.uniform(0.05, 1.0) * seconds
            copy = self.near.start('copy', '--to', url)
            time.sleep(max(0, moment - copy.seconds))
            copy.kill()
            done = copy.wait()
            held(done.status in (0, -9), str(done))
            if done.status == -9:
                landed += 1
                found = self.copied(far)
                held(len(set(found.values())) == len(found), 'a snapshot was copied twice')
                left.append(len(found))
                # Whatever is listed is whole: one of them by chance, all of them at the end.
                if found:
                    one = self.rng.choice(sorted(found))
                    restored(far, one, self.tree.root, self.states[found[one]])
                say(f'{landed:4} killed at {moment:.2f} s: {len(found)} of {SNAPSHOTS} snapshots are there')
            # A place is interrupted several times, and then brought to its end.
            if done.status == 0 or self.rng.random() < 0.25:
                self.end(far, url, again)
                far = None
        if far:
            self.end(far, url, again)
        self.compare(number)
        say(f'{landed} kills in {rounds} rounds, in {number} places; snapshots that were there: median {statistics.median(left):.0f}; '
            f'what was sent by the runs that ended: median {mb(statistics.median(again))} of {mb(sent)}')

    def end(self, far, url, again):
        done = self.near.must('copy', '--to', url)
        again.append(done.summary['bytes_sent'])
        found = self.copied(far)
        held(sorted(found.values()) == sorted(self.states), f'{len(found)} of {len(self.states)} snapshots are there')
        last = self.near.must('copy', '--to', url)
        held(last.summary['bytes_sent'] == 0 and last.summary['snapshots_copied'] == 0, f'a second copy sent something: {last}')

    def compare(self, number):
        """The last place, all of it, by a host that knows nothing but where it is."""
        new = Host(self.bench, 'new', f'{self.bench.s3_url}/far{number}')
        clean_check(new, allowed=r'\d+ manifests in `pending` are left over ')
        for snapshot, original in sorted(self.copied(new).items()):
            restored(new, snapshot, self.tree.root, self.states[original])
        there = {key: size for key, size in sizes(self.bench.s3(f'far{number}')).items() if is_pack(key)}
        here = {}
        for at, _, names in os.walk(self.near.url):
            for name in names:
                path = os.path.join(at, name)
                here[os.path.relpath(path, self.near.url)] = os.path.getsize(path)
        same = [key for key, size in there.items() if here.get(key) == size]
        say(f'{len(same)} of {len(there)} packs are those of the first place: '
            + ', '.join(f'{folder} {n} ({mb(size)})' for folder, (n, size) in sorted(folders(there).items())))
        held(len(same) == len(there), f'{len(there) - len(same)} packs are others than in the first place')
        back = self.near.must('copy', '--from-repo', new.url, '--repo', self.near.url, *self.secret())
        held(back.summary['snapshots_copied'] == 0, f'what came back was not known: {back}')


def copies(given, bench):
    Copies(given, bench).run()
