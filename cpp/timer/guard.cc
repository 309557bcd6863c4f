#include "timer/guard.h"

#include <signal.h>
#include <unistd.h>

#include <initializer_list>

namespace treadle {

namespace {

// A signal handler has no argument of its own, so what it needs lies here.
struct State {
  Word* fault = nullptr;
  Word* detail = nullptr;
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

State state;

void report(Fault fault, uint64_t detail) {
  state.detail->value.store(detail, std::memory_order_relaxed);
  state.fault->value.store(static_cast<uint64_t>(fault), std::memory_order_seq_cst);
  _exit(70);
}

void on_signal(int number, siginfo_t* info, void*) {
  if (number == SIGSYS) report(Fault::system_call, static_cast<uint64_t>(info->si_syscall));
  if (number == SIGFPE || number == SIGILL)
    report(Fault::arithmetic, static_cast<uint64_t>(number));
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  if (at >= state.begin && at < state.end) report(Fault::input_written, at - state.begin);
  report(Fault::address, at);
}

}  // namespace

bool guard(Word& fault, Word& detail, const void* inputs, size_t size) {
  state.fault = &fault;
  state.detail = &detail;
  state.begin = reinterpret_cast<uintptr_t>(inputs);
  state.end = state.begin + size;
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  bool good = true;
  for (const int number : {SIGSEGV, SIGBUS, SIGSYS, SIGFPE, SIGILL}) {
    good = sigaction(number, &action, nullptr) == 0 && good;
  }
  return good;
}

}  // namespace treadle
