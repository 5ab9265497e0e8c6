/* The scenarios. `program NAME [ARGUMENTS]`: exit 0 when all held; what did not is printed. The guard is linked in, or on a Mac
 * inserted, and is steered by its environment, AGX_GUARD=off for the bare driver. */
#define _GNU_SOURCE /* sigaction and its like */
#include "barrier.h"
#include "fake_driver.h"
#include "platform.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures;
static uint64_t calls_wanted;
#define CHECK(...) do { if (!(__VA_ARGS__)) { __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED); printf("line %d: not so: %s\n", __LINE__, #__VA_ARGS__); } } while (0)

typedef AGXFakeFamilyComputeContext Compute;

static const char *const classes[] = {
  "AGXFakeFamilyComputeContext", "AGXFakeFamilySampledComputeContext", "AGXFakeFamilyBlitContext",
  "AGXFakeFamilyRenderContext", "AGXFakeFamilyResourceStateContext", "AGXFakeFamilyRayTracingGPUBuilder",
  "AGXFakeFamilyCommandBuffer",
};

static void hook_all(void) {
  for (unsigned at = 0; at < sizeof classes / sizeof *classes; at++) platform_hook(classes[at]);
  platform_hook("AGXFakeDevice");
  fake_live_objects = 0;
}

static Compute *encoder(void) { return [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:nil config:1]; }

static void end(Compute *one) {
  [one endEncoding];
  [one release];
}

static int every_method_is_guarded(void) {
  unsigned guarded = 0, excepted = 0;
  for (unsigned at = 0; at + 1 < sizeof classes / sizeof *classes; at++) {
    Class class = objc_getClass(classes[at]);
    for (Class above = class; above; above = class_getSuperclass(above)) {
      unsigned count;
      Method *methods = class_copyMethodList(above, &count);
      for (unsigned index = 0; index < count; index++) {
        SEL selector = method_getName(methods[index]);
        const char *name = sel_getName(selector);
        IMP code = class_getMethodImplementation(class, selector);
        int root = !class_getSuperclass(above);
        int expected = (!root || !strcmp(name, "dealloc")) && strcmp(name, "phase");
        if (expected != platform_is_thunk(code)) {
          failures++;
          printf("%s of %s: %s\n", name, classes[at], expected ? "not guarded" : "guarded");
        }
        *(expected ? &guarded : &excepted) += 1;
      }
      free(methods);
    }
  }
  CHECK(!platform_is_thunk(class_getMethodImplementation(objc_getClass("IOGPUFakeCommandEncoder"), @selector(insertDebugSignpost:))));
  printf("%u methods guarded, %u left alone\n", guarded, excepted);
  CHECK(guarded > 100);
  return 0;
}

static void call_all_shapes(Compute *one, int live) {
  Size size = {2, 3, 5};
  CHECK([one addBytes:-1 shorts:20 ints:300 longs:4000] == (live ? 4319 : 0));
  CHECK([one addFloats:1.5f and:2.25f] == (live ? 3.75f : 0));
  CHECK([one addDoubles:1 and:2 and:0.5] == (live ? 3.5 : 0));
  CHECK([one mix:1 with:2 with:3 with:4] == (live ? 4321 : 0));
  CHECK([one volumeOf:size] == (live ? 30 : 0));
  CHECK([one volumeAt:&size] == (live ? 30 : 0));
  CHECK([one lengthOf:(Vector){1, 2, 3, 4}] == (live ? 30 : 0));
  Range range = [one rangeFrom:7 length:9];
  CHECK(range.location == (live ? 7 : 0) && range.length == (live ? 9 : 0));
  Size answer = [one sizeOf:1 and:2 and:3];
  CHECK(answer.width == (live ? 1 : 0) && answer.height == (live ? 2 : 0) && answer.depth == (live ? 3 : 0));
  Region region = [one regionOf:size and:(Size){7, 8, 9}];
  CHECK(region.origin.depth == (live ? 5 : 0) && region.extent.width == (live ? 7 : 0) && region.extent.depth == (live ? 9 : 0));
  Vector vector = [one vectorOf:5 and:3];
  CHECK(vector.x == (live ? 5 : 0) && vector.y == (live ? 3 : 0) && vector.z == (live ? 8 : 0) && vector.w == (live ? 2 : 0));
  Mixed mixed = [one mixedOf:1 and:2 and:3];
  CHECK(mixed.r == (live ? 1 : 0) && mixed.g == (live ? 2 : 0) && mixed.b == (live ? 3 : 0));
  uint64_t many = [one many:1 :2 :3 :4 :5 :6 :7 :8 :9 :10 :.25 :.5 :.75 :1 :1.25 :1.5 :1.75 :2 :2.25 :-3 :size];
  uint64_t sum = 0, whole[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, (uint64_t)-3, 2, 3, 5};
  for (int at = 0; at < 14; at++) sum = sum * 31 + whole[at];
  for (int at = 0; at < 9; at++) sum = sum * 31 + at + 1;
  CHECK(many == (live ? sum : 0));
  CHECK([one sumFormat:12, (int64_t)1, 2.0, (int64_t)3, 4.0, (int64_t)5, 6.0, (int64_t)7, 8.0, (int64_t)9, 10.0, (int64_t)11, 12.0] == (live ? 78 : 0));
  CHECK([one nest:200] == (live ? 200 : 0));
}

static void *call_shapes_often(void *one) {
  for (int at = 0; at < 500; at++) call_all_shapes(one, 1);
  return NULL;
}

static int every_shape_goes_through(void) {
  Compute *one = encoder();
  pthread_t threads[8];
  for (int at = 0; at < 8; at++) pthread_create(&threads[at], NULL, call_shapes_often, one);
  for (int at = 0; at < 8; at++) pthread_join(threads[at], NULL);
  CHECK(agx_guard_counter("waits") > 0);
  [one endEncoding];
  call_all_shapes(one, 0);
  CHECK(agx_guard_counter("refused_ended") == 15);
  [one release];
  return 0;
}

static int an_ended_encoder_is_refused_and_kept(void) {
  Compute *one = encoder();
  CHECK([one retainCount] == 2);
  [one setBuffer:nil offset:0 atIndex:0];
  uint64_t dispatched = fake_dispatched;
  end(one);
  CHECK([one retainCount] == 1);
  dispatched = fake_dispatched;
  [one setBuffer:nil offset:0 atIndex:0];
  [one insertDebugSignpost:"late"];
  [one endEncoding];
  [one deferredEndEncoding];
  [one destroyImpl];
  CHECK(fake_dispatched == dispatched);
  CHECK(agx_guard_counter("refused_ended") == 2);
  CHECK(agx_guard_counter("refused_double_end") == 3);
  CHECK([one respondsToSelector:@selector(endEncoding)] && [one hash] == (uintptr_t)one);
  CHECK([one device] == one);
  CHECK(agx_guard_counter("refused_ended") == 2);
  CHECK(agx_guard_counter("quarantined") == 1 && fake_live_objects == 1);
  return 0;
}

