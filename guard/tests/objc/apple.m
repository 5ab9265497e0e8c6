/* Apple's runtime and dyld: see platform.h. */
#include "platform.h"

#include <dispatch/dispatch.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

int platform_hooks_by_itself(void) { return 1; }
void platform_hook(const char *class_name) {}
void platform_trust_all(void) {}

int platform_is_thunk(IMP code) {
  Dl_info found;
  return dladdr((void *)code, &found) && strstr(found.dli_fname, "/libagx_guard.dylib");
}

void platform_name_thread(const char *name) { pthread_setname_np(name); }

struct call { void *(*function)(void *), *argument, *answer; };

static void make_queue(void *queue) { *(dispatch_queue_t *)queue = dispatch_queue_create("test.queue", DISPATCH_QUEUE_CONCURRENT); }

static void call_it(void *argument) {
  struct call *call = argument;
  call->answer = call->function(call->argument);
}

void *platform_on_queue(void *(*function)(void *), void *argument) {
  static dispatch_queue_t queue;
  static dispatch_once_t once;
  struct call call = {function, argument, NULL};
  dispatch_once_f(&once, &queue, make_queue);
  dispatch_sync_f(queue, &call, call_it);
  return call.answer;
}
