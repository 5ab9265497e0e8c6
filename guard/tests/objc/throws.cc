// C++ exceptions, as the driver's own code may throw them. Numbers, so that no header of a C++ library is needed.

extern "C" void throw_number(int number) { throw number; }

// Calls `body` and answers the number that was thrown out of it; 0 for none.
extern "C" int catch_number(void (*body)(void)) {
  try {
    body();
  } catch (int number) {
    return number;
  }
  return 0;
}
