#include "tokens/detok.h"

#include <algorithm>
#include <utility>

namespace treadle {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of the character that `lead` begins; 0 when it begins none.
uint8_t announced(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// Whether `byte` may stand second after `lead`: this is where overlong forms, surrogates and
// values beyond U+10FFFF are told apart, so a held prefix can always become a character.
bool may_follow(uint8_t lead, uint8_t byte) {
  uint8_t lo = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t hi = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return byte >= lo && byte <= hi;
}

}  // namespace

void Utf8Stream::drop(std::string& out) {
  out += kReplacement;
  held_ = 0;
}

void Utf8Stream::push_byte(uint8_t byte, std::string& out) {
  if (held_ > 0) {
    bool fits = held_ == 1 ? may_follow(bytes_[0], byte) : (byte & 0xC0) == 0x80;
    if (fits) {
      bytes_[held_++] = byte;
      if (held_ == length_) {
        for (uint8_t i = 0; i < length_; ++i) out.push_back(static_cast<char>(bytes_[i]));
        held_ = 0;
      }
      return;
    }
    drop(out);  // and the byte is looked at afresh
  }
  length_ = announced(byte);
  if (length_ == 1) {
    out.push_back(static_cast<char>(byte));
  } else if (length_ == 0) {
    out += kReplacement;
  } else {
    bytes_[held_++] = byte;
  }
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  for (char c : bytes) push_byte(static_cast<uint8_t>(c), out);
}

void Utf8Stream::flush(std::string& out) {
  if (held_ > 0) drop(out);
}

Result<TokenBytes> TokenBytes::make(std::string_view text, std::span<const uint32_t> ends) {
  if (!std::is_sorted(ends.begin(), ends.end()) ||
      (ends.empty() ? 0 : size_t{ends.back()}) != text.size()) {
    return invalid_request("ends", "must ascend to the size of the text");
  }
  TokenBytes out;
  out.block_->text = text;
  out.block_->ends.reserve(ends.size());
  for (uint32_t end : ends) out.block_->ends.push_back(end);
  return out;
}

void TokenBytes::reserve(size_t tokens, size_t bytes) {
  block_->ends.reserve(tokens);
  block_->text.reserve(bytes);
}

void TokenBytes::add(std::string_view bytes) {
  block_->text += bytes;
  block_->ends.push_back(static_cast<uint32_t>(block_->text.size()));
}

std::string_view TokenBytes::at(uint32_t id) const {
  const Offsets& ends = block_->ends;
  if (id >= ends.size() || std::binary_search(silent_.begin(), silent_.end(), id)) return {};
  const size_t begin = id == 0 ? 0 : ends[id - 1];
  return std::string_view(block_->text).substr(begin, ends[id] - begin);
}

TokenBytes TokenBytes::without(std::vector<uint32_t> ids) const {
  TokenBytes out = *this;
  ids.insert(ids.end(), silent_.begin(), silent_.end());
  std::sort(ids.begin(), ids.end());
  out.silent_ = std::move(ids);
  return out;
}

void Detokeniser::push(std::span<const uint32_t> ids, std::string& out) {
  for (uint32_t id : ids) push_bytes(table_->at(id), out);
}

void Detokeniser::push_bytes(std::string_view bytes, std::string& out) {
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    if (bytes.front() == ' ') bytes.remove_prefix(1);
  }
  stream_.push(bytes, out);
}

void Detokeniser::flush(std::string& out) {
  stream_.flush(out);
  at_start_ = strip_space_;
}

}  // namespace treadle