static void *end_named(void *one) {
  platform_name_thread("ender");
  [(Compute *)one endEncoding];
  return NULL;
}

static void *use_named(void *one) {
  platform_name_thread("late");
  for (int at = 0; at < 3; at++) [(Compute *)one setBuffer:nil offset:0 atIndex:0];
  return NULL;
}

static int a_refused_call_is_said(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  Compute *one = [buffer computeCommandEncoder];
  pthread_t thread;
  pthread_create(&thread, NULL, end_named, one);
  pthread_join(thread, NULL);
  pthread_create(&thread, NULL, use_named, one);
  pthread_join(thread, NULL);
  CHECK(agx_guard_counter("refused_ended") == 3);
  return 0;
}

static int the_quarantine_is_bounded(int count) {
  alarm(60);
  for (int at = 0; at < 1000; at++) {
    end(encoder());
    while (fake_live_objects > (uint64_t)count) { agx_guard_sweep(); sched_yield(); } /* the guard's thread sweeps too */
    CHECK(fake_live_objects <= (uint64_t)count);
  }
  CHECK(fake_live_objects >= (uint64_t)(count - count / 16)); /* a large quarantine has shards, which need not all be full */
  CHECK(agx_guard_known_encoders() == fake_live_objects);
  CHECK(agx_guard_counter("encoders_deallocated") == 1000 - fake_live_objects);
  return 0;
}

static int the_quarantine_ages(void) {
  for (int at = 0; at < 100; at++) end(encoder());
  while (fake_live_objects) { usleep(1000); agx_guard_sweep(); }
  CHECK(agx_guard_counter("quarantine_released") == 100);
  CHECK(agx_guard_known_encoders() == 0);
  return 0;
}

/* The application keeps an ended encoder for longer than the quarantine does, and drops it while a message is under way. */
static int the_quarantine_waits_for_the_last_holder(void) {
  Compute *one = encoder();
  [one endEncoding];
  usleep(200000);
  CHECK(agx_guard_counter("quarantine_released") == 0);
  fake_poisons = 1;
  [one release];
  [one setComputePipelineState:nil];
  CHECK(fake_live_objects == 1 && agx_guard_counter("refused_ended") == 1);
  while (fake_live_objects) usleep(1000);
  CHECK(agx_guard_counter("quarantine_released") == 1);
  return 0;
}

static int an_address_used_again_is_a_new_encoder(void) {
  uintptr_t last = 0;
  unsigned again = 0;
  fake_reuses = 1;
  for (int at = 0; at < 20000; at++) {
    Compute *one = encoder();
    again += (uintptr_t)one == last;
    last = (uintptr_t)one;
    uint64_t before = fake_dispatched;
    [one setBuffer:nil offset:0 atIndex:0];
    [one insertDebugSignpost:""];
    CHECK(fake_dispatched == before + 2);
    end(one);
    while (fake_live_objects) { agx_guard_sweep(); sched_yield(); }
  }
  CHECK(again > 10000);
  CHECK(agx_guard_counter("refused_ended") + agx_guard_counter("refused_gone") + agx_guard_counter("refused_double_end") == 0);
  return 0;
}

static int inits_may_fail_or_substitute(void) {
  CHECK([[AGXFakeFamilyComputeContext alloc] initFailing] == nil);
  CHECK(fake_live_objects == 0 && agx_guard_known_encoders() == 0);
  Compute *other = [[AGXFakeFamilyComputeContext alloc] initAsAnother];
  CHECK(fake_live_objects == 1 && agx_guard_known_encoders() == 1);
  [other setComputePipelineState:nil];
  CHECK(fake_dispatched == 1);
  end(other);
  while (fake_live_objects) { usleep(1000); agx_guard_sweep(); }
  CHECK(fake_live_objects == 0 && agx_guard_known_encoders() == 0);
  return 0;
}

static int an_encoder_seen_late_is_adopted(void) {
  Compute *one = encoder();
  hook_all();
  [one setComputePipelineState:nil];
  CHECK(agx_guard_counter("encoders_adopted") == 1 && fake_dispatched == 1);
  end(one);
  [one setComputePipelineState:nil];
  CHECK(agx_guard_counter("refused_ended") == 1);
  return 0;
}

static int coalescing_goes_on(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  Compute *one = [buffer computeCommandEncoder];
  [one setComputePipelineState:nil];
  [one endEncoding];
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == 1 && agx_guard_counter("refused_ended") == 1);
  CHECK([buffer previousComputeCommandEncoder] == one);
  CHECK(agx_guard_counter("encoders_reopened") == 0);
  CHECK([buffer computeCommandEncoder] == one);
  CHECK(agx_guard_counter("encoders_reopened") == 1);
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == 2);
  [one endEncoding];
  CHECK(agx_guard_counter("encoders_ended") == 2);
  [buffer commit];
  CHECK(agx_guard_counter("encoders_ended") == 2 && agx_guard_counter("encoders_tracked") == 1);
  CHECK(agx_guard_counter("refused_double_end") == 0);
  uint64_t before = fake_dispatched;
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == before);
  CHECK(agx_guard_counter("refused_ended") == 2);
  return 0;
}

/* Encoders of each kind, one after another on one buffer: each is ended once by the program, and those that are kept once more by the
 * buffer, which does not count as a second end. */
static int each_kind_is_ended_and_kept(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  for (int kind = 0; kind < 4; kind++) {
    IOGPUFakeCommandEncoder *one = kind == 0 ? (id)[buffer computeCommandEncoder]
                                 : kind == 1 ? (id)[buffer blitCommandEncoder]
                                 : kind == 2 ? (id)[buffer renderCommandEncoderWithDescriptor:nil]
                                             : (id)[buffer accelerationStructureCommandEncoder];
    [one insertDebugSignpost:"live"];
    [one endEncoding];
    uint64_t dispatched = fake_dispatched;
    [one insertDebugSignpost:"late"];
    CHECK(fake_dispatched == dispatched && agx_guard_counter("refused_ended") == (uint64_t)kind + 1);
  }
  [buffer commit];
  CHECK(fake_dispatched == 4 + 3); /* a signpost each, and one use in each deferred end */
  CHECK(agx_guard_counter("encoders_tracked") == 4 && agx_guard_counter("encoders_ended") == 4);
  CHECK(agx_guard_counter("refused_double_end") == 0);
  return 0;
}

