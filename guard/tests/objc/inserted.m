/* The scenarios of a Mac that begin without a driver: `inserted NAME`, with the guard inserted by dyld; exit 0 when all held. The driver,
 * AGXMetalFake.bundle beside this program, is loaded by path, as Metal does it, and reached by messages alone. */
#include "fake_driver.h"
#include "platform.h"

#include <CoreFoundation/CoreFoundation.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DRIVER "AGXMetalFake.bundle/Contents/MacOS/AGXMetalFake"

/* libsystem_sandbox's, by which Metal finds a driver's bundle. Not every macOS has it. */
extern int gpu_bundle_find_trusted(const char *name, char *path, size_t length) __attribute__((weak_import));

static int failures;
#define CHECK(...) do { if (!(__VA_ARGS__)) { failures++; printf("line %d: not so: %s\n", __LINE__, #__VA_ARGS__); } } while (0)

static id new_encoder(void) {
  id one = [objc_getClass("AGXFakeFamilyComputeContext") alloc];
  return [(AGXFakeFamilyComputeContext *)one initWithCommandBuffer:nil config:1];
}

/* Ends the encoder and uses it once more, which must be refused. */
static void is_guarded(AGXFakeFamilyComputeContext *one) {
  [one setComputePipelineState:nil];
  [one endEncoding];
  [one setComputePipelineState:nil];
  CHECK(agx_guard_counter("encoders_ended") == 1 && agx_guard_counter("refused_ended") == 1);
}

/* dyld tells of the image before the runtime knows its classes, so an encoder may be made before they are hooked. */
static void a_driver_loaded_by_path_is_hooked_soon(const char *driver) {
  CHECK(agx_guard_hooked_methods() == 0 && dlopen(driver, RTLD_LAZY | RTLD_LOCAL));
  id one = new_encoder();
  int came_late = agx_guard_hooked_methods() == 0;
  for (int at = 0; at < 5000 && !agx_guard_hooked_methods(); at++) usleep(1000);
  CHECK(agx_guard_hooked_methods() > 100);
  is_guarded(one);
  printf("the encoder was made %s the hooks\n", came_late ? "before" : "after");
  CHECK(!came_late || agx_guard_counter("encoders_adopted") == 1);
}

static void the_lookup_is_answered_and_the_driver_hooked(const char *driver) {
  char path[1024] = "";
  CHECK(gpu_bundle_find_trusted && gpu_bundle_find_trusted("AGXMetalFake", path, sizeof path) == 0);
  printf("the lookup answers %s\n", path);
  size_t length = strlen(path);
  CHECK(length && !strncmp(driver, path, length) && !strcmp(driver + length, "/Contents/MacOS/AGXMetalFake"));
  CHECK(agx_guard_hooked_methods() > 100);
  CHECK(dlopen(driver, RTLD_LAZY | RTLD_LOCAL));
  is_guarded(new_encoder());
}

static void preferences_say_that_coalescing_is_off(const char *driver) {
  CFStringRef key = CFStringCreateWithCString(NULL, "disableEncoderCoalescing", kCFStringEncodingUTF8);
  CFStringRef domain = CFStringCreateWithCString(NULL, "com.apple.Metal", kCFStringEncodingUTF8);
  Boolean exists = 0;
  CHECK(CFPreferencesGetAppBooleanValue(key, domain, &exists) && exists);
  CFPropertyListRef value = CFPreferencesCopyAppValue(key, domain);
  CHECK(value && CFEqual(value, kCFBooleanTrue));
  CHECK(dlopen(driver, RTLD_LAZY | RTLD_LOCAL)); /* without a driver there is no report of one */
}

int main(int count, char **arguments) {
  const char *name = count > 1 ? arguments[1] : "";
  char driver[1024];
  const char *end = strrchr(arguments[0], '/');
  snprintf(driver, sizeof driver, "%.*s" DRIVER, end ? (int)(end + 1 - arguments[0]) : 0, arguments[0]);
  if (!strcmp(name, "late")) a_driver_loaded_by_path_is_hooked_soon(driver);
  else if (!strcmp(name, "lookup")) the_lookup_is_answered_and_the_driver_hooked(driver);
  else if (!strcmp(name, "no-coalescing")) preferences_say_that_coalescing_is_off(driver);
  else if (strcmp(name, "unhooked")) return 2;
  return failures ? 1 : 0;
}
