// The free-text leaf: exactly the texts without the words, and bytes that bring it back.
#include <string>
#include <vector>

#include "check.h"
#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/typed/dispatch.h"

using namespace treadle;
using namespace treadle::test;

namespace {

std::string random_text(Random& random, unsigned longest) {
  static const std::vector<std::string> letters{"a", "b", "<", "é", "è", "€", "😀"};
  std::string out;
  for (unsigned n = random.below(longest + 1); n > 0; --n) {
    out += letters[random.below(static_cast<uint32_t>(letters.size()))];
  }
  return out;
}

void agrees_with_a_search() {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    std::vector<std::string> words;
    for (unsigned n = random.below(5); n > 0; --n) words.push_back(random_text(random, 4));
    Store store;
    const NodeRef text = free_text(store, words);
    for (unsigned n = 0; n < 30; ++n) {
      const std::string sample = random_text(random, 8);
      bool free = true;
      for (const std::string& word : words) {
        free &= word.empty() || sample.find(word) == std::string::npos;
      }
      check(store.matches(text, sample) == free, sample);
    }
    // Bytes that derive alike are told to be alike, and those left out of first() are dead.
    NodeRef at = store.derive(text, random_text(random, 3));
    if (at == store.empty()) continue;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto b = static_cast<uint8_t>(byte);
      const NodeRef rest = store.derive(at, b);
      check(rest == store.empty() || store.first(at).contains(b));
      store.same(at, b).each([&](uint8_t other) { check(store.derive(at, other) == rest); });
    }
  }
}

void free_bytes_lead_back() {
  const std::vector<std::string> words{"</think>", "<x", "è"};
  Store store;
  const NodeRef text = free_text(store, words);
  const auto loops = free_bytes(store, text);
  check(loops.has_value());
  for (unsigned byte = 0; byte < 0x80; ++byte) {
    const auto b = static_cast<uint8_t>(byte);
    check(loops->contains(b) == (store.derive(text, b) == text));
    check(loops->contains(b) == (b != '<'));
  }
  for (const uint32_t code : {0xA9u, 0xE8u, 0xE9u, 0x4E00u, 0xD7FFu, 0x10FFFFu}) {
    std::string spelled;
    append_utf8(spelled, code);
    bool inside = true;
    for (const char c : spelled) inside &= loops->contains(static_cast<uint8_t>(c));
    if (inside) check(store.derive(text, spelled) == text);
    check(inside == (static_cast<uint8_t>(spelled[0]) != 0xC3));  // the lead byte of "è"
  }
  check(free_bytes(store, store.cat(text, store.bytes("</think>"))) == loops);
  check(!free_bytes(store, store.derive(text, "<")));
  check(!free_bytes(store, store.derive(text, "\xE4")));
  check(!free_bytes(store, store.any_text()));
  check(free_bytes(store, free_text(store, {})) != std::nullopt);
}

void words_pay_for_their_table() {
  Limits limits;
  Store store(limits);
  Fuel fuel("compile_fuel", 1000);
  store.set_fuel(&fuel);
  const std::vector<std::string> words{std::string(5000, 'a')};
  check(free_text(store, words) == store.empty() && !store.ok());
}

}  // namespace

int main() {
  agrees_with_a_search();
  free_bytes_lead_back();
  words_pay_for_their_table();
  return report();
}
