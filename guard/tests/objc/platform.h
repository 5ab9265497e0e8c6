/* What the scenarios need and the two systems do differently: `gnu.m` for GNU's runtime on Linux, where the guard is linked in and told
 * which classes to hook, and `apple.m` for a Mac, where dyld inserts the guard, which hooks the driver's classes by itself. */
#include <objc/objc.h>
#include <objc/runtime.h>
#include <stdint.h>

/* The guard, as `macos/exports.txt` has it. */
extern uint64_t agx_guard_counter(const char *name);
extern int agx_guard_hooked_methods(void);
extern uint64_t agx_guard_known_encoders(void);
extern void agx_guard_sweep(void);
extern int agx_guard_authenticates_pointers(void);

/* Whether the guard hooks a driver by itself, and knows its code. */
extern int platform_hooks_by_itself(void);
/* Has the guard hook a class, where it does not do so by itself. */
extern void platform_hook(const char *class_name);
/* Has the guard take this program's code for the driver's, where it does not know the driver's by itself. */
extern void platform_trust_all(void);
/* Whether a method's code is one of the guard's thunks. */
extern int platform_is_thunk(IMP code);
/* Names the calling thread. */
extern void platform_name_thread(const char *name);
/* Calls a function on this thread, on the dispatch queue "test.queue"; others may be on it at the same time. */
extern void *platform_on_queue(void *(*function)(void *), void *argument);
