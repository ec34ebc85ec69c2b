/* Stands between a store, its disk and its clock: how much of each file has been fsynced; fsyncs that are slow, that fail and that
   lie; a full disk; a wall clock that is off.

   Loaded with LD_PRELOAD. It shares some pages with the drill, the file that DISK_SHIM_STATE names: `struct state`, all numbers
   of 64 bits. A file counts if its path contains DISK_SHIM_FILES. The clock is off for a program whose name contains
   DISK_SHIM_CLOCK.

   A power failure leaves of a file what it had when its last successful fsync began. For files that only grow that is a length.
   For the others a second file, DISK_SHIM_STATE with `.undo` behind it, keeps what each write and each truncation replaces, until
   an fsync follows it: undone backwards, these entries make the file that a power failure leaves. Names are durable at once: a
   file that was made, renamed or deleted stays so. So are writes by stdio, which no library of a program can see. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 4000
#define UNDO_BYTES (1LL << 30)
#define COMPACT_BYTES (16LL << 20)

struct state {
  volatile int64_t delay_us;  /* set by the drill: how long each fsync takes longer */
  volatile int64_t failing;   /* set by the drill: every fsync fails with EIO */
  volatile int64_t lying;     /* set by the drill: every fsync succeeds and does nothing */
  volatile int64_t full;      /* set by the drill: every write fails with ENOSPC */
  volatile int64_t skew_us;   /* set by the drill: how far the wall clock is off */
  volatile int64_t began;     /* fsyncs that began */
  volatile int64_t ended;     /* and ended, well or not */
  volatile int64_t failed;    /* fsyncs that failed */
  volatile int64_t lied;      /* fsyncs that did nothing */
  volatile int64_t refused;   /* writes that found the disk full */
  volatile int64_t files;     /* entries in use below */
  volatile int64_t undo_end;  /* bytes in use of the file of undo entries */
  volatile int64_t compacted; /* how many of them were left by the last compaction */
  volatile int64_t writes;    /* the number of the last undo entry */
  struct {
    volatile int64_t inode; /* 0: free */
    volatile int64_t durable, written, synced; /* a length; the numbers of its last entry, and of the last one that was synced */
  } file[FILES_MAX];
  volatile int64_t has_lock;
  pthread_mutex_t lock; /* survives the death of a process that holds it */
};

struct undo {
  int64_t inode, number, at, size, kept; /* the length of the file before; how many bytes from `at` on follow this entry */
};

static struct state *state;
static char *undos;
static const char *wanted;
static int has_skew;

static void *shared(const char *path, int64_t size, int *lock_fd) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return NULL;
  void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (lock_fd) *lock_fd = fd;
  else close(fd);
  return pages == MAP_FAILED ? NULL : pages;
}

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("DISK_SHIM_STATE");
  char undo_path[4096];
  wanted = getenv("DISK_SHIM_FILES");
  if (!path || !wanted) return;
  snprintf(undo_path, sizeof undo_path, "%s.undo", path);
  int fd = -1;
  struct state *found = shared(path, sizeof(struct state), &fd);
  undos = shared(undo_path, UNDO_BYTES, NULL);
  if (found && undos) {
    flock(fd, LOCK_EX);
    if (!found->has_lock) {
      pthread_mutexattr_t attributes;
      pthread_mutexattr_init(&attributes);
      pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
      pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
      pthread_mutex_init(&found->lock, &attributes);
      found->has_lock = 1;
    }
    flock(fd, LOCK_UN);
    state = found;
  }
  if (fd >= 0) close(fd);
  const char *skewed = getenv("DISK_SHIM_CLOCK");
  has_skew = state && skewed && *skewed && strstr(program_invocation_short_name, skewed) != NULL;
}

static void lock(void) {
  if (pthread_mutex_lock(&state->lock) == EOWNERDEAD) pthread_mutex_consistent(&state->lock);
}

static void unlock(void) { pthread_mutex_unlock(&state->lock); }

static int counts(int fd) {
  char link[64], path[4096];
  if (!state) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, wanted) != NULL;
}

/* The place of a file in the table, which has one more then; the caller has the lock. */
static int64_t place(int64_t inode) {
  int64_t free_one = -1;
  for (int64_t at = 0; at < state->files; at++) {
    if (state->file[at].inode == inode) return at;
    if (!state->file[at].inode) free_one = at;
  }
  if (free_one < 0) {
    if (state->files == FILES_MAX) abort();
    free_one = state->files;
  }
  state->file[free_one].durable = 0; /* earlier entries are of another file, which had its inode */
  state->file[free_one].written = state->file[free_one].synced = state->writes;
  __sync_synchronize();
  state->file[free_one].inode = inode;
  if (free_one == state->files) state->files = free_one + 1;
  return free_one;
}

