// Loops over a class of characters: what makes a class slice part of a mask.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "grammar/ir/store.h"
#include "tokens/slice.h"

namespace treadle {

// Every text of at most `units` characters of `chars` keeps a state completable.
struct Loop {
  // Whether a longer text of these characters may be legal too: by going on behind the loop
  // (`behind` is not known until what follows has been looked at), or beside it.
  enum class Longer : uint8_t { behind, no, maybe };

  CharClass chars;
  uint32_t units = 0;  // kOpen: any number
  Longer longer = Longer::behind;
};

// Proves loops on residuals themselves, never on how a grammar was written: a leading repetition
// X{a,b} gives the characters c for which the derivative of X by c matches the empty string, b of
// them. That everything behind it is live is what States guarantees for every residual.
class Loops {
 public:
  // The widest loop that a live regular node begins with; no units: there is none.
  Loop find(Store& store, NodeRef residual);

 private:
  struct Unit {          // a repeated node
    CharClass chars;     // those that may be all of it
    bool single = true;  // no word of it that begins with one of them goes on
  };
  Loop in(Store& store, NodeRef node, bool decoded, int depth);
  Loop beside(Store& store, std::span<const NodeRef> nodes, size_t& which, bool decoded, int depth);
  const Unit& unit_of(Store& store, NodeRef node);

  std::unordered_map<NodeRef, Unit> units_;
};

}  // namespace treadle