/* Without coalescing the driver asks first, and neither reads the ended encoder's block nor begins that encoder again. */
static int the_driver_does_not_coalesce(int expected) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  Compute *one = [buffer computeCommandEncoder];
  [one endEncoding];
  CHECK(([buffer computeCommandEncoder] == one) == expected);
  fake_device = [AGXFakeDevice alloc];
  CHECK([fake_device disableEncoderCoalescing] == !expected);
  return 0;
}

/* A program lets go of encoders that it has not ended; one it still has is not among them, nor one that was ended. */
static int encoders_are_let_go_of(void) {
  for (int at = 0; at < 40; at++) {
    Compute *one = encoder();
    if (at == 0) [one retain];
    if (at == 1) [one endEncoding];
    [one release];
  }
  agx_guard_sweep();
  agx_guard_sweep();
  return 0;
}

/* The driver itself asks an ended encoder from code that is not under the buffer's lock. */
static int the_driver_may_ask_an_ended_encoder(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  [[buffer computeCommandEncoder] endEncoding];
  if (!platform_hooks_by_itself()) CHECK(![buffer askPrevious]);
  platform_trust_all();
  CHECK([buffer askPrevious]);
  CHECK(agx_guard_counter("driver_calls_on_ended") == 1);
  return 0;
}

static int a_class_of_no_list_is_hooked_on_sight(int is_left_alone) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  platform_hook("XYZUnheardOfCommandEncoder"); /* its name is not known, so it is reported and no more */
  if (is_left_alone) return 0;
  XYZUnheardOfCommandEncoder *one = [buffer unknownCommandEncoder];
  CHECK(agx_guard_counter("encoders_tracked") == 1);
  [one work];
  [one endEncoding];
  [one work];
  CHECK(fake_dispatched == 1 && agx_guard_counter("refused_ended") == 1);
  return 0;
}

