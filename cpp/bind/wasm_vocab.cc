// Vocabularies: from one block of bytes.
#include <cstring>

#include "bind/wasm_objects.h"

namespace treadle::wasm {

namespace {

// vocab.bin, format 1, little endian:
//   u32 magic "TRV1", tokens, width V (0: as many as tokens), stop ids, bytes of text
//   u32 stop id ...; u32 bytes of token ...; u8 kind of token ... (TokenKind); the text
struct Header {
  uint32_t magic, tokens, width, stops, text;
};
constexpr uint32_t kMagic = 0x31565254;

Status malformed(std::string text) {
  return grammar_error(Reason::format, "vocab", std::move(text));
}

class Block {
 public:
  explicit Block(std::string_view data) : data_(data) {}
  std::string_view take(size_t size) {
    std::string_view out = data_.substr(0, size);
    data_.remove_prefix(out.size());
    return out;
  }
  uint32_t word() {
    uint32_t out = 0;
    std::memcpy(&out, take(sizeof out).data(), sizeof out);
    return out;
  }

 private:
  std::string_view data_;
};

Result<VocabRef> load(std::string_view data) {
  Header header{};
  if (data.size() < sizeof header) return malformed("the header is cut short");
  std::memcpy(&header, data.data(), sizeof header);
  if (header.magic != kMagic) return malformed("it does not begin with TRV1");
  uint64_t size = sizeof header + uint64_t{header.stops} * 4 + uint64_t{header.tokens} * 5;
  if (size + header.text != data.size()) {
    return malformed("it has " + std::to_string(data.size()) + " bytes, its header asks for " +
                     std::to_string(size + header.text));
  }
  Block block(data.substr(sizeof header));
  VocabOptions options;
  options.size = header.width;
  for (uint32_t i = 0; i < header.stops; ++i) options.stop_ids.push_back(block.word());
  Block lengths(block.take(size_t{header.tokens} * 4));
  std::string_view kinds = block.take(header.tokens);
  std::string_view text = block.take(header.text);
  std::vector<TokenSpec> specs;
  specs.reserve(header.tokens);
  for (uint32_t id = 0; id < header.tokens; ++id) {
    uint32_t length = lengths.word();
    auto kind = static_cast<uint8_t>(kinds[id]);
    if (length > text.size()) return malformed("token " + std::to_string(id) + " is cut short");
    if (kind > static_cast<uint8_t>(TokenKind::unused)) {
      return malformed("token " + std::to_string(id) + " has kind " + std::to_string(kind) +
                       "; use 0-3");
    }
    specs.push_back({.bytes = text.substr(0, length), .kind = static_cast<TokenKind>(kind)});
    text.remove_prefix(length);
  }
  if (!text.empty()) return malformed(std::to_string(text.size()) + " bytes belong to no token");
  return Vocab::build(specs, options);
}

std::string describe(const Vocab& vocab) {
  std::string out = "{\"size\":" + std::to_string(vocab.size()) + ",\"hash\":";
  put_json(out, vocab.hash());
  out += ",\"stopIds\":[";
  for (TokenId id : vocab.stop_ids()) {
    if (out.back() != '[') out += ',';
    out += std::to_string(id);
  }
  return out + "]}";
}

}  // namespace

extern "C" {

// A handle to the vocabulary in vocab.bin; the bytes may go afterwards.
__attribute__((export_name("tr_vocab_load"))) int32_t tr_vocab_load(uint32_t address,
                                                                    uint32_t length) {
  auto data = bytes_at(address, length);
  if (!data) return fail_address("vocab");
  Result<VocabRef> vocab = load(*data);
  return vocab.ok() ? keep(vocab.take()) : fail(vocab.status());
}

// {size, hash, stopIds} as JSON; its length.
__attribute__((export_name("tr_vocab_info"))) int32_t tr_vocab_info(Handle vocab, uint32_t buffer,
                                                                    uint32_t capacity) {
  return with<VocabRef>(vocab, "vocab", [&](const VocabRef& self) {
    return copy_out(describe(*self), buffer, capacity);
  });
}

__attribute__((export_name("tr_vocab_free"))) int32_t tr_vocab_free(Handle vocab) {
  return drop<VocabRef>(vocab, "vocab");
}

}  // extern "C"

}  // namespace treadle::wasm
