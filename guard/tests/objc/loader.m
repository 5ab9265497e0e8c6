/* Runs the library's own Mac bytes: loads one slice as dyld would, binds it to the GNU runtime and to stand-ins for the system, and
 * calls its initialiser and its interposed function. `loader SLICE SCENARIO`; under qemu, where the processor may have
 * pointer authentication on, as in an arm64e process, or off, as in an arm64 one.
 *
 * As dyld's published sources say: opcode fix-ups are applied without a look at the architecture, rebased pointers stay unsigned, an
 * initialiser is called by its offset, and what dlsym answers in an arm64e process is signed. */
#define _GNU_SOURCE /* names of threads */
#include "fake_driver.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <sched.h>
#include <unwind.h>

#define CHECK(...) do { if (!(__VA_ARGS__)) { failures++; printf("line %d: not so: %s\n", __LINE__, #__VA_ARGS__); } } while (0)
static int failures;

/* A pointer as the system hands it to the program: signed with key IA where that is on. */
static void *signed_pointer(void *code) {
  register void *signed_code __asm__("x17") = code;
  register uintptr_t salt __asm__("x16") = 0;
  __asm__("hint #8" : "+r"(signed_code) : "r"(salt)); /* pacia1716 */
  return signed_code;
}

/* ---- stand-ins for Core Foundation and the IO registry ---- */

typedef struct { uintptr_t type; char text[256]; } String;
static String system_answer = {7, "AGXMetalFake"}, key = {7, "MetalPluginName"};
static int released;

static uintptr_t type_of(const String *string) { return string->type; }
static uintptr_t type_of_strings(void) { return 7; }
static uint8_t get_text(const String *string, char *buffer, intptr_t size, uint32_t encoding) {
  snprintf(buffer, size, "%s", string->text);
  return 1;
}
static String *make_string(void *allocator, const char *bytes, intptr_t count, uint32_t encoding, uint8_t external) {
  String *string = calloc(1, sizeof *string);
  string->type = 7;
  memcpy(string->text, bytes, count);
  return string;
}
static void release_string(String *string) { released++; }
static String *retain_string(String *string) { return string; }

/* Preferences: none of them is set. A list and a dictionary hold at most four objects. */
typedef struct { uintptr_t type; int count; String *keys[4], *values[4]; } Collection;
static String true_value = {8, "true"}, *boolean_true = &true_value;
static int preferences_read;
static void *read_nothing(void) { preferences_read++; return NULL; }
static uint8_t read_no_boolean(String *asked, String *domain, uint8_t *exists) { preferences_read++; return *exists = 0; }
static Collection *read_many(Collection *asked, String *domain, void *user, void *host) {
  preferences_read++;
  return calloc(1, sizeof(Collection));
}
static intptr_t count_of(const Collection *list) { return list->count; }
static int find_in(const Collection *list, const String *value) {
  for (int at = 0; at < list->count; at++) if (!strcmp(list->keys[at]->text, value->text)) return at;
  return -1;
}
static uint8_t contains(const Collection *list, intptr_t from, intptr_t count, const String *value) {
  CHECK(from == 0 && count == list->count);
  return find_in(list, value) >= 0;
}
static Collection *copy_collection(void *allocator, intptr_t capacity, const Collection *from) {
  Collection *copy = malloc(sizeof *copy);
  return *copy = *from, copy;
}
static void set_value(Collection *dictionary, String *named, String *value) {
  CHECK(dictionary->count < 4);
  dictionary->keys[dictionary->count] = named;
  dictionary->values[dictionary->count++] = value;
}
static String *ask_registry(uint32_t entry, const String *asked, void *allocator, uint32_t options) {
  return strcmp(asked->text, key.text) ? NULL : &system_answer;
}

/* ---- stand-ins for dyld, libobjc and libSystem ---- */