/* Drops the entries that nothing needs any more; the caller has the lock. */
static void compact(void) {
  int64_t end = 0;
  for (int64_t at = 0; at < state->undo_end;) {
    struct undo *each = (struct undo *)(undos + at);
    int64_t length = sizeof *each + (each->kept + 7) / 8 * 8, number = each->number, of = -1;
    for (int64_t file = 0; file < state->files; file++)
      if (state->file[file].inode == each->inode) of = file;
    if (of >= 0 && number > state->file[of].synced) {
      memmove(undos + end, each, length);
      end += length;
    }
    at += length;
  }
  state->undo_end = state->compacted = end;
}

/* Keeps what a file has from `at` on, `length` bytes of it, before it changes; the caller has the lock. */
static void keep(int fd, int64_t at, int64_t length) {
  static ssize_t (*reads)(int, void *, size_t, off_t);
  if (!reads) reads = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  struct stat now;
  if (fstat(fd, &now) || !S_ISREG(now.st_mode) || !now.st_nlink) return;
  int64_t kept = at >= now.st_size ? 0 : now.st_size - at < length ? now.st_size - at : length;
  if (state->undo_end > COMPACT_BYTES + 2 * state->compacted) compact();
  if (state->undo_end + (int64_t)sizeof(struct undo) + kept + 8 > UNDO_BYTES) abort();
  struct undo *entry = (struct undo *)(undos + state->undo_end);
  char *data = (char *)(entry + 1);
  for (int64_t done = 0; done < kept;) {
    ssize_t some = 0, reading = -1;
    /* a file that is open for writing alone is read by its name */
    if ((some = reads(fd, data + done, kept - done, at + done)) < 0 && errno == EBADF) {
      char name[64];
      snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
      if ((reading = open(name, O_RDONLY | O_CLOEXEC)) >= 0) {
        some = reads(reading, data + done, kept - done, at + done);
        close(reading);
      }
    }
    if (some < 0 && errno != EINTR) abort();
    if (some > 0) done += some;
  }
  int64_t of = place(now.st_ino);
  *entry = (struct undo){now.st_ino, state->writes + 1, at, now.st_size, kept};
  state->file[of].written = state->writes = entry->number;
  __sync_synchronize();
  state->undo_end += sizeof *entry + (kept + 7) / 8 * 8;
}

/* Nothing of a file that is gone can come back, and its inode may soon be another file's. */
static void forget(int64_t inode) {
  lock();
  for (int64_t at = 0; at < state->files; at++)
    if (state->file[at].inode == inode) state->file[at].inode = 0;
  unlock();
}

static int synced(int fd, const char *name) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  if (!counts(fd)) return real(fd);
  lock();
  struct stat before;
  fstat(fd, &before);
  int64_t of = place(before.st_ino), written = state->file[of].written;
  unlock();
  __sync_fetch_and_add(&state->began, 1);
  int64_t delay_us = state->delay_us;
  struct timespec delay = {delay_us / 1000000, delay_us % 1000000 * 1000};
  while (nanosleep(&delay, &delay) && errno == EINTR) continue;
  int failing = state->failing != 0, lying = state->lying != 0;
  int result = failing ? -1 : lying ? 0 : real(fd), failure = failing ? EIO : errno;
  if (lying) {
    __sync_fetch_and_add(&state->lied, 1);
  } else if (result == 0) {
    lock();
    of = place(before.st_ino);
    if (state->file[of].synced < written) state->file[of].synced = written;
    struct stat now; /* a file that is shorter than its entry is a new one with an inode that was used before */
    if (fstat(fd, &now) == 0 && (state->file[of].durable < before.st_size || state->file[of].durable > now.st_size))
      state->file[of].durable = before.st_size;
    unlock();
  } else {
    __sync_fetch_and_add(&state->failed, 1);
  }
  __sync_fetch_and_add(&state->ended, 1);
  errno = failure;
  return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

static int is_full(void) {
  if (!state->full) return 0;
  __sync_fetch_and_add(&state->refused, 1);
  errno = ENOSPC;
  return 1;
}

/* A change of a file that counts: nothing else changes one meanwhile, so what is kept is what it replaces. */
#define CHANGED(result_type, refusal, fd, at, length, call) \
  if (!counts(fd)) return call;                             \
  if (is_full()) return refusal;                            \
  lock();                                                   \
  keep(fd, at, length);                                     \
  result_type result = call;                                \
  int failure = errno;                                      \
  unlock();                                                 \
  errno = failure;                                          \
  return result

