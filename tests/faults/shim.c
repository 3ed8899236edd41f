/* Loaded before libc: counts the calls that touch the sandbox, and at one of them kills the process, tears a write in
 * two, or fails. What only reads is counted for failures alone: killing there leaves what killing at the next change
 * leaves. Compiled by armed.py; faults_arm() and faults_counts() are called through ctypes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FAIL };
enum { EACCES_ = 1, EIO_ = 2, ENOSPC_ = 4, EROFS_ = 8, EMLINK_ = 16, EXDEV_ = 32, EINTR_ = 64 };
#define CLASSES 7
static const int ERRNO[CLASSES] = {EACCES, EIO, ENOSPC, EROFS, EMLINK, EXDEV, EINTR};

static char sandbox[4][PATH_MAX], needle[256];
static int sandboxes, armed, mode, wanted_class, sticky, quick = -1, journal = -1;
static long at;
static atomic_long changes, failing[CLASSES];
static char hit_name[64], hit_path[PATH_MAX];

#define REAL(name) __extension__ ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

void faults_arm(const char *prefixes, const char *only, int new_mode, long number, int error, int keep_failing, int log_fd) {
    char copy[4 * PATH_MAX];
    snprintf(copy, sizeof copy, "%s", prefixes);
    snprintf(needle, sizeof needle, "%s", only);
    sandboxes = 0;
    for (char *save, *one = strtok_r(copy, ":", &save); one && sandboxes < 4; one = strtok_r(NULL, ":", &save))
        snprintf(sandbox[sandboxes++], PATH_MAX, "%s", one);
    mode = new_mode, at = number, sticky = keep_failing, journal = log_fd, wanted_class = -1;
    for (int c = 0; c < CLASSES; c++) if (ERRNO[c] == error) wanted_class = c;
    armed = 1;
}

/* Disarms, and says how many calls there were: those that change something, then by class of failure. */
void faults_counts(long *into) {
    armed = 0;
    into[0] = changes;
    for (int c = 0; c < CLASSES; c++) into[1 + c] = failing[c];
}

const char *faults_hit(void) {
    static char text[PATH_MAX + 80];
    snprintf(text, sizeof text, "%s %s", hit_name, hit_path);
    return text;
}

static int flushes_nothing(void) {
    if (quick < 0) quick = getenv("FAULTS_QUICK") != NULL;
    return quick;
}

static int is_inside(const char *path) {
    for (int n = 0; n < sandboxes; n++) {
        size_t length = strlen(sandbox[n]);
        if (!strncmp(path, sandbox[n], length) && (path[length] == '/' || !path[length])) return 1;
    }
    return 0;
}

