#include "grammar/front/regex_unicode.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace treadle {
namespace {

// General categories; a bit each in the masks below.
// clang-format off
enum Category : uint8_t {
  kLu, kLl, kLt, kLm, kLo, kMn, kMc, kMe, kNd, kNl, kNo, kPc, kPd, kPs, kPe, kPi, kPf, kPo,
  kSm, kSc, kSk, kSo, kZs, kZl, kZp, kCc, kCf, kCs, kCo, kCn,
};
// clang-format on

struct CategoryRange {
  uint32_t lo;
  uint32_t extra;  // hi - lo
  Category category;
};

struct CaseOrbit {
  uint32_t c;
  uint32_t next;
};

struct ScriptNames {
  std::string_view name, code, alias;
};

struct ScriptRange {
  uint32_t lo;
  uint32_t extra;  // hi - lo
  uint8_t script;
};

#include "grammar/front/regex_scripts.inc"
#include "grammar/front/regex_unicode.inc"

struct CategoryName {
  std::string_view brief;
  std::string_view full;
  uint32_t mask;
};

constexpr uint32_t bit(Category c) {
  return uint32_t{1} << c;
}
constexpr uint32_t span(Category first, Category last) {
  return (bit(last) << 1) - bit(first);
}

constexpr std::array<CategoryName, 38> kCategoryNames = {{
    {"L", "Letter", span(kLu, kLo)},
    {"LC", "Cased_Letter", span(kLu, kLt)},
    {"Lu", "Uppercase_Letter", bit(kLu)},
    {"Ll", "Lowercase_Letter", bit(kLl)},
    {"Lt", "Titlecase_Letter", bit(kLt)},
    {"Lm", "Modifier_Letter", bit(kLm)},
    {"Lo", "Other_Letter", bit(kLo)},
    {"M", "Mark", span(kMn, kMe)},
    {"Mn", "Nonspacing_Mark", bit(kMn)},
    {"Mc", "Spacing_Mark", bit(kMc)},
    {"Me", "Enclosing_Mark", bit(kMe)},
    {"N", "Number", span(kNd, kNo)},
    {"Nd", "Decimal_Number", bit(kNd)},
    {"Nl", "Letter_Number", bit(kNl)},
    {"No", "Other_Number", bit(kNo)},
    {"P", "Punctuation", span(kPc, kPo)},
    {"Pc", "Connector_Punctuation", bit(kPc)},
    {"Pd", "Dash_Punctuation", bit(kPd)},
    {"Ps", "Open_Punctuation", bit(kPs)},
    {"Pe", "Close_Punctuation", bit(kPe)},
    {"Pi", "Initial_Punctuation", bit(kPi)},
    {"Pf", "Final_Punctuation", bit(kPf)},
    {"Po", "Other_Punctuation", bit(kPo)},
    {"S", "Symbol", span(kSm, kSo)},
    {"Sm", "Math_Symbol", bit(kSm)},
    {"Sc", "Currency_Symbol", bit(kSc)},
    {"Sk", "Modifier_Symbol", bit(kSk)},
    {"So", "Other_Symbol", bit(kSo)},
    {"Z", "Separator", span(kZs, kZp)},
    {"Zs", "Space_Separator", bit(kZs)},
    {"Zl", "Line_Separator", bit(kZl)},
    {"Zp", "Paragraph_Separator", bit(kZp)},
    {"C", "Other", span(kCc, kCn)},
    {"Cc", "Control", bit(kCc)},
    {"Cf", "Format", bit(kCf)},
    {"Cs", "Surrogate", bit(kCs)},
    {"Co", "Private_Use", bit(kCo)},
    {"Cn", "Unassigned", bit(kCn)},
}};

CharSet of_categories(uint32_t mask) {
  // Unassigned code points stand in no range: take the complement of what is not wanted.
  bool rest = (mask & bit(kCn)) != 0;
  std::vector<CharRange> ranges;
  for (const CategoryRange& r : kCategories) {
    if (((mask & bit(r.category)) != 0) != rest) ranges.push_back({r.lo, r.lo + r.extra});
  }
  CharSet set(std::move(ranges));
  return rest ? set.invert() : set;
}

// By long name or code, whatever the case and underscores.
std::optional<CharSet> of_script(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c != '_') plain += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  for (size_t i = 0; i < std::size(kScripts); ++i) {
    const ScriptNames& known = kScripts[i];
    if (plain != known.name && plain != known.code && plain != known.alias) continue;
    std::vector<CharRange> ranges;
    for (const ScriptRange& r : kScriptRanges) {
      if (r.script == i) ranges.push_back({r.lo, r.lo + r.extra});
    }
    return CharSet(std::move(ranges));
  }
  return std::nullopt;
}

}  // namespace

std::optional<CharSet> unicode_property(std::string_view name) {
  if (name == "Any") return CharSet{{0, kMaxCodePoint}};
  if (name == "ASCII") return CharSet{{0, 0x7F}};
  if (name == "Assigned") return of_categories(span(kLu, kCo));
  for (std::string_view prefix : {"sc=", "Script="}) {
    if (name.starts_with(prefix)) return of_script(name.substr(prefix.size()));
  }
  for (std::string_view prefix : {"gc=", "General_Category="}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      break;
    }
  }
  for (const CategoryName& known : kCategoryNames) {
    if (name == known.brief || name == known.full) return of_categories(known.mask);
  }
  return std::nullopt;
}

CharSet close_under_case(const CharSet& set, Fuel& fuel) {
  std::vector<CharRange> ranges(set.ranges().begin(), set.ranges().end());
  for (const CharRange& r : set.ranges()) {
    auto below = [](const CaseOrbit& entry, uint32_t c) { return entry.c < c; };
    const CaseOrbit* entry = std::lower_bound(std::begin(kOrbits), std::end(kOrbits), r.lo, below);
    for (; entry != std::end(kOrbits) && entry->c <= r.hi; ++entry) {
      if (!fuel.spend()) return set;
      for (uint32_t c = entry->next; c != entry->c;) {
        ranges.push_back({c, c});
        c = std::lower_bound(std::begin(kOrbits), std::end(kOrbits), c, below)->next;
      }
    }
  }
  return CharSet(std::move(ranges));
}

}  // namespace treadle
