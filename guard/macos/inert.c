/* The x86_64 slice. A process under Rosetta drives another GPU stack than the one the guard is for; but a library that is to be
 * inserted and has no slice for a process ends that process. So this one loads, says so once, and does nothing. */

extern char *getenv(const char *name);
extern long write(int file, const void *bytes, unsigned long count);
extern unsigned long strlen(const char *text);

__attribute__((visibility("default"))) int agx_guard_is_active(void) { return 0; }

__attribute__((constructor)) static void say_so(void) {
  static const char text[] = "agx-guard: this process runs x86_64 code; the guard is loaded and does nothing\n";
  const char *mode = getenv("AGX_GUARD");
  int off = mode && mode[0] == 'o' && mode[1] == 'f' && mode[2] == 'f' && !mode[3];
  if (!off && !getenv("AGX_GUARD_QUIET")) write(2, text, sizeof text - 1);
}