static int path_of_fd(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlink, link, into, PATH_MAX - 1);
    into[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* The absolute path; what is reached through a folder's descriptor, as the folder's own. */
static void path_at(int folder, const char *path, char *into) {
    char base[PATH_MAX] = "", *rest;
    const char *through = "/proc/self/fd/";
    if (!path) path = "";
    if (!strncmp(path, through, strlen(through))) {
        folder = (int)strtol(path + strlen(through), &rest, 10);
        if (*rest == '/') path = rest + 1;
    }
    if (path[0] == '/') { snprintf(into, PATH_MAX, "%s", path); return; }
    if (folder == AT_FDCWD) { if (syscall(SYS_getcwd, base, sizeof base) < 0) base[0] = 0; }
    else path_of_fd(folder, base);
    if (snprintf(into, PATH_MAX, "%s%s%s", base, *path ? "/" : "", path) >= PATH_MAX) into[0] = 0;
}

/* Whether this call is to fail; does not return where it is to kill. -1: tear it. */
static int strikes(const char *name, const char *path, int changing, unsigned classes) {
    if (!armed || !is_inside(path)) return 0;
    char text[PATH_MAX + 80];
    snprintf(text, sizeof text, "%s %s", name, path);
    if (!strstr(text, needle)) return 0;
    int hit = 0;
    if (changing) {
        long number = ++changes;
        hit = (mode == KILL || mode == TEAR) && number == at;
    }
    for (int c = 0; c < CLASSES; c++)
        if (classes & (1u << c)) {
            long number = ++failing[c];
            if (mode == FAIL && c == wanted_class && (number == at || (sticky && number > at))) hit = 1;
        }
    if (!hit) return 0;
    if (!hit_name[0]) {
        snprintf(hit_name, sizeof hit_name, "%s", name);
        snprintf(hit_path, sizeof hit_path, "%s", path);
    }
    if (mode == TEAR && strstr(name, "write")) return -1;
    if (mode != FAIL) kill(getpid(), SIGKILL);
    errno = ERRNO[wanted_class];
    return 1;
}

static void say(const char *op, const char *one, const char *other, int fd) {
    if (journal < 0 || !armed || !(is_inside(one) || is_inside(other))) return;
    struct stat status;
    char line[3 * PATH_MAX];
    memset(&status, 0, sizeof status);
    int saved = errno;
    if (fd >= 0) syscall(SYS_fstat, fd, &status);
    else syscall(SYS_newfstatat, AT_FDCWD, *other ? other : one, &status, AT_SYMLINK_NOFOLLOW);
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%lu:%lu\t%o\n", op, one, other, (unsigned long)status.st_dev,
                          (unsigned long)status.st_ino, status.st_mode);
    syscall(SYS_write, journal, line, length);
    errno = saved;
}

#define CREATES (EACCES_ | EIO_ | ENOSPC_ | EROFS_)
#define CHANGES (EACCES_ | EIO_ | EROFS_)
#define LOOKS (EACCES_ | EIO_)

/* ---- open --------------------------------------------------------------------------------------------------------- */

