// Preloaded: stops a process before any call that changes a folder, or lets that call fail.
//
// CRASH_ROOT    calls on paths below it count
// CRASH_COPIES  before each call, what lies below CRASH_ROOT is copied to CRASH_COPIES/PID-N:
//               just what a kill at that moment would leave
// CRASH_FAIL    number of the call that fails, and all later ones where CRASH_STAY is set
// CRASH_ERRNO   what with
// CRASH_COUNT   file that the number of calls is written to
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static long count = 0;
static __thread int inside = 0;

// Starts to count anew.
void crash_reset(void) { count = 0; }

static int below(const char *path) {
  const char *root = getenv("CRASH_ROOT");
  return root != NULL && path != NULL && strncmp(path, root, strlen(root)) == 0;
}

static void name_of(int folder, const char *path, char *out) {
  char base[PATH_MAX] = "";
  if (path[0] == '/') {
    snprintf(out, PATH_MAX, "%s", path);
    return;
  }
  if (folder == AT_FDCWD) {
    if (getcwd(base, sizeof base) == NULL) base[0] = 0;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, base, sizeof base - 1);
    base[length > 0 ? length : 0] = 0;
  }
  snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path);
}

// Returns an errno the call is to fail with, or 0.
static int point(const char *path) {
  if (inside || !below(path)) return 0;
  pthread_mutex_lock(&mutex);
  inside = 1;
  count++;
  const char *copies = getenv("CRASH_COPIES"), *fail = getenv("CRASH_FAIL");
  const char *stay = getenv("CRASH_STAY"), *number = getenv("CRASH_ERRNO");
  const char *counted = getenv("CRASH_COUNT"), *root = getenv("CRASH_ROOT");
  if (copies != NULL) {
    char target[PATH_MAX];
    snprintf(target, sizeof target, "%s/%d-%ld", copies, getpid(), count);
    pid_t child = fork();
    if (child == 0) {
      unsetenv("LD_PRELOAD");
      execlp("cp", "cp", "-a", root, target, (char *)NULL);
      _exit(127);
    }
    waitpid(child, NULL, 0);
  }
  if (counted != NULL) {
    FILE *file = fopen(counted, "w");
    if (file != NULL) {
      fprintf(file, "%ld", count);
      fclose(file);
    }
  }
  int error = 0;
  if (fail != NULL && (count == atol(fail) || (stay != NULL && count > atol(fail))))
    error = number != NULL ? atoi(number) : ENOSPC;
  inside = 0;
  pthread_mutex_unlock(&mutex);
  return error;
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__) = NULL; \
  if (real == NULL) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);
#define STOP(error, answer) \
  do { \
    int found = (error); \
    if (found) { \
      errno = found; \
      return answer; \
    } \
  } while (0)

static int point_at(int folder, const char *path) {
  char name[PATH_MAX];
  name_of(folder, path, name);
  return point(name);
}

static int point_of(int file) {
  char link[64], name[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length <= 0) return 0;
  name[length] = 0;
  return point(name);
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *)
  STOP(point_at(AT_FDCWD, to), -1);
  return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  REAL(int, "renameat", int, const char *, int, const char *)
  STOP(point_at(b, to), -1);
  return real(a, from, b, to);
}
int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *)
  STOP(point_at(AT_FDCWD, to), -1);
  return real(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int)
  STOP(point_at(b, to), -1);
  return real(a, from, b, to, flags);
}
int symlink(const char *from, const char *to) {
  REAL(int, "symlink", const char *, const char *)
  STOP(point_at(AT_FDCWD, to), -1);
  return real(from, to);
}
int unlink(const char *path) {
  REAL(int, "unlink", const char *)
  STOP(point_at(AT_FDCWD, path), -1);
  return real(path);
}
int unlinkat(int folder, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int)
  STOP(point_at(folder, path), -1);
  return real(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t)
  STOP(point_at(AT_FDCWD, path), -1);
  return real(path, mode);
}
int rmdir(const char *path) {
  REAL(int, "rmdir", const char *)
  STOP(point_at(AT_FDCWD, path), -1);
  return real(path);
}
int ftruncate(int file, off_t size) {
  REAL(int, "ftruncate", int, off_t)
  STOP(point_of(file), -1);
  return real(file, size);
}
int fsync(int file) {
  REAL(int, "fsync", int)
  STOP(point_of(file), -1);
  return real(file);
}
ssize_t write(int file, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t)
  STOP(point_of(file), -1);
  return real(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)
  STOP(point_of(file), -1);
  return real(file, data, size, at);
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) {
  REAL(ssize_t, "sendfile", int, int, off_t *, size_t)
  STOP(point_of(out), -1);
  return real(out, in, at, size);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
  REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t)
  STOP(point_of(out), -1);
  return real(out, in, at, size);
}

static int making(int flags) {
  return (flags & (O_CREAT | O_TRUNC)) && (flags & (O_WRONLY | O_RDWR));
}

#define OPENER(name) \
  int name(const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    REAL(int, #name, const char *, int, ...) \
    if (making(flags)) STOP(point_at(AT_FDCWD, path), -1); \
    return real(path, flags, mode); \
  }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    REAL(int, #name, int, const char *, int, ...) \
    if (making(flags)) STOP(point_at(folder, path), -1); \
    return real(folder, path, flags, mode); \
  }
OPENER_AT(openat)
OPENER_AT(openat64)

#define STREAM(name) \
  FILE *name(const char *path, const char *mode) { \
    REAL(FILE *, #name, const char *, const char *) \
    if (mode[0] != 'r') STOP(point_at(AT_FDCWD, path), NULL); \
    return real(path, mode); \
  }
STREAM(fopen)
STREAM(fopen64)