static struct { uint32_t header[8]; uint32_t command, size; char name[16]; uint64_t address, length, rest[5]; } driver_image = {
  {0xfeedfacf, 0x0100000c, 0x80000002, 6, 1, 72, 0, 0}, 0x19, 72, "__TEXT", 0, 0x100, {0}};
static const char driver_path[] = "/System/Library/Extensions/AGXMetalFake.bundle/Contents/MacOS/AGXMetalFake";
static const char copy_path[] = "/Users/me/AGXMetalFake.bundle/Contents/MacOS/AGXMetalFake";
/* The device comes last, for a copy that has none. */
static const char *class_names[] = {
  "AGXFakeFamilyComputeContext", "AGXFakeFamilyBlitContext", "AGXFakeFamilyCommandBuffer", "AGXFakeDevice"};
static int images_watched, threads_started, exits_watched, classes_unknown, naps;
static void *(*watchdog)(void *);
static jmp_buf enough;
static void (*at_exit)(void);

/* The system's driver is loaded from the start, or Metal loads the one it finds. */
static int driver_is_loaded_by_metal, systems_loaded;
static void (*image_loaded)(const void *, intptr_t);
static void watch_images(void (*loaded)(const void *, intptr_t)) {
  images_watched++;
  image_loaded = loaded;
  systems_loaded = !driver_is_loaded_by_metal;
  if (systems_loaded) loaded(&driver_image, 0);
  else classes_unknown = 1;
}
/* The copy of the driver lies where the plug-in's name leads; a copy that is refused cannot be loaded. */
static int copy_is_refused, copy_has_no_device, copies_loaded;
static char copy_image[sizeof driver_image];
static void *load_image(const char *path, int mode) {
  int is_copy = !strcmp(path, copy_path);
  CHECK((is_copy || !strcmp(path, driver_path)) && mode == 5);
  if (is_copy && copy_is_refused) return NULL;
  memcpy(copy_image, &driver_image, sizeof driver_image);
  void *loaded = is_copy ? (void *)copy_image : &driver_image;
  if (!(is_copy ? copies_loaded : systems_loaded)) {
    /* dyld tells its own listeners first, then the runtime; a library that does nothing listens to nothing */
    if (image_loaded) image_loaded(loaded, 0);
    if (!is_copy) classes_unknown = 0;
  }
  *(is_copy ? &copies_loaded : &systems_loaded) += 1;
  return loaded;
}
static const char *load_error(void) { return "tried: '/Users/me' (not valid for use in process)"; }
static char *real_path(const char *path, char *resolved) { return strcpy(resolved, path); }
static int describe_address(const void *address, const void **answer) {
  int is_copy = (char *)address >= copy_image && (char *)address < copy_image + sizeof copy_image;
  answer[0] = is_copy ? copy_path : driver_path;
  answer[1] = is_copy ? (void *)copy_image : &driver_image;
  return 1;
}
static const char **classes_of_image(const char *path, unsigned *count) {
  const char **names = malloc(sizeof class_names);
  memcpy(names, class_names, sizeof class_names);
  *count = sizeof class_names / sizeof *class_names;
  if (!strcmp(path, copy_path)) *count = copies_loaded ? *count - copy_has_no_device : 0;
  else if (classes_unknown || strcmp(path, driver_path)) *count = 0;
  return names;
}

/* ---- libsystem_sandbox: which bundle a driver's name stands for; -1 for none ---- */

static int lookup_is_missing, bundles_looked_up;