#define OPEN_BODY(NAME, FOLDER, CALL)                                                                                  \
    mode_t bits = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); bits = va_arg(rest, mode_t); va_end(rest); } \
    char full[PATH_MAX];                                                                                               \
    path_at(FOLDER, path, full);                                                                                       \
    int makes = (flags & O_CREAT) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;                                      \
    struct stat status;                                                                                                \
    int fresh = makes && syscall(SYS_newfstatat, AT_FDCWD, full, &status, 0) != 0;                                     \
    int changing = fresh || (flags & O_TRUNC);                                                                         \
    unsigned classes = LOOKS | EINTR_ | (fresh ? ENOSPC_ : 0) | (writes ? EROFS_ : 0);                                 \
    if (strikes(#NAME, full, changing, classes)) return -1;                                                            \
    int fd = CALL;                                                                                                     \
    if (fd >= 0 && changing) say(fresh ? "create" : "truncate", full, "", fd);                                         \
    return fd;

int open(const char *path, int flags, ...) { OPEN_BODY(open, AT_FDCWD, REAL(open)(path, flags, bits)) }
int open64(const char *path, int flags, ...) { OPEN_BODY(open64, AT_FDCWD, REAL(open64)(path, flags, bits)) }
int openat(int folder, const char *path, int flags, ...) { OPEN_BODY(openat, folder, REAL(openat)(folder, path, flags, bits)) }
int openat64(int folder, const char *path, int flags, ...) { OPEN_BODY(openat64, folder, REAL(openat64)(folder, path, flags, bits)) }

FILE *fopen64(const char *path, const char *how) {
    char full[PATH_MAX];
    path_at(AT_FDCWD, path, full);
    if (strikes("fopen64", full, strchr(how, 'w') != NULL, LOOKS | EINTR_)) return NULL;
    return REAL(fopen64)(path, how);
}

/* As a network file system does it, a close may tell what could not be written; the descriptor is gone all the same. */
int close(int fd) {
    char full[PATH_MAX];
    if (!armed || !path_of_fd(fd, full) || (REAL(fcntl)(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) return REAL(close)(fd);
    int saved, hit = strikes("close", full, 0, EIO_ | ENOSPC_);
    saved = errno;
    int done = REAL(close)(fd);
    if (!hit) return done;
    errno = saved;
    return -1;
}

/* ---- descriptors -------------------------------------------------------------------------------------------------- */

#define ON_FD(TYPE, NAME, CHANGING, CLASSES_, OP, CALL)                                                                \
    char full[PATH_MAX];                                                                                               \
    if (!armed || !path_of_fd(fd, full)) return CALL;                                                                  \
    if (strikes(#NAME, full, CHANGING, CLASSES_)) return -1;                                                           \
    TYPE done = CALL;                                                                                                  \
    if (done >= 0 && *OP) say(OP, full, "", fd);                                                                       \
    return done;

#define TORN(NAME, CLASSES_, HALF, CALL)                                                                               \
    char full[PATH_MAX];                                                                                               \
    if (!armed || !path_of_fd(fd, full)) return CALL;                                                                  \
    int hit = strikes(#NAME, full, 1, CLASSES_);                                                                       \
    if (hit < 0) { HALF; kill(getpid(), SIGKILL); }                                                                    \
    if (hit) return -1;                                                                                                \
    ssize_t done = CALL;                                                                                               \
    if (done >= 0) say("write", full, "", fd);                                                                         \
    return done;

#define WRITES (EIO_ | ENOSPC_ | EINTR_)
ssize_t write(int fd, const void *data, size_t size) {
    TORN(write, WRITES, REAL(write)(fd, data, size / 2), REAL(write)(fd, data, size))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    TORN(pwrite, WRITES, REAL(pwrite)(fd, data, size / 2, where), REAL(pwrite)(fd, data, size, where))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    TORN(pwrite64, WRITES, REAL(pwrite64)(fd, data, size / 2, where), REAL(pwrite64)(fd, data, size, where))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    TORN(writev, WRITES, REAL(writev)(fd, parts, count / 2), REAL(writev)(fd, parts, count))
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t where) {
    TORN(pwritev, WRITES, REAL(pwritev)(fd, parts, count / 2, where), REAL(pwritev)(fd, parts, count, where))
}
ssize_t read(int fd, void *data, size_t size) { ON_FD(ssize_t, read, 0, EIO_ | EINTR_, "", REAL(read)(fd, data, size)) }
ssize_t readv(int fd, const struct iovec *parts, int count) {
    ON_FD(ssize_t, readv, 0, EIO_ | EINTR_, "", REAL(readv)(fd, parts, count))
}
ssize_t pread(int fd, void *data, size_t size, off_t where) {
    ON_FD(ssize_t, pread, 0, EIO_ | EINTR_, "", REAL(pread)(fd, data, size, where))
}
ssize_t pread64(int fd, void *data, size_t size, off64_t where) {
    ON_FD(ssize_t, pread64, 0, EIO_ | EINTR_, "", REAL(pread64)(fd, data, size, where))
}
int ftruncate(int fd, off_t size) { ON_FD(int, ftruncate, 1, WRITES, "write", REAL(ftruncate)(fd, size)) }
int ftruncate64(int fd, off64_t size) { ON_FD(int, ftruncate64, 1, WRITES, "write", REAL(ftruncate64)(fd, size)) }
int posix_fallocate64(int fd, off64_t where, off64_t size) {
    char full[PATH_MAX];
    if (armed && path_of_fd(fd, full) && strikes("posix_fallocate64", full, 1, WRITES)) return errno;
    return REAL(posix_fallocate64)(fd, where, size);
}
#define FLUSHES (EIO_ | ENOSPC_ | EINTR_)
int fsync(int fd) { ON_FD(int, fsync, 0, FLUSHES, "sync", flushes_nothing() ? 0 : REAL(fsync)(fd)) }
int fdatasync(int fd) { ON_FD(int, fdatasync, 0, FLUSHES, "sync", flushes_nothing() ? 0 : REAL(fdatasync)(fd)) }
int syncfs(int fd) { ON_FD(int, syncfs, 0, FLUSHES, "syncfs", flushes_nothing() ? 0 : REAL(syncfs)(fd)) }
int fchmod(int fd, mode_t bits) { ON_FD(int, fchmod, 1, EIO_ | EROFS_, "", REAL(fchmod)(fd, bits)) }
int fchown(int fd, uid_t user, gid_t group) { ON_FD(int, fchown, 1, EIO_ | EROFS_, "", REAL(fchown)(fd, user, group)) }
int futimens(int fd, const struct timespec times[2]) { ON_FD(int, futimens, 1, EIO_ | EROFS_, "", REAL(futimens)(fd, times)) }
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
    ON_FD(int, fsetxattr, 1, EIO_ | ENOSPC_ | EROFS_, "", REAL(fsetxattr)(fd, name, value, size, flags))
}
int flock(int fd, int what) { ON_FD(int, flock, 0, EIO_ | EINTR_, "", REAL(flock)(fd, what)) }
int fstat(int fd, struct stat *into) { ON_FD(int, fstat, 0, EIO_, "", REAL(fstat)(fd, into)) }
int fstat64(int fd, struct stat64 *into) { ON_FD(int, fstat64, 0, EIO_, "", REAL(fstat64)(fd, into)) }
int fstatvfs64(int fd, struct statvfs64 *into) { ON_FD(int, fstatvfs64, 0, EIO_ | EINTR_, "", REAL(fstatvfs64)(fd, into)) }
int fcntl(int fd, int what, ...) {
    va_list rest; va_start(rest, what); void *argument = va_arg(rest, void *); va_end(rest);
    if (what != F_SETLK && what != F_SETLKW && what != F_SETLEASE && what != F_GETLEASE) return REAL(fcntl)(fd, what, argument);
    ON_FD(int, fcntl, 0, EIO_ | EINTR_, "", REAL(fcntl)(fd, what, argument))
}
int fcntl64(int fd, int what, ...) {
    va_list rest; va_start(rest, what); void *argument = va_arg(rest, void *); va_end(rest);
    if (what != F_SETLK && what != F_SETLKW && what != F_SETLEASE && what != F_GETLEASE) return REAL(fcntl64)(fd, what, argument);
    ON_FD(int, fcntl64, 0, EIO_ | EINTR_, "", REAL(fcntl64)(fd, what, argument))
}
int ioctl(int fd, unsigned long what, ...) {
    va_list rest; va_start(rest, what); void *argument = va_arg(rest, void *); va_end(rest);
    ON_FD(int, ioctl, 1, EIO_ | ENOSPC_ | EXDEV_ | EROFS_ | EINTR_, "write", REAL(ioctl)(fd, what, argument))
}
ssize_t copy_file_range(int source, off64_t *from, int fd, off64_t *to, size_t size, unsigned flags) {
    ON_FD(ssize_t, copy_file_range, 1, WRITES | EXDEV_, "write", REAL(copy_file_range)(source, from, fd, to, size, flags))
}
ssize_t sendfile64(int fd, int source, off64_t *from, size_t size) {
    ON_FD(ssize_t, sendfile64, 1, WRITES, "write", REAL(sendfile64)(fd, source, from, size))
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

#define ON_PATH(TYPE, NAME, FOLDER, CHANGING, CLASSES_, OP, CALL)                                                      \
    char full[PATH_MAX];                                                                                               \
    if (!armed) return CALL;                                                                                           \
    path_at(FOLDER, path, full);                                                                                       \
    if (strikes(#NAME, full, CHANGING, CLASSES_)) return -1;                                                           \
    TYPE done = CALL;                                                                                                  \
    if (done >= 0 && *OP) say(OP, full, "", -1);                                                                       \
    return done;

int mkdir(const char *path, mode_t bits) { ON_PATH(int, mkdir, AT_FDCWD, 1, CREATES | EMLINK_, "mkdir", REAL(mkdir)(path, bits)) }
int mkdirat(int folder, const char *path, mode_t bits) { ON_PATH(int, mkdirat, folder, 1, CREATES | EMLINK_, "mkdir", REAL(mkdirat)(folder, path, bits)) }
int rmdir(const char *path) { ON_PATH(int, rmdir, AT_FDCWD, 1, CHANGES, "unlink", REAL(rmdir)(path)) }
int unlink(const char *path) { ON_PATH(int, unlink, AT_FDCWD, 1, CHANGES, "unlink", REAL(unlink)(path)) }
int unlinkat(int folder, const char *path, int flags) { ON_PATH(int, unlinkat, folder, 1, CHANGES, "unlink", REAL(unlinkat)(folder, path, flags)) }
int truncate64(const char *path, off64_t size) { ON_PATH(int, truncate64, AT_FDCWD, 1, CHANGES | WRITES, "write", REAL(truncate64)(path, size)) }
int chmod(const char *path, mode_t bits) { ON_PATH(int, chmod, AT_FDCWD, 1, CHANGES, "", REAL(chmod)(path, bits)) }
int fchmodat(int folder, const char *path, mode_t bits, int flags) { ON_PATH(int, fchmodat, folder, 1, CHANGES, "", REAL(fchmodat)(folder, path, bits, flags)) }
int chown(const char *path, uid_t user, gid_t group) { ON_PATH(int, chown, AT_FDCWD, 1, CHANGES, "", REAL(chown)(path, user, group)) }
int lchown(const char *path, uid_t user, gid_t group) { ON_PATH(int, lchown, AT_FDCWD, 1, CHANGES, "", REAL(lchown)(path, user, group)) }
int fchownat(int folder, const char *path, uid_t user, gid_t group, int flags) { ON_PATH(int, fchownat, folder, 1, CHANGES, "", REAL(fchownat)(folder, path, user, group, flags)) }
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) { ON_PATH(int, utimensat, folder, 1, CHANGES, "", REAL(utimensat)(folder, path, times, flags)) }
int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) { ON_PATH(int, setxattr, AT_FDCWD, 1, CREATES, "", REAL(setxattr)(path, name, value, size, flags)) }
int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags) { ON_PATH(int, lsetxattr, AT_FDCWD, 1, CREATES, "", REAL(lsetxattr)(path, name, value, size, flags)) }
int access(const char *path, int bits) { ON_PATH(int, access, AT_FDCWD, 0, LOOKS, "", REAL(access)(path, bits)) }
int faccessat(int folder, const char *path, int bits, int flags) { ON_PATH(int, faccessat, folder, 0, LOOKS, "", REAL(faccessat)(folder, path, bits, flags)) }
ssize_t readlink(const char *path, char *into, size_t size) { ON_PATH(ssize_t, readlink, AT_FDCWD, 0, LOOKS, "", REAL(readlink)(path, into, size)) }
ssize_t readlinkat(int folder, const char *path, char *into, size_t size) { ON_PATH(ssize_t, readlinkat, folder, 0, LOOKS, "", REAL(readlinkat)(folder, path, into, size)) }
int stat(const char *path, struct stat *into) { ON_PATH(int, stat, AT_FDCWD, 0, LOOKS, "", REAL(stat)(path, into)) }
int stat64(const char *path, struct stat64 *into) { ON_PATH(int, stat64, AT_FDCWD, 0, LOOKS, "", REAL(stat64)(path, into)) }
int lstat(const char *path, struct stat *into) { ON_PATH(int, lstat, AT_FDCWD, 0, LOOKS, "", REAL(lstat)(path, into)) }
int lstat64(const char *path, struct stat64 *into) { ON_PATH(int, lstat64, AT_FDCWD, 0, LOOKS, "", REAL(lstat64)(path, into)) }
int fstatat(int folder, const char *path, struct stat *into, int flags) { ON_PATH(int, fstatat, folder, 0, LOOKS, "", REAL(fstatat)(folder, path, into, flags)) }
int fstatat64(int folder, const char *path, struct stat64 *into, int flags) { ON_PATH(int, fstatat64, folder, 0, LOOKS, "", REAL(fstatat64)(folder, path, into, flags)) }
int statvfs(const char *path, struct statvfs *into) { ON_PATH(int, statvfs, AT_FDCWD, 0, LOOKS | EINTR_, "", REAL(statvfs)(path, into)) }
int statvfs64(const char *path, struct statvfs64 *into) { ON_PATH(int, statvfs64, AT_FDCWD, 0, LOOKS | EINTR_, "", REAL(statvfs64)(path, into)) }
ssize_t getxattr(const char *path, const char *name, void *into, size_t size) { ON_PATH(ssize_t, getxattr, AT_FDCWD, 0, LOOKS, "", REAL(getxattr)(path, name, into, size)) }
ssize_t listxattr(const char *path, char *into, size_t size) { ON_PATH(ssize_t, listxattr, AT_FDCWD, 0, LOOKS, "", REAL(listxattr)(path, into, size)) }

#define LINKS (CREATES | EMLINK_ | EXDEV_)
#define TWO(NAME, FROM, TO, CLASSES_, OP, CALL)                                                                        \
    char full[PATH_MAX], target[PATH_MAX];                                                                             \
    if (!armed) return CALL;                                                                                           \
    path_at(FROM, from, full);                                                                                         \
    path_at(TO, to, target);                                                                                           \
    if (strikes(#NAME, is_inside(target) ? target : full, 1, CLASSES_)) return -1;                                     \
    int done = CALL;                                                                                                   \
    if (!done) say(OP, full, target, -1);                                                                              \
    return done;
int link(const char *from, const char *to) { TWO(link, AT_FDCWD, AT_FDCWD, LINKS, "link", REAL(link)(from, to)) }
int linkat(int one, const char *from, int other, const char *to, int flags) { TWO(linkat, one, other, LINKS, "link", REAL(linkat)(one, from, other, to, flags)) }
int rename(const char *from, const char *to) { TWO(rename, AT_FDCWD, AT_FDCWD, LINKS, "rename", REAL(rename)(from, to)) }
int renameat(int one, const char *from, int other, const char *to) { TWO(renameat, one, other, LINKS, "rename", REAL(renameat)(one, from, other, to)) }
int renameat2(int one, const char *from, int other, const char *to, unsigned flags) { TWO(renameat2, one, other, LINKS, "rename", REAL(renameat2)(one, from, other, to, flags)) }
int symlinkat(const char *text, int folder, const char *path) {
    char full[PATH_MAX];
    path_at(folder, path, full);
    if (strikes("symlink", full, 1, CREATES)) return -1;
    int done = REAL(symlinkat)(text, folder, path);
    if (!done) say("symlink", text, full, -1);
    return done;
}
int symlink(const char *text, const char *path) { return symlinkat(text, AT_FDCWD, path); }

/* ---- folders ------------------------------------------------------------------------------------------------------ */

DIR *opendir(const char *path) {
    char full[PATH_MAX];
    path_at(AT_FDCWD, path, full);
    if (strikes("opendir", full, 0, LOOKS | EINTR_)) return NULL;
    return REAL(opendir)(path);
}
struct dirent64 *readdir64(DIR *folder) {
    char full[PATH_MAX];
    if (armed && path_of_fd(dirfd(folder), full) && strikes("readdir64", full, 0, EIO_)) return NULL;
    return REAL(readdir64)(folder);
}
struct dirent *readdir(DIR *folder) {
    char full[PATH_MAX];
    if (armed && path_of_fd(dirfd(folder), full) && strikes("readdir", full, 0, EIO_)) return NULL;
    return REAL(readdir)(folder);
}
