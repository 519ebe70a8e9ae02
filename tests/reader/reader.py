#!/usr/bin/env python3
"""Reads a Seabed repository in a local directory. Written from format-spec/ alone, to prove that the spec suffices; shares no code
with the engine. Every id, tag, MAC and pack hash is checked; whatever the spec says a reader must refuse is refused with an error.

    reader.py vectors format-spec/vectors            decode every vector, restore their snapshot to a temporary directory
    reader.py cuts format-spec/vectors               compute the golden cut points
    reader.py list REPO -p PASSPHRASE-FILE | -k KEY-FILE
    reader.py restore REPO SNAPSHOT TARGET -p … | -k … [--footers]
"""
import argparse, hmac, io, json, os, shutil, stat, struct, sys, tempfile
from collections import OrderedDict
from math import log2
from pathlib import Path

import cbor2, zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from nacl.bindings import (crypto_aead_chacha20poly1305_ietf_decrypt as chacha_open,
                           crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_open,
                           crypto_scalarmult, crypto_scalarmult_base)
from nacl.exceptions import CryptoError

class Refused(Exception):
    """The bytes are not what the spec says they must be."""

def must(condition, what):
    if not condition:
        raise Refused(what)

def derive(context, data, length=32):
    return blake3(data, derive_key_context=context).digest(length)

def keyed(key, data):
    return blake3(data, key=key).digest()

# ---- chapter 2: objects -------------------------------------------------------------------------------------------------------

TYPES = {n: i + 1 for i, n in enumerate(
    'descriptor feature slot keyring data names lists segment pending snapshot tombstone hold release record note'.split())}
LISTS, NAMES, ADMIN, DATA = 10, 9, 11, 8
IDS = {'data': 0, 'names': 1, 'lists': 2}
GEAR = 3
CLASSES = ['data', 'names', 'lists']
WRAPS = {'data': DATA, 'names': NAMES, 'lists': LISTS}
ONE_PART = {'segment': LISTS, 'note': NAMES, 'feature': LISTS, 'tombstone': ADMIN, 'hold': ADMIN, 'release': ADMIN, 'record': LISTS}

def header(kind):
    return b'SEABED' + bytes([TYPES[kind], 1])

def open_header(kind, data):
    must(data[:6] == b'SEABED' and data[6:7] == bytes([TYPES[kind]]), f'magic or type of {kind}')
    must(data[7] == 1, f'{kind} of format version {data[7]}')
    return data[8:]

class Map(dict):
    """A CBOR map by field names; `extra` holds unknown odd keys."""
    __getattr__ = dict.__getitem__

