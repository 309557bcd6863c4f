// What a dispatcher of kernel calls holds, between its making and its calls.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace treadle {

// What DLPack 1.x says of a tensor, and the C table by which a framework fills it in without an
// allocation or a synchronisation (dlpack.h: DLTensor, DLPackExchangeAPI).
struct TensorView {
  void* data;
  int32_t device, ordinal;
  int32_t rank;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t offset;
};

using ViewOf = int (*)(void*, TensorView*);

struct ExchangeTable {
  uint32_t major, minor;
  void* older;
  void *allocate, *managed_from, *managed_to;
  ViewOf view_of;
  void* stream_of;
};

inline constexpr size_t kMostOperands = 32;
inline constexpr size_t kMostSizes = 64;

// One operand's conditions. Weights, caches and index arrays are the same objects call after call:
// one that was seen twice in a row is remembered by a weak reference, with the sizes it had.
struct Guarded {
  size_t position;  // among the arguments
  bool steady;      // is remembered, and may be a torch.nn.Parameter
  bool gradient;    // its type can want one
  TensorView like;  // type and device
  // A dimension: -1 any, 2 * slot sets the slot, 2 * slot + 1 must equal it.
  std::vector<int32_t> dims;
  PyObject* last = nullptr;  // only compared with, never looked into
  nanobind::object known;    // a weak reference
  std::vector<int64_t> known_sizes;
};

struct Coordinate {
  size_t slot;
  int64_t less;
  int64_t per;  // slot, or -1
  int64_t per_less;
};

struct Relation {
  size_t slot, other;
  int64_t more;
};

// Either every guard holds and the table names a kernel, which is called, or `slow` answers: a
// function of the same arguments that tells why, counts it and lets the fallback work. So this
// class decides nothing but "surely a hit"; it may be stricter than `slow`, never laxer.
struct Dispatcher {
  PyObject_HEAD vectorcallfunc call;
  PyObject* dict;
  PyObject* weak;
  ViewOf view_of;
  getter wants_gradient;
  void* closure;
  size_t arguments;
  long shadow;
  bool straight;  // the kernel takes the arguments as they are
  nanobind::object tensor, parameter, descriptor, table, state, hit, none, fallback, slow, broken,
      shadowed;
  std::vector<Guarded> guards;
  std::vector<int64_t> sizes;
  std::vector<std::pair<nanobind::object, size_t>> host;
  std::vector<Relation> relations;
  std::vector<Coordinate> key;
  std::vector<std::pair<int64_t, nanobind::object>> passed;  // argument, or -1 and what is bound
};

// The call itself; a vectorcallfunc.
PyObject* dispatch(PyObject* object, PyObject* const* given, size_t flags, PyObject* names);

}  // namespace treadle
