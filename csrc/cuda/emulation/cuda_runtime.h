// CUDA C++ on the CPU, as far as the kernels in csrc/cuda use it: enough to run the ops' tests, and the sanitizers, on
// machines without a GPU. Found in place of CUDA's own header when the kernels are compiled by a C++ compiler.
//
// Blocks run one after the other. A block's threads are fibers: one runs until it waits for others. Every second block
// runs its threads in reverse order, so that a forgotten barrier shows; every block finds its shared memory poisoned,
// so that a value read before it was written shows.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define TAGNN_FAST_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Nothing stands for __shared__: kernels ask static_shared() and dynamic_shared() of device.h, whose memory is
// poisoned.

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_in = 1, unsigned y_in = 1, unsigned z_in = 1) : x(x_in), y(y_in), z(z_in) {}
};

namespace emulation {

constexpr unsigned kWarp = 32;

// Where all fibers of a group wait for the last.
struct Barrier {
  unsigned expected = 0, arrived = 0, generation = 0;
};

struct Fiber {
  ucontext_t entry;
  jmp_buf place;
  std::unique_ptr<char[]> stack;
  dim3 thread;
  bool started = false, finished = false;
};

struct Warp {
  Barrier barrier;
  unsigned char exchanged[kWarp][64];
};

class Block {
 public:
  static Block& current() {
    static thread_local Block block;
    return block;
  }

  dim3 grid, block, index;
  unsigned char* dynamic_shared() { return shared_.get(); }
  // One object for all blocks, as they run one after the other; each finds it poisoned.
  template <class Memory>
  Memory& static_shared() {
    static thread_local Memory* memory = nullptr;
    if (memory == nullptr) {
      static_shared_.push_back({std::unique_ptr<unsigned char[]>(new unsigned char[sizeof(Memory)]), sizeof(Memory)});
      memory = reinterpret_cast<Memory*>(static_shared_.back().bytes.get());
      poison(static_shared_.back());
    }
    return *memory;
  }
  const dim3& thread() const { return fibers_[running_]->thread; }
  unsigned lane() const { return running_ % kWarp; }
  Warp& warp() { return warps_[running_ / kWarp]; }
  Barrier& all() { return barrier_; }

  void run(const dim3& grid_in, unsigned threads, size_t shared, const std::function<void()>& kernel) {
    kernel_ = &kernel;
    grid = grid_in;
    block = dim3(threads);
    while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
    unsigned number = 0;
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
          index = dim3(x, y, z);
          shared_.reset(new unsigned char[shared]);
          std::memset(shared_.get(), kPoison, shared);
          for (const Shared& memory : static_shared_) poison(memory);
          run_block(threads, number++ % 2 == 1);
        }
      }
    }
  }

  void wait(Barrier& barrier) {
    const unsigned generation = barrier.generation;
    if (++barrier.arrived >= barrier.expected) {
      release(barrier);
      return;
    }
    while (barrier.generation == generation) yield();
  }

 private:
  struct Shared {
    std::unique_ptr<unsigned char[]> bytes;
    size_t size;
  };

  static void poison(const Shared& memory) { std::memset(memory.bytes.get(), kPoison, memory.size); }

  void release(Barrier& barrier) {
    barrier.arrived = 0;
    ++barrier.generation;
    idle_ = 0;
  }

  void run_block(unsigned threads, bool reverse) {
    threads_ = threads;
    step_ = reverse ? threads - 1 : 1;
    unfinished_ = threads;
    idle_ = 0;
    barrier_ = Barrier{threads};
    warps_.assign((threads + kWarp - 1) / kWarp, Warp{});
    for (unsigned t = 0; t < threads; ++t) {
      Fiber& fiber = *fibers_[t];
      fiber.thread = dim3(t, 0, 0);
      fiber.started = fiber.finished = false;
      ++warps_[t / kWarp].barrier.expected;
    }
    running_ = reverse ? threads - 1 : 0;
    if (_setjmp(scheduler_) == 0) resume();
    else returned();
  }

  void resume() {
    Fiber& fiber = *fibers_[running_];
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    leaving_for(fiber.stack.get(), kStack, !fiber.started);
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = kStack;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, &Block::start, 0);
    setcontext(&fiber.entry);
  }

  static void start() {
    Block& block = current();
    block.arrived();
    (*block.kernel_)();
    block.finish();
  }

  // Threads that have returned count as arrived at every barrier, as in CUDA.
  void finish() {
    fibers_[running_]->finished = true;
    idle_ = 0;
    for (Barrier* barrier : {&barrier_, &warp().barrier}) {
      --barrier->expected;
      if (barrier->expected > 0 && barrier->arrived >= barrier->expected) release(*barrier);
    }
    if (--unfinished_ == 0) {
      leaving_for(scheduler_stack_, scheduler_stack_size_, false);
      _longjmp(scheduler_, 1);
    }
    next();
    resume();
  }

  void yield() {
    if (++idle_ > 4 * threads_) {
      std::fprintf(stderr, "emulation: threads wait for each other at different barriers\n");
      std::abort();
    }
    if (_setjmp(fibers_[running_]->place) == 0) {
      next();
      resume();
    }
    arrived();
  }

  void next() {
    do running_ = (running_ + step_) % threads_;
    while (fibers_[running_]->finished);
  }

  // The address sanitizer is told whenever another stack comes into use. A fiber's last run ended without returning, so
  // its stack is cleared of that run's marks.