# Keys of version 1 are 0, 2, 4 … in this order; `?` marks optional ones, with their default.
SCHEMAS = {name: fields.split() for name, fields in {
    'Descriptor': 'repository family chunker profiles created',
    'ProfileSizes': 'profile min avg max normalization',
    'Feature': 'name read write gc',
    'Kdf': 'memory_kib passes lanes',
    'Slot': 'kind kdf? salt commitment public sealed',
    'SlotSecret': 'secret label? created vouch',
    'Recipient': 'slot ephemeral sealed',
    'Keyring': 'epoch recipients',
    'SubKey': 'purpose epoch?0 key',
    'Member': 'slot public vouch',
    'KeySet': 'family keys members?[]',
    'PackKey': 'epoch suite birth wrapped',
    'FrameInfo': 'key?0 ordinal stored plain codec chunks bases?[]',
    'Footer': 'keys frames ids lengths writer session domain?0 signature?',
    'SegmentPack': 'class id bytes',
    'Segment': 'packs entries',
    'Entry': 'name kind mode uid?0 gid?0 user? group? mtime ctime?0 btime? atime? size?0 inode?0 device?0 links?0 target? rdev_major?0 '
             'rdev_minor?0 xattrs?[] flags?0 profile?0 status?0 implied?0',
    'Xattr': 'name value?',
    'ListRoot': 'level?0 id bytes',
    'IndexPart': 'snapshot roots writer sequence previous? heads?[] time started finished group? incomplete?0',
    'IndexRoot': 'kind level?0 names? lists? entries?0 bytes?0 content?[]',
    'Head': 'writer sequence snapshot',
    'NamesPart': 'series host user? uid?0 gid?0 paths?[] excludes?[] tags?[] description? program parent? roots summary failures?[] origin?',
    'NamesRoot': 'kind name? stream?',
    'Stream': 'argv?[] exit? stderr? format? hash mode uid?0 gid?0 mtime',
    'Summary': 'files_new?0 files_changed?0 files_unmodified?0 dirs_new?0 dirs_changed?0 dirs_unmodified?0 others?0 data_chunks?0 '
               'tree_chunks?0 bytes_added?0 bytes_stored?0 files_total?0 bytes_total?0 errors?0',
    'Failure': 'path during message',
    'Origin': 'repository snapshot how',
    'Tombstone': 'snapshot writer sequence previous? heads?[] time reason?',
    'Hold': 'snapshot reason? until? time',
    'Release': 'snapshot holds time',
    'Condemned': 'class id',
    'Record': 'sequence packs seen folds?[] time',
    'Note': 'kind about? time body?',
}.items()}
NESTED = {('Descriptor', 'profiles'): 'ProfileSizes', ('Slot', 'kdf'): 'Kdf', ('Keyring', 'recipients'): 'Recipient', ('KeySet', 'keys'): 'SubKey',
          ('KeySet', 'members'): 'Member', ('Footer', 'keys'): 'PackKey', ('Footer', 'frames'): 'FrameInfo', ('Segment', 'packs'): 'SegmentPack',
          ('Entry', 'xattrs'): 'Xattr', ('IndexPart', 'roots'): 'IndexRoot', ('IndexPart', 'heads'): 'Head', ('NamesPart', 'roots'): 'NamesRoot',
          ('NamesPart', 'summary'): 'Summary', ('NamesPart', 'failures'): 'Failure', ('NamesPart', 'origin'): 'Origin',
          ('NamesRoot', 'stream'): 'Stream', ('Tombstone', 'heads'): 'Head', ('Record', 'packs'): 'Condemned'}

def as_map(schema, raw):
    must(isinstance(raw, dict), f'{schema} is no map')
    keys = list(raw)
    must(all(isinstance(k, int) and k >= 0 for k in keys) and keys == sorted(keys), f'keys of {schema}')
    out, fields = Map(extra={}), SCHEMAS[schema]
    for number, field in enumerate(fields):
        name, optional, default = field.partition('?')
        key = 2 * number
        must(optional or key in raw, f'{schema} lacks {name}')
        value = raw.get(key, {'': None, '0': 0, '[]': []}.get(default))
        inner = NESTED.get((schema, name))
        if inner and value is not None:
            value = [as_map(inner, v) for v in value] if isinstance(value, list) else as_map(inner, value)
        out[name] = value
    for key in keys:
        if key % 2 or key >= 2 * len(fields):
            must(key % 2, f'{schema} has the critical key {key}, which this reader does not know')
            out['extra'][key] = raw[key]
    return out

def cbor(data, padded=False):
    """One item that fills `data`, or is followed by zeros. Encoded again it must give the same bytes: catches every odd encoding."""
    stream = io.BytesIO(data)
    try:
        item = cbor2.CBORDecoder(stream).decode()
    except Exception as e:
        raise Refused(f'CBOR: {e}')
    encoded = cbor2.dumps(item)
    must(data[:len(encoded)] == encoded, 'CBOR is not in its shortest form')
    rest = data[len(encoded):]
    must(not rest.strip(b'\0') if padded else not rest, 'bytes after the body')
    return item

def body(schema, data, padded=False):
    return as_map(schema, cbor(data, padded))

def nanos(time):
    if isinstance(time, list):
        must(len(time) == 2 and 0 <= time[1] < 10**9, 'time')
        return time[0] * 10**9 + time[1]
    return time

def padme(n):
    if n < 2:
        return n
    e = n.bit_length() - 1
    s = (e.bit_length() - 1 if e else 0) + 1
    z = max(e - s, 0)
    return (n + (1 << z) - 1) >> z << z

def unseal(key, aad, sealed, what):
    """nonce ‖ ciphertext ‖ tag under XChaCha20-Poly1305."""
    must(len(sealed) >= 40, f'{what} is short')
    try:
        return xchacha_open(sealed[24:], aad, sealed[:24], key)
    except CryptoError:
        raise Refused(f'{what} does not authenticate')

# ---- chapter 4: cutting -------------------------------------------------------------------------------------------------------

