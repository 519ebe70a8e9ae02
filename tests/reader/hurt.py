#!/usr/bin/env python3
"""Says which snapshots and paths of a damaged repository cannot be read whole: walks every snapshot chunk by chunk, by the specification
alone. What `check` says is compared with it; it shares no code with the engine.

    hurt.py REPO -p PASSPHRASE-FILE | -k KEY-FILE [--known ID[,ID...]]

Prints {"snapshots": [...], "paths": [...]} with full ids, sorted. A chunk can be read where a segment that opens names a pack that is there
in the length that the segment says, and the chunk's frame there authenticates and holds what its id says; a byte that belongs to no chunk
hurts nobody. A leaf or node that cannot be read stands for all below it, and its path is that of its first entry, where the node above it
says that. `--known` names snapshots that once were there: one that is neither listed nor forgotten is hurt.
"""
import argparse, json, sys
from pathlib import Path

from reader import CLASSES, Pack, Refused, Repository, as_map, cbor, items


class Survey:
    """What chunks can still be read."""
    def __init__(self, repo):
        self.repo, self.good = repo, {'data': set(), 'names': {}, 'lists': {}}
        # What is in packs that no segment names: nobody finds it, but what hangs below can be told.
        self.loose = {'names': {}, 'lists': {}}
        self.memory = {}
        listed = {name.split('/')[-1]: size for cls in CLASSES for name, size in repo.list(cls)}
        rows = {}
        for name, _ in repo.list('index'):
            try:
                segment = repo.object('segment', 'Segment', name)
            except Refused:
                continue
            for at in range(0, len(segment.entries), 21):
                entry = segment.entries[at:at + 21]
                position = int.from_bytes(entry[16:], 'little')
                pack = segment.packs[position >> 20]
                if listed.get(pack.id.hex()) == pack.bytes:
                    rows.setdefault((CLASSES[pack['class']], pack.id), set()).add((entry[:16], position & (1 << 20) - 1))
        for (cls, id), known in sorted(rows.items()):
            try:
                pack = Pack(repo, cls, id, whole=False)
            except Refused:
                continue
            for number, chunk in enumerate(pack.ids):
                if (chunk[:16], number) not in known:
                    continue
                try:
                    plain = pack.chunk(number)
                except Refused:
                    continue
                if cls == 'data':
                    self.good[cls].add(chunk)
                else:
                    self.good[cls][chunk] = plain
        for cls in self.loose:
            for name, _ in repo.list(cls):
                id = bytes.fromhex(name.split('/')[-1])
                if (cls, id) not in rows:
                    self.add_loose(cls, id)

    def add_loose(self, cls, id):
        try:
            pack = Pack(self.repo, cls, id, whole=False)
        except Refused:
            return
        for number, chunk in enumerate(pack.ids):
            try:
                self.loose[cls][chunk] = pack.chunk(number)
            except Refused:
                continue

    def node(self, cls, id):
        """A node or leaf, decoded; `None` where it cannot be read."""
        plain = self.good[cls].get(id, self.loose[cls].get(id))
        try:
            return None if plain is None else cbor(plain)
        except Refused:
            return None

    def is_whole(self, raw):
        """Whether all of a content can be read."""
        if isinstance(raw, dict):
            root = as_map('ListRoot', raw)
            return self.list(root.id, root.level)
        return all(item in self.good['data'] for item in items(raw, 32) if isinstance(item, bytes))

    def list(self, id, level):
        if ('list', id) not in self.memory:
            node = self.node('lists', id)
            if node is None:
                whole = False
            elif level == 0:
                whole = all(item in self.good['data'] for item in items(node[2], 1024) if isinstance(item, bytes))
            else:
                whole = all([self.list(node[2][32 * i:32 * i + 32], level - 1) for i in range(len(node[3]))])
            self.memory['list', id] = whole and id in self.good['lists']
        return self.memory['list', id]

    def tree(self, names, lists, level, first):
        """Paths that are hurt in a stretch of a tree, and whether anything is: some of it may have no name any more."""
        key = names, lists, level, first
        if key not in self.memory:
            self.memory[key] = self.stretch(names, lists, level, first)
        return self.memory[key]

    def stretch(self, names, lists, level, first):
        a, b = self.node('names', names), self.node('lists', lists)
        paths, hurt = set(), a is None or b is None or names not in self.good['names'] or lists not in self.good['lists']
        if hurt and first is not None:
            paths.add(first)
        if b is None:
            return paths, True
        if level:
            for i in range(len(b[2]) // 64):
                child_lists, child_names = b[2][64 * i:64 * i + 32], b[2][64 * i + 32:64 * i + 64]
                begin = join(a[2][i][0], a[2][i][1]) if a is not None else None
                below, is_hurt = self.tree(child_names, child_lists, level - 1, begin)
                paths, hurt = paths | below, hurt or is_hurt
            return paths, hurt
        if a is None:
            return paths, True
        contents = iter(b[1])
        for dir, entries in a[1]:
            for raw in entries:
                entry = as_map('Entry', raw)
                if entry.kind == 1 and entry.status != 2 and not self.is_whole(next(contents)):
                    paths.add(join(dir, entry.name))
                    hurt = True
        return paths, hurt

    def snapshot(self, name):
        index, names = self.repo.manifest(name)
        paths, hurt = set(), False
        for root, named in zip(index.roots, names.roots):
            if root.kind == 1:
                if not self.is_whole(root.content):
                    paths.add(named.name)
                    hurt = True
            elif root.names is not None:
                below, is_hurt = self.tree(root.names, root.lists, root.level, None)
                paths, hurt = paths | below, hurt or is_hurt
        return paths, hurt


def join(dir, name):
    return dir + b'/' + name if dir else name


def vouches(row):
    return {id.hex() for id in [row.previous, *(head.snapshot for head in row.heads)] if id}


def hurt(repo, known=()):
    survey, snapshots, paths = Survey(repo), set(), set()
    forgotten = {name.split('/')[1][:64] for name, _ in repo.list('forgotten')}
    listed = {name.split('/')[1] for name, _ in repo.list('snapshots')}
    snapshots.update(id for id in known if id not in listed and id not in forgotten)
    # Whom a manifest or tombstone has seen, and that is neither listed nor forgotten, was taken away (chapter 6, ledger).
    vouched = set()
    for name, _ in repo.list('forgotten'):
        try:
            vouched |= vouches(repo.object('tombstone', 'Tombstone', name))
        except Refused:
            pass
    # What is said of a snapshot and cannot be read: nobody knows whether it is held, or what of the ledger it was.
    for folder, kind, body in (('forgotten', 'tombstone', 'Tombstone'), ('holds', 'hold', 'Hold'), ('releases', 'release', 'Release')):
        for name, _ in repo.list(folder):
            try:
                repo.object(kind, body, name)
            except Refused:
                snapshots.add(name.split('/')[1][:64])
    for id in listed:
        try:
            vouched |= vouches(repo.manifest(f'snapshots/{id}')[0])
        except Refused:
            pass
    snapshots |= vouched - listed - forgotten
    for id in sorted(listed - forgotten):
        try:
            below, is_hurt = survey.snapshot(f'snapshots/{id}')
        except Refused:
            below, is_hurt = set(), True
        paths |= below
        if is_hurt:
            snapshots.add(id)
    shown = {'/' + path.decode(errors='replace') for path in paths}
    return {'snapshots': sorted(snapshots), 'paths': sorted(shown)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('repo')
    parser.add_argument('--known', default='')
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument('-p', '--passphrase-file', type=Path)
    secret.add_argument('-k', '--key-file', type=Path)
    args = parser.parse_args()
    passphrase = args.passphrase_file and args.passphrase_file.read_bytes().rstrip(b'\r\n')
    key = args.key_file and args.key_file.read_bytes()
    if key and len(key) != 32:
        key = bytes.fromhex(key.decode().strip())
    sys.setrecursionlimit(10_000)
    print(json.dumps(hurt(Repository(args.repo, passphrase, key), [id for id in args.known.split(',') if id])))


if __name__ == '__main__':
    try:
        main()
    except Refused as e:
        sys.exit(f'refused: {e}')
