// Free text that changes into something else after a trigger.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "grammar/ir/store.h"

namespace treadle {

struct Trigger {
  std::string text;
  NodeRef after = 0;  // any node, rules too
};

// `text` and then `trigger`, with no exclude anywhere, and no trigger complete before the last
// byte, however they overlap. `triggers` and `excludes`: unions of words; empty() stands for none.
NodeRef up_to(Store& store, NodeRef text, std::string_view trigger, NodeRef triggers,
              NodeRef excludes);

// Text without any of `words`.
NodeRef text_without(Store& store, std::span<const std::string_view> words);

// Text that contains no trigger and no exclude, then, at the first trigger, what comes after it.
// With `loop` then text again, and so on; without, that is the end. Text alone is a whole output.
NodeRef dispatch(Store& store, std::span<const Trigger> triggers,
                 std::span<const std::string_view> excludes, bool loop);

}  // namespace treadle