/* A path without `..`, as realpath has it where there are no links. */
static void make_plain(char *path) {
  for (char *up; (up = strstr(path, "/.."));) {
    char *from = up;
    while (from > path && *--from != '/') {}
    memmove(from, up + 3, strlen(up + 3) + 1);
  }
}
/* Protections are on, so only what lies on the system's own volume is trusted. */
static int is_trusted(char *path) {
  make_plain(path);
  return !strncmp(path, "/System/", 8);
}
static int is_directory(char *path) {
  make_plain(path);
  return !strcmp(path, "/System/Library/Extensions/AGXMetalFake.bundle") || !strcmp(path, "/Users/me/AGXMetalFake.bundle");
}
static int find_trusted_bundle(const char *name, char *path, size_t length) {
  static const char *const places[] = {"/Library/GPUBundles", "/System/Library/Extensions"};
  bundles_looked_up++;
  for (int at = 0; at < 2; at++) {
    snprintf(path, length, "%s/%s.bundle", places[at], name);
    if (is_directory(path) && is_trusted(path)) return 0;
  }
  return -1;
}
static uintptr_t send(id object, SEL selector) { return ((uintptr_t (*)(id, SEL))objc_msg_lookup(object, selector))(object, selector); }
static void retain(id object) { send(object, @selector(retain)); }
static void release(id object) { send(object, @selector(release)); }

/* Thread-specific values: at address 0, where TPIDRRO_EL0 points to under qemu, or elsewhere, as on a system that moved them. */
static void **specific, *elsewhere[32];
static int make_key(uint64_t *made, void (*gone)(void *)) { *made = 17; return 0; }
static void *get_specific(uint64_t which) { return specific[which]; }
static int set_specific(uint64_t which, void *value) { specific[which] = value; return 0; }

/* What the race detector asks: the thread's number, its stack, its queue's label. */
static int thread_number(uintptr_t thread, uint64_t *number) { *number = 1234; return 0; }
static uintptr_t stack_size(uintptr_t thread) { return 1 << 20; }
static uintptr_t stack_top(uintptr_t thread) { return (uintptr_t)__builtin_frame_address(0) + 4096; }
static const char *label_of_queue(const void *queue) { return "com.apple.main-thread"; }

static int start_thread(void *thread, void *attributes, void *(*start)(void *), void *argument) {
  threads_started++;
  watchdog = start;
  return 0;
}
/* The watchdog is run by the only thread there is, until its third nap. */
static int nap(void *condition, void *mutex, const struct timespec *time) {
  if (naps++ == 2) longjmp(enough, 1);
  return 60; /* ETIMEDOUT */
}
static int watch_exit(void (*function)(void)) { exits_watched++; at_exit = function; return 0; }
static int mac_open(const char *path, int flags) {
  int ours = (flags & 3) | (flags & 0x200 ? O_CREAT : 0) | (flags & 0x400 ? O_TRUNC : 0) | (flags & 0x800 ? O_EXCL : 0);
  return open(path, ours, 0644);
}
static int mac_clock(int clock, struct timespec *time) { return clock_gettime(clock == 6 ? CLOCK_MONOTONIC : clock, time); }
typedef struct { void (*handler)(int); uint32_t mask; int flags; } MacAction;
static MacAction action_of_signal_30;
static int mac_sigaction(int number, const MacAction *new, MacAction *old) {
  if (number != 30) return -1;
  if (old) *old = action_of_signal_30;
  if (new) action_of_signal_30 = *new;
  return 0;
}
static int succeed(void) { return 0; }
static void *push_pool(void) { return &naps; }
static void pop_pool(void *pool) { CHECK(pool == &naps); }
static void zero(void *place, size_t size) { memset(place, 0, size); }
static void open_lock(uint32_t *lock) { CHECK(*lock == 1); *lock = 0; }
static void close_lock(uint32_t *lock) { CHECK(*lock == 0); *lock = 1; }
static void *find(void *handle, const char *name);

