#!/usr/bin/env python3
"""An independent walker: compares two trees completely and prints every difference.

    walker.py [--ignore-root] [--no-owner] [--limit N] A B

Compared are names (any bytes), types, modes, owners, mtimes to the nanosecond, sizes, content, holes, symlink targets, device
numbers, extended attributes (ACLs and capabilities are among them) and which names are links to one inode.
It knows nothing of Seabed and shares no code with it. Exit status: 0 equal, 1 different, 2 cannot be compared.
"""
import argparse, collections, errno, hashlib, os, stat, sys

KINDS = {stat.S_IFREG: 'file', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
         stat.S_IFSOCK: 'socket', stat.S_IFCHR: 'character device', stat.S_IFBLK: 'block device'}
BLOCK = 1 << 20


def show(path):
    """A name for people, on one line whatever bytes it has."""
    return ascii(os.fsdecode(path or b'.'))[1:-1]


class Differences:
    def __init__(self, limit):
        self.count, self.limit = 0, limit

    def say(self, path, what, a=None, b=None):
        self.count += 1
        if self.count <= self.limit:
            values = '' if a is None and b is None else f': {a} | {b}'
            print(f'{show(path)}: {what}{values}')


def xattrs(path):
    try:
        return {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise


def holes(fd, size):
    """The ranges that are holes, as the file system tells them."""
    found, at = [], 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            data = size
        if data > at:
            found.append((at, data))
        at = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    return found


def content(path, sparse):
    """Digest and holes. A file system without SEEK_HOLE shows no holes on either side."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        size, digest = os.fstat(fd).st_size, hashlib.blake2b(digest_size=32)
        gaps = holes(fd, size) if sparse else []
        os.lseek(fd, 0, os.SEEK_SET)
        while block := os.read(fd, BLOCK):
            digest.update(block)
        return digest.digest(), gaps
    finally:
        os.close(fd)


class Links:
    """Numbers the inodes of one tree in the order of the walk: equal trees number equally."""
    def __init__(self):
        self.seen = {}

    def first(self, st, path):
        """The path under which this inode was met first."""
        return self.seen.setdefault((st.st_dev, st.st_ino), path)


def compare_entry(a, b, path, sa, sb, args, out, links):
    if stat.S_IFMT(sa.st_mode) != stat.S_IFMT(sb.st_mode):
        out.say(path, 'type', KINDS.get(stat.S_IFMT(sa.st_mode)), KINDS.get(stat.S_IFMT(sb.st_mode)))
        return False
    kind = stat.S_IFMT(sa.st_mode)
    root = path == b''
    if not (root and args.ignore_root):
        if stat.S_IMODE(sa.st_mode) != stat.S_IMODE(sb.st_mode):
            out.say(path, 'mode', oct(stat.S_IMODE(sa.st_mode)), oct(stat.S_IMODE(sb.st_mode)))
        if not args.no_owner and (sa.st_uid, sa.st_gid) != (sb.st_uid, sb.st_gid):
            out.say(path, 'owner', f'{sa.st_uid}:{sa.st_gid}', f'{sb.st_uid}:{sb.st_gid}')
        if sa.st_mtime_ns != sb.st_mtime_ns:
            out.say(path, 'mtime', sa.st_mtime_ns, sb.st_mtime_ns)
        xa, xb = xattrs(a), xattrs(b)
        for name in sorted(xa.keys() | xb.keys()):
            if xa.get(name) != xb.get(name):
                out.say(path, f'xattr {name!a}', xa.get(name), xb.get(name))
    if kind == stat.S_IFDIR:
        return True
    # Link structure: names that are one inode there must be one inode here, and the other way round.
    if sa.st_nlink > 1 or sb.st_nlink > 1:
        fa, fb = links[0].first(sa, path), links[1].first(sb, path)
        if fa != fb:
            out.say(path, 'is a link to', show(fa), show(fb))
        elif fa != path and kind == stat.S_IFREG:
            # Content was compared under its first name.
            return False
    if kind == stat.S_IFLNK:
        ta, tb = os.readlink(a), os.readlink(b)
        if ta != tb:
            out.say(path, 'target', ta, tb)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        if sa.st_rdev != sb.st_rdev:
            out.say(path, 'device', f'{os.major(sa.st_rdev)},{os.minor(sa.st_rdev)}', f'{os.major(sb.st_rdev)},{os.minor(sb.st_rdev)}')
    elif kind == stat.S_IFREG:
        if sa.st_size != sb.st_size:
            out.say(path, 'size', sa.st_size, sb.st_size)
            return False
        # Only where blocks are fewer than the size can there be a hole; a fully written copy of such a file differs.
        sparse = not args.no_holes and (sa.st_blocks * 512 < sa.st_size or sb.st_blocks * 512 < sb.st_size)
        (ha, ga), (hb, gb) = content(a, sparse), content(b, sparse)
        if ha != hb:
            out.say(path, 'content')
        if ga != gb:
            out.say(path, 'holes', ga[:4], gb[:4])
    return False


def compare(args, out):
    """Walks both trees with a stack, not with recursion: trees may be deeper than Python's limit.

    Each side is reached through descriptors where its path would be longer than PATH_MAX."""
    counts = collections.Counter()
    links = (Links(), Links())
    top = (os.fsencode(args.a), os.fsencode(args.b))
    stack = [b'']
    while stack:
        path = stack.pop()
        a, b = (os.path.join(t, path) if path else t for t in top)
        sa, sb = os.lstat(a), os.lstat(b)
        counts[KINDS.get(stat.S_IFMT(sa.st_mode), '?')] += 1
        counts['bytes'] += sa.st_size if stat.S_ISREG(sa.st_mode) else 0
        if not compare_entry(a, b, path, sa, sb, args, out, links):
            continue
        na, nb = set(os.listdir(a)), set(os.listdir(b))
        for name in sorted(na ^ nb):
            out.say(os.path.join(path, name), 'only in', *(('A', '-') if name in na else ('-', 'B')))
        # Reversed, so that the stack gives them in order: both trees number their links in the same order.
        stack.extend(os.path.join(path, name) for name in sorted(na & nb, reverse=True))
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('a')
    parser.add_argument('b')
    parser.add_argument('--ignore-root', action='store_true', help='attributes of the two top directories may differ')
    parser.add_argument('--no-owner', action='store_true', help='owners may differ')
    parser.add_argument('--no-holes', action='store_true', help='holes may differ')
    parser.add_argument('--limit', type=int, default=100, help='differences that are printed')
    args = parser.parse_args()
    out = Differences(args.limit)
    try:
        counts = compare(args, out)
    except OSError as e:
        print(f'walker: {e}', file=sys.stderr)
        return 2
    counted = ', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))
    print(f'walker: {counted}; {out.count} differences')
    return 1 if out.count else 0


if __name__ == '__main__':
    sys.exit(main())
