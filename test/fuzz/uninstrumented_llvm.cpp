// LLVM's libraries come without sanitizers, and its headers bring allocators into instrumented code
// that poison what code of the libraries then uses. Only this poisoning is off.
extern "C" __attribute__((visibility("default"))) const char *__asan_default_options() {
  return "allow_user_poisoning=0";
}
