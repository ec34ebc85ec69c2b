/* Stands between a store, its disk and its clock: how much of each append-only file has been fsynced; fsyncs that are slow, that
   fail and that lie; a full disk; a wall clock that is off.

   Loaded with LD_PRELOAD. It shares some pages with the drill, the file that DISK_SHIM_STATE names: `struct state`, all numbers
   of 64 bits. A file counts if its path contains DISK_SHIM_FILES. The length of a file when a successful fsync of it began is
   what a power failure leaves of it. The clock is off for a program whose name contains DISK_SHIM_CLOCK. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 2000

struct state {
  volatile int64_t delay_us; /* set by the drill: how long each fsync takes longer */
  volatile int64_t failing;  /* set by the drill: every fsync fails with EIO */
  volatile int64_t lying;    /* set by the drill: every fsync succeeds and does nothing */
  volatile int64_t full;     /* set by the drill: every write fails with ENOSPC */
  volatile int64_t skew_us;  /* set by the drill: how far the wall clock is off */
  volatile int64_t began;    /* fsyncs that began */
  volatile int64_t ended;    /* and ended, well or not */
  volatile int64_t failed;   /* fsyncs that failed */
  volatile int64_t lied;     /* fsyncs that did nothing */
  volatile int64_t refused;  /* writes that found the disk full */
  volatile int64_t files;    /* entries in use below */
  struct {
    volatile int64_t inode, durable;
  } file[FILES_MAX];
};

static struct state *state;
static const char *wanted;
static int has_skew;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("DISK_SHIM_STATE");
  wanted = getenv("DISK_SHIM_FILES");
  if (!path || !wanted) return;
  int fd = open(path, O_RDWR);
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) state = page;
  const char *skewed = getenv("DISK_SHIM_CLOCK");
  has_skew = state && skewed && *skewed && strstr(program_invocation_short_name, skewed) != NULL;
}

static int counts(int fd) {
  char link[64], path[4096];
  if (!state) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, wanted) != NULL;
}

/* A file that is shorter than its entry is a new one with an inode that was used before. */
static void set_durable(int fd, int64_t inode, int64_t length, int at_most) {
  struct stat now;
  if (fstat(fd, &now) == 0)
    for (int64_t each = 0; each < state->files; each++)
      if (state->file[each].inode == inode && state->file[each].durable > now.st_size) state->file[each].durable = length;
  int64_t at = 0;
  while (at < state->files && state->file[at].inode != inode) at++;
  if (at == FILES_MAX) abort();
  if (at == state->files) {
    if (at_most) return;
    state->file[at].inode = inode;
    state->file[at].durable = length;
    __sync_synchronize();
    state->files = at + 1;
  } else if (at_most ? length < state->file[at].durable : length > state->file[at].durable) {
    state->file[at].durable = length;
  }
}

static int synced(int fd, const char *name) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  if (!counts(fd)) return real(fd);
  struct stat before;
  fstat(fd, &before);
  __sync_fetch_and_add(&state->began, 1);
  int64_t delay_us = state->delay_us;
  struct timespec delay = {delay_us / 1000000, delay_us % 1000000 * 1000};
  while (nanosleep(&delay, &delay) && errno == EINTR) continue;
  int failing = state->failing != 0, lying = state->lying != 0;
  int result = failing ? -1 : lying ? 0 : real(fd);
  if (lying) __sync_fetch_and_add(&state->lied, 1);
  else if (result == 0) set_durable(fd, before.st_ino, before.st_size, 0);
  else __sync_fetch_and_add(&state->failed, 1);
  __sync_fetch_and_add(&state->ended, 1);
  if (failing) errno = EIO;
  return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int ftruncate(int fd, off_t length) {
  int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
  int result = real(fd, length);
  struct stat now;
  if (result == 0 && counts(fd) && fstat(fd, &now) == 0) set_durable(fd, now.st_ino, length, 1);
  return result;
}

static int is_full(int fd) {
  if (!state || !state->full || !counts(fd)) return 0;
  __sync_fetch_and_add(&state->refused, 1);
  errno = ENOSPC;
  return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  return is_full(fd) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  return is_full(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
  return is_full(fd) ? -1 : real(fd, data, size, at);
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