MASKS = [0] * 5 + [int(m, 16) for m in '''1804110 1803110 18035100 1800035300 19000353000 590003530000 d90003530000 d90103530000 d90303530000
    d90313530000 d90f03530000 d90303537000 d90703537000 d90707537000 d91707537000 d91747537000 d91767537000 d93767537000 d93777537000
    d93777577000 db3777577000'''.split()]
M64 = (1 << 64) - 1

def gear_table(gear):
    return struct.unpack('<256Q', derive('seabed v1 gear table', gear, 2048))

def cut(data, table, low, avg, high, level):
    r = len(data)
    if r <= low:
        return r
    r = min(r, high)
    center = min(avg, r)
    b = int(log2(avg) + 0.5)
    small, large = MASKS[b + level], MASKS[b - level]
    h = 0
    for i in range(low // 2, r // 2):
        m = small if i < center // 2 else large
        h = ((h << 2) + (table[data[2 * i]] << 1)) & M64
        if not h & (m << 1):
            return 2 * i
        h = (h + table[data[2 * i + 1]]) & M64
        if not h & m:
            return 2 * i + 1
    return r

def cuts(data, table, sizes):
    at, out = 0, []
    while at < len(data):
        at += cut(data[at:at + sizes[2]], table, *sizes)
        out.append(at)
    return out

# ---- chapters 2 to 5: a repository --------------------------------------------------------------------------------------------

class Repository:
    def __init__(self, path, passphrase=None, key_file=None):
        self.path = Path(path)
        self.packs, self.opened = {}, OrderedDict()
        descriptor = (self.path / 'seabed').read_bytes()
        rest = open_header('descriptor', descriptor)
        length = int.from_bytes(rest[:4], 'little')
        must(len(rest) == 4 + length + 32, 'length of the descriptor')
        self.descriptor = body('Descriptor', rest[4:-32])
        must(self.descriptor.chunker == 1, 'unknown chunker')
        self.id, self.family = self.descriptor.repository, self.descriptor.family
        self.open_keyring(*self.open_slot(passphrase, key_file))
        mac = keyed(derive('seabed v1 descriptor mac', self.key(GEAR, 0)), descriptor[:-32])
        must(hmac.compare_digest(mac, descriptor[-32:]), 'MAC of the descriptor')
        must(self.key_family == self.family, 'family of the keyring')
        for name, _ in self.list('features'):
            flag = self.object('feature', 'Feature', name)
            must(name == f'features/{flag.name}', 'name of a feature')
            must(not flag.read, f'unknown feature {flag.name}')

    def list(self, folder):
        found = sorted(p for p in (self.path / folder).rglob('*') if p.is_file())
        return [(p.relative_to(self.path).as_posix(), p.stat().st_size) for p in found]

    def get(self, name):
        return (self.path / name).read_bytes()

    def open_slot(self, passphrase, key_file):
        for name, _ in self.list('slots'):
            slot = body('Slot', open_header('slot', self.get(name)))
            if slot.kind == 1 and passphrase is not None:
                k = slot.kdf
                must(k.memory_kib <= 1 << 20 and k.passes <= 64 and k.lanes <= 64, 'costs of a slot')
                kek = hash_secret_raw(passphrase, slot.salt, k.passes, k.memory_kib, k.lanes, 32, Type.ID)
            elif slot.kind == 2 and key_file is not None:
                kek = derive('seabed v1 key file', key_file + slot.salt)
            else:
                continue
            if not hmac.compare_digest(keyed(derive('seabed v1 slot commitment', kek), self.id), slot.commitment):
                continue
            aad = header('slot') + self.id + name.encode()
            secret = body('SlotSecret', unseal(derive('seabed v1 slot wrap', kek), aad, slot.sealed, name), padded=True)
            must(crypto_scalarmult_base(secret.secret) == slot.public, 'public key of the slot')
            return bytes.fromhex(name.removeprefix('slots/')), secret
        raise Refused('no slot opens with this secret')

    def open_keyring(self, slot, secret):
        self.keys, newest = {}, None
        public = crypto_scalarmult_base(secret.secret)
        for name, _ in reversed(self.list('keyring')):
            epoch = int(name.removeprefix('keyring/')[:8], 16)
            # Older ones have keys that newer ones lack where two rotations met; one that is damaged is no matter then.
            older = newest is not None and epoch < newest
            ring = body('Keyring', open_header('keyring', self.get(name)))
            must(ring.epoch == epoch, 'epoch of the keyring')
            for copy in (r for r in ring.recipients if r.slot == slot):
                shared = crypto_scalarmult(secret.secret, copy.ephemeral)
                key = derive('seabed v1 keyring recipient', shared + copy.ephemeral + public + secret.vouch)
                aad = header('keyring') + self.id + slot + name.encode()
                keys = body('KeySet', unseal(key, aad, copy.sealed, name), padded=True)
                if older:
                    for k in keys['keys']:
                        self.keys.setdefault((k.purpose, k.epoch), k.key)
                    continue
                order = [(k.purpose, k.epoch) for k in keys['keys']]
                must(all(a < b for a, b in zip(order, order[1:])), 'order of keys')
                for k in keys['keys']:
                    must(self.keys.setdefault((k.purpose, k.epoch), k.key) == k.key, 'two keys for one epoch')
                newest, self.key_family = epoch, keys.family
        must(newest is not None, 'no keyring has a copy for this slot')

    def key(self, purpose, epoch):
        must((purpose, epoch) in self.keys, f'no key of purpose {purpose}, epoch {epoch}')
        return self.keys[purpose, epoch]

    def part(self, data, kind, purpose, number, scope, name, schema):
        must(len(data) >= 48 and data[2:4] == b'\0\0', f'part of {kind}')
        must(data[0] == 1, f'unknown suite {data[0]}')
        must(data[1] == purpose, f'purpose of {kind}')
        aad = scope + header(kind) + bytes([number]) + data[:8] + name
        plain = unseal(self.key(purpose, int.from_bytes(data[4:8], 'little')), aad, data[8:], f'{kind} part {number}')
        must(len(plain) >= 256 and padme(len(plain)) == len(plain), 'padding of a part')
        return body(schema, plain, padded=True)

    def object(self, kind, schema, name):
        return self.part(open_header(kind, self.get(name)), kind, ONE_PART[kind], 0, self.id, name.encode(), schema)

    def manifest(self, name):
        kind = 'snapshot' if name.startswith('snapshots/') else 'pending'
        rest = open_header(kind, self.get(name))
        a, b = struct.unpack('<II', rest[:8])
        must(len(rest) == 8 + a + b, 'lengths of the parts')
        index = self.part(rest[8:8 + a], kind, LISTS, 0, self.id, name.encode(), 'IndexPart')
        names = self.part(rest[8 + a:], kind, NAMES, 1, self.id, name.encode(), 'NamesPart')
        must(name.split('/')[1][:64] == index.snapshot.hex(), 'snapshot of the manifest')
        must([r.kind for r in index.roots] == [r.kind for r in names.roots], 'roots')
        tars = [r.name or b'' for r in names.roots if r.kind == 2]
        must(all(name == b'' or all(map(name_is_valid, name.split(b'/'))) for name in tars), 'name of an archive')
        must(len({name.split(b'/')[0] for name in tars}) == len(tars), 'archives in each other')
        return index, names

    def snapshots(self):
        gone = {name.split('/')[1][:64] for name, _ in self.list('forgotten')}
        return [name for name, _ in self.list('snapshots') if name.split('/')[1] not in gone]

    # -- packs

    def open_pack(self, cls, pack):
        if pack in self.opened:
            self.opened.move_to_end(pack)
            return self.opened[pack]
        must((self.path / cls / pack.hex()[:2] / pack.hex()).exists(), f'pack {pack.hex()} is missing')
        found = self.opened[pack] = Pack(self, cls, pack)
        if len(self.opened) > 8:
            self.opened.popitem(last=False)
        return found

    def index_from_segments(self):
        self.index = {}
        listed = {n.split('/')[-1]: s for c in CLASSES for n, s in self.list(c)}
        for name, _ in self.list('index'):
            segment = self.object('segment', 'Segment', name)
            entries = [segment.entries[i:i + 21] for i in range(0, len(segment.entries), 21)]
            must(len(segment.entries) % 21 == 0 and all(a[:16] <= b[:16] for a, b in zip(entries, entries[1:])), 'order of a segment')
            for e in entries:
                position = int.from_bytes(e[16:], 'little')
                must(position >> 20 < len(segment.packs), 'pack of an entry')
                pack = segment.packs[position >> 20]
                if listed.get(pack.id.hex()) == pack.bytes:
                    self.index[CLASSES[pack['class']], e[:16]] = pack.id, position & (1 << 20) - 1

    def index_from_footers(self):
        self.index = {}
        for cls in CLASSES:
            for name, _ in self.list(cls):
                pack = bytes.fromhex(name.split('/')[-1])
                for number, id in enumerate(self.open_pack(cls, pack).ids):
                    self.index[cls, id[:16]] = pack, number

    def chunk(self, cls, id):
        must((cls, id[:16]) in self.index, f'{cls} chunk {id.hex()} is in no pack')
        pack, number = self.index[cls, id[:16]]
        found = self.open_pack(cls, pack)
        must(found.ids[number] == id, 'the index points to another chunk')
        return found.chunk(number)

class Pack:
    def __init__(self, repo, cls, id, whole=True):
        """With `whole` every byte must be as it was written; else what still authenticates is enough."""
        self.repo, self.cls, self.cached = repo, cls, (None, b'')
        data = self.data = repo.get(f'{cls}/{id.hex()[:2]}/{id.hex()}')
        if whole:
            must(blake3(data).digest() == id, f'pack {id.hex()} has another hash than its name')
            must(padme(len(data)) == len(data), 'padding of a pack')
            open_header(cls, data)
        must(len(data) >= 24 + 48 + 32, 'length of a pack')
        open_header(cls, data[-8:])
        length, zero, birth = struct.unpack('<I4s16s', data[-32:-8])
        must(zero == bytes(4) and (not whole or birth == data[8:24]), 'trailer')
        must(24 + length + 32 <= len(data), 'length of the footer')
        footer = self.footer = repo.part(data[-32 - length:-32], cls, LISTS, 0, repo.family, birth, 'Footer')
        self.ids = [footer.ids[i:i + 32] for i in range(0, len(footer.ids), 32)]
        must(len(self.ids) == len(footer.lengths) and len(footer.ids) % 32 == 0 and 0 not in footer.lengths, 'ids and lengths')
        self.frames, self.places, offset = [], [], 24
        for number, f in enumerate(footer.frames):
            must(f.key < len(footer['keys']), 'key of a frame')
            lengths = footer.lengths[len(self.places):len(self.places) + f.chunks]
            must(sum(lengths) == f.plain <= 16 << 20 and len(lengths) == f.chunks, 'lengths of a frame')
            must(f.codec != 0 or f.stored == f.plain + 16, 'stored length of a raw frame')
            at = 0
            for length_ in lengths:
                self.places.append((number, at, length_))
                at += length_
            self.frames.append((offset, f))
            offset += f.stored
        must(len(self.places) == len(self.ids) and offset + length + 32 <= len(data), 'frames')

    def frame(self, number):
        offset, f = self.frames[number]
        row, repo, code = self.footer['keys'][f.key], self.repo, bytes([CLASSES.index(self.cls)])
        must(row.suite == 1 and len(row.wrapped) == 72, 'suite of a pack key')
        key = unseal(repo.key(WRAPS[self.cls], row.epoch), b'seabed v1 pack key' + repo.family + code + row.birth, row.wrapped, 'pack key')
        ordinal = f.ordinal.to_bytes(4, 'little')
        aad = repo.family + code + row.birth + ordinal + bytes([f.codec])
        try:
            plain = chacha_open(self.data[offset:offset + f.stored], aad, ordinal + bytes(8), key)
        except CryptoError:
            raise Refused(f'frame {number} does not authenticate')
        must(f.codec in (0, 1), f'unknown codec {f.codec}')
        if f.codec == 1:
            decoder = zstandard.ZstdDecompressor(max_window_size=1 << 24).decompressobj()
            must(zstandard.frame_content_size(plain) == f.plain, 'length of a frame')
            plain = decoder.decompress(plain)
            must(decoder.eof and not decoder.unused_data, 'zstd frame')
        must(len(plain) == f.plain, 'length of a frame')
        return plain

    def chunk(self, number):
        frame, at, length = self.places[number]
        if self.cached[0] != frame:
            self.cached = frame, self.frame(frame)
        plain = self.cached[1][at:at + length]
        must(keyed(self.repo.key(IDS[self.cls], 0), plain) == self.ids[number], f'chunk {self.ids[number].hex()} has another id')
        return plain

# ---- chapter 6: trees ---------------------------------------------------------------------------------------------------------

def items(runs, most):
    out, after_ids = [], False
    for run in runs:
        if isinstance(run, bytes):
            must(run and len(run) % 32 == 0 and not after_ids, 'run of ids')
            out += [run[i:i + 32] for i in range(0, len(run), 32)]
        else:
            must(isinstance(run, int) and run > 0, 'hole')
            out.append(run)
        after_ids = isinstance(run, bytes)
    must(len(out) <= most, 'number of items')
    return out

def content(repo, raw):
    """Yields bytes, and lengths of holes as integers."""
    if isinstance(raw, dict):
        root = as_map('ListRoot', raw)
        must(root.level <= 8, 'level')
        total = 0
        for piece in list_node(repo, root.id, root.level):
            total += piece if isinstance(piece, int) else len(piece)
            yield piece
        must(total == root.bytes, 'length of a list tree')
        return
    for item in items(raw, 32):
        yield repo.chunk('data', item) if isinstance(item, bytes) else item

def list_node(repo, id, level):
    node = cbor(repo.chunk('lists', id))
    must(node[:2] == [2, level], 'list node')
    if level == 0:
        must(len(node) == 3, 'list node')
        for item in items(node[2], 1024):
            yield repo.chunk('data', item) if isinstance(item, bytes) else item
        return
    must(len(node) == 4 and len(node[2]) == 32 * len(node[3]) and 1 <= len(node[3]) <= 1024, 'list node')
    for i, length in enumerate(node[3]):
        total = 0
        for piece in list_node(repo, node[2][32 * i:32 * i + 32], level - 1):
            total += piece if isinstance(piece, int) else len(piece)
            yield piece
        must(total == length, 'length below a list node')

def name_is_valid(name):
    return 0 < len(name) <= 255 and name not in (b'.', b'..') and b'/' not in name and b'\0' not in name

def tree(repo, names, lists, level):
    """Yields (directory, entry, content) of everything below a node."""
    must(level <= 8, 'level')
    a, b = cbor(repo.chunk('names', names)), cbor(repo.chunk('lists', lists))
    if level:
        must(a[:2] == b[:2] == [1, level] and len(a) == len(b) == 3, 'node')
        children, ids = a[2], b[2]
        must(len(ids) == 64 * len(children) and 1 <= len(children) <= 2048, 'children')
        for i, (dir, name, id, entries, size) in enumerate(children):
            must(ids[64 * i + 32:64 * i + 64] == id, 'twins')
            below = 0
            for row in tree(repo, id, ids[64 * i:64 * i + 32], level - 1):
                must(below or (row[0], row[1].name) == (dir, name), 'first entry of a child')
                below, size = below + 1, size - row[1].size
                yield row
            must(below == entries and size == 0, 'counts of a child')
        return
    must(a[0] == b[0] == 0 and len(a) == len(b) == 2, 'leaf')
    contents = iter(b[1])
    must(len(b[1]) <= 2048 and sum(len(g[1]) for g in a[1]) <= 2048, 'size of a leaf')
    for dir, entries in a[1]:
        must(dir == b'' or all(map(name_is_valid, dir.split(b'/'))), 'directory')
        must(entries, 'empty group')
        for raw in entries:
            entry = as_map('Entry', raw)
            must(name_is_valid(entry.name) and entry.kind <= 6, 'entry')
            has = entry.kind == 1 and entry.status != 2
            yield dir, entry, (next(contents, None) if has else None)
            # `next` gave None where the lists side is too short; an empty file has an empty list instead.
    must(next(contents, None) is None, 'contents without an entry')

def rows(repo, root):
    last, count = None, 0
    if root.names is not None:
        for dir, entry, raw in tree(repo, root.names, root.lists, root.level):
            place = (dir.replace(b'/', b'\0'), entry.name)
            must(last is None or last < place, 'order of entries')
            must((raw is not None) == (entry.kind == 1 and entry.status != 2), 'content of an entry')
            last, count = place, count + 1
            yield dir, entry, raw
    must(count == root.entries, 'number of entries')

# ---- restoring ----------------------------------------------------------------------------------------------------------------

def write_content(repo, raw, path, hash=None):
    """Writes a file with its holes, feeds a stream's bytes to `hash`; returns the length."""
    size = 0
    with open(path, 'xb') as out:
        for piece in content(repo, raw):
            if isinstance(piece, int):
                out.seek(piece, os.SEEK_CUR)
                size += piece
                must(hash is None, 'a hole in a stream')
            else:
                out.write(piece)
                size += len(piece)
                if hash:
                    hash.update(piece)
        out.truncate(size)
    return size

def attributes(path, e, complaints):
    def attempt(what, call, *args, **kw):
        try:
            call(*args, **kw)
        except OSError as error:
            complaints.append(f'{os.fsdecode(path)}: {what}: {error.strerror}')
    if os.geteuid() == 0:
        attempt('owner', os.lchown, path, e.uid, e.gid)
    for x in e.get('xattrs', []):
        attempt('xattr', os.setxattr, path, x.name, x.value or b'', follow_symlinks=False)
    if e.get('kind') != 2:
        attempt('mode', os.chmod, path, e.mode & 0o7777)
    if not e.get('implied'):
        attempt('time', os.utime, path, ns=(nanos(e.mtime),) * 2, follow_symlinks=False)

NODES = {4: stat.S_IFSOCK, 5: stat.S_IFCHR, 6: stat.S_IFBLK}

def restore(repo, name, target):
    index, names = repo.manifest(name)
    os.makedirs(target)
    target, complaints = os.fsencode(target), []
    inside = os.path.realpath(target)
    for root, named in zip(index.roots, names.roots):
        if root.kind == 1:
            path = os.path.join(target, os.path.basename(named.name or b'stream'))
            hash = blake3()
            size = write_content(repo, root.content, path, hash)
            must(size == root.bytes and hash.digest() == named.stream.hash, 'hash of a stream')
            attributes(path, Map(named.stream, uid=named.stream.uid, gid=named.stream.gid), complaints)
            continue
        directories, links = [], {}
        for dir, e, raw in rows(repo, root):
            path = os.path.join(target, dir, e.name)
            if root.kind == 2:
                below, stored = named.name or b'', os.path.join(dir, e.name)
                must(not below or (stored + b'/').startswith(below + b'/') or below.startswith(stored + b'/'), 'entry beside its archive')
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # A symlink restored earlier must not lead what is below it elsewhere.
            must(os.path.realpath(os.path.dirname(path)) == os.path.join(inside, dir).rstrip(b'/'), 'path through a symlink')
            group = (e.device, e.inode) if e.kind != 0 and (e.links or 1) > 1 else None
            if e.kind == 0:
                os.makedirs(path, mode=0o700, exist_ok=True)
                directories.append((path, e))
                continue
            if group in links:
                os.link(links[group], path, follow_symlinks=False)
                continue
            if raw is not None:
                size = write_content(repo, raw, path)
                must(size == e.size, f'length of {os.fsdecode(path)}')
            elif e.kind == 2:
                os.symlink(e.target, path)
            elif e.kind == 3:
                os.mkfifo(path)
            elif e.kind in NODES and os.geteuid() == 0:
                os.mknod(path, NODES[e.kind] | 0o600, os.makedev(e.rdev_major or 0, e.rdev_minor or 0))
            else:
                complaints.append(f'{os.fsdecode(path)}: not restored (kind {e.kind}, status {e.status})')
                continue
            if group:
                links[group] = path
            attributes(path, e, complaints)
        for path, e in reversed(directories):
            attributes(path, e, complaints)
    return complaints

# ---- commands -----------------------------------------------------------------------------------------------------------------

SMALL = [('forgotten', 'tombstone', 'Tombstone'), ('holds', 'hold', 'Hold'), ('releases', 'release', 'Release'),
         ('records', 'record', 'Record'), ('notes', 'note', 'Note'), ('features', 'feature', 'Feature'), ('index', 'segment', 'Segment')]

def reads_whole(path, secret):
    try:
        repo = Repository(path, **secret)
        repo.index_from_footers()
        for folder, kind, schema in SMALL:
            for name, _ in repo.list(folder):
                repo.object(kind, schema, name)
        for name, _ in repo.list('snapshots') + repo.list('pending'):
            repo.manifest(name)
        return True
    except Refused:
        return False

def do_vectors(folder):
    facts = json.loads((Path(folder) / 'vectors.json').read_text())
    at = Path(folder) / 'repository'
    secrets = {'passphrase': facts['passphrase'].encode()}, {'key_file': bytes.fromhex(facts['key_file_hex'])}
    for secret in secrets:
        repo = Repository(at, **secret)
        must((repo.id.hex(), repo.family.hex()) == (facts['repository'], facts['family']), 'ids')
        must(sorted({e for _, e in repo.keys} - {0}) == facts['epochs'], 'epochs')
    for kind, count in facts['objects'].items():
        must(len(repo.list(kind)) == count or kind == 'seabed', f'number of {kind}')
    for folder_, kind, schema in SMALL:
        for name, _ in repo.list(folder_):
            print(name, {k: v for k, v in repo.object(kind, schema, name).items() if k not in ('entries', 'packs')})
    for name, _ in repo.list('snapshots') + repo.list('pending'):
        print(name, repo.manifest(name)[1].series)
    for build in (repo.index_from_segments, repo.index_from_footers):
        build()
        chunks = [repo.open_pack(cls, pack).chunk(n) for (cls, _), (pack, n) in repo.index.items()]
        print(f'{build.__name__}: {len(chunks)} chunks')
        with tempfile.TemporaryDirectory() as scratch:
            complaints = restore(repo, f'snapshots/{facts["snapshot"]}', f'{scratch}/out')
            out, stream = Path(scratch) / 'out', facts['stream']
            text = ''.join(stream['line'].format(i=i) for i in range(stream['lines']))
            must((out / stream['name']).read_text() == text, 'content of the stream')
            must((out / 'srv/twin-a').stat().st_ino == (out / 'srv/twin-b').stat().st_ino, 'hard link')
            must((out / 'srv/sparse').stat().st_size == 8 + (1 << 20) + 4096, 'sparse file')
            must((out / 'srv/docs').stat().st_mode & 0o7777 == 0o750, 'mode')
            for complaint in complaints:
                print('not restored:', complaint)
    # A reader that accepts everything would pass so far: a changed byte anywhere must be noticed with one of the secrets.
    for name, size in repo.list(''):
        for offset in sorted({0, 6, 7, 8, 12, size // 2, size - 1}):
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copytree(at, f'{scratch}/r')
                path = Path(scratch) / 'r' / name
                data = bytearray(path.read_bytes())
                data[offset] ^= 1
                path.write_bytes(data)
                must(not all(reads_whole(f'{scratch}/r', s) for s in secrets), f'{name}: change of byte {offset} went unseen')
    print('every changed byte was noticed')

def do_cuts(folder):
    facts = json.loads((Path(folder) / 'vectors.json').read_text())['cuts']
    data, table = blake3(b'golden').digest(200_000), gear_table(bytes([9] * 32))
    for case in facts['cases']:
        found = cuts(data, table, case['sizes'])[:6]
        print(case['sizes'], found)
        must(found == case['cuts'], 'cut points')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(dest='command', required=True)
    for name in ('vectors', 'cuts'):
        sub.add_parser(name).add_argument('folder')
    for name in ('list', 'restore'):
        p = sub.add_parser(name)
        p.add_argument('repo')
        if name == 'restore':
            p.add_argument('snapshot', help='hexadecimal id or its beginning')
            p.add_argument('target', help='directory that does not exist yet')
            p.add_argument('--footers', action='store_true', help='build the index from pack footers, not from segments')
        secret = p.add_mutually_exclusive_group(required=True)
        secret.add_argument('-p', '--passphrase-file', type=Path)
        secret.add_argument('-k', '--key-file', type=Path, help='32 raw bytes, or 64 hexadecimal digits')
    args = parser.parse_args()
    if args.command in ('vectors', 'cuts'):
        return {'vectors': do_vectors, 'cuts': do_cuts}[args.command](args.folder)
    passphrase = args.passphrase_file and args.passphrase_file.read_bytes().rstrip(b'\r\n')
    key = args.key_file and args.key_file.read_bytes()
    if key and len(key) != 32:
        key = bytes.fromhex(key.decode().strip())
    repo = Repository(args.repo, passphrase, key)
    if args.command == 'list':
        for name in repo.snapshots():
            index, names = repo.manifest(name)
            print(name.split('/')[1], nanos(index.time) // 10**9, names.host, names.series, *names.tags)
        return
    (repo.index_from_footers if args.footers else repo.index_from_segments)()
    found = [n for n in repo.snapshots() if n.split('/')[1].startswith(args.snapshot)]
    must(len(found) == 1, f'{len(found)} snapshots match')
    for complaint in restore(repo, found[0], args.target):
        print('not restored:', complaint, file=sys.stderr)

if __name__ == '__main__':
    try:
        main()
    except Refused as e:
        sys.exit(f'refused: {e}')
