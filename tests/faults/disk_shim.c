/* Stands between a store and its disk: how much of each append-only file has been fsynced, fsyncs that are slow, fsyncs that fail.

   Loaded with LD_PRELOAD. It shares one page with the test, the file that DISK_SHIM_STATE names: `struct state`, all numbers of
   64 bits. A file counts if its path contains DISK_SHIM_FILES. The length of a file when a successful fsync of it began is what
   a power failure leaves of it. */
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
#include <time.h>
#include <unistd.h>

#define FILES_MAX 200

struct state {
  volatile int64_t delay_us; /* set by the test: how long each fsync takes longer */
  volatile int64_t failing;  /* set by the test: every fsync fails with EIO */
  volatile int64_t began;    /* fsyncs that began */
  volatile int64_t ended;    /* and ended, well or not */
  volatile int64_t failed;   /* fsyncs that failed */
  volatile int64_t files;    /* entries in use below */
  struct {
    volatile int64_t inode, durable;
  } file[FILES_MAX];
};

static struct state *state;
static const char *wanted;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("DISK_SHIM_STATE");
  wanted = getenv("DISK_SHIM_FILES");
  if (!path || !wanted) return;
  int fd = open(path, O_RDWR);
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) state = page;
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

static void set_durable(int64_t inode, int64_t length, int at_most) {
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
  int failing = state->failing != 0, result = failing ? -1 : real(fd);
  if (result == 0) set_durable(before.st_ino, before.st_size, 0);
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
  if (result == 0 && counts(fd) && fstat(fd, &now) == 0) set_durable(now.st_ino, length, 1);
  return result;
}
