/* A disk that fails, or a kill, at chosen calls on chosen files. Preloaded into the processes of a run (LD_PRELOAD).

   FAULTY_DISK_PATH    extended regular expression for the path of the file; without it nothing happens
   FAULTY_DISK_CALL    write, fsync, or name (to create, open for writing, rename, or remove what is there)
   FAULTY_DISK_NTH     which of these calls is the first one struck, counted over all processes
   FAULTY_DISK_TIMES   so many calls from there on; 0 is all of them
   FAULTY_DISK_ACTION  a number of errno, or `main`, `all`, `self`: these processes are killed half-way through the write
   FAULTY_DISK_COUNT   a file that grows by a byte at each of these calls: it holds the count
   FAULTY_DISK_LOG     a file to which a line is added for each call of any sort on such a path, and nothing is struck

   What C programs write through stdio goes past it, as does memory that is mapped. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static regex_t pattern;
static int active;
static long nth, times;
static char call_awaited[16], action[16], count_path[PATH_MAX], log_path[PATH_MAX];

static void take(const char *name, char *into, size_t size) {
    const char *value = getenv(name);
    snprintf(into, size, "%s", value ? value : "");
}

/* Also called by a process that was forked and has got another environment since. */
__attribute__((constructor)) void faulty_disk_begin(void) {
    char path[PATH_MAX], number[32];
    active = 0;
    take("FAULTY_DISK_PATH", path, sizeof path);
    if (!*path || regcomp(&pattern, path, REG_EXTENDED | REG_NOSUB)) return;
    take("FAULTY_DISK_CALL", call_awaited, sizeof call_awaited);
    take("FAULTY_DISK_ACTION", action, sizeof action);
    take("FAULTY_DISK_COUNT", count_path, sizeof count_path);
    take("FAULTY_DISK_LOG", log_path, sizeof log_path);
    take("FAULTY_DISK_NTH", number, sizeof number);
    nth = atol(number);
    take("FAULTY_DISK_TIMES", number, sizeof number);
    times = atol(number);
    active = 1;
}

static off_t append(const char *path, const char *text) {
    int file = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) return 0;
    ssize_t done = REAL(write)(file, text, strlen(text));
    off_t end = done < 0 ? 0 : lseek(file, 0, SEEK_CUR);
    close(file);
    return end;
}

/* Whether this call is struck. */
static int struck(const char *call, const char *path) {
    if (!active || regexec(&pattern, path, 0, NULL, 0)) return 0;
    int before = errno, result = 0;
    if (*log_path) {
        char line[PATH_MAX + 32];
        snprintf(line, sizeof line, "%s %s\n", call, path);
        append(log_path, line);
    } else if (!strcmp(call, call_awaited)) {
        long number = append(count_path, ".");
        result = number >= nth && (!times || number < nth + times);
    }
    errno = before;
    return result;
}

static int struck_file(const char *call, int file) {
    char link[64], path[PATH_MAX];
    if (!active) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return struck(call, path);
}

/* Kill those whom the action names; a number of errno is what the call comes to instead. */
static int strike(void) {
    if (!strcmp(action, "main")) kill(getsid(0), SIGKILL);
    else if (!strcmp(action, "all")) kill(-getsid(0), SIGKILL);
    else if (!strcmp(action, "self")) kill(getpid(), SIGKILL);
    else {
        errno = atoi(action);
        return 1;
    }
    return 0;
}

ssize_t write(int file, const void *data, size_t size) {
    if (struck_file("write", file)) {
        if (*action > '9') REAL(write)(file, data, size / 2);
        if (strike()) return -1;
        size_t half = size / 2; /* whoever lives on has written all of it */
        ssize_t done = REAL(write)(file, (const char *)data + half, size - half);
        return done < 0 ? done : done + (ssize_t)half;
    }
    return REAL(write)(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    if (struck_file("write", file) && strike()) return -1;
    return REAL(pwrite64)(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return pwrite64(file, data, size, at); }

ssize_t writev(int file, const struct iovec *parts, int number) {
    if (struck_file("write", file) && strike()) return -1;
    return REAL(writev)(file, parts, number);
}

int fsync(int file) {
    if (struck_file("fsync", file) && strike()) return -1;
    return REAL(fsync)(file);
}

int fdatasync(int file) {
    if (struck_file("fsync", file) && strike()) return -1;
    return REAL(fdatasync)(file);
}

static int names(int flags) { return flags & (O_CREAT | O_WRONLY | O_RDWR); }

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPENING(name, before, given, ...)                                                                              \
    int name(before const char *path, int flags, ...) {                                                                \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        if (names(flags) && struck("name", path) && strike()) return -1;                                               \
        return REAL(name)(given path, flags, mode);                                                                    \
    }
#define COMMA ,

OPENING(open, , )
OPENING(open64, , )
OPENING(openat, int folder COMMA, folder COMMA)
OPENING(openat64, int folder COMMA, folder COMMA)

int mkdir(const char *path, mode_t mode) {
    if (struck("name", path) && strike()) return -1;
    return REAL(mkdir)(path, mode);
}

int rename(const char *path, const char *to) {
    if (struck("name", to) && strike()) return -1;
    return REAL(rename)(path, to);
}

int unlink(const char *path) {
    if (!access(path, F_OK) && struck("name", path) && strike()) return -1;
    return REAL(unlink)(path);
}
