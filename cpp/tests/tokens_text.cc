// Detokeniser and stop search: any way of cutting the input gives the same text, and that text is
// what a search over the whole input would give.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "support/offsets.h"
#include "tokens/detok.h"
#include "tokens/stop.h"

using namespace treadle;
using namespace treadle::test;

namespace {

std::string decode(const std::vector<std::string>& pieces) {
  Utf8Stream stream;
  std::string out;
  for (const std::string& piece : pieces) {
    stream.push(piece, out);
    check(stream.held() <= 3);
  }
  stream.flush(out);
  return out;
}

// One replacement for each maximal invalid run: examples of Unicode 15, table 3-8 and around it.
void replacement_follows_unicode() {
  const std::string r = "\xEF\xBF\xBD";
  check(decode({"\xF0\x9F\x98\x80"}) == "\xF0\x9F\x98\x80");
  check(decode({"\xF0\x9F\x98", "\x80!"}) == "\xF0\x9F\x98\x80!");
  check(decode({"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"}) ==
        "a" + r + r + r + "b" + r + "c" + r + r + "d");
  check(decode({"\xC0\xAF\xE0\x80\xBF"}) == r + r + r + r + r);
  check(decode({"\xED\xA0\x80"}) == r + r + r);
  check(decode({"\xF4\x91\x92\x93\xFF"}) == r + r + r + r + r);
  check(decode({"\xE2\x82"}) == r);
}

void cuts_do_not_matter() {
  Random random(7);
  const char alphabet[] = "\x41\x80\xBF\xC2\xC3\xE0\xA0\xED\x9F\xEF\xF0\x90\xF4\x8F\xFF\x20";
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (uint32_t n = random.below(12); n > 0; --n) bytes.push_back(alphabet[random.below(16)]);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < bytes.size();) {
      size_t size = random.below(4);
      pieces.push_back(bytes.substr(at, size));
      at += size;
    }
    check(decode(pieces) == decode({bytes}), "round " + std::to_string(round));
  }
}

// Whatever the steps between them, short ones of a group included that ends in a long one.
void offsets_are_the_numbers_put_in() {
  Random random(11);
  for (int round = 0; round < 200; ++round) {
    std::vector<uint32_t> values;
    Offsets offsets;
    const uint32_t most = round % 2 ? 1500 : 40;  // 64 of the former may exceed 16 bits
    uint32_t value = 0;
    for (size_t left = random.below(300); left > 0; --left) {
      value += random.below(most);
      if (round % 5 == 0 && random.below(50) == 0) value += 1U << 16;
      values.push_back(value);
      offsets.push_back(value);
    }
    check(offsets.size() == values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      check(offsets[i] == values[i], "round " + std::to_string(round));
    }
  }
}

void spaces_are_stripped_once() {
  auto table = std::make_shared<TokenBytes>();
  for (const char* token : {"", " a", "b", " "}) table->add(token);
  Detokeniser detok(table, true);
  std::string out;
  const uint32_t ids[] = {0, 1, 1, 2, 9};
  detok.push(ids, out);
  check(out == "a ab");
  Detokeniser fork = detok;
  detok.flush(out);
  out.clear();
  detok.push(ids, out);
  check(out == "a ab");
  out.clear();
  fork.push(ids, out);
  check(out == " a ab");
}

// The definition: the stop string that ends first, and of those that end there the longest.
std::optional<std::string> find_stop(const std::string& text, const std::vector<std::string>& stops,
                                     std::string& before) {
  for (size_t end = 0; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& s : stops) {
      bool here = s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0;
      if (here && s.size() > best.size()) best = s;
    }
    if (best.empty()) continue;
    before = text.substr(0, end - best.size());
    return best;
  }
  before = text;
  return std::nullopt;
}

size_t longest_beginning(const std::string& text, const std::vector<std::string>& stops) {
  size_t best = 0;
  for (const std::string& s : stops) {
    for (size_t n = 1; n < s.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, s, 0, n) == 0) best = std::max(best, n);
    }
  }
  return best;
}

void stops_match_brute_force() {
  Random random(11);
  auto word = [&](uint32_t least, uint32_t most) {
    std::string out;
    for (uint32_t n = least + random.below(most - least + 1); n > 0; --n) {
      out.push_back("ab"[random.below(2)]);
    }
    return out;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (uint32_t n = random.below(4); n > 0; --n) stops.push_back(word(1, 5));
    StopSearch search(std::make_shared<StopStrings>(stops));
    std::string text = word(0, 14), emitted, before;
    std::optional<std::string_view> hit;
    size_t at = 0;
    while (at < text.size() && !hit) {
      size_t size = random.below(4);
      hit = search.push(std::string_view(text).substr(at, size), emitted);
      at = std::min(at + size, text.size());
      // Nothing more is held back than what may begin a stop string.
      std::string seen = text.substr(0, at);
      check(hit || emitted.size() + longest_beginning(seen, stops) == at);
    }
    std::optional<std::string> wanted = find_stop(text, stops, before);
    check(hit.has_value() == wanted.has_value() && (!hit || *hit == *wanted));
    search.flush(emitted);
    check(emitted == before, "round " + std::to_string(round));
  }
}

}  // namespace

int main() {
  replacement_follows_unicode();
  cuts_do_not_matter();
  offsets_are_the_numbers_put_in();
  spaces_are_stripped_once();
  stops_match_brute_force();
  return report();
}
