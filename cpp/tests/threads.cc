// Many threads over one compiler: compile, fill, accept, batches, and evictions all the while. The
// answers are those of one thread; scripts/tsan.sh runs this under ThreadSanitizer.
#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "grammar/run/batch.h"
#include "grammar/run/compiler.h"

using namespace treadle;
using namespace treadle::test;

namespace {

constexpr size_t kThreads = 4;

VocabRef vocabulary() {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"ab", "abc", "true", "\": ", "12", "[[", "]]", "\",", "null"}) {
    texts.emplace_back(text);
  }
  std::vector<TokenSpec> specs;
  for (const std::string& text : texts) specs.push_back({.bytes = text, .kind = TokenKind::text});
  specs.push_back({.bytes = "</s>", .kind = TokenKind::control});
  VocabOptions options;
  options.stop_ids = {static_cast<TokenId>(texts.size())};
  return Vocab::build(specs, options).take();
}

std::vector<Source> sources() {
  std::vector<Source> out(4);
  out[0].kind = SourceKind::json;
  out[1].kind = SourceKind::regex;
  out[1].text = "[a-z]{2,40}(, [a-z]+)*";
  out[2].kind = SourceKind::ebnf;
  out[2].root = "root";
  out[2].text = "root ::= \"[\" root \"]\" | \"ab\"* | \"12\"";
  out[3].kind = SourceKind::schema;
  out[3].text = R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}})";
  return out;
}

using Row = std::vector<uint32_t>;

// A walk of legal tokens that the seed alone decides; returns the masks on its way.
std::vector<Row> walk(Matcher& matcher, Random& random, int steps) {
  uint32_t size = matcher.compiled().vocab().size();
  std::vector<Row> rows;
  for (int i = 0; i < steps && !matcher.finished(); ++i) {
    Row row((size + 31) / 32);
    if (!check(matcher.fill(row).ok())) break;
    rows.push_back(row);
    uint32_t token = random.below(size);
    for (uint32_t tries = 0; !(row[token >> 5] >> (token & 31) & 1) && tries < size; ++tries) {
      token = (token + 1) % size;
    }
    Result<bool> accepted = matcher.accept(token);
    check(accepted.ok() && *accepted);
  }
  return rows;
}

std::vector<Row> one_request(Compiler& compiler, uint64_t seed) {
  Random random(seed);
  std::vector<Source> all = sources();
  Result<CompiledRef> compiled = compiler.compile(all[random.below(4)]);
  if (!compiled.ok()) return {};
  Result<Matcher> matcher = Matcher::make(*compiled, compiler.vocab().stop_ids());
  if (!matcher.ok()) return {};
  std::vector<Row> rows = walk(*matcher, random, 12);
  Matcher twin = matcher->fork();
  (void)twin.rollback(std::min<uint64_t>(twin.steps(), 3));
  (void)matcher->forced();
  return rows;
}

// Rows by seed from one thread; then from many at once, with a cache so small that masks and
// grammars are dropped all the time.
void requests_agree(const VocabRef& vocab) {
  constexpr uint64_t kSeeds = 24;
  Compiler calm(vocab, Limits{});
  std::vector<std::vector<Row>> expected;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) expected.push_back(one_request(calm, seed));
  Limits limits;
  limits.cache_bytes = 1 << 16;
  Compiler busy(vocab, limits);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kSeeds; ++i) {
        uint64_t seed = (i * 7 + t) % kSeeds;
        if (one_request(busy, seed) != expected[seed]) ++wrong;
        if (i % 8 == t) busy.clear();
        (void)busy.memory();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(wrong == 0, std::to_string(wrong) + " requests differ");
}

// Batches of several threads through one pool, over matchers that no other thread has.
void batches_agree(const VocabRef& vocab) {
  Limits limits;
  limits.cache_bytes = 1 << 16;
  Compiler compiler(vocab, limits);
  Batch batch(3);
  std::atomic<int> wrong = 0;
  auto work = [&](size_t t) {
    std::vector<Source> all = sources();
    std::vector<Matcher> matchers;
    std::vector<Matcher*> pointers;
    Random random(t);
    for (int i = 0; i < 8; ++i) {
      CompiledRef compiled = compiler.compile(all[random.below(4)]).take();
      matchers.push_back(Matcher::make(compiled, vocab->stop_ids()).take());
    }
    for (Matcher& matcher : matchers) pointers.push_back(&matcher);
    size_t words = (vocab->size() + 31) / 32;
    std::map<MaskId, Row> known;
    for (int step = 0; step < 20; ++step) {
      Row data(8 * words);
      MaskRows rows{data.data(), 8, static_cast<int64_t>(words), static_cast<int64_t>(words)};
      std::vector<int64_t> index{3, 1, 0, 2, 7, 6, 5, 4};
      if (!batch.fill(pointers, rows, index).empty()) ++wrong;
      std::vector<MaskId> ids(8);
      Batch::mask_ids(pointers, ids);
      std::vector<TokenId> tokens;
      for (size_t i = 0; i < 8; ++i) {
        std::span<uint32_t> row = rows.row(index[i]);
        Row own(words);
        if (!matchers[i].fill(own).ok() || !std::ranges::equal(own, row)) ++wrong;
        if (ids[i] >= 0 && known.try_emplace(ids[i], own).first->second != own) ++wrong;
        TokenId token = random.below(vocab->size());
        while (std::ranges::any_of(own, [](uint32_t word) { return word != 0; }) &&
               !(own[token >> 5] >> (token & 31) & 1)) {
          token = (token + 1) % vocab->size();
        }
        tokens.push_back(token);
      }
      (void)Batch::accept(pointers, tokens);
    }
  };
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  check(wrong == 0, std::to_string(wrong) + " rows differ");
}

void pool_runs_each_round_once() {
  for (size_t threads : {1, 2, 7}) {
    Pool pool(threads);
    for (size_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> hits(count);
      auto loop = [&] { pool.run(count, [&](size_t i) { ++hits[i]; }); };
      std::vector<std::thread> callers;
      for (int i = 0; i < 3; ++i) callers.emplace_back(loop);
      for (std::thread& caller : callers) caller.join();
      check(std::ranges::all_of(hits, [](const std::atomic<int>& n) { return n == 3; }));
    }
  }
}

}  // namespace

int main() {
  VocabRef vocab = vocabulary();
  pool_runs_each_round_once();
  requests_agree(vocab);
  batches_agree(vocab);
  return report();
}
