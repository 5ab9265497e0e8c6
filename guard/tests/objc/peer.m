/* What the guard costs, beside the bare runtime and beside the published design, rebuilt: one recursive mutex for all encoders and a
 * map lookup in every call.
 *
 * `peer count PEER CALLS`        makes so many calls and ends, for counting instructions
 * `peer scale PEER THREADS MS`   calls per second on distinct encoders, and how often a thread slept
 * `peer memory PEER ENCODERS`    bytes of the heap in use for each live encoder
 * `peer create PEER ENCODERS`   makes so many encoders, in a factory of a command buffer
 * `peer end PEER ENCODERS`      the same, and ends each
 * `peer trace PEER CALLS`        two threads, each on an encoder of its own, make so many calls between two marks, for a trace of
 *                                what they read and write
 *
 * PEER is 1 for the published design, 0 for whatever AGX_GUARD says. */
#include "fake_driver.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

extern int agx_guard_hook_class(const char *name, int role);

typedef AGXFakeFamilyComputeContext Compute;
typedef uint64_t (*Sum)(id, SEL);

/* The published design. */
#define MAP 8192
static struct { uintptr_t encoder; int ended; } map[MAP];
static pthread_mutex_t everything;
static uint64_t method_calls;
static Sum original;

static unsigned place_of(uintptr_t encoder) {
  unsigned at = (encoder >> 4) % MAP;
  while (map[at].encoder && map[at].encoder != encoder) at = (at + 1) % MAP;
  return at;
}

static uint64_t sum_under_one_lock(id self, SEL selector) {
  uint64_t sum = 0;
  pthread_mutex_lock(&everything);
  method_calls++;
  unsigned at = place_of((uintptr_t)self);
  if (map[at].encoder && !map[at].ended) sum = original(self, selector);
  pthread_mutex_unlock(&everything);
  return sum;
}

static void install_peer(void) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&everything, &recursive);
  Method method = class_getInstanceMethod(objc_getClass("IOGPUFakeCommandEncoder"), @selector(sum));
  original = (Sum)method_getImplementation(method);
  class_addMethod(objc_getClass("AGXFakeFamilyComputeContext"), @selector(sum), (IMP)sum_under_one_lock, "Q16@0:8");
}

static Compute *encoder(int peer) {
  Compute *one = [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:nil config:1];
  if (peer) map[place_of((uintptr_t)one)].encoder = (uintptr_t)one;
  return one;
}

struct worker { Compute *encoder; uint64_t calls; pthread_t thread; } __attribute__((aligned(256)));
static int stop;

static void *work(void *argument) {
  struct worker *worker = argument;
  uint64_t calls = 0;
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    for (int at = 0; at < 100; at++) [worker->encoder sum];
    calls += 100;
  }
  worker->calls = calls;
  return NULL;
}

static void scale(int peer, int threads, int milliseconds) {
  static struct worker workers[64];
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L}, from, to;
  struct rusage before, after;
  uint64_t calls = 0;
  for (int at = 0; at < threads; at++) workers[at].encoder = encoder(peer);
  getrusage(RUSAGE_SELF, &before);
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int at = 0; at < threads; at++) pthread_create(&workers[at].thread, NULL, work, &workers[at]);
  nanosleep(&time, NULL);
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  for (int at = 0; at < threads; at++) pthread_join(workers[at].thread, NULL);
  clock_gettime(CLOCK_MONOTONIC, &to);
  for (int at = 0; at < threads; at++) calls += workers[at].calls;
  getrusage(RUSAGE_SELF, &after);
  printf("%.0f %ld\n", calls / ((to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9),
         after.ru_nvcsw - before.ru_nvcsw);
}

/* The marks of a trace: nothing but places in the code. */
__attribute__((noinline)) void trace_begins(void) { __asm__ volatile(""); }
__attribute__((noinline)) void trace_ends(void) { __asm__ volatile(""); }

static int traced_calls;
static pthread_barrier_t both;

static void *be_traced(void *encoder) {
  for (int at = 0; at < 20; at++) [(Compute *)encoder sum];
  pthread_barrier_wait(&both); /* a thread that has ended would leave its stack and its block to the other */
  trace_begins();
  for (int at = 0; at < traced_calls; at++) [(Compute *)encoder sum];
  trace_ends();
  pthread_barrier_wait(&both);
  return NULL;
}

static void trace(int peer, int calls) {
  pthread_t threads[2];
  Compute *encoders[2] = {encoder(peer), encoder(peer)};
  traced_calls = calls;
  pthread_barrier_init(&both, NULL, 2);
  for (int at = 0; at < 2; at++) pthread_create(&threads[at], NULL, be_traced, encoders[at]);
  for (int at = 0; at < 2; at++) pthread_join(threads[at], NULL);
}

/* Encoders that a buffer does not keep, so that each is made, and ended, once. */
static void live(int count, int ends) {
  static const char *const classes[] = {"AGXFakeFamilyCommandBuffer", "AGXFakeFamilyRayTracingGPUBuilder"};
  for (int at = 0; at < 2; at++) {
    FakeObject *first = [objc_getClass(classes[at]) alloc];
    [first retainCount];
    agx_guard_hook_class(classes[at], -1);
  }
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  for (int at = 0; at < count; at++) {
    id one = [buffer accelerationStructureCommandEncoder];
    if (ends) [one endEncoding];
    [buffer setCurrentEncoder:nil]; /* not guarded: as if it had been ended */
  }
}

int main(int count, char **arguments) {
  if (count < 4) return 2;
  int peer = atoi(arguments[2]), number = atoi(arguments[3]);
  FakeObject *first = [AGXFakeFamilyComputeContext alloc];
  [first retainCount];
  if (peer) install_peer(); else agx_guard_hook_class("AGXFakeFamilyComputeContext", 0);
  if (!strcmp(arguments[1], "count")) {
    Compute *one = encoder(peer);
    for (int at = 0; at < number; at++) [one sum];
  } else if (!strcmp(arguments[1], "scale") && count > 4) {
    scale(peer, number, atoi(arguments[4]));
  } else if (!strcmp(arguments[1], "trace")) {
    trace(peer, number);
  } else if (!strcmp(arguments[1], "create") || !strcmp(arguments[1], "end")) {
    live(number, arguments[1][0] == 'e');
  } else if (!strcmp(arguments[1], "memory")) {
    encoder(peer);
    size_t before = mallinfo2().uordblks;
    for (int at = 0; at < number; at++) encoder(peer);
    printf("%.1f\n", (double)(mallinfo2().uordblks - before) / number);
  }
  return 0;
}
