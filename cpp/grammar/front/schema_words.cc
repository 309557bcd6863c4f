#include "grammar/front/schema_words.h"

#include <algorithm>
#include <utility>

#include "grammar/typed/str.h"

namespace treadle::schema {
namespace {

constexpr size_t kWords = 64;
constexpr size_t kLength = 128;
constexpr size_t kSteps = 4'096;
constexpr uint64_t kStepCost = 8;  // fuel for one derivative

}  // namespace

std::optional<std::vector<std::string>> words_of(Store& store, NodeRef text, Fuel& fuel) {
  std::vector<std::string> out;
  std::vector<std::pair<NodeRef, std::string>> open{{text, ""}};
  for (size_t steps = 0; !open.empty();) {
    auto [node, word] = std::move(open.back());
    open.pop_back();
    if (node != store.eps() && !has_member(store, node)) continue;
    if (store.node(node).facts.nullable) out.push_back(word);
    if (word.size() >= kLength || out.size() > kWords) return std::nullopt;
    const ByteSet bytes = store.first(node);
    bool room = true;
    bytes.each([&](uint8_t byte) {
      room = room && ++steps <= kSteps && fuel.spend(kStepCost);
      if (!room) return;
      const NodeRef rest = store.derive(node, byte);
      if (rest != store.empty()) open.emplace_back(rest, word + static_cast<char>(byte));
    });
    if (!room || !store.ok()) return std::nullopt;
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace treadle::schema
