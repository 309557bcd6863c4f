#include "grammar/run/capture.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "grammar/run/state.h"
#include "support/hash.h"

namespace treadle {

struct CaptureReader::Built {
  Store store;
  NodeRef root = 0;
  RuleMarks marks;
  explicit Built(const Limits& limits) : store(limits) { marks.keep = true; }
};

namespace {

constexpr uint32_t kNowhere = UINT32_MAX;

// A rule that began at `origin` and still wants `head` (regular), then `tail`.
struct Item {
  NodeRef rule;  // a ref or typed rule; empty(): the goal
  NodeRef head;
  NodeRef tail;
  uint32_t origin;
  uint32_t links = kNowhere;  // how it came about
  bool operator==(const Item& o) const {
    return rule == o.rule && head == o.head && tail == o.tail && origin == o.origin;
  }
};

struct ItemHash {
  size_t operator()(const Item& item) const {
    uint64_t h = mix(item.rule, uint64_t{item.head} << 32 | item.tail);
    return mix(h, item.origin);
  }
};

struct Link {
  uint32_t from;   // the item that went on
  uint32_t child;  // over this finished one; kNowhere: over a byte, or over nothing
  uint32_t next;
};

struct Waiter {
  uint32_t item;
  NodeRef after;
};

struct Event {
  uint32_t item;
  uint32_t end;
};

class Reading {
 public:
  Reading(Store& store, const RuleMarks& marks, const Limits& limits)
      : store_(store), marks_(marks), fuel_("step_fuel", limits.step_fuel) {}

  Status run(NodeRef root, std::string_view text) {
    store_.set_fuel(&fuel_, kDeriveCost);
    begin_set();
    add(store_.empty(), root, 0, kNowhere, kNowhere);
    close_set();
    for (char byte : text) {
      size_t first = set_begin_;
      size_t last = items_.size();
      begin_set();
      for (size_t i = first; i < last && store_.ok(); ++i) {
        const Item item = items_[i];
        NodeRef head = store_.derive(item.head, static_cast<uint8_t>(byte));
        if (head != store_.empty()) put({item.rule, head, item.tail, item.origin}, i, kNowhere);
      }
      close_set();
      if (!store_.ok() || fuel_.exhausted()) break;
    }
    store_.set_fuel(nullptr);
    Status status = store_.fault();
    (void)store_.take_fault();
    if (status.ok() && fuel_.exhausted()) status = fuel_.status();
    return status;
  }

  std::vector<Capture> all() {
    std::vector<Capture> out;
    std::set<std::tuple<NodeRef, uint32_t, uint32_t>> seen;
    for (const Event& event : events_) {
      const Item& item = items_[event.item];
      if (seen.insert({item.rule, item.origin, event.end}).second) out.push_back(capture(event));
    }
    return out;
  }

  std::vector<Capture> longest(bool finished) {
    mark(finished);
    std::map<std::pair<NodeRef, uint32_t>, size_t> best;
    for (size_t i = 0; i < events_.size(); ++i) {
      const Item& item = items_[events_[i].item];
      if (!done_[events_[i].item]) continue;
      auto [entry, fresh] = best.try_emplace({item.rule, item.origin}, i);
      if (!fresh && events_[i].end > events_[entry->second].end) entry->second = i;
    }
    std::vector<size_t> order;
    for (const auto& [occurrence, event] : best) order.push_back(event);
    std::sort(order.begin(), order.end());
    std::vector<Capture> out;
    for (size_t event : order) out.push_back(capture(events_[event]));
    return out;
  }

 private:
  Capture capture(const Event& event) const {
    const Item& item = items_[event.item];
    return {marks_.names.at(store_.node(item.rule).a), item.origin, event.end};
  }

  uint32_t position() const { return static_cast<uint32_t>(waits_.size() - 1); }

  void begin_set() {
    set_begin_ = items_.size();
    index_.clear();
    empty_.clear();
    waits_.emplace_back();
  }

  // An item of `rule` that goes on with `rest`, split into what is regular and what comes after.
  void add(NodeRef rule, NodeRef rest, uint32_t origin, uint32_t from, uint32_t child) {
    if (store_.regular(rest)) return put({rule, rest, store_.eps(), origin}, from, child);
    std::vector<NodeRef> stretch;
    while (store_.node(rest).kind == Kind::concat && store_.regular(store_.node(rest).a)) {
      stretch.push_back(store_.node(rest).a);
      rest = store_.node(rest).b;
    }
    put({rule, store_.concat(stretch), rest, origin}, from, child);
  }

  void put(Item item, size_t from, uint32_t child) {
    if (!fuel_.spend(kDeriveCost) || !store_.ok()) return;
    if (!live(item.head) || !live(item.tail)) return;
    auto [entry, fresh] = index_.try_emplace(item, static_cast<uint32_t>(items_.size()));
    if (fresh) items_.push_back(item);
    if (from == kNowhere) return;
    Item& target = items_[entry->second];
    links_.push_back({static_cast<uint32_t>(from), child, target.links});
    target.links = static_cast<uint32_t>(links_.size() - 1);
  }

  bool live(NodeRef node) {
    Result<bool> live = store_.live(node, fuel_);
    if (!live.ok()) store_.fail(live.status());
    return live.ok() && *live;
  }

  void close_set() {
    for (size_t i = set_begin_; i < items_.size() && store_.ok() && !fuel_.exhausted(); ++i) {
      const Item item = items_[i];
      if (!store_.nullable(item.head)) continue;
      auto at = static_cast<uint32_t>(i);
      if (item.tail == store_.eps()) {
        complete(at);
      } else {
        expand(at);
      }
    }
  }

