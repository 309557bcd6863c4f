#include "support/pool.h"

#include <algorithm>

#if !defined(__wasm__)
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#endif

namespace treadle {

#if defined(__wasm__)

struct Pool::Shared {};

Pool::Pool(size_t) : helpers_(0) {}
Pool::~Pool() = default;

void Pool::run(size_t count, const std::function<void(size_t)>& round) {
  for (size_t i = 0; i < count; ++i) round(i);
}

size_t usual_threads() {
  return 1;
}

#else

struct Pool::Shared {
  // One loop. Rounds are drawn from a counter, so the caller can finish alone whatever becomes of
  // the helpers.
  struct Loop {
    Loop(size_t count, const std::function<void(size_t)>& round) : count(count), round(round) {}

    void work() {
      for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
        round(i);
        if (done.fetch_add(1) + 1 == count) {
          std::lock_guard guard(lock);
          finished.notify_all();
        }
      }
    }
    void wait() {
      std::unique_lock guard(lock);
      finished.wait(guard, [&] { return done.load() == count; });
    }

    const size_t count;
    const std::function<void(size_t)>&
        round;  // read for a drawn round only: the caller still waits
    std::atomic<size_t> next{0};
    std::atomic<size_t> done{0};
    std::mutex lock;
    std::condition_variable finished;
  };

  std::mutex lock;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Loop>> waiting;  // one entry a helper that is wanted
  bool started = false;
  bool closing = false;

  // pthreads, because std::thread throws when the system has none left. Nobody joins them: a child
  // of fork() would wait for threads that it does not have.
  static void start(const std::shared_ptr<Shared>& self, size_t helpers) {
    self->started = true;
    for (size_t i = 0; i < helpers; ++i) {
      auto* keep = new std::shared_ptr<Shared>(self);
      pthread_t thread{};
      if (pthread_create(&thread, nullptr, &Shared::serve, keep) != 0) {
        delete keep;
        return;
      }
      pthread_detach(thread);
    }
  }

  static void* serve(void* given) {
    std::unique_ptr<std::shared_ptr<Shared>> keep(static_cast<std::shared_ptr<Shared>*>(given));
    const std::shared_ptr<Shared>& shared = *keep;
    std::unique_lock guard(shared->lock);
    while (true) {
      shared->changed.wait(guard, [&] { return shared->closing || !shared->waiting.empty(); });
      if (shared->closing) return nullptr;
      std::shared_ptr<Loop> loop = std::move(shared->waiting.front());
      shared->waiting.pop_front();
      guard.unlock();
      loop->work();
      loop.reset();
      guard.lock();
    }
  }
};

Pool::Pool(size_t threads)
    : helpers_(threads > 0 ? threads - 1 : 0), shared_(std::make_shared<Shared>()) {}

Pool::~Pool() {
  {
    std::lock_guard guard(shared_->lock);
    shared_->closing = true;
  }
  shared_->changed.notify_all();
}

void Pool::run(size_t count, const std::function<void(size_t)>& round) {
  size_t wanted = std::min(helpers_, count > 0 ? count - 1 : 0);
  if (wanted == 0) {
    for (size_t i = 0; i < count; ++i) round(i);
    return;
  }
  auto loop = std::make_shared<Shared::Loop>(count, round);
  {
    std::lock_guard guard(shared_->lock);
    if (!shared_->started) Shared::start(shared_, helpers_);
    for (size_t i = 0; i < wanted; ++i) shared_->waiting.push_back(loop);
  }
  shared_->changed.notify_all();
  loop->work();
  {
    std::lock_guard guard(shared_->lock);  // nobody needs to come any more
    std::erase(shared_->waiting, loop);
  }
  loop->wait();
}

size_t usual_threads() {
  size_t cores = std::thread::hardware_concurrency();
  return std::clamp<size_t>(cores / 2, 1, 8);
}

#endif

}  // namespace treadle