/* One thread is stopped at a step inside the driver while a second one runs its part to the end, or as far as the guard lets it. */
static AGXFakeFamilyCommandBuffer *shared;
static Compute *ended;
static int stop_at, second_started, second_done;
static void (*second)(void);
static void *run_second(void *argument) {
  second();
  __atomic_store_n(&second_done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}
static pthread_t second_thread;
static void let_the_second_run(int where) {
  if (where != stop_at || __atomic_exchange_n(&second_started, 1, __ATOMIC_SEQ_CST)) return;
  pthread_create(&second_thread, NULL, run_second, NULL);
  int most = agx_guard_hooked_methods() ? 200 : 20000; /* bare, it always gets to its end */
  for (int at = 0; at < most && !__atomic_load_n(&second_done, __ATOMIC_SEQ_CST); at++) usleep(1000);
}
static void signal_an_event(void) { [shared encodeSignalEvent:nil value:1]; }
static void make_a_blit_encoder(void) {
  id one = [shared blitCommandEncoder];
  [one endEncoding];
  [one release];
}

static void keep_a_render_encoder(void) {
  id one = [shared renderCommandEncoderWithDescriptor:nil];
  [one endEncoding];
  [one release];
}

static int a_stopped_thread_meets_another(int scenario) {
  fake_poisons = 1;
  shared = [AGXFakeFamilyCommandBuffer alloc];
  ended = [shared computeCommandEncoder];
  [ended setComputePipelineState:nil];
  [ended endEncoding];
  [ended release]; /* the buffer's reference is left, as after an autorelease pool */
  fake_stop = let_the_second_run;
  switch (scenario) {
  case 0: /* both end the encoder that is kept for coalescing */
    stop_at = STOP_COMMIT_ENCODER, second = signal_an_event;
    [shared encodeSignalEvent:nil value:2];
    break;
  case 1: /* a factory reads the kept encoder's _impl while an event method ends it */
    stop_at = STOP_COALESCING, second = signal_an_event;
    [shared encodeWorkForEvent:nil];
    break;
  case 2: /* an event method and a factory */
    stop_at = STOP_COMMIT_ENCODER, second = make_a_blit_encoder;
    [shared encodeSignalEvent:nil value:2];
    break;
  case 4: /* both end the blit encoder that is kept */
  case 5: /* the same of a render encoder */
    if (scenario == 4) make_a_blit_encoder();
    else keep_a_render_encoder();
    stop_at = STOP_COMMIT_ENCODER, second_started = 0, second = signal_an_event;
    [shared encodeSignalEvent:nil value:2];
    break;
  default: /* a thread still encodes while an event method ends the encoder */
    ended = [ended retain];
    stop_at = STOP_ENCODING, second = signal_an_event;
    [ended setComputePipelineState:nil];
    fake_stop = NULL;
    if (!second_started) signal_an_event(); /* refused, so it never came to the step */
  }
  if (second_started) pthread_join(second_thread, NULL);
  fake_stop = NULL;
  printf("%" PRIu64 " refused, %" PRIu64 " waits\n", agx_guard_counter("refused_ended") + agx_guard_counter("refused_double_end"), agx_guard_counter("waits"));
  return 0;
}

/* Handlers that commit calls: each uses the other buffer, whose commit is under way. */
static AGXFakeFamilyCommandBuffer *pair[2];
static Barrier both_in_handlers;
static void use_the_other(id buffer) {
  barrier_wait(&both_in_handlers);
  [pair[buffer == pair[0]] enqueue];
}
static void *commit_one(void *buffer) {
  [(AGXFakeFamilyCommandBuffer *)buffer commit];
  return NULL;
}
static int handlers_may_use_each_others_buffers(void) {
  pthread_t threads[2];
  barrier_init(&both_in_handlers, 2);
  for (int at = 0; at < 2; at++) {
    pair[at] = [AGXFakeFamilyCommandBuffer alloc];
    [pair[at] addCompletedHandler:use_the_other];
  }
  alarm(30);
  for (int at = 0; at < 2; at++) pthread_create(&threads[at], NULL, commit_one, pair[at]);
  for (int at = 0; at < 2; at++) pthread_join(threads[at], NULL);
  CHECK(agx_guard_counter("deadlocks_broken") == 0);
  return 0;
}

/* A handler inside commit uses its own buffer, and makes and commits another one. */
static void use_its_own_and_another(id buffer) {
  [buffer enqueue];
  AGXFakeFamilyCommandBuffer *other = [AGXFakeFamilyCommandBuffer alloc];
  end([other computeCommandEncoder]);
  [other commit];
}
static int a_handler_may_use_its_own_buffer(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  end([buffer computeCommandEncoder]);
  [buffer addCompletedHandler:use_its_own_and_another];
  alarm(30);
  [buffer commit];
  CHECK(agx_guard_counter("deadlocks_broken") == 0 && agx_guard_counter("refused_double_end") == 0);
  CHECK(agx_guard_counter("encoders_ended") == 2);
  return 0;
}

/* A commit that the queue has no room for goes on when another thread has let go of this buffer's last encoder and committed. */
static void make_room(void) {
  [ended release];
  end([shared computeCommandEncoder]);
  [shared commit];
}
static int a_commit_may_wait_for_room(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  shared = [AGXFakeFamilyCommandBuffer alloc];
  ended = [buffer computeCommandEncoder];
  [ended endEncoding];
  fake_stop = let_the_second_run;
  stop_at = STOP_SUBMITTING, second = make_room;
  [buffer commit];
  CHECK(second_started && second_done);
  CHECK(agx_guard_counter("waits") == 0 && agx_guard_counter("deadlocks_broken") == 0);
  pthread_join(second_thread, NULL);
  return 0;
}

/* Eight threads, each with command buffers of its own, every encoder from a factory. */
static uint64_t most_live;
static void *make_and_commit(void *argument) {
  for (uint64_t at = 0; at < calls_wanted; at++) {
    AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
    for (int which = 0; which < 4; which++) {
      Compute *one = [buffer computeCommandEncoderWithConfig:which & 1];
      [one setComputePipelineState:nil];
      [one setBuffer:nil offset:0 atIndex:0];
      end(one);
    }
    [buffer commit];
    [buffer release];
    uint64_t live = __atomic_load_n(&fake_live_objects, __ATOMIC_RELAXED), most = most_live;
    while (live > most && !__atomic_compare_exchange_n(&most_live, &most, live, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  }
  return NULL;
}
static int buffers_by_the_thousand(int count, uint64_t buffers) {
  pthread_t threads[64];
  calls_wanted = buffers;
  for (int at = 0; at < count; at++) pthread_create(&threads[at], NULL, make_and_commit, NULL);
  for (int at = 0; at < count; at++) pthread_join(threads[at], NULL);
  CHECK(agx_guard_counter("deadlocks_broken") == 0);
  CHECK(agx_guard_counter("refused_ended") + agx_guard_counter("refused_double_end") + agx_guard_counter("refused_gone") == 0);
  while (fake_live_objects) { usleep(1000); agx_guard_sweep(); }
  CHECK(agx_guard_known_encoders() == 0);
  printf("%" PRIu64 " encoders, %" PRIu64 " calls, %" PRIu64 " waits, at most %" PRIu64 " objects alive\n",
         agx_guard_counter("encoders_tracked"), agx_guard_counter("calls"),
         agx_guard_counter("waits"), most_live);
  return 0;
}

static int nested_calls_go_through(void) {
  Compute *one = encoder(), *two = encoder();
  Compute *sampled = [[AGXFakeFamilySampledComputeContext alloc] initWithCommandBuffer:nil config:1];
  CHECK([one nest:1000] == 1000);
  CHECK([one callOther:two meeting:NULL] == 7 && [two callOther:one meeting:NULL] == 7 && [one callOther:one meeting:NULL] == 7);
  [sampled setComputePipelineState:nil];
  CHECK(fake_dispatched == 4);
  [sampled endEncoding];
  [one endYourself];
  [two endEncoding];
  CHECK(agx_guard_counter("refused_double_end") == 0 && agx_guard_counter("encoders_ended") == 3);
  return 0;
}

struct circle { Compute *mine, *other; Barrier *barrier; uint64_t answer; };
static void *run_circle(void *argument) {
  struct circle *circle = argument;
  circle->answer = [circle->mine callOther:circle->other meeting:circle->barrier];
  return NULL;
}

static int circles_are_broken(void) {
  Compute *one = encoder(), *two = encoder();
  Barrier barrier;
  barrier_init(&barrier, 2);
  struct circle sides[2] = {{one, two, &barrier, 0}, {two, one, &barrier, 0}};
  pthread_t threads[2];
  for (int at = 0; at < 2; at++) pthread_create(&threads[at], NULL, run_circle, &sides[at]);
  for (int at = 0; at < 2; at++) pthread_join(threads[at], NULL);
  CHECK(sides[0].answer == 7 && sides[1].answer == 7 && fake_dispatched == 2);
  CHECK(agx_guard_counter("deadlocks_broken") >= 1);
  return 0;
}

static void *hold(void *one) {
  [(Compute *)one holdFor:300];
  return NULL;
}

/* Until another thread is inside -holdFor:, under the lock. A counter of the guard would tell that it came to the guard, which is
 * before it has the lock. */
static void wait_until_held(void) {
  while (!__atomic_load_n(&fake_holds, __ATOMIC_ACQUIRE)) sched_yield();
}

static int a_long_wait_is_reported(void) {
  Compute *one = encoder();
  pthread_t thread;
  pthread_create(&thread, NULL, hold, one);
  wait_until_held();
  [one setComputePipelineState:nil];
  pthread_join(thread, NULL);
  CHECK(fake_dispatched == 1);
  CHECK(agx_guard_counter("waits") == 1 && agx_guard_counter("long_waits") == 1);
  return 0;
}

/* The encoder of a wrapper's buffer has the lock of the driver's buffer: a call to that buffer waits for the one inside. */
static int a_wrapped_buffer_has_one_lock_with_its_encoders(void) {
  MPSFakeCommandBuffer *wrapper = [MPSFakeCommandBuffer alloc];
  wrapper->_commandBuffer = [AGXFakeFamilyCommandBuffer alloc];
  Compute *one = [wrapper computeCommandEncoder];
  pthread_t thread;
  pthread_create(&thread, NULL, hold, one);
  wait_until_held();
  [wrapper->_commandBuffer enqueue];
  CHECK(agx_guard_counter("waits") == 1);
  pthread_join(thread, NULL);
  end(one);
  [wrapper commit];
  CHECK(agx_guard_counter("refused_double_end") == 0 && agx_guard_counter("encoders_tracked") == 1);
  return 0;
}

/* A sub-encoder that a thread is inside of keeps no other sub-encoder and not the parallel encoder's buffer waiting. */
static int sub_encoders_have_locks_of_their_own(void) {
  platform_hook("AGXFakeFamilyThreadedRenderPass");
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  AGXFakeFamilyThreadedRenderPass *parallel = [buffer parallelRenderCommandEncoderWithDescriptor:nil];
  Compute *one = [parallel renderCommandEncoder], *two = [parallel renderCommandEncoder];
  pthread_t thread;
  pthread_create(&thread, NULL, hold, one);
  wait_until_held();
  [two setComputePipelineState:nil];
  [parallel insertDebugSignpost:"between"];
  CHECK(agx_guard_counter("waits") == 0 && agx_guard_counter("encoders_tracked") == 3);
  pthread_join(thread, NULL);
  [one endEncoding];
  [two endEncoding];
  [two setComputePipelineState:nil];
  [parallel endEncoding];
  CHECK(agx_guard_counter("refused_ended") == 1 && agx_guard_counter("refused_double_end") == 0);
  return 0;
}

/* Metal 4: the encoder has the lock of the buffer that made it, and two buffers of one allocator have nothing in common. */
static void *hold_of_metal_4(void *one) {
  [(AGXFakeFamilyComputeContext_mtlnext *)one holdFor:300];
  return NULL;
}
static int a_metal_4_encoder_has_its_buffers_lock(void) {
  static const char *const names[] = {"AGXFakeFamilyComputeContext_mtlnext", "AGXFakeFamilyCommandBuffer_mtlnext",
                                      "AGXFakeFamilyCommandAllocator_mtlnext"};
  int methods = agx_guard_hooked_methods();
  for (int at = 0; at < 2; at++) platform_hook(names[at]);
  CHECK(platform_hooks_by_itself() || agx_guard_hooked_methods() > methods);
  methods = agx_guard_hooked_methods();
  platform_hook(names[2]);
  CHECK(agx_guard_hooked_methods() == methods);
  AGXFakeFamilyCommandAllocator_mtlnext *allocator = [AGXFakeFamilyCommandAllocator_mtlnext alloc];
  AGXFakeFamilyCommandBuffer_mtlnext *buffers[2];
  AGXFakeFamilyComputeContext_mtlnext *encoders[2];
  for (int at = 0; at < 2; at++) {
    buffers[at] = [AGXFakeFamilyCommandBuffer_mtlnext alloc];
    [buffers[at] beginCommandBufferWithAllocator:allocator];
    encoders[at] = [buffers[at] computeCommandEncoder];
  }
  pthread_t thread;
  pthread_create(&thread, NULL, hold_of_metal_4, encoders[0]);
  wait_until_held();
  [allocator reset];
  [encoders[1] setComputePipelineState:nil];
  [encoders[1] endEncoding];
  [buffers[1] endCommandBuffer];
  CHECK(agx_guard_counter("waits") == 0 && fake_dispatched == 1);
  [encoders[0] endEncoding];
  CHECK(agx_guard_counter("waits") == 1);
  pthread_join(thread, NULL);
  [buffers[0] endCommandBuffer];
  [encoders[0] setComputePipelineState:nil];
  [encoders[0] endEncoding];
  CHECK(fake_dispatched == 1 && agx_guard_counter("refused_ended") == 1 && agx_guard_counter("refused_double_end") == 1);
  CHECK(agx_guard_counter("encoders_tracked") == 2 && agx_guard_counter("encoders_ended") == 2);
  return 0;
}

/* A call that the driver makes in the place of a guarded method of its own returns to the guard; it is the driver's nevertheless. */
static int a_tail_call_is_the_drivers(void) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  Compute *one = encoder(), *other = [buffer computeCommandEncoder];
  [other endEncoding];
  CHECK(![other isCoalescable] && agx_guard_counter("refused_ended") == 1);
  CHECK([one askOther:other]);
  CHECK(agx_guard_counter("driver_calls_on_ended") == 1 && agx_guard_counter("refused_ended") == 1);
  return 0;
}

static int an_impl_that_is_not_a_pointer_is_not_watched(void) {
  AGXFakeFamilyResourceStateContext *one = [[AGXFakeFamilyResourceStateContext alloc] initWithCount:1];
  CHECK([one update:5] == 1 && [one update:0] == 2 && [one update:7] == 3);
  [one endEncoding];
  CHECK([one update:9] == 0);
  CHECK(agx_guard_counter("refused_null_impl") == 0 && agx_guard_counter("refused_ended") == 1);
  return 0;
}

/* As key-value observing does it: a class made later, with the object's class as its parent, takes its place. */
static int an_object_whose_class_is_exchanged_stays_guarded(void) {
  Compute *one = encoder();
  Class later = objc_allocateClassPair(objc_getClass(classes[0]), "Notifying", 0);
  objc_registerClassPair(later);
  object_setClass((id)one, later);
  [one setComputePipelineState:nil];
  [one endEncoding];
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == 1 + 1 && agx_guard_counter("refused_ended") == 1 && agx_guard_counter("calls") >= 4);
  return 0;
}

static void *use_both(void *encoders) {
  for (int at = 0; at < 2; at++) [((Compute **)encoders)[at] setComputePipelineState:nil];
  return NULL;
}

/* An exception passes through guarded methods, and closes the calls on its way: no other thread waits after it. */
static int an_exception_is_caught(int scenario) {
  Compute *one = encoder(), *two = encoder();
  volatile int caught = 0;
  @try {
    if (scenario == 0) [one throwItself];
    else if (scenario == 1) [two throwThrough:one];
    else [one throwWith:1 :2 :3 :4 :5 :6 :7]; /* on the stack: see "What it cannot do" in the README */
  } @catch (id thrown) { caught = thrown == one; }
  CHECK(caught);
  CHECK(!agx_guard_hooked_methods() || agx_guard_counter("frames_unwound") == (uint64_t)scenario + 1);
  pthread_t thread;
  pthread_create(&thread, NULL, use_both, (Compute *[]){one, two});
  pthread_join(thread, NULL);
  CHECK(fake_dispatched == 2 && agx_guard_counter("waits") == 0);
  return 0;
}

/* The same of a C++ exception, thrown by the driver's method and caught by C++ code that called it. The encoders are none the worse for it:
 * this thread and another one encode on them and end them, and no call waits. */
extern void throw_number(int number);
extern int catch_number(void (*body)(void));
static Compute *thrower, *between;
static void throw_directly(void) { [thrower throwNumber:42]; }
static void throw_through_another(void) { [between throwNumber:42 from:thrower]; }
static int a_number_is_caught(int is_nested) {
  fake_throw = throw_number;
  thrower = encoder();
  between = encoder();
  for (uint64_t time = 1; time <= 3; time++) {
    CHECK(catch_number(is_nested ? throw_through_another : throw_directly) == 42);
    CHECK(!agx_guard_hooked_methods() || agx_guard_counter("frames_unwound") == time * (is_nested + 1));
    pthread_t thread;
    pthread_create(&thread, NULL, use_both, (Compute *[]){thrower, between});
    pthread_join(thread, NULL);
    [thrower setComputePipelineState:nil];
    CHECK(fake_dispatched == 3 * time && agx_guard_counter("waits") == 0);
  }
  [between endEncoding];
  [thrower endEncoding];
  CHECK(fake_open == 0 && agx_guard_counter("waits") == 0);
  CHECK(!agx_guard_hooked_methods() || agx_guard_counter("refused_ended") + agx_guard_counter("refused_double_end") == 0);
  return 0;
}

/* A backtrace inside a guarded method has every caller, by the unwinder and by the chain of frames. */
__attribute__((noinline)) int take_a_backtrace(Compute *one, void **frames) {
  int count = [one backtraceInto:frames count:16];
  __asm__ volatile(""); /* not a tail call */
  return count;
}
static int a_backtrace_keeps_the_caller(void) {
  void *frames[16];
  int count = take_a_backtrace(encoder(), frames), found = 0, outside = 0;
  for (int at = 0; at < count; at++) {
    uintptr_t from = (uintptr_t)take_a_backtrace, frame = (uintptr_t)frames[at];
    found += frame > from && frame < from + 128;
    outside += found && (frame < from || frame >= from + 128);
  }
  CHECK(found == 1 && outside >= 2); /* this function, and main */
  return 0;
}

static void *exit_inside(void *one) {
  [(Compute *)one exitThread];
  return NULL;
}

static int a_thread_that_ends_inside_a_call_leaves_its_encoder(void) {
  Compute *one = encoder();
  pthread_t thread;
  pthread_create(&thread, NULL, exit_inside, one);
  pthread_join(thread, NULL);
  alarm(20);
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == 1 && agx_guard_counter("frames_unwound") == 1 && agx_guard_counter("waits") == 0);
  end(one);
  return 0;
}