static const struct { const char *name; void *address; } symbols[] = {
  {"__Unwind_GetCFA", _Unwind_GetCFA}, {"_CFGetTypeID", type_of}, {"_CFStringGetTypeID", type_of_strings}, {"_CFStringGetCString", get_text},
  {"_CFStringCreateWithBytes", make_string}, {"_CFRelease", release_string}, {"_CFRetain", retain_string},
  {"_CFArrayGetCount", count_of}, {"_CFArrayContainsValue", contains}, {"_CFDictionaryCreateMutableCopy", copy_collection},
  {"_CFDictionarySetValue", set_value}, {"_kCFBooleanTrue", &boolean_true}, {"_CFPreferencesCopyAppValue", read_nothing},
  {"_CFPreferencesCopyValue", read_nothing}, {"_CFPreferencesCopyMultiple", read_many},
  {"_CFPreferencesGetAppBooleanValue", read_no_boolean}, {"_CFPreferencesGetAppIntegerValue", read_no_boolean},
  {"_IORegistryEntryCreateCFProperty", ask_registry}, {"__dyld_register_func_for_add_image", watch_images},
  {"_dlopen", load_image}, {"_dlerror", load_error}, {"_realpath$DARWIN_EXTSN", real_path},
  {"_dladdr", describe_address}, {"_dlsym", find}, {"_objc_copyClassNamesForImage", classes_of_image}, {"_objc_msgSend", send},
  {"_objc_retain", retain}, {"_objc_release", release}, {"_pthread_key_create", make_key}, {"_pthread_getspecific", get_specific},
  {"_pthread_setspecific", set_specific}, {"_pthread_create", start_thread}, {"_atexit", watch_exit}, {"_open", mac_open},
  {"_clock_gettime", mac_clock}, {"_sigaction", mac_sigaction}, {"_pthread_atfork", succeed}, {"_pthread_detach", succeed}, {"_pthread_self", pthread_self}, {"_pthread_getname_np", pthread_getname_np},
  {"_pthread_threadid_np", thread_number}, {"_pthread_get_stackaddr_np", stack_top}, {"_pthread_get_stacksize_np", stack_size},
  {"_dispatch_queue_get_label", label_of_queue}, {"_ftruncate", ftruncate}, {"_mmap", mmap},
  {"_pthread_mutex_lock", succeed}, {"_pthread_mutex_unlock", succeed}, {"_pthread_cond_broadcast", succeed},
  {"_pthread_cond_timedwait_relative_np", nap}, {"_os_unfair_lock_lock", close_lock}, {"_os_unfair_lock_unlock", open_lock}, {"_bzero", zero},
  {"_class_addMethod", class_addMethod}, {"_class_copyMethodList", class_copyMethodList},
  {"_class_getInstanceVariable", class_getInstanceVariable}, {"_class_getName", class_getName},
  {"_class_getSuperclass", class_getSuperclass}, {"_ivar_getOffset", ivar_getOffset}, {"_ivar_getTypeEncoding", ivar_getTypeEncoding},
  {"_method_getImplementation", method_getImplementation}, {"_method_getName", method_getName},
  {"_method_getTypeEncoding", method_getTypeEncoding}, {"_class_replaceMethod", class_replaceMethod}, {"_class_respondsToSelector", class_respondsToSelector},
  {"_object_getClass", object_getClass}, {"_objc_autoreleasePoolPush", push_pool}, {"_objc_autoreleasePoolPop", pop_pool},
  {"_objc_getClass", objc_getClass}, {"_sel_getName", sel_getName}, {"_sel_registerName", sel_registerName}, {"_abort", abort},
  {"_close", close}, {"_free", free}, {"_getenv", getenv}, {"_getpid", getpid}, {"_memcmp", memcmp}, {"_memcpy", memcpy},
  {"_memmove", memmove}, {"_memset", memset}, {"_posix_memalign", posix_memalign}, {"_sched_yield", sched_yield}, {"_strlen", strlen}, {"_unlink", unlink},
  {"_write", write}, {"dyld_stub_binder", abort}, {"_gpu_bundle_find_trusted", find_trusted_bundle},
};
static void *symbol(const char *name) {
  for (unsigned at = 0; at < sizeof symbols / sizeof *symbols; at++) if (!strcmp(symbols[at].name, name)) return symbols[at].address;
  printf("the library asks for %s, which the loader has not\n", name);
  exit(2);
}
static void *find(void *handle, const char *name) {
  char linked[64];
  snprintf(linked, sizeof linked, "_%s", name);
  return signed_pointer(symbol(linked));
}

