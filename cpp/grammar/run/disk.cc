#include "grammar/run/disk.h"

#include <algorithm>
#include <bit>

#include "support/hash.h"

namespace treadle {

namespace {

// A block: magic, u32 length and text of the vocabulary's hash, the same of the build, u64 key, u64
// checksum of all that; then entries: u64 a, b of the digest, u64 size of the rest, u64 checksum,
// u32 flags, u32 count of the words of tokens, these, and the words of ends to the end of the
// entry. Everything is little-endian.
constexpr std::string_view kMagic = "treadle masks 1\n";
constexpr uint64_t kFewTokens = 512;  // above: one bit a token
constexpr uint64_t kEntryHead = 32;
enum Flags : uint32_t { kDenseTokens = 1, kDenseEnds = 2 };

void put32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 255);
}

void put64(std::string& out, uint64_t value) {
  put32(out, static_cast<uint32_t>(value));
  put32(out, static_cast<uint32_t>(value >> 32));
}

void put_text(std::string& out, std::string_view text) {
  put32(out, static_cast<uint32_t>(text.size()));
  out += text;
}

// Takes fields off the front; once one is missing, everything is.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  size_t left() const { return bytes_.size(); }
  std::string_view take(uint64_t size) {
    ok_ = ok_ && size <= bytes_.size();
    if (!ok_) return {};
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  uint64_t number(uint64_t width) {
    uint64_t out = 0;
    unsigned shift = 0;
    for (const char c : take(width)) {
      out |= uint64_t{static_cast<uint8_t>(c)} << shift;
      shift += 8;
    }
    return out;
  }
  std::string_view text() { return take(number(4)); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

std::string head(const Vocab& vocab, std::string_view build, uint64_t key) {
  std::string out(kMagic);
  put_text(out, vocab.hash());
  put_text(out, build);
  put64(out, key);
  put64(out, hash_bytes(out, key));
  return out;
}

// Numbers below `limit`, ascending: as they are, or one bit each.
void put_set(std::string& out, const std::vector<uint32_t>& set, bool dense, uint64_t limit) {
  if (!dense) {
    for (const uint32_t each : set) put32(out, each);
    return;
  }
  std::vector<uint32_t> words(limit / 32 + 1);
  for (const uint32_t each : set) words[each >> 5] |= uint32_t{1} << (each & 31);
  for (const uint32_t word : words) put32(out, word);
}

// False when it is no such set.
bool read_set(std::string_view bytes, bool dense, uint64_t limit, std::vector<uint32_t>& out) {
  if (bytes.size() % 4 != 0) return false;
  if (dense && bytes.size() / 4 != limit / 32 + 1) return false;
  Fields fields(bytes);
  for (uint64_t at = 0; fields.left() > 0; ++at) {
    auto word = static_cast<uint32_t>(fields.number(4));
    if (!dense) {
      if (word >= limit || (!out.empty() && word <= out.back())) return false;
      out.push_back(word);
      continue;
    }
    for (; word; word &= word - 1) {
      const uint64_t value = at * 32 + static_cast<uint64_t>(std::countr_zero(word));
      if (value >= limit) return false;
      out.push_back(static_cast<uint32_t>(value));
    }
  }
  return true;
}

std::string entry_of(const Reach& reach, const Vocab& vocab, MaskBits& bits) {
  bits.reset();
  reach.add_to(bits);
  std::vector<uint32_t> tokens;
  bits.each([&](uint32_t token) { tokens.push_back(token); });
  std::vector<uint32_t> ends;
  reach.ends(ends);
  std::sort(ends.begin(), ends.end());
  const uint64_t nodes = vocab.trie().nodes().size();
  const bool dense_tokens = tokens.size() > kFewTokens, dense_ends = ends.size() > nodes / 32;
  std::string out;
  put32(out, (dense_tokens ? kDenseTokens : 0u) | (dense_ends ? kDenseEnds : 0u));
  put32(out, static_cast<uint32_t>(dense_tokens ? vocab.size() / 32 + 1 : tokens.size()));
  put_set(out, tokens, dense_tokens, vocab.size());
  put_set(out, ends, dense_ends, nodes);
  return out;
}

void put_entry(std::string& out, const Digest& digest, std::string_view entry, uint64_t key) {
  put64(out, digest.a);
  put64(out, digest.b);
  put64(out, entry.size());
  put64(out, hash_bytes(entry, key ^ digest.a));
  out += entry;
}

}  // namespace

std::shared_ptr<const StoredReaches> StoredReaches::open(std::string block, VocabRef vocab,
                                                         std::string_view build) {
  std::shared_ptr<StoredReaches> out(new StoredReaches());
  out->block_ = std::move(block);
  out->vocab_ = std::move(vocab);
  Fields fields(out->block_);
  fields.take(kMagic.size());
  fields.text();
  fields.text();
  out->key_ = fields.number(8);
  if (!fields.ok() || out->key_ == 0) return nullptr;
  const std::string expected = head(*out->vocab_, build, out->key_);
  if (!out->block_.starts_with(expected)) return nullptr;
  fields = Fields(std::string_view(out->block_).substr(expected.size()));
  while (fields.left() > 0) {
    const Digest digest{fields.number(8), fields.number(8)};
    const uint64_t size = fields.number(8);
    if (!fields.ok() || size > fields.left()) break;  // cut off: what stands before it is whole
    const std::string_view entry = fields.take(size + 8);
    if (!fields.ok()) break;
    if (digest.known()) out->index_.try_emplace(digest, entry);
  }
  return out;
}

std::string_view StoredReaches::raw(const Digest& digest) const {
  const auto found = index_.find(digest);
  if (found == index_.end()) return {};
  Fields fields(found->second);
  const uint64_t check = fields.number(8);
  const std::string_view entry = found->second.substr(8);
  return check == hash_bytes(entry, key_ ^ digest.a) ? entry : std::string_view();
}

ReachRef StoredReaches::find(const Digest& digest) const {
  const std::string_view entry = raw(digest);
  if (entry.empty()) return nullptr;
  Fields fields(entry);
  const uint64_t flags = fields.number(4), count = fields.number(4);
  const std::string_view words = fields.take(count * 4);
  if (!fields.ok() || flags > (kDenseTokens | kDenseEnds)) return nullptr;
  const std::string_view rest = fields.take(fields.left());
  const TokenTrie& trie = vocab_->trie();
  std::vector<uint32_t> tokens, ends;
  if (!read_set(words, flags & kDenseTokens, vocab_->size(), tokens)) return nullptr;
  if (!read_set(rest, flags & kDenseEnds, trie.nodes().size(), ends)) return nullptr;
  MaskBits bits(vocab_->size());
  bits.reset();
  for (const uint32_t token : tokens) {
    if (!vocab_->is_text(token)) return nullptr;
    bits.set(token);
  }
  return std::make_shared<const Reach>(bits, ends, trie, digest);
}

std::vector<Digest> StoredReaches::digests() const {
  std::vector<Digest> out;
  for (const auto& [digest, entry] : index_) out.push_back(digest);
  std::sort(out.begin(), out.end());
  return out;
}

std::string store_reaches(const std::vector<std::pair<Digest, ReachRef>>& recent,
                          const StoredReaches* older, const Vocab& vocab, std::string_view build,
                          uint64_t most) {
  const uint64_t key = digest_key();
  std::string out = head(vocab, build, key);
  if (out.size() > most) return {};
  std::unordered_map<Digest, bool, Digest::Hash> done;
  const auto add = [&](const Digest& digest, std::string_view entry) {
    if (out.size() + kEntryHead + entry.size() > most) return false;
    put_entry(out, digest, entry, key);
    return true;
  };
  MaskBits bits(vocab.size());
  for (const auto& [digest, reach] : recent) {
    if (!add(digest, entry_of(*reach, vocab, bits))) return out;
    done[digest] = true;
  }
  if (!older || older->key() != key) return out;
  for (const Digest& digest : older->digests()) {
    const std::string_view entry = older->raw(digest);
    if (!entry.empty() && !done.contains(digest) && !add(digest, entry)) break;
  }
  return out;
}

}  // namespace treadle