static int a_forked_child_waits_for_no_thread(void) {
  Compute *one = encoder(), *two = encoder();
  [two setComputePipelineState:nil];
  pthread_t thread;
  pthread_create(&thread, NULL, hold, one);
  wait_until_held();
  pid_t child = fork();
  if (!child) {
    alarm(20);
    [one setComputePipelineState:nil];
    end(one);
    end(two);
    for (int at = 0; at < 100; at++) end(encoder());
    exit(fake_dispatched == 2 + 102 ? 0 : 1); /* each end uses _impl once more */
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  pthread_join(thread, NULL);
  end(one);
  end(two);
  return 0;
}

/* The quarantine is full and its oldest is an encoder this very thread is inside of. */
static Compute *inner, *outer;
static void end_inner(void) {
  fake_during_end = NULL;
  [outer release];
  end(inner);
  CHECK(fake_live_objects == 2);
}

static int the_quarantine_keeps_an_encoder_in_use(void) {
  fake_poisons = 1;
  outer = encoder();
  inner = encoder();
  fake_defers_end = 1;
  [outer endEncoding];
  fake_defers_end = 0;
  fake_during_end = end_inner;
  [outer deferredEndEncoding];
  CHECK(fake_dispatched == 2);
  return 0;
}

static void *use_after_jump(void *one) {
  [(Compute *)one setComputePipelineState:nil];
  return NULL;
}

static int a_jump_out_of_a_method_frees_its_encoder(void) {
  Compute *one = encoder();
  jmp_buf buffer;
  if (!setjmp(buffer)) [one leaveByJump:&buffer];
  [encoder() setComputePipelineState:nil];
  CHECK(agx_guard_counter("frames_unwound") == 1);
  pthread_t thread;
  pthread_create(&thread, NULL, use_after_jump, one);
  pthread_join(thread, NULL);
  CHECK(fake_dispatched == 2 && agx_guard_counter("waits") == 0);
  return 0;
}

/* Encoders that several threads reach through the same places, without owning them: what the crashes were made of. */
#define PLACES 16
static void *places[PLACES]; /* encoders; clang has no atomic functions for pointers to objects */
static int hazard;
enum { ALL, NULL_98, NULL_184, NULL_5C8, NULL_5F4, FREED, DOUBLE_END, NULL_IN_SET_BUFFER };

static int ending[PLACES];

static Compute *encoder_at(unsigned place) { return __atomic_load_n(&places[place], __ATOMIC_SEQ_CST); }

static void touch(Compute *one, unsigned which) {
  Size size = {1, 2, 3};
  switch (hazard == ALL ? which % 6 : hazard == NULL_IN_SET_BUFFER ? 4 : hazard >= FREED ? 5 : (unsigned)hazard - 1) {
  case 0: [one prepareForEnqueue]; break;
  case 1: [one allocateUSCSpillBuffer]; break;
  case 2: [one setComputePipelineState:nil]; break;
  case 3: [one dispatchThreads:size threadsPerThreadgroup:size]; break;
  case 4: [one setBuffer:nil offset:which atIndex:1]; break;
  default: [one sum]; break;
  }
}

static Compute *replace(unsigned place, unsigned which) {
  Compute *next = [[objc_getClass(classes[which % 2]) alloc] initWithCommandBuffer:nil config:1];
  return __atomic_exchange_n(&places[place], (void *)next, __ATOMIC_SEQ_CST);
}

/* Ends the encoder of a place, while others use it: before it is replaced, after, or although another thread has. */
static void end_in_use(unsigned place, unsigned which) {
  int doubly = hazard == DOUBLE_END || (hazard == ALL && which % 8 == 0);
  if (doubly) [encoder_at(place) endEncoding];
  if (__atomic_exchange_n(&ending[place], 1, __ATOMIC_SEQ_CST)) return;
  if (hazard == FREED || (hazard == ALL && which % 3 == 0)) {
    Compute *one = replace(place, which);
    [one endEncoding];
    [one release];
  } else {
    if (!doubly) [encoder_at(place) endEncoding];
    sched_yield();
    Compute *one = replace(place, which);
    if (hazard == ALL) [one release];
  }
  __atomic_store_n(&ending[place], 0, __ATOMIC_SEQ_CST);
}

static void *stress(void *argument) {
  uint64_t random = (uintptr_t)argument * 0x9E3779B97F4A7C15u + 1;
  for (uint64_t calls = 0; calls < calls_wanted; calls++) {
    random ^= random << 13; random ^= random >> 7; random ^= random << 17;
    unsigned place = random % PLACES, which = (random >> 8) & 0xffff;
    if ((random >> 40) % 64 == 0) {
      end_in_use(place, which);
    } else {
      Compute *one = encoder_at(place);
      if (hazard == FREED && which % 16 == 0) sched_yield();
      touch(one, which);
    }
  }
  return NULL;
}

static int threads_may_do_as_they_like(int count, uint64_t calls) {
  pthread_t threads[64];
  calls_wanted = calls / count;
  fake_poisons = 1;
  for (int at = 0; at < PLACES; at++) places[at] = encoder();
  for (int at = 0; at < count; at++) pthread_create(&threads[at], NULL, stress, (void *)(uintptr_t)(at + 1));
  for (int at = 0; at < count; at++) pthread_join(threads[at], NULL);
  printf("%" PRIu64 " calls, %" PRIu64 " dispatched to _impl, %" PRIu64 " refused, %" PRIu64 " waits, %" PRIu64 " encoders\n",
         agx_guard_counter("calls"), fake_dispatched,
         agx_guard_counter("refused_ended") + agx_guard_counter("refused_double_end"), agx_guard_counter("waits"),
         agx_guard_counter("encoders_tracked"));
  CHECK(agx_guard_counter("deadlocks_broken") == 0);
  return 0;
}

static void *open_and_close(void *argument) {
  for (int at = 0; at < 300; at++) {
    AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
    Compute *one = [buffer computeCommandEncoder]; /* as the driver makes every encoder: inside a factory */
    [one setComputePipelineState:nil];
    sched_yield();
    if (argument && at % 16 == 0) end(encoder()); /* a second one while the first is open must not wait for itself */
    end(one);
    [buffer release];
  }
  return NULL;
}

static int at_most_so_many_are_open(int limit, int nested) {
  pthread_t threads[8];
  for (int at = 0; at < 8; at++) pthread_create(&threads[at], NULL, open_and_close, nested ? &threads : NULL);
  for (int at = 0; at < 8; at++) pthread_join(threads[at], NULL);
  printf("at most %d open\n", fake_most_open);
  if (!nested) CHECK(fake_most_open <= limit);
  CHECK(agx_guard_counter("throttle_overrides") == 0);
  CHECK(agx_guard_counter("throttle_waits") > 0);
  CHECK(fake_open == 0);
  return 0;
}

static int observing_changes_nothing(void) {
  Compute *one = encoder();
  CHECK([one retainCount] == 1);
  fake_defers_end = 1;
  [one endEncoding];
  [one setComputePipelineState:nil];
  CHECK(fake_dispatched == 1);
  CHECK(agx_guard_counter("would_refuse") == 1 && agx_guard_counter("refused_ended") == 0);
  [one release];
  CHECK(fake_live_objects == 0 && agx_guard_known_encoders() == 0);
  Compute *two = encoder();
  pthread_t thread;
  pthread_create(&thread, NULL, hold, two);
  wait_until_held();
  [two setComputePipelineState:nil];
  CHECK(agx_guard_counter("overlaps") == 1 && agx_guard_counter("waits") == 0);
  pthread_join(thread, NULL);
  return 0;
}

/* Races, each between two threads that a barrier and a lock order, so that the outcome depends on no speed. The functions have names
 * that a backtrace can show. */
static Size one_by_one = {1, 1, 1};

/* What a thread does on the queue; it names itself before anything is noted of it. */
struct errand { void *(*function)(void *), *argument; };
static void *run_errand(void *errand) {
  struct errand *mine = errand;
  return platform_on_queue(mine->function, mine->argument);
}
static void in_thread(void *(*function)(void *), void *argument) {
  pthread_t thread;
  pthread_create(&thread, NULL, run_errand, &(struct errand){function, argument});
  pthread_join(thread, NULL);
}

void *race_end(void *one) {
  platform_name_thread("ender");
  [(Compute *)one endEncoding];
  return NULL;
}
void *race_use(void *one) {
  platform_name_thread("user");
  [(Compute *)one setBuffer:nil offset:0 atIndex:0];
  return NULL;
}
void *race_hold(void *one) {
  platform_name_thread("holder");
  [(Compute *)one setComputePipelineState:nil]; /* its first call says who it is */
  [(Compute *)one holdFor:200];
  return NULL;
}
void *race_dispatch(void *one) {
  platform_name_thread("worker");
  for (int at = 0; at < 3; at++) [(Compute *)one dispatchThreads:one_by_one threadsPerThreadgroup:one_by_one];
  return NULL;
}
void *race_set(void *one) {
  platform_name_thread("setter");
  [(Compute *)one setComputePipelineState:nil];
  return NULL;
}
void *race_commit(void *buffer) {
  platform_name_thread("committer");
  [(AGXFakeFamilyCommandBuffer *)buffer commit];
  return NULL;
}

void *race_make(void *buffer) {
  platform_name_thread("maker");
  id one = [(AGXFakeFamilyCommandBuffer *)buffer computeCommandEncoder];
  __asm__ volatile(""); /* not a tail call */
  return one;
}
void *race_make_another(void *buffer) {
  platform_name_thread("second");
  id one = [(AGXFakeFamilyCommandBuffer *)buffer blitCommandEncoder];
  __asm__ volatile("");
  return one;
}
void *race_signal(void *buffer) {
  platform_name_thread("signaller");
  [(AGXFakeFamilyCommandBuffer *)buffer encodeSignalEvent:nil value:1];
  return NULL;
}
static void do_nothing(id buffer) {}
void *race_add_handler(void *buffer) {
  platform_name_thread("adder");
  [(AGXFakeFamilyCommandBuffer *)buffer addCompletedHandler:do_nothing];
  return NULL;
}

/* What a serial queue with many threads does: each piece of work sets its state and encodes, one thread after another. */
static pthread_mutex_t serial_queue = PTHREAD_MUTEX_INITIALIZER;
static void *work_serially(void *buffer) {
  for (int at = 0; at < 200; at++) {
    pthread_mutex_lock(&serial_queue);
    static Compute *one;
    static int pieces;
    if (!one) one = [(AGXFakeFamilyCommandBuffer *)buffer computeCommandEncoder];
    [one setComputePipelineState:nil];
    [one setBuffer:nil offset:at atIndex:0];
    [one dispatchThreads:one_by_one threadsPerThreadgroup:one_by_one];
    if (++pieces % 16 == 0) {
      [one endEncoding];
      [one release];
      one = nil;
    }
    pthread_mutex_unlock(&serial_queue);
    sched_yield();
  }
  return NULL;
}

static int threads_race(int scenario) {
  AGXFakeFamilyCommandBuffer *buffer = [AGXFakeFamilyCommandBuffer alloc];
  if (scenario == 5) {
    pthread_t threads[8];
    for (int at = 0; at < 8; at++) pthread_create(&threads[at], NULL, work_serially, buffer);
    for (int at = 0; at < 8; at++) pthread_join(threads[at], NULL);
    CHECK(agx_guard_counter("handed_over") > 0);
    return 0;
  }
  static void *(*const second_uses[])(void *) = {race_make_another, race_signal, race_commit};
  if (scenario >= 6 && scenario <= 8) { /* one thread's encoder is open, another one uses the buffer: the driver asserts */
    in_thread(race_make, buffer);
    platform_on_queue(second_uses[scenario - 6], buffer);
    return 0;
  }
  Compute *one = [buffer computeCommandEncoder];
  pthread_t thread;
  switch (scenario) {
  case 9: /* a handler is added after the commit, at which the driver asserts */
    [one endEncoding];
    in_thread(race_commit, buffer);
    platform_on_queue(race_add_handler, buffer);
    break;
  case 10: /* the thread that ends an encoder is not the one that made it, and it goes on with the buffer: not a race */
    in_thread(race_end, one);
    one = platform_on_queue(race_make_another, buffer);
    in_thread(race_end, one);
    in_thread(race_signal, buffer);
    in_thread(race_commit, buffer);
    break;
  case 0: /* overlap: one thread is inside while another calls */
    pthread_create(&thread, NULL, run_errand, &(struct errand){race_hold, one});
    wait_until_held();
    platform_on_queue(race_use, one);
    pthread_join(thread, NULL);
    break;
  case 1: /* use after end, three times from one place */
    in_thread(race_end, one);
    fake_poisons = 1;
    for (int at = 0; at < 3; at++) platform_on_queue(race_use, one);
    break;
  case 2: /* a second commit, at which the driver asserts */
    [one endEncoding];
    in_thread(race_commit, buffer);
    platform_on_queue(race_commit, buffer);
    break;
  case 3: /* torn: one sets, another dispatches */
    in_thread(race_set, one);
    in_thread(race_dispatch, one);
    break;
  case 4: /* torn: one sets, another sets, the first dispatches */
    [one setComputePipelineState:nil];
    in_thread(race_set, one);
    platform_on_queue(race_dispatch, one);
    break;
  }
  return 0;
}

static void write_a_report_at_exit(void) {
  end(encoder());
  end(encoder());
}

/* The report is written soon, not in the handler: the asker waits for the file. */
static void write_a_report_and_die(void) {
  end(encoder());
  raise(SIGUSR1);
  while (access(getenv("AGX_GUARD_REPORT"), R_OK)) usleep(1000);
  usleep(50000);
  raise(SIGSEGV);
}

/* Runs until the question that the test puts has been answered. */
static void wait_until_asked(void) {
  end(encoder());
  char question[1024];
  snprintf(question, sizeof question, "%s/%d.ask", getenv("AGX_GUARD_REPORTS"), getpid());
  alarm(60);
  printf("%d\n", getpid());
  while (access(question, F_OK)) usleep(1000);
  while (!access(question, F_OK)) usleep(1000);
  kill(getpid(), SIGKILL); /* so that no report is written at exit */
}

static void say_where(int number, siginfo_t *information, void *context) {
  char text[64];
  int length = snprintf(text, sizeof text, "fault at 0x%lx\n", (unsigned long)information->si_addr);
  if (write(1, text, length)) {}
  signal(number, SIG_DFL);
  raise(number);
}

int main(int count, char **arguments) {
  struct sigaction action = {.sa_sigaction = say_where, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char *name = count > 1 ? arguments[1] : "";
  int number = count > 2 ? atoi(arguments[2]) : 0, other = count > 3 ? atoi(arguments[3]) : 0;
  if (strcmp(name, "late") && strcmp(name, "unhooked")) hook_all();
  if (!strcmp(name, "coverage")) every_method_is_guarded();
  else if (!strcmp(name, "shapes")) every_shape_goes_through();
  else if (!strcmp(name, "ended")) an_ended_encoder_is_refused_and_kept();
  else if (!strcmp(name, "handed")) a_refused_call_is_said();
  else if (!strcmp(name, "bounded")) the_quarantine_is_bounded(number);
  else if (!strcmp(name, "ages")) the_quarantine_ages();
  else if (!strcmp(name, "lastholder")) the_quarantine_waits_for_the_last_holder();
  else if (!strcmp(name, "reuse")) an_address_used_again_is_a_new_encoder();
  else if (!strcmp(name, "inits")) inits_may_fail_or_substitute();
  else if (!strcmp(name, "late")) an_encoder_seen_late_is_adopted();
  else if (!strcmp(name, "coalescing")) coalescing_goes_on();
  else if (!strcmp(name, "kinds")) each_kind_is_ended_and_kept();
  else if (!strcmp(name, "abandoned")) encoders_are_let_go_of();
  else if (!strcmp(name, "coalesces")) the_driver_does_not_coalesce(number);
  else if (!strcmp(name, "asked")) the_driver_may_ask_an_ended_encoder();
  else if (!strcmp(name, "unheard")) a_class_of_no_list_is_hooked_on_sight(number);
  else if (!strcmp(name, "meet")) a_stopped_thread_meets_another(number);
  else if (!strcmp(name, "handlers")) handlers_may_use_each_others_buffers();
  else if (!strcmp(name, "ownbuffer")) a_handler_may_use_its_own_buffer();
  else if (!strcmp(name, "fullqueue")) a_commit_may_wait_for_room();
  else if (!strcmp(name, "buffers")) buffers_by_the_thousand(number, other);
  else if (!strcmp(name, "nested")) nested_calls_go_through();
  else if (!strcmp(name, "circle")) circles_are_broken();
  else if (!strcmp(name, "wrapped")) a_wrapped_buffer_has_one_lock_with_its_encoders();
  else if (!strcmp(name, "metal4")) a_metal_4_encoder_has_its_buffers_lock();
  else if (!strcmp(name, "tailcall")) a_tail_call_is_the_drivers();
  else if (!strcmp(name, "parallel")) sub_encoders_have_locks_of_their_own();
  else if (!strcmp(name, "longwait")) a_long_wait_is_reported();
  else if (!strcmp(name, "jump")) a_jump_out_of_a_method_frees_its_encoder();
  else if (!strcmp(name, "embedded")) an_impl_that_is_not_a_pointer_is_not_watched();
  else if (!strcmp(name, "exchanged")) an_object_whose_class_is_exchanged_stays_guarded();
  else if (!strcmp(name, "exits")) a_thread_that_ends_inside_a_call_leaves_its_encoder();
  else if (!strcmp(name, "throws")) an_exception_is_caught(number);
  else if (!strcmp(name, "throws-c++")) a_number_is_caught(number);
  else if (!strcmp(name, "backtrace")) a_backtrace_keeps_the_caller();
  else if (!strcmp(name, "forks")) a_forked_child_waits_for_no_thread();
  else if (!strcmp(name, "inside")) the_quarantine_keeps_an_encoder_in_use();
  else if (!strcmp(name, "throttle")) at_most_so_many_are_open(number, other);
  else if (!strcmp(name, "observe")) observing_changes_nothing();
  else if (!strcmp(name, "races")) threads_race(number);
  else if (!strcmp(name, "report")) write_a_report_at_exit();
  else if (!strcmp(name, "questioned")) wait_until_asked();
  else if (!strcmp(name, "signal")) write_a_report_and_die();
  else if (!strcmp(name, "keys")) return agx_guard_authenticates_pointers();
  else if (!strcmp(name, "unhooked")) return 0;
  else if (!strcmp(name, "stress")) {
    hazard = count > 4 ? atoi(arguments[4]) : 0;
    threads_may_do_as_they_like(number, (uint64_t)other * 1000);
  } else {
    printf("no such scenario: %s\n", name);
    return 2;
  }
  return failures ? 1 : 0;
}