static int64_t place_of(int fd) {
  struct stat now;
  return fcntl(fd, F_GETFL) & O_APPEND && fstat(fd, &now) == 0 ? now.st_size : lseek(fd, 0, SEEK_CUR);
}

static int64_t size_of(const struct iovec *parts, int count) {
  int64_t size = 0;
  for (int at = 0; at < count; at++) size += parts[at].iov_len;
  return size;
}

ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  CHANGED(ssize_t, -1, fd, place_of(fd), size, real(fd, data, size));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  static ssize_t (*real)(int, const struct iovec *, int);
  if (!real) real = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
  CHANGED(ssize_t, -1, fd, place_of(fd), size_of(parts, count), real(fd, parts, count));
}

#define PWRITE(name)                                                                                                  \
  ssize_t name(int fd, const void *data, size_t size, off_t at) {                                                     \
    static ssize_t (*real)(int, const void *, size_t, off_t);                                                         \
    if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, #name);                          \
    CHANGED(ssize_t, -1, fd, at, size, real(fd, data, size, at));                                                     \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                                                 \
  ssize_t name(int fd, const struct iovec *parts, int count, off_t at) {                                              \
    static ssize_t (*real)(int, const struct iovec *, int, off_t);                                                    \
    if (!real) real = (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, #name);                     \
    CHANGED(ssize_t, -1, fd, at, size_of(parts, count), real(fd, parts, count, at));                                  \
  }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define PWRITEV2(name)                                                                                                \
  ssize_t name(int fd, const struct iovec *parts, int count, off_t at, int flags) {                                   \
    static ssize_t (*real)(int, const struct iovec *, int, off_t, int);                                               \
    if (!real) real = (ssize_t(*)(int, const struct iovec *, int, off_t, int))dlsym(RTLD_NEXT, #name);                \
    CHANGED(ssize_t, -1, fd, at, size_of(parts, count), real(fd, parts, count, at, flags));                           \
  }
PWRITEV2(pwritev2)
PWRITEV2(pwritev64v2)

/* A truncation replaces everything behind its length; longer files get zeros, and an entry without bytes shortens them. */
#define FTRUNCATE(name)                                                                                               \
  int name(int fd, off_t length) {                                                                                    \
    static int (*real)(int, off_t);                                                                                   \
    if (!real) real = (int (*)(int, off_t))dlsym(RTLD_NEXT, #name);                                                   \
    if (!counts(fd)) return real(fd, length);                                                                         \
    lock();                                                                                                           \
    keep(fd, length, INT64_MAX);                                                                                      \
    int result = real(fd, length), failure = errno;                                                                   \
    struct stat now;                                                                                                  \
    if (result == 0 && fstat(fd, &now) == 0) {                                                                        \
      int64_t of = place(now.st_ino);                                                                                 \
      if (state->file[of].durable > length) state->file[of].durable = length;                                         \
    }                                                                                                                 \
    unlock();                                                                                                         \
    errno = failure;                                                                                                  \
    return result;                                                                                                    \
  }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define POSIX_FALLOCATE(name)                                                                                         \
  int name(int fd, off_t at, off_t length) {                                                                          \
    static int (*real)(int, off_t, off_t);                                                                            \
    if (!real) real = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, #name);                                            \
    CHANGED(int, ENOSPC, fd, at, 0, real(fd, at, length));                                                            \
  }
POSIX_FALLOCATE(posix_fallocate)
POSIX_FALLOCATE(posix_fallocate64)

int unlink(const char *path) {
  static int (*real)(const char *);
  if (!real) real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
  struct stat before;
  int last = state && lstat(path, &before) == 0 && before.st_nlink == 1; /* a path may be relative */
  int result = real(path);
  if (result == 0 && last) forget(before.st_ino);
  return result;
}

int rename(const char *from, const char *to) {
  static int (*real)(const char *, const char *);
  if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  struct stat before, moved;
  int replaces = state && lstat(to, &before) == 0 && before.st_nlink == 1 && lstat(from, &moved) == 0;
  int result = real(from, to);
  if (result == 0 && replaces && before.st_ino != moved.st_ino) forget(before.st_ino);
  return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && has_skew && state->skew_us && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    now->tv_sec += state->skew_us / 1000000;
  }
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  if (result == 0 && has_skew) now->tv_sec += state->skew_us / 1000000;
  return result;
}

time_t time(time_t *stored) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_REALTIME, &now);
  if (stored) *stored = now.tv_sec;
  return now.tv_sec;
}
