#!/usr/bin/env python3
"""Makes trees for tests: the same from the same seed, with everything in them that a file system allows.

    trees.py TARGET [--seed N] [--entries N] [--bytes N]      a random tree with every kind of trouble
    trees.py TARGET --small-files N [--seed N]                N tiny files, a thousand to a directory
    trees.py TARGET --change --seed N                         edits a tree made before: adds, changes, moves, deletes

As root it makes device nodes, foreign owners and capabilities too; others leave these out. TARGET must not exist (but for --change).
"""
import argparse, errno, hashlib, os, random, socket, stat, struct, sys, time

NANOS = 1_000_000_000


def acl(entries):
    """A POSIX ACL as the kernel stores it: (tag, permissions, id)."""
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', tag, perm, who & 0xffffffff) for tag, perm, who in entries)


# USER_OBJ, USER 1234, GROUP_OBJ, GROUP 4321, MASK, OTHER
ACL = acl([(1, 6, -1), (2, 5, 1234), (4, 4, -1), (8, 4, 4321), (16, 5, -1), (32, 4, -1)])
# cap_net_raw+ep, revision 2
CAPABILITY = struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0)


class Maker:
    def __init__(self, target, seed):
        self.r = random.Random(seed)
        self.root = os.geteuid() == 0
        self.target = os.fsencode(target)
        self.dirs, self.files = [b''], []
        self.missing = set()
        # Coarse clocks of file systems run a tick behind.
        self.began = time.time_ns() - NANOS

    def at(self, path):
        return os.path.join(self.target, path)

    def name(self):
        """Any bytes but / and NUL; sometimes as long as a name can be."""
        r = self.r
        kind = r.randrange(12)
        if kind == 0:
            length = r.choice((1, 3, 20, 255))
            return bytes(r.choice(range(1, 256)) for _ in range(length)).replace(b'/', b'\xff')
        if kind == 1:
            return r.choice((b'new\nline', b' leading', b'trailing ', b'-dash', b'"quote\'', b'back\\slash', b'*star?[a]', b'...', b'tab\t', b'\x1b[31mred',
                             b'\xc3\x28', b'\xff\xfe', 'e\u0301'.encode(), '\u00e9'.encode(), '\U0001f980'.encode(), b'#comment', b'!negated')) + b'%d' % r.randrange(1000)
        return b'%s-%04x' % (r.choice((b'file', b'data', b'Report', b'a', b'z', b'src.rs')), r.randrange(1 << 16))

    def fresh(self, parent):
        while True:
            path = os.path.join(parent, self.name())
            if path.rsplit(b'/', 1)[-1] not in (b'.', b'..') and not os.path.lexists(self.at(path)):
                return path

    def content(self, limit):
        r = self.r
        size = min(limit, r.choice((0, 0, 1, 100, 511, 4096, 4097, 5000, 30_000, 70_000, 200_000, 1_500_000)))
        kind = r.randrange(5)
        if kind == 0:
            return bytes(size)
        if kind == 1:
            return r.randbytes(size)
        if kind == 2:  # shared by many files
            return (b'the same line in many files\n' * (size // 28 + 1))[:size]
        words = [r.randbytes(4).hex().encode() for _ in range(50)]
        return b' '.join(r.choice(words) for _ in range(size // 9 + 1))[:size]

    def write(self, path, data):
        with open(self.at(path), 'wb') as f:
            f.write(data)

    def sparse(self, path):
        """Data and holes by turns; begins and ends with either. Both lie on whole blocks, so that every file system can keep them."""
        r = self.r
        with open(self.at(path), 'wb') as f:
            at = r.choice((0, 65536, 1 << 20))
            for _ in range(r.randrange(4)):
                f.seek(at)
                f.write(r.randbytes(65536))
                at += 65536 + r.choice((65536, 1 << 20, 8 << 20))
            f.truncate(at if r.randrange(2) else at + (1 << 20))

    def attempt(self, what, call):
        """What this file system or user cannot have is said once, at the end."""
        try:
            call()
        except OSError as e:
            if e.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.EINVAL):
                raise
            self.missing.add(f'{what} ({e.strerror})')

    def attributes(self, path, kind):
        r, p = self.r, self.at(path)
        if kind != 'symlink':
            if r.randrange(4) == 0:
                value = r.choice((b'', b'value', bytes(range(256)), r.randbytes(1500)))
                for name in r.sample(('user.note', 'user.\u00fc', 'user.' + 'n' * 200), r.randrange(1, 3)):
                    if kind in ('file', 'dir'):
                        self.attempt('xattrs', lambda n=name: os.setxattr(p, n, value))
            if kind in ('file', 'dir') and r.randrange(8) == 0:
                self.attempt('ACLs', lambda: os.setxattr(p, 'system.posix_acl_access', ACL))
                if kind == 'dir':
                    self.attempt('ACLs', lambda: os.setxattr(p, 'system.posix_acl_default', ACL))
        if self.root:
            if r.randrange(5) == 0:
                os.chown(p, r.choice((0, 1, 1000, 12345, 0xfffffff0)), r.choice((0, 2, 100, 54321)), follow_symlinks=False)
            if kind == 'file' and r.randrange(25) == 0:
                self.attempt('capabilities', lambda: os.setxattr(p, 'security.capability', CAPABILITY))
        if kind != 'symlink':
            modes = (0o644, 0o600, 0o755, 0o400, 0o000, 0o4755, 0o2750, 0o1777, 0o6711) if self.root else (0o644, 0o600, 0o755, 0o4755, 0o2750)
            if r.randrange(3) == 0:
                os.chmod(p, r.choice(modes) | (0o700 if kind == 'dir' else 0))
        self.times(path)

    def times(self, path):
        when = self.r.choice((0, 1, -1, -NANOS, 999_999_999, 1_600_000_000 * NANOS + self.r.randrange(NANOS), 2_000_000_000 * NANOS, -1_500_000_000 * NANOS + 7,
                              4_300_000_000 * NANOS + 123_456_789))
        os.utime(self.at(path), ns=(when, when), follow_symlinks=False)

    def entry(self, limit):
        r = self.r
        parent = r.choice(self.dirs)
        if len(parent) > 3000:
            parent = b''
        path = self.fresh(parent)
        kind = r.choices(('file', 'dir', 'symlink', 'link', 'sparse', 'fifo', 'socket', 'device'), (60, 15, 8, 6, 3, 1, 1, 1))[0]
        if kind == 'link' and self.files:
            os.link(self.at(r.choice(self.files)), self.at(path), follow_symlinks=False)
            return
        if kind == 'dir':
            os.mkdir(self.at(path))
            self.dirs.append(path)
            self.finish.append(path)
            return
        if kind == 'symlink':
            os.symlink(r.choice((b'target', b'/etc/passwd', b'../..', b'\xff\xfe dangling', b'x' * 1000, b'.')), self.at(path))
        elif kind == 'fifo':
            os.mkfifo(self.at(path))
        elif kind == 'socket':
            self.bind(path)
        elif kind == 'device' and self.root:
            mode, numbers = r.choice(((stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (7, 200)), (stat.S_IFCHR, (4095, 1048575))))
            self.attempt('device nodes', lambda: os.mknod(self.at(path), mode | 0o600, os.makedev(*numbers)))
            if not os.path.lexists(self.at(path)):
                return
        elif kind == 'sparse':
            self.sparse(path)
            kind = 'file'
        else:
            self.write(path, self.content(limit))
            kind = 'file'
        if kind == 'file' or kind == 'symlink':
            self.files.append(path)
        self.attributes(path, kind)

    def bind(self, path):
        # A socket's address is short: made beside the target, then moved.
        short = b'/tmp/.trees-%d' % os.getpid()
        s = socket.socket(socket.AF_UNIX)
        s.bind(short)
        s.close()
        try:
            os.rename(short, self.at(path))
        except OSError as e:
            os.unlink(short)
            if e.errno != errno.EXDEV:
                raise
            os.mknod(self.at(path), stat.S_IFSOCK | 0o755)

    def fixed(self):
        """What must be in every tree, whatever the dice say."""
        r = self.r
        for d in (b'empty', b'deep', b'links', b'links/a', b'links/b', b'dup', b'large', b'wide'):
            os.mkdir(self.at(d))
            self.finish.append(d)
        deep = b'deep'
        for n in range(60):
            deep += b'/level-%02d' % n
            os.mkdir(self.at(deep))
            self.finish.append(deep)
        self.write(deep + b'/bottom', b'far down')
        self.write(b'empty-file', b'')
        for name in (b'n' * 255, b'\xff' * 255, b'new\nline', b'\x01', b'invalid \xc3\x28 utf-8', b' ', b'-', b'latest'):
            self.write(name, name)
        self.write(b'links/a/one', b'one inode, three names')
        os.link(self.at(b'links/a/one'), self.at(b'links/b/two'))
        os.link(self.at(b'links/a/one'), self.at(b'three'))
        os.symlink(b'nowhere', self.at(b'links/a/symlink'))
        os.link(self.at(b'links/a/symlink'), self.at(b'links/b/symlink'), follow_symlinks=False)
        shared = r.randbytes(150_000)
        for n in range(4):
            self.write(b'dup/%d' % n, shared)
        self.write(b'dup/shifted', b'x' + shared)
        with open(self.at(b'large/zeros'), 'wb') as f:
            for _ in range(16):
                f.write(bytes(1 << 20))
        with open(self.at(b'large/hole'), 'wb') as f:
            f.truncate(1 << 28)
        self.write(b'large/random', r.randbytes(6 << 20))
        self.write(b'large/text', b''.join(b'INSERT INTO t VALUES (%d, %d);\n' % (n, r.randrange(1 << 30)) for n in range(150_000)))
        for n in range(1500):
            self.write(b'wide/%d' % n, b'%d' % n)
        self.write(b'setuid', b'#!/bin/sh\n')
        os.chmod(self.at(b'setuid'), 0o6755)
        os.mkfifo(self.at(b'fifo'))
        self.bind(b'socket')
        self.attempt('xattrs', lambda: os.setxattr(self.at(b'setuid'), 'user.a', b'\0binary\xff'))
        self.attempt('ACLs', lambda: os.setxattr(self.at(b'links/b'), 'system.posix_acl_access', ACL))
        for path in (b'setuid', b'empty-file', b'three', b'fifo', b'links/a/symlink'):
            self.times(path)

    def settle(self):
        """Gives what has its time from the clock one that depends on its path alone: the same tree from the same seed."""
        todo = [b'']
        while todo:
            path = todo.pop()
            p = self.at(path)
            st = os.lstat(p)
            if stat.S_ISDIR(st.st_mode):
                todo += sorted((os.path.join(path, name) for name in os.listdir(p)), reverse=True)
            if st.st_mtime_ns >= self.began and st.st_mtime_ns < 1_900_000_000 * NANOS:
                when = int.from_bytes(hashlib.blake2b(path, digest_size=6).digest(), 'little') * 4000 + self.r.randrange(1000)
                os.utime(p, ns=(when, when), follow_symlinks=False)

    def make(self, entries, limit):
        os.makedirs(self.target)
        os.chmod(self.target, 0o755)
        self.finish = []
        self.fixed()
        for _ in range(entries):
            self.entry(limit)
        # Directories last, deepest first: what is made below them moves their times.
        for path in reversed(self.finish):
            self.attributes(path, 'dir')
        self.times(b'')
        self.settle()

    def change(self, share=10):
        """Edits about one entry in `share`."""
        r = self.r
        files, dirs = [], [b'']
        for d, ds, fs in os.walk(self.target):
            ds.sort()
            rel = os.path.relpath(d, self.target)
            rel = b'' if rel == b'.' else rel
            dirs += [os.path.join(rel, x) for x in ds if not os.path.islink(os.path.join(d, x))]
            files += [os.path.join(rel, x) for x in sorted(fs)]
        self.dirs, self.finish = dirs, []
        for path in files:
            if r.randrange(share) or not os.path.lexists(self.at(path)):
                continue
            p = self.at(path)
            what = r.randrange(5)
            if what == 0:
                os.unlink(p)
            elif what == 1:
                os.rename(p, self.at(self.fresh(r.choice(dirs))))
            elif what == 2 and stat.S_ISREG(os.lstat(p).st_mode):
                with open(p, 'r+b') as f:
                    f.seek(r.randrange(max(1, min(os.path.getsize(p), 1 << 22))))
                    f.write(r.randbytes(r.choice((1, 100, 10_000))))
            elif what == 3:
                self.times(path)
            elif not stat.S_ISLNK(os.lstat(p).st_mode):
                os.chmod(p, r.choice((0o640, 0o755, 0o4711)))
        for _ in range(len(files) // share):
            self.entry(200_000)
        self.settle()


def small_files(target, count, seed):
    """Each file has content of its own, of some forty bytes. Made relative to held directories: paths are not looked up anew."""
    target = os.fsencode(target)
    os.makedirs(target)
    head = b'%d ' % seed
    for start in range(0, count, 1000):
        path = os.path.join(target, b'%03d' % (start // 1_000_000), b'%04d' % (start // 1000))
        os.makedirs(path)
        at = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for n in range(start, min(count, start + 1000)):
            fd = os.open(b'%07d.txt' % n, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            os.write(fd, head + b'%d %x\n' % (n, n * 2654435761))
            os.close(fd)
        os.close(at)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('target')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--entries', type=int, default=1500, help='random entries beside the fixed ones')
    parser.add_argument('--bytes', type=int, default=1_500_000, help='largest random file')
    parser.add_argument('--small-files', type=int)
    parser.add_argument('--change', action='store_true')
    args = parser.parse_args()
    os.umask(0o022)
    if args.small_files is not None:
        small_files(args.target, args.small_files, args.seed)
        return
    maker = Maker(args.target, args.seed)
    if args.change:
        maker.change()
    else:
        maker.make(args.entries, args.bytes)
    for what in sorted(maker.missing):
        print(f'trees: left out here: {what}', file=sys.stderr)


if __name__ == '__main__':
    main()
