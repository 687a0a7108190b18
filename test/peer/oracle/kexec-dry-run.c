/*
 * Preloaded into kexec(8), so that `kexec -c -l KERNEL` loads nothing and needs no root: the segments that it would
 * hand to the running kernel are written to the file that KEXEC_LOADED names. The host is hidden. Of it, kexec sees the
 * file that KEXEC_IOMEM names in place of /proc/iomem, and no random numbers.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int absent(void)
{
    errno = ENOENT;
    return -1;
}

static int of_host(const char *path)
{
    return !strncmp(path, "/proc/", 6) || !strncmp(path, "/sys/", 5) || !strncmp(path, "/dev/", 5);
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    if (!strcmp(path, "/proc/iomem")) return real(getenv("KEXEC_IOMEM"), mode);
    if (of_host(path)) return absent(), NULL;
    return real(path, mode);
}

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return of_host(path) ? absent() : real(path, flags);
}

int access(const char *path, int mode) { return absent(); }
int stat(const char *path, struct stat *out) { return absent(); }
DIR *opendir(const char *path) { return absent(), NULL; }
FILE *setmntent(const char *path, const char *mode) { return absent(), NULL; }

ssize_t getrandom(void *out, size_t size, unsigned flags)
{
    errno = EAGAIN;
    return -1;
}

/*
 * kexec(8) calls it for kexec_load alone. Each segment is its address, its size in memory, the size of its bytes, and
 * the bytes; numbers are 64-bit.
 */
long syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    va_arg(arguments, void *);
    unsigned long count = va_arg(arguments, unsigned long);
    const struct kexec_segment *segments = va_arg(arguments, const struct kexec_segment *);
    va_end(arguments);
    if (number != SYS_kexec_load) abort();

    FILE *out = fopen(getenv("KEXEC_LOADED"), "wb");
    if (!out) abort();
    for (unsigned long i = 0; i < count; i++) {
        uint64_t head[3] = { (uintptr_t) segments[i].mem, segments[i].memsz, segments[i].bufsz };
        if (fwrite(head, sizeof head, 1, out) != 1) abort();
        if (head[2] && fwrite(segments[i].buf, head[2], 1, out) != 1) abort();
    }
    if (fclose(out)) abort();
    return 0;
}
