// A process that has computed may fork, and both go on. GNU's OpenMP keeps its threads from one parallel loop to the
// next; a forked child does not have them and would wait for them for ever. So they are let go before a fork: the next
// loop of either process starts new ones. It makes PyTorch's own ops safe, too.
#include <dlfcn.h>
#include <pthread.h>

#include "../registration.h"

namespace tagnn_fast::cpu {
namespace {

// Declared here, and looked up: which OpenMP there is, if any, is PyTorch's choice.
int (*pause_resources)(int) = nullptr;

void let_threads_go() {
  constexpr int kSoft = 1;
  if (pause_resources != nullptr) pause_resources(kSoft);
}

bool prepare_forks() {
  if (!registers()) return false;
  pause_resources = reinterpret_cast<int (*)(int)>(dlsym(RTLD_DEFAULT, "omp_pause_resource_all"));
  return pthread_atfork(&let_threads_go, nullptr, nullptr) == 0;
}

[[maybe_unused]] const bool kPrepared = prepare_forks();

}  // namespace
}  // namespace tagnn_fast::cpu
