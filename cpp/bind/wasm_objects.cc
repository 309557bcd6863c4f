#include "bind/wasm_objects.h"

#include <algorithm>
#include <cstring>

namespace treadle::wasm {

namespace {

constexpr uint32_t kPage = 64 << 10;

// Whole numbers, which all budgets are.
void put_number(std::string& out, double value) {
  constexpr double kMost = 9007199254740992.0;  // 2^53
  out += std::to_string(static_cast<int64_t>(std::clamp(value, -kMost, kMost)));
}

}  // namespace

Handle Table::add(Object object) {
  uint32_t index = static_cast<uint32_t>(places_.size());
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (index < kPlaces) {
    places_.emplace_back();
  } else {
    return 0;
  }
  places_[index].object = std::move(object);
  ++live_;
  return places_[index].generation << kPlaceBits | index;
}

Table::Place* Table::find(Handle handle) {
  uint32_t index = handle & (kPlaces - 1);
  if (index >= places_.size() || places_[index].generation != handle >> kPlaceBits) return nullptr;
  return &places_[index];
}

void Table::free_place(uint32_t index) {
  Place& place = places_[index];
  Object gone = std::move(place.object);
  place.object = std::monostate{};
  --live_;
  if (++place.generation < kGenerations) free_.push_back(index);
}

Module& module() {
  static Module* const only = new Module();  // never destroyed: the program ends with its memory
  return *only;
}

int32_t fail(Status status, std::string_view kind) {
  module().error = std::move(status);
  module().kind = kind;
  return -static_cast<int32_t>(module().error.code);
}

int32_t keep(Object object) {
  Handle handle = module().table.add(std::move(object));
  if (handle) return static_cast<int32_t>(handle);
  return fail(limit_exceeded("handles", Table::kPlaces + 1.0, Table::kPlaces));
}

std::optional<std::string_view> bytes_at(uint32_t address, uint32_t length) {
  uint64_t memory = uint64_t{__builtin_wasm_memory_size(0)} * kPage;
  if (uint64_t{address} + length > memory) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(address), length);
}

std::optional<std::span<uint32_t>> words_at(uint32_t address, uint32_t count) {
  uint64_t memory = uint64_t{__builtin_wasm_memory_size(0)} * kPage;
  if (address % 4 != 0 || address + uint64_t{count} * 4 > memory) return std::nullopt;
  return std::span(reinterpret_cast<uint32_t*>(address), count);
}

int32_t fail_address(std::string_view what) {
  return fail(invalid_request(std::string(what), "the address lies outside the module's memory"));
}

int32_t copy_out(std::string_view text, uint32_t address, uint32_t capacity) {
  if (capacity > 0) {
    if (!bytes_at(address, capacity)) return fail_address("buffer");
    std::memcpy(reinterpret_cast<void*>(address), text.data(),
                std::min<size_t>(text.size(), capacity));
  }
  return static_cast<int32_t>(text.size());
}

void put_json(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

std::string error_json(const Status& status, std::string_view kind) {
  std::string out = "{\"code\":";
  put_json(out, code_name(status.code));
  out += ",\"kind\":";
  put_json(out, kind);
  out += ",\"message\":";
  put_json(out, status.text);
  out += ",\"at\":";
  put_json(out, status.at);
  out += ",\"reason\":";
  put_json(out, reason_name(status.reason));
  out += ",\"keyword\":";
  put_json(out, status.keyword);
  out += ",\"limit\":";
  put_json(out, status.limit);
  out += ",\"value\":";
  put_number(out, status.value);
  out += ",\"maximum\":";
  put_number(out, status.maximum);
  out += '}';
  return out;
}

}  // namespace treadle::wasm
