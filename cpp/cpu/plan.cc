#include "cpu/plan.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "cpu/attention.h"
#include "cpu/kinds.h"

namespace treadle::cpu {

namespace {

constexpr size_t section_align = 64;
constexpr uint32_t most_records = 1u << 20;
constexpr uint64_t most_tasks_run = 1u << 24;  // a step's, repeats written out
constexpr uint32_t most_width = 1u << 24;

Status bad(const std::string& text) {
  return invalid_request("plan", text + "; compile the plan again");
}

class Sections {
 public:
  Sections(std::span<const uint8_t> bytes, size_t at) : bytes_(bytes), at_(at) {}

  template <class Record>
  bool read(size_t count, std::vector<Record>& out) {
    const size_t start = (at_ + section_align - 1) / section_align * section_align;
    if (start > bytes_.size() || count > (bytes_.size() - start) / sizeof(Record)) return false;
    out.resize(count);
    if (count) std::memcpy(out.data(), bytes_.data() + start, count * sizeof(Record));
    at_ = start + count * sizeof(Record);
    return true;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_;
};

// Checks ranges of one task, repeats written out.
class TaskCheck {
 public:
  explicit TaskCheck(const Plan& plan) : plan_(plan), head_(plan.head) {}

  // Empty: all is well.
  std::string fault(const Task& t) const {
    if (t.op < 1 || t.op > 10 || t.n_wait > 2) return "has no such op";
    if (t.p0 >= plan_.sites.size()) return "names a site that is not there";
    const Site& s = plan_.sites[t.p0];
    if (s.op != t.op) return "and its site differ in op";
    const uint32_t waits[2] = {t.wait0, t.wait1};
    for (int i = 0; i < t.n_wait; ++i) {
      if (waits[i] >= plan_.counters.size()) return "waits for a counter that is not there";
    }
    if (t.sig != kNone && t.sig >= plan_.counters.size()) return "signals no counter";
    if (t.sig == counter_posted || t.sig == counter_bound) return "signals for the host";
    if (t.row0 != 0 || t.rows != head_.rows) return "takes other rows than the bucket's";
    if (t.parts() == 0 || t.part() >= t.parts()) return "has a share beyond its parts";
    if (s.rank_stride || t.op == static_cast<uint16_t>(Op::keys)) return "is for several ranks";
    return memory(t, s);
  }

 private:
  // `count` rows of `width` elements, `stride` units apart.
  bool inside(uint32_t off, uint32_t stride, uint64_t count, uint64_t width) const {
    if (off == kNone || width > uint64_t{stride} * 4) return false;
    return off + count * stride <= head_.arena;
  }

  std::string memory(const Task& t, const Site& s) const {
    const uint64_t rows = head_.rows;
    const uint64_t segments = (uint64_t{head_.context} + head_.segment - 1) / head_.segment;
    const uint64_t heads = uint64_t{s.heads} * s.head;
    switch (static_cast<Op>(t.op)) {
      case Op::embed:
        return inside(t.out_off, s.out_stride, rows, s.n) ? "" : "leaves the arena";
      case Op::prep:
      case Op::linear: {
        if (!loads(t, s)) return "loads from outside the arena";
        const bool prep = t.op == static_cast<uint16_t>(Op::prep);
        if (!inside(t.out_off, s.out_stride, rows, prep ? s.k : s.n)) return "leaves the arena";
        if ((prep ? t.aux_off != kNone : t.count() != 0) &&
            !inside(t.aux_off, s.aux_stride, rows, s.k)) {
          return "keeps rows outside the arena";
        }
        if (!prep && (uint64_t{t.first()} * 4 > s.k)) return "keeps columns that are not there";
        if (!prep && (t.k0 || uint64_t{t.klen} * head_.tile_k < s.k)) return "cuts k";
        return "";
      }
      case Op::kv:
      case Op::attn: {
        if (t.op == static_cast<uint16_t>(Op::attn) && !own_heads(t, s)) return "has other heads";
        const uint64_t qkv = heads + 2 * uint64_t{s.kv_heads} * s.head;
        if (s.k < qkv || !inside(t.in_off, s.in_stride, rows, s.k)) return "reads no q, k, v";
        const bool split = t.op == static_cast<uint16_t>(Op::attn) && s.has(site_split);
        const uint64_t width = split ? heads + 2 * s.heads : heads;
        const bool fits = inside(t.out_off, s.out_stride, split ? rows * segments : rows, width);
        return fits ? "" : "leaves the arena";
      }
      case Op::fold:
        if (!own_heads(t, s) ||
            !inside(t.in_off, s.in_stride, rows * segments, heads + 2 * s.heads)) {
          return "reads no partials";
        }
        return inside(t.out_off, s.out_stride, rows, heads) ? "" : "leaves the arena";
      case Op::experts_up:
      case Op::experts_down: {
        const bool up = t.op == static_cast<uint16_t>(Op::experts_up);
        if (s.active == 0 || s.active > s.experts) return "has no experts";
        if (!inside(t.aux_off, s.aux_stride, rows, s.experts)) return "reads no scores";
        if (up ? !loads(t, s) : !inside(t.in_off, s.in_stride, rows * s.active, s.k)) {
          return "loads from outside the arena";
        }
        const uint64_t made = up ? rows * s.active : rows;
        return inside(t.out_off, s.out_stride, made, s.n) ? "" : "leaves the arena";
      }
      case Op::sample:
        if (s.terms) return "is for several ranks";
        if (!inside(t.in_off, s.in_stride, rows, s.k)) return "reads no logits";
        return t.out_off + (rows + 3) / 4 <= head_.arena ? "" : "leaves the arena";
      case Op::keys:
        break;
    }
    return "is for several ranks";
  }

