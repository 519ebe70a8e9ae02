// Goes before the C library (LD_PRELOAD) and lets calls fail, as a broken disk does:
// SEABED_TEST_FAIL=CALL:ERRNO:SKIP:PATH lets CALL (read, write, fsync) end with ERRNO for files whose path contains PATH,
// after SKIP such calls that pass.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int passed;

static int fails(const char *call, int fd) {
    const char *rule = getenv("SEABED_TEST_FAIL");
    size_t length = strlen(call);
    if (!rule || strncmp(rule, call, length) || rule[length] != ':') return 0;
    char *rest, link[64], path[4096];
    int error = strtol(rule + length + 1, &rest, 10);
    int skip = strtol(rest + 1, &rest, 10);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(link, path, sizeof path - 1);
    if (end < 0) return 0;
    path[end] = 0;
    if (!strstr(path, rest + 1) || __sync_fetch_and_add(&passed, 1) < skip) return 0;
    errno = error;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t read(int fd, void *to, size_t n) { return fails("read", fd) ? -1 : NEXT(read)(fd, to, n); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { return fails("read", fd) ? -1 : NEXT(pread)(fd, to, n, at); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) { return fails("read", fd) ? -1 : NEXT(pread64)(fd, to, n, at); }
ssize_t write(int fd, const void *from, size_t n) { return fails("write", fd) ? -1 : NEXT(write)(fd, from, n); }
int fsync(int fd) { return fails("fsync", fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails("fsync", fd) ? -1 : NEXT(fdatasync)(fd); }
