// What a text has matched of the rules with a capture, read off the text when somebody asks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/front/rule_options.h"
#include "grammar/run/source.h"
#include "support/lock.h"

namespace treadle {

struct Capture {
  std::string name;
  uint64_t begin = 0;  // bytes of the text
  uint64_t end = 0;
  bool operator==(const Capture&) const = default;
};

// The grammar once more, with its captures, for texts that were accepted without them. It is built
// with the first text and shared by all matchers of the grammar. Thread-safe.
class CaptureReader {
 public:
  CaptureReader(SourceRef source, const Limits& limits);
  ~CaptureReader();

  // The captures in `text`, by where they end, inner ones before outer ones. `finished`: the text
  // is a whole one, else the beginning of one. With `longest`, those of readings that the text
  // leaves open, and of each occurrence the longest; else every end that any reading came to.
  // Source: J. Earley, An efficient context-free parsing algorithm, CACM 13 (1970).
  Result<std::vector<Capture>> read(std::string_view text, bool finished, bool longest);

 private:
  struct Built;
  Status build();

  SourceRef source_;
  Limits limits_;
  Lock lock_;
  std::unique_ptr<Built> built_;
};

}  // namespace treadle
