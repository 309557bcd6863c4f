// What the module keeps for its caller: objects behind handles, and the last error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bind/reading.h"
#include "grammar/run/matcher.h"
#include "support/result.h"

namespace treadle::wasm {

// A number above 0: the place of an object in the table, and how often that place was used before.
using Handle = uint32_t;

using Object = std::variant<std::monostate, VocabRef, std::unique_ptr<Reading>,
                            std::unique_ptr<Compiler>, CompiledRef, std::unique_ptr<Matcher>>;

// A freed handle is refused for ever: a place whose generations are spent is not used again.
class Table {
 public:
  static constexpr uint32_t kPlaceBits = 18;
  static constexpr uint32_t kPlaces = 1u << kPlaceBits;
  static constexpr uint32_t kGenerations = 1u << (31 - kPlaceBits);

  // 0 when the table is full.
  Handle add(Object object);
  // The object behind the handle, or null when there is none of this type.
  template <class T>
  T* get(Handle handle) {
    Place* place = find(handle);
    return place ? std::get_if<T>(&place->object) : nullptr;
  }
  // False when there is no such object.
  template <class T>
  bool drop(Handle handle) {
    if (!get<T>(handle)) return false;
    free_place(handle & (kPlaces - 1));
    return true;
  }
  uint32_t live() const { return live_; }

 private:
  struct Place {
    Object object;
    uint32_t generation = 1;  // so that no handle is 0
  };
  Place* find(Handle handle);
  void free_place(uint32_t index);

  std::vector<Place> places_;
  std::vector<uint32_t> free_;
  uint32_t live_ = 0;
};

struct Module {
  Table table;
  Status error;
  std::string kind;  // the source language the error is about
};

// The one object of this program that outlives a call.
Module& module();

// Stores the error; what every failing call returns: minus its code.
int32_t fail(Status status, std::string_view kind = "grammar");

// Adds an object; its handle, or an error.
int32_t keep(Object object);

// The bytes that a caller points at; nothing when they do not lie in memory.
std::optional<std::string_view> bytes_at(uint32_t address, uint32_t length);
std::optional<std::span<uint32_t>> words_at(uint32_t address, uint32_t count);
int32_t fail_address(std::string_view what);

// Copies as much of `text` as fits; returns its whole length.
int32_t copy_out(std::string_view text, uint32_t address, uint32_t capacity);

// Appends `text` as a JSON string.
void put_json(std::string& out, std::string_view text);
// {code, kind, message, at, reason, keyword, limit, value, maximum}
std::string error_json(const Status& status, std::string_view kind);

// Calls `use` with the object behind `handle`; a stale or foreign handle is an error.
template <class T, class Use>
int32_t with(Handle handle, std::string_view what, Use use) {
  T* object = module().table.get<T>(handle);
  if (object) return use(*object);
  return fail(invalid_request(std::string(what), "handle " + std::to_string(handle) +
                                                     " stands for nothing: it was freed, or it "
                                                     "belongs to something else"));
}

template <class T>
int32_t drop(Handle handle, std::string_view what) {
  return with<T>(handle, what, [&](T&) { return module().table.drop<T>(handle) ? 0 : -1; });
}

}  // namespace treadle::wasm