  bool own_heads(const Task& t, const Site& s) const {
    return t.first() + uint64_t{t.count()} <= s.kv_heads;
  }

  bool loads(const Task& t, const Site& s) const {
    const uint64_t rows = head_.rows;
    if (s.has(site_fold)) {
      const uint64_t segments = (uint64_t{head_.context} + head_.segment - 1) / head_.segment;
      if (uint64_t{s.heads} * s.head != s.k ||
          !inside(t.in_off, s.in_stride, rows * segments, s.k + 2 * uint64_t{s.heads})) {
        return false;
      }
    } else if (t.in_off != kNone && !inside(t.in_off, s.in_stride, rows, s.k)) {
      return false;
    }
    if (s.terms == 0) return true;
    const uint64_t stride = s.term_stride / rows;
    return s.terms_off != kNone && s.k <= stride * 4 &&
           s.terms_off + uint64_t{s.terms} * s.term_stride <= head_.arena;
  }

  const Plan& plan_;
  const PlanHeader& head_;
};

std::string site_fault(const Site& s) {
  if (s.parts > 3 || s.k > most_width || s.n > most_width || s.act > 2) return "is malformed";
  const bool embeds = s.op == static_cast<uint16_t>(Op::embed);  // its table has no strips
  for (uint32_t j = 0; j < s.parts && !embeds; ++j) {
    if (s.lane[j] == 0 || s.lane[j] % kStripRows || s.lane[j] > most_width) {
      return "has lanes that are no whole strips";
    }
    if (s.rows[j] == 0 || s.rows[j] > most_width) return "has a weight without rows";
    const bool linear = s.op == static_cast<uint16_t>(Op::linear);
    if (linear && uint64_t{s.col[j]} + s.rows[j] > s.n) return "writes columns that are not there";
  }
  const bool gated = s.op == static_cast<uint16_t>(Op::experts_up) || s.act;
  if (gated && (s.act == 0 || s.parts != 2 || s.lane[0] != 16 || s.lane[1] != 16 ||
                s.rows[0] != s.rows[1] || s.n < s.rows[0])) {
    return "has a gate whose lanes are not 16 and 16";
  }
  if (s.heads) {
    if (s.kv_heads == 0 || s.heads % s.kv_heads || s.head == 0 || s.head % 16 ||
        s.head > kMaxHead || s.heads > 4096 || 2 * uint64_t{s.turned} > s.head) {
      return "has heads that the kernels do not take: sizes are multiples of 16 up to 256";
    }
  }
  return "";
}

}  // namespace

Task shifted(const Task& task, const Segment& segment, uint32_t r) {
  Task out = task;
  const uint32_t counters = r * segment.counter_stride;
  out.p0 += r * segment.site_stride;
  if (out.wait0 != kNone) out.wait0 += counters;
  if (out.wait1 != kNone) out.wait1 += counters;
  if (out.sig != kNone) out.sig += counters;
  return out;
}

Result<Plan> read_plan(std::span<const uint8_t> bytes) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  Plan plan;
  PlanHeader& head = plan.head;
  if (bytes.size() < sizeof head) return bad("is shorter than its header");
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, "TMEG", 4) != 0 || head.version != 1) {
    return bad("is no plan of version 1");
  }
  if (head.workers == 0 || head.workers > 1024 || head.rows == 0 || head.rows > 4096 ||
      head.slots == 0 || head.segment == 0 || head.segment % kPage || head.page != kPage ||
      head.context == 0 || head.context > most_width || head.ranks > 1 || head.tile_k == 0) {
    return bad("has sizes that this runtime does not take");
  }
  if (std::max({head.segments, head.counters, head.sites, head.tasks}) > most_records ||
      head.counters <= counter_done) {
    return bad("has too many records or no counters");
  }
  Sections sections(bytes, sizeof head);
  if (!sections.read(head.segments, plan.segments) ||
      !sections.read(size_t{head.segments} * (head.workers + 1), plan.index) ||
      !sections.read(head.counters, plan.counters) || !sections.read(head.sites, plan.sites) ||
      !sections.read(head.tasks, plan.tasks) || !sections.at_end()) {
    return bad("has sections that are cut short or left over");
  }
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    const std::string fault = site_fault(plan.sites[i]);
    if (!fault.empty()) return bad("site " + std::to_string(i) + " " + fault);
  }
  const TaskCheck check(plan);
  uint64_t run = 0;
  for (size_t s = 0; s < plan.segments.size(); ++s) {
    const uint32_t* row = &plan.index[s * (head.workers + 1)];
    for (uint32_t w = 0; w < head.workers; ++w) {
      if (row[w] > row[w + 1] || row[w + 1] > head.tasks) return bad("has an index that runs back");
    }
    run += uint64_t{plan.segments[s].repeat} * (row[head.workers] - row[0]);
    if (run > most_tasks_run) return bad("repeats too often");
    for (uint32_t r = 0; r < plan.segments[s].repeat; ++r) {
      for (uint32_t i = row[0]; i < row[head.workers]; ++i) {
        const std::string fault = check.fault(shifted(plan.tasks[i], plan.segments[s], r));
        if (!fault.empty()) return bad("task " + std::to_string(i) + " " + fault);
      }
    }
  }
  if (uint64_t{head.logits_off} + uint64_t{head.rows} * head.logits_stride > head.arena ||
      head.vocab > uint64_t{head.logits_stride} * 4 ||
      uint64_t{head.tokens_off} + (head.rows + 3) / 4 > head.arena) {
    return bad("has logits or tokens outside the arena");
  }
  return plan;
}

}  // namespace treadle::cpu