/* ---- the loader ---- */

typedef struct { uint32_t command, size; char name[16]; uint64_t address, length, offset, bytes; uint32_t protections[2], sections, flags; } Segment;
typedef struct { char name[16], segment[16]; uint64_t address, size; uint32_t rest[8]; } Section;
typedef struct { uint32_t name; uint8_t type, section; uint16_t description; uint64_t value; } Symbol;

static char *image;
static Segment *segments[8];
static const Section *initialisers, *interposed;
static const uint32_t *fixups, *table;

static uint64_t number(const uint8_t **at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    value |= (uint64_t)(**at & 0x7f) << shift;
    if (!(*(*at)++ & 0x80)) return value;
  }
}

static void rebase(const uint8_t *at, const uint8_t *end) {
  char *place = NULL;
  while (at < end) {
    uint8_t low = *at & 15, code = *at++ & 0xf0;
    uint64_t count = 1, skip = 0;
    if (code == 0x00 || code == 0x10) continue;
    if (code == 0x20) { place = image + segments[low]->address + number(&at); continue; }
    if (code == 0x30) { place += number(&at); continue; }
    if (code == 0x40) { place += low * 8; continue; }
    if (code == 0x50) count = low;
    if (code == 0x60 || code == 0x80) count = number(&at);
    if (code == 0x70 || code == 0x80) skip = number(&at);
    for (; count; count--, place += 8 + skip) *(uint64_t *)place += (uintptr_t)image;
  }
}

static void bind(const uint8_t *at, const uint8_t *end) {
  char *place = NULL;
  int is_weak = 0;
  const char *name = NULL;
  while (at < end) {
    uint8_t low = *at & 15, code = *at++ & 0xf0;
    uint64_t count = 1, skip = 0;
    if (code == 0x00 || code == 0x10 || code == 0x30 || code == 0x50) continue;
    if (code == 0x20) { number(&at); continue; }
    if (code == 0x40) { name = (const char *)at; is_weak = low & 1; at += strlen(name) + 1; continue; }
    if (code == 0x70) { place = image + segments[low]->address + number(&at); continue; }
    if (code == 0x80) { place += number(&at); continue; }
    if (code == 0xc0) count = number(&at);
    if (code == 0xa0 || code == 0xc0) skip = number(&at);
    if (code == 0xb0) skip = low * 8;
    for (; count; count--, place += 8 + skip) {
      int is_missing = lookup_is_missing && !strcmp(name, "_gpu_bundle_find_trusted");
      CHECK(!is_missing || is_weak);
      *(void **)place = is_missing ? NULL : symbol(name);
    }
  }
}

static void load(const char *path) {
  int file = open(path, O_RDONLY), count = 0;
  off_t length = lseek(file, 0, SEEK_END);
  char *bytes = mmap(NULL, length, PROT_READ, MAP_PRIVATE, file, 0);
  if (bytes == MAP_FAILED) exit(2);
  uint64_t size = 0;
  char *command = bytes + 32;
  for (unsigned at = ((uint32_t *)bytes)[4]; at; at--, command += ((uint32_t *)command)[1]) {
    switch (*(uint32_t *)command & 0xff) {
    case 0x19:
      segments[count] = (Segment *)command;
      size = segments[count]->address + segments[count]->length;
      const Section *sections = (Section *)(segments[count] + 1);
      for (unsigned index = 0; index < segments[count]->sections; index++) {
        if (!strncmp(sections[index].name, "__mod_init_func", 16)) initialisers = &sections[index];
        if (!strncmp(sections[index].name, "__interpose", 16)) interposed = &sections[index];
      }
      count++;
      break;
    case 0x22: fixups = (uint32_t *)command + 2; break;
    case 0x02: table = (uint32_t *)command + 2; break;
    }
  }
  image = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int at = 0; at < count; at++) memcpy(image + segments[at]->address, bytes + segments[at]->offset, segments[at]->bytes);
  __builtin___clear_cache(image, image + size);
  const uint8_t *start = (uint8_t *)bytes;
  rebase(start + fixups[0], start + fixups[0] + fixups[1]);
  bind(start + fixups[2], start + fixups[2] + fixups[3]);
  bind(start + fixups[6], start + fixups[6] + fixups[7]);
}

