/* The machine's clock, shown so many seconds off to whoever is started with this preloaded. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t which, struct timespec *time) {
  int answer = (int)syscall(SYS_clock_gettime, which, time);
  const char *off = getenv("SECONDS_OFF");
  if (answer == 0 && which == CLOCK_REALTIME && off) time->tv_sec += atol(off);
  return answer;
}