#if defined(__SANITIZE_ADDRESS__)
  void leaving_for(const void* stack, size_t size, bool afresh) {
    if (afresh) __asan_unpoison_memory_region(stack, size);
    __sanitizer_start_switch_fiber(nullptr, stack, size);
  }
  void arrived() {
    const void* before = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &before, &size);
    if (scheduler_stack_ != nullptr) return;
    scheduler_stack_ = before;  // the first fiber is started from there
    scheduler_stack_size_ = size;
  }
  // The calls that led to the first fiber did not return either.
  void returned() {
    constexpr size_t kTheirStack = 16 << 10;
    __asan_unpoison_memory_region(static_cast<char*>(__builtin_frame_address(0)) - kTheirStack, kTheirStack);
    arrived();
  }
#else
  void leaving_for(const void*, size_t, bool) {}
  void arrived() {}
  void returned() {}
#endif

  static constexpr size_t kStack = 128 << 10;
  static constexpr int kPoison = 0xFF;  // not a number, negative, a pointer to nowhere: as long as nothing is written
  const std::function<void()>* kernel_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  Barrier barrier_;
  std::unique_ptr<unsigned char[]> shared_;
  std::vector<Shared> static_shared_;
  jmp_buf scheduler_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_size_ = 0;
  unsigned running_ = 0, threads_ = 0, step_ = 1, unfinished_ = 0, idle_ = 0;
};

// Every lane's value, in the warp's memory; the caller reads some and calls done().
template <class T>
inline void exchange(const T& value) {
  static_assert(sizeof(T) <= sizeof(Warp{}.exchanged[0]));
  Block& block = Block::current();
  std::memcpy(block.warp().exchanged[block.lane()], &value, sizeof(T));
  block.wait(block.warp().barrier);
}
template <class T>
inline T exchanged(unsigned lane) {
  T value;
  std::memcpy(&value, Block::current().warp().exchanged[lane % kWarp], sizeof(T));
  return value;
}
inline void done() { Block::current().wait(Block::current().warp().barrier); }

// mma.m16n8 with kInner values of k: lane l has rows l / 4 and l / 4 + 8 of a, and column l / 4 of b; of k it has a
// quarter, in words that each hold kInner / 8 values. value(words, k) is number k of a row's words, put in order here.
template <int kInner, class Value>
inline void multiply_accumulate(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Value& value) {
  struct Words {
    uint32_t a[4], b[2];
  };
  Words own;
  std::memcpy(own.a, a, sizeof own.a);
  std::memcpy(own.b, b, sizeof own.b);
  exchange(own);
  const unsigned lane = Block::current().lane();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    uint32_t row_words[8], column_words[8];
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      const Words of_row = exchanged<Words>(row % 8 * 4 + quarter), of_column = exchanged<Words>(column * 4 + quarter);
      for (unsigned half = 0; half < 2; ++half) {
        row_words[half * 4 + quarter] = of_row.a[half * 2 + row / 8];
        column_words[half * 4 + quarter] = of_column.b[half];
      }
    }
    for (int k = 0; k < kInner; ++k) d[i] += value(row_words, k) * value(column_words, k);
  }
  done();
}

}  // namespace emulation

#define threadIdx (::emulation::Block::current().thread())
#define blockIdx (::emulation::Block::current().index)
#define blockDim (::emulation::Block::current().block)
#define gridDim (::emulation::Block::current().grid)

inline void __syncthreads() { emulation::Block::current().wait(emulation::Block::current().all()); }
inline void __syncwarp() { emulation::done(); }
template <class T>
inline T __shfl_sync(unsigned, T value, int lane) {
  emulation::exchange(value);
  const T result = emulation::exchanged<T>(static_cast<unsigned>(lane));
  emulation::done();
  return result;
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return __shfl_sync(mask, value, static_cast<int>(emulation::Block::current().lane()) ^ bits);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  const int lane = static_cast<int>(emulation::Block::current().lane());
  return __shfl_sync(mask, value, lane < static_cast<int>(distance) ? lane : lane - static_cast<int>(distance));
}
inline unsigned __ballot_sync(unsigned, bool value) {
  emulation::exchange(value);
  unsigned result = 0;
  for (unsigned lane = 0; lane < emulation::kWarp; ++lane) {
    result |= (emulation::exchanged<bool>(lane) ? 1u : 0u) << lane;
  }
  emulation::done();
  return result;
}
inline int __ffs(int value) { return __builtin_ffs(value); }
inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