static void *exported(const char *name) {
  const Symbol *all = (Symbol *)(image + segments[0]->address);
  char *linkedit = NULL;
  for (int at = 0; segments[at]; at++)
    if (!strcmp(segments[at]->name, "__LINKEDIT")) linkedit = image + segments[at]->address - segments[at]->offset;
  all = (Symbol *)(linkedit + table[0]);
  for (uint32_t at = 0; at < table[1]; at++)
    if (!strcmp(linkedit + table[2] + all[at].name, name)) return image + all[at].value;
  printf("the library has no %s\n", name);
  exit(2);
}

static void run_initialisers(void) {
  void (**functions)(void) = (void *)(image + initialisers->address);
  for (unsigned at = 0; at < initialisers->size / 8; at++) functions[at]();
}

/* What the program calls when it calls a function of the system's: the replacement, where there is one. */
static void *called(const char *name) {
  struct { void *replacement, *original; } *tuples = (void *)(image + interposed->address);
  for (unsigned at = 0; at < interposed->size / sizeof *tuples; at++)
    if (tuples[at].original == symbol(name)) return tuples[at].replacement;
  return symbol(name);
}

static String *ask_interposed(String *asked) {
  return ((String *(*)(uint32_t, String *, void *, uint32_t))called("_IORegistryEntryCreateCFProperty"))(1, asked, NULL, 0);
}

/* ---- Metal: asks for the driver's name, finds its bundle, and takes a class of it that is a device ---- */

static int is_device(const char *bundle) { return strncmp(bundle, "/Users/", 7) || !copy_has_no_device; }

/* The bundle whose driver makes the device; none where there is no device. */
static const char *make_device(void) {
  static char bundle[1024];
  const String *name = ask_interposed(&key);
  if (lookup_is_missing) {
    snprintf(bundle, sizeof bundle, "/System/Library/Extensions/%s.bundle", name->text);
    make_plain(bundle);
  } else {
    int (*find)(const char *, char *, size_t) = called("_gpu_bundle_find_trusted");
    if (find(name->text, bundle, sizeof bundle)) return NULL;
  }
  int is_copy = !strcmp(bundle, "/Users/me/AGXMetalFake.bundle");
  if (!load_image(is_copy ? copy_path : driver_path, 5)) return NULL;
  return is_device(bundle) ? bundle : NULL;
}

/* ---- the scenarios ---- */

static uint64_t counter(const char *name) { return ((uint64_t (*)(const char *))exported("_agx_guard_counter"))(name); }
static int hooked(void) { return ((int (*)(void))exported("_agx_guard_hooked_methods"))(); }

static void it_is_inert(void) {
  CHECK(ask_interposed(&key) == &system_answer && released == 0);
  CHECK(images_watched == 0 && threads_started == 0 && exits_watched == 0 && action_of_signal_30.handler == NULL);
  CHECK(hooked() == 0 && counter("calls") == 0);
  CHECK(((int (*)(void))exported("_agx_guard_is_active"))() == 0);
}

