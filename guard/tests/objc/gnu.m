/* GNU's runtime on Linux: see platform.h. */
#define _GNU_SOURCE /* names of threads */
#include "fake_driver.h"
#include "platform.h"

#include <pthread.h>
#include <stdlib.h>

extern int agx_guard_hook_class(const char *name, int role);
extern void agx_guard_trust(uintptr_t start, uintptr_t end);
extern void agx_guard_label_queues(const char *(*label)(void));
extern char agx_guard_thunks[];
extern char __executable_start[], etext[];

int platform_hooks_by_itself(void) { return 0; }

/* The GNU runtime changes a method in the table of the class it is asked for, and in no table made before from that one; and
 * classes that have had no message share one table. So a class gets its own just before it is hooked; parents come first. */
void platform_hook(const char *class_name) {
  FakeObject *first = [objc_getClass(class_name) alloc];
  [first retainCount];
  free(first);
  agx_guard_hook_class(class_name, -1);
}

void platform_trust_all(void) { agx_guard_trust((uintptr_t)__executable_start, (uintptr_t)etext); }

int platform_is_thunk(IMP code) { return (char *)code >= agx_guard_thunks && (char *)code < agx_guard_thunks + 4096 * 8; }

void platform_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

static const char *label_of_queue(void) { return "test.queue"; }

void *platform_on_queue(void *(*function)(void *), void *argument) {
  agx_guard_label_queues(label_of_queue);
  return function(argument);
}