  void complete(uint32_t at) {
    const Item item = items_[at];
    if (item.rule == store_.empty()) return goals_.push_back(at);
    const Node& node = store_.node(item.rule);
    if (node.kind == Kind::ref && marks_.names.contains(node.a)) {
      events_.push_back({at, position()});
    }
    if (item.origin == position()) empty_[item.rule].push_back(at);
    const std::vector<Waiter> waiting = waits_[item.origin][item.rule];
    for (const Waiter& waiter : waiting) advance(waiter, at);
  }

  void advance(const Waiter& waiter, uint32_t child) {
    const Item item = items_[waiter.item];
    NodeRef after = heard(store_, waiter.after, items_[child].head);
    add(item.rule, after, item.origin, waiter.item, child);
  }

  // Past the regular stretch, which may be empty here.
  void expand(uint32_t at) {
    const Item item = items_[at];
    const Node whole = store_.node(item.tail);
    bool pair = whole.kind == Kind::concat;
    NodeRef front = pair ? whole.a : item.tail;
    NodeRef after = pair ? whole.b : store_.eps();
    const Node node = store_.node(front);
    switch (node.kind) {
      case Kind::any_of:
        for (uint32_t i = 0; i < node.b; ++i) {
          add(item.rule, store_.cat(store_.children(front)[i], after), item.origin, at, kNowhere);
        }
        return;
      case Kind::repeat: {
        if (node.lo == 0) add(item.rule, after, item.origin, at, kNowhere);
        NodeRef more = store_.repeat(node.a, node.lo == 0 ? 0 : node.lo - 1,
                                     node.hi == kOpen ? kOpen : node.hi - 1);
        add(item.rule, store_.cat(node.a, store_.cat(more, after)), item.origin, at, kNowhere);
        return;
      }
      case Kind::ref:
      case Kind::rule:
        return predict({at, after}, front);
      default:
        return;  // a token: no text matches it
    }
  }

  void predict(const Waiter& waiter, NodeRef rule) {
    std::vector<Waiter>& waiting = waits_.back()[rule];
    bool first = waiting.empty();
    waiting.push_back(waiter);
    if (first) {
      Result<NodeRef> body = store_.body(rule, fuel_);
      if (!body.ok()) return store_.fail(body.status());
      add(rule, *body, position(), kNowhere, kNowhere);
    }
    auto found = empty_.find(rule);
    if (found == empty_.end()) return;
    const std::vector<uint32_t> children = found->second;
    for (uint32_t child : children) advance(waiter, child);
  }

  // Which finished items belong to a reading that the whole text leaves open.
  void mark(bool finished) {
    done_.assign(items_.size(), false);
    std::vector<uint8_t> seen(items_.size(), 0);  // 1: inside, 2: open
    std::vector<std::pair<uint32_t, uint8_t>> work;
    auto visit = [&](uint32_t item, uint8_t how) {
      if ((seen[item] & how) == how) return;
      seen[item] |= how;
      work.push_back({item, how});
    };
    for (size_t i = set_begin_; i < items_.size() && !finished; ++i) {
      visit(static_cast<uint32_t>(i), 3);
    }
    for (uint32_t goal : goals_) {
      if (finished && goal >= set_begin_) visit(goal, 1);
    }
    while (!work.empty()) {
      auto [at, how] = work.back();
      work.pop_back();
      for (uint32_t link = items_[at].links; link != kNowhere; link = links_[link].next) {
        visit(links_[link].from, 1);
        if (links_[link].child == kNowhere) continue;
        done_[links_[link].child] = true;
        visit(links_[link].child, 1);
      }
      if ((how & 2) == 0) continue;
      auto waiting = waits_[items_[at].origin].find(items_[at].rule);
      if (waiting == waits_[items_[at].origin].end()) continue;
      for (const Waiter& waiter : waiting->second) visit(waiter.item, 3);
    }
  }

  Store& store_;
  const RuleMarks& marks_;
  Fuel fuel_;
  std::vector<Item> items_;
  std::vector<Link> links_;
  size_t set_begin_ = 0;
  std::unordered_map<Item, uint32_t, ItemHash> index_;        // of the last set
  std::unordered_map<NodeRef, std::vector<uint32_t>> empty_;  // rules done over no text, here
  std::vector<std::unordered_map<NodeRef, std::vector<Waiter>>> waits_;  // by position and rule
  std::vector<Event> events_;
  std::vector<uint32_t> goals_;
  std::vector<bool> done_;
};

}  // namespace

CaptureReader::CaptureReader(SourceRef source, const Limits& limits)
    : source_(std::move(source)), limits_(limits) {}

CaptureReader::~CaptureReader() = default;

Status CaptureReader::build() {
  auto built = std::make_unique<Built>(limits_);
  Notes notes;
  Result<NodeRef> root = build_source(built->store, *source_, limits_, notes, &built->marks);
  if (!root.ok()) return root.status();
  built->root = *root;
  built->store.seal();
  built_ = std::move(built);
  return ok_status();
}

Result<std::vector<Capture>> CaptureReader::read(std::string_view text, bool finished,
                                                 bool longest) {
  Guard guard(lock_);
  if (!built_ || built_->store.worn()) {
    Status status = build();
    if (!status.ok()) return status;
  }
  Reading reading(built_->store, built_->marks, limits_);
  Status status = reading.run(built_->root, text);
  if (!status.ok()) return status;
  return longest ? reading.longest(finished) : reading.all();
}

}  // namespace treadle