static void it_guards(void) {
  CHECK(images_watched == 1 && threads_started == 1);
  printf("%d methods hooked\n", hooked());
  CHECK(hooked() > 40);
  AGXFakeFamilyComputeContext *one = [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:nil config:1];
  Size size = {2, 3, 5};
  for (int at = 0; at < 1000; at++) [one dispatchThreads:size threadsPerThreadgroup:size];
  CHECK([one nest:100] == 100 && [one volumeOf:size] == 30);
  Region region = [one regionOf:size and:size];
  CHECK(region.extent.depth == 5 && [one lengthOf:(Vector){1, 2, 3, 4}] == 30);
  [one endEncoding];
  [one setComputePipelineState:nil];
  region = [one regionOf:size and:size];
  CHECK(region.extent.depth == 0 && [one device] == one);
  CHECK(fake_dispatched == 1001 && counter("refused_ended") == 2 && counter("encoders_ended") == 1);
  [one release];
  CHECK(fake_live_objects == 1);
  ((void (*)(void))exported("_agx_guard_sweep"))();
}

/* The runtime does not know the driver's classes yet when dyld tells of it. */
static void it_tries_again(void) {
  CHECK(images_watched == 1 && threads_started == 1 && hooked() == 0);
  classes_unknown = 0;
  if (!setjmp(enough)) watchdog(NULL);
  CHECK(hooked() > 40);
}

static void it_answers(void) {
  String other = {7, "MetalPluginClassName"};
  String *answer = ask_interposed(&key);
  CHECK(answer != &system_answer && !strcmp(answer->text, getenv("AGX_GUARD_PLUGIN")) && released == 1);
  CHECK(ask_interposed(&other) == NULL);
  CHECK(copies_loaded >= 1);
}

static void it_leaves_the_systems_answer(void) {
  copy_is_refused = 1;
  CHECK(ask_interposed(&key) == &system_answer && released == 0);
}

static int has_device_of(const char *bundle) {
  const char *found = make_device();
  printf("the device is of %s\n", found ? found : "no bundle");
  return found && !strcmp(found, bundle);
}
static void the_device_is_of_the_copy(void) {
  CHECK(has_device_of("/Users/me/AGXMetalFake.bundle") && copies_loaded > 0);
  CHECK(bundles_looked_up == 0); /* answered, or not there */
}
/* The watchdog's thread never runs here, so what is hooked is hooked before the device is handed out. */
static void it_hooks_in_time(const char *bundle) {
  CHECK(has_device_of(bundle));
  printf("%d methods hooked\n", hooked());
  CHECK(hooked() > 40);
}
static void the_device_is_of_the_system(void) { CHECK(has_device_of("/System/Library/Extensions/AGXMetalFake.bundle")); }

/* A name that leads to the copy, as the guard answered it before it knew of the lookup, is not trusted, though dyld would load it. */
static void a_name_alone_gives_no_device(void) {
  strcpy(system_answer.text, "../../../Users/me/AGXMetalFake");
  CHECK(make_device() == NULL && bundles_looked_up == 1);
}

/* A path of the wrong length is not written. */
static void a_short_buffer_gets_the_systems_answer(void) {
  char path[64];
  int (*find)(const char *, char *, size_t) = called("_gpu_bundle_find_trusted");
  memset(path, 'x', sizeof path);
  CHECK(find("AGXMetalFake", path, 29) != 0 && path[29] == 'x');
  CHECK(find("AGXMetalFake", path, 30) == 0 && !strcmp(path, "/Users/me/AGXMetalFake.bundle"));
  CHECK(find("AGXMetalOther", path, sizeof path) == -1);
}

