// Token budgets of the regions that a text is in, between its tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "grammar/run/state.h"
#include "grammar/typed/region.h"

namespace treadle {

// Tokens begun inside a region that the text is still in.
struct Spent {
  uint64_t region = 0;  // RegionForm::name
  uint32_t tokens = 0;
  bool operator==(const Spent&) const = default;
};

// A state with what was spent on the way. A state says only which regions are exhausted, so masks
// are shared whatever was spent.
struct Place {
  StateId state = kDeadState;
  std::vector<Spent> spent;
};

// The regions at the front of a state.
std::vector<RegionView> regions_of(States& states, StateId state);

// Follows a token byte by byte from `from`. A region that the text is in at the start of the token
// (or may enter there), and in after each of its bytes, has one token more; where two runs of a
// region meet, a text counts as in the first one while it can be. A region that has reached its
// budget ends where it first may: its residual is narrowed in the state that is returned.
class TokenWalk {
 public:
  // `counts`: the bytes are a token, not a text.
  TokenWalk(States& states, const Place& from, bool counts);
  void step(StateId state);  // after each byte
  Place end(Fuel& fuel);     // kFault when a budget of the core ran out

 private:
  States& states_;
  StateId state_;
  bool counts_;
  std::vector<Spent> inside_;  // with what was spent before, for regions never left since
  std::vector<Spent> fresh_;   // regions entered on the way
};

}  // namespace treadle