/* Each reader, asked for a switch of coalescing and for something else. */
static void it_answers_preferences(int is_off) {
  String *(*app_value)(String *, String *) = called("_CFPreferencesCopyAppValue");
  String *(*value)(String *, String *, void *, void *) = called("_CFPreferencesCopyValue");
  uint8_t (*boolean)(String *, String *, uint8_t *) = called("_CFPreferencesGetAppBooleanValue");
  intptr_t (*integer)(String *, String *, uint8_t *) = called("_CFPreferencesGetAppIntegerValue");
  Collection *(*many)(Collection *, String *, void *, void *) = called("_CFPreferencesCopyMultiple");
  String metal = {7, "com.apple.Metal"}, own = {7, "com.example"}, other = {7, "disableConsistentPerfState"};
  String names[] = {{7, "disableEncoderCoalescing"}, {7, "disableComputeEncoderCoalescing"}, {7, "disableBlitEncoderCoalescing"}};
  String *expected = is_off ? boolean_true : NULL;
  uint8_t exists;
  for (int at = 0; at < 3; at++) {
    CHECK(app_value(&names[at], &metal) == expected && value(&names[at], &metal, NULL, NULL) == expected);
    CHECK(boolean(&names[at], &metal, &exists) == is_off && exists == is_off && integer(&names[at], &metal, &exists) == is_off);
  }
  CHECK(preferences_read == (is_off ? 0 : 12));
  CHECK(!app_value(&other, &metal) && !value(&other, &metal, NULL, NULL) && !boolean(&other, &metal, &exists) && !exists);
  Collection list = {9, 2, {&other, &names[2]}, {0}}, *answer = many(&list, &metal, NULL, NULL);
  CHECK(answer->count == is_off && (!is_off || (answer->values[0] == boolean_true && find_in(answer, &names[2]) == 0)));
  CHECK(many(NULL, &metal, NULL, NULL)->count == (is_off ? 3 : 0) && many(NULL, &own, NULL, NULL)->count == 0);
}

int main(int count, char **arguments) {
  const char *scenario = count > 2 ? arguments[2] : "";
  specific = strcmp(scenario, "moved") ? NULL : elsewhere;
  if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != NULL) {
    printf("address 0 cannot be mapped\n");
    return 2;
  }
  for (unsigned at = 0; at < sizeof class_names / sizeof *class_names; at++) {
    FakeObject *first = [objc_getClass(class_names[at]) alloc]; /* see hook_all in program.m */
    [first retainCount];
    free(first);
  }
  fake_live_objects = 0;
  classes_unknown = !strcmp(scenario, "late");
  int with_lookup = !strncmp(scenario, "lookup", 6);
  lookup_is_missing = !with_lookup || strstr(scenario, "missing");
  driver_is_loaded_by_metal = with_lookup;
  copy_is_refused = !strcmp(scenario, "lookup-refused");
  copy_has_no_device = !strcmp(scenario, "lookup-no-device");
  load(arguments[1]);
  if (getenv("CALLED_EARLY")) CHECK(ask_interposed(&key) == &system_answer);
  run_initialisers();
  if (!strcmp(scenario, "inert")) it_is_inert();
  else if (!strcmp(scenario, "guards") || !strcmp(scenario, "moved")) it_guards();
  else if (!strcmp(scenario, "late")) it_tries_again();
  else if (!strcmp(scenario, "answers")) it_answers();
  else if (!strcmp(scenario, "lookup") || !strcmp(scenario, "lookup-missing")) the_device_is_of_the_copy();
  else if (!strcmp(scenario, "lookup-refused") || !strcmp(scenario, "lookup-no-device") || !strcmp(scenario, "lookup-system")) the_device_is_of_the_system();
  else if (!strncmp(scenario, "lookup-hooks-copy", 17)) it_hooks_in_time("/Users/me/AGXMetalFake.bundle");
  else if (!strncmp(scenario, "lookup-hooks", 12)) it_hooks_in_time("/System/Library/Extensions/AGXMetalFake.bundle");
  else if (!strcmp(scenario, "lookup-name")) a_name_alone_gives_no_device();
  else if (!strcmp(scenario, "lookup-short")) a_short_buffer_gets_the_systems_answer();
  else if (!strcmp(scenario, "coalesces")) it_answers_preferences(0);
  else if (!strcmp(scenario, "coalescing-off")) it_answers_preferences(1);
  else if (!strcmp(scenario, "refused")) it_leaves_the_systems_answer();
  if (at_exit) at_exit();
  return failures ? 1 : 0;
}
