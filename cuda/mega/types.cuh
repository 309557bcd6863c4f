// What a launch is given, and the shared memory of a worker. `Model` and the phases are generated.
#pragma once

namespace treadle::mega {

constexpr int kWarps = 8, kLanes = 32, kTile = 16384, kTileColumns = 512, kPairColumns = 32;
constexpr int kThreads = (kWarps + 2) * kLanes;           // consumers, producer, feeder
constexpr int kPage = 64;                                 // positions of a KV page
constexpr uint32_t kPatience = 2'000'000'000;             // cycles that a wait may take: a second
constexpr int kSquares = Model::kRows == 1 ? kLanes : 1;  // sums of squares that a warp leaves
constexpr int kBlocks = (Model::kRows + 7) / 8;           // of eight rows: the columns of one mma
constexpr bool kFed = Model::kFeeds > 0;                  // rows come in chunks: feed.cuh
constexpr int kFeeds = kFed ? Model::kFeeds : 1;
/// Lanes that say for a warp that it has read: one, behind the warp's barrier, which a checker of
/// races does not follow into an arrival; for it all (Knobs.strict).
constexpr int kSay = Model::kStrict ? kLanes : 1;
constexpr int kChunkBytes = kFed ? kTileColumns * kBlocks * 16 : 16;
constexpr int kStaged = 20;  // floats from row to row of a warp's sums: no bank twice

/// Arguments of the kernel; the same table in `treadle.backends.mega.cuda_args`.
struct Args {
  const unsigned char* stream;  // packed weights, worker after worker, each in the order it reads
  const uint64_t* starts;       // [workers + 1] bytes into stream
  const uint4* ranges;      // [workers][phases][2]: strip, strips, first tile | tiles << 16, term
  const float* pool;        // norms, biases, rope frequencies
  const uint16_t* embed;    // [V, D] bf16
  uint16_t* kv;             // [state][page][KV head][K, V][position][d] bf16
  const int32_t* pages;     // [rows][pages of a row]
  uint4* packets;           // what crosses workers; zero before the first launch
  float* logits;            // [rows][V] of the last step
  const int2* begin;        // [rows]: token and position of the first step
  uint4* tokens;            // [steps][rows]: token, position, step, epoch; the host's memory
  uint32_t* error;          // 8 words of the host's memory: the first wait that was in vain
  uint32_t* claimed;        // device word: who may write the record
  uint32_t* trace;          // [workers][phases of a step][warps + 1][8] stamps of the last step
  uint64_t state_bytes;     // of one KV state
  const uint32_t* boxes;    // [2][box_words] of the host's memory (boxes.cuh); null: greedy
  const uint32_t* allowed;  // how many steps may run, top bit: never more; null: all
  const uint32_t* seats;    // which rows change hands, in the host's memory (seats.cuh); null: none
  uint32_t box_words, vocab;
  uint32_t ballots;     // packets: first of the draw's own
  uint32_t same_rules;  // the first box holds for all steps
  uint32_t epoch, steps, row_pages;
  uint32_t mute_worker, mute_epoch;  // a test's fault: who stays silent, and when; 0xffffffff never
  // Which rank this is; `packets` of every rank as this device sees them.
  uint32_t rank;
  uint4* peers[8];
};

/// What is read or written as one word: two floats, four floats, four bf16.
struct alignas(8) Two {
  float x, y;
};
struct alignas(16) Four {
  float x, y, z, w;
};
struct alignas(8) Pairs {
  uint32_t x, y;
};

enum Code : uint32_t { kPacket = 1, kFull, kEmpty, kWindow, kStep, kBox, kAllowed, kReady, kRoute };

/// How a row's token is drawn; 8 words of a box.
struct alignas(16) Rule {
  uint32_t masked;  // the row has a mask
  float temperature;
  uint32_t top_k;
  float top_p, least;  // least: log of min_p
  uint32_t key0, key1, step;
};

/// Row of the rope table, items of attention and everything else that a step keeps.
struct Item {
  int32_t row, head, segment;
};

constexpr int kNobody = 255;

/// Which experts a step's rows have chosen, of one layer at a time.
struct Routed {
  uint64_t ready;                                // the producer waits for it
  int32_t used;                                  // experts that any row chose
  uint16_t list[Model::kMostUsed];               // those, ascending
  uint8_t pick[Model::kMostUsed][Model::kRows];  // a row's how manieth choice it is, or kNobody
  uint16_t chosen[Model::kRows][Model::kActive];
  float weight[Model::kRows][Model::kActive];
};

struct Smem {
  alignas(128) unsigned char ring[Model::kRing][kTile];
  union alignas(128) {
    unsigned char feed[kFeeds][kChunkBytes];
    float spare[kFed ? Model::kScratch : 4];  // the scratch memory where rows come in chunks
  };
  union alignas(16) {
    uint16_t act[Model::kRows][Model::kActStride];  // the input of a linear, bf16
    float scratch[kFed ? 4 : Model::kScratch];      // of attention and the draw
    float staged[kFed ? kWarps : 1][kFed ? Model::kRows : 1][kStaged];  // of a fed linear: the same
  };
  alignas(16) float heads[(Model::kHeads / Model::kKvHeads + 2) * Model::kHead];  // q, k, v
  alignas(
      16) float residual[Model::kFar < 0 ? Model::kRows : 1][Model::kFar < 0 ? Model::kWidth : 4];
  alignas(16) float partial[Model::kSets][Model::kChunk][kFed ? 1 : kWarps][kFed ? 1 : Model::kRows]
                           [16];
  float squares[kFed ? 1 : 2][kFed ? 1 : Model::kRows][kWarps][kSquares];
  float rope[kFed ? 1 : Model::kRopes][kFed ? 1 : Model::kRows][2]
            [kFed ? 4 : Model::kTurned];  // cosine, sine
  uint64_t full[Model::kRing], empty[Model::kRing], go, feed_full[kFeeds], feed_empty[kFeeds];
  uint64_t calm;                           // attention has done with the feeder's memory
  float roots[Model::kRows];               // factors of the norm that a fed linear stands behind
  uint64_t best[2][kWarps][Model::kRows];  // of this worker, of all
  uint4 ranges[Model::kPhases][2];
  Item items[Model::kKinds][Model::kItems];
  uint32_t step;  // that the consumers are in
  uint32_t now;   // phase whose input they have
  int32_t count[Model::kKinds], token[Model::kRows], position[Model::kRows];
  uint32_t over;                 // the host wants no further step
  int32_t tied;                  // last of the equals that a nucleus ends with
  uint64_t first[Model::kRows];  // keys that a draw by rules has come to
  Rule rules[Model::kRows];
  Routed routed;
  float branch[2][2][kWarps];  // sums of squares of what a branch has made (post.cuh)
};

/// Scratch memory of attention and of the draw; the feeder has none of its chunks there meanwhile.
TM_DEVICE float* scratch_of(Smem& s) {
  if constexpr (kFed) return s.spare;
  return s.scratch;
}

/// A place in a ring of N that goes round; parity is that of the turn.
template <int N>
struct Turn {
  int slot = 0;
  uint32_t turn = 0;
  TM_DEVICE void next() {
    if (++slot == N) {
      slot = 0;
      turn ^= 1;
    }
  }
  TM_DEVICE void forward(int n) {
    for (slot += n; slot >= N; slot -= N) turn ^= 1;
  }
};
/// Strips that go through the tiles of k together: a warp has sums for two.
constexpr int kBand = 2 * kWarps;
TM_BOTH constexpr int bands_of(int strips) {
  return (strips + kBand - 1) / kBand;
}

/// Defaults of a generated phase; a phase names what differs.
struct Phase {
  static constexpr int index = 0;     // row of the range table
  static constexpr int k = 0, n = 0;  // columns read and written
  static constexpr int klen = 0;      // tiles of k that a worker reads at most
  static constexpr bool cut = false;  // a worker polls only the tiles of k that it multiplies
  static constexpr int in = 0, in_unit = 16, in_terms = 1;  // packets: first, columns a unit, terms
  static constexpr int out = 0, out_unit = 16;
  static constexpr bool in_turned = false, out_turned = false;  // packets as `turned_pair` has them
  // Packets from a rank's output to the next one's in every rank's memory; 0: no other rank's.
  static constexpr int rank_stride = 0;
  static constexpr int norm = -1, norm_step = 0;  // floats into the pool, and a layer further
  static constexpr int bias = -1, bias_step = 0;
  static constexpr float eps = 0, scale = 1;
  static constexpr int post = -1, post_step = 0;  // of the norm behind the branch (post.cuh)
  static constexpr float post_eps = 0;
  static constexpr bool fed = false;  // the input is chunks, complete when counters say so
  static constexpr int ready = 0;     // first of those counters, one a chunk
  static constexpr int squares = -1, slices = 1;  // packets of sums of squares, [rows][slices]
  static constexpr uint32_t writes = 0, writes_before = 0, writes_a_layer = 0;  // of the input
  static constexpr int tell = -1, out_squares = 0;  // the same of the output; -1: it is packets
  static constexpr int behind = Model::kBehind;     // tiles on their way before the phase begins
  static constexpr int act = 0;         // 1 silu, 2 gelu_tanh: gate and up rows in each strip
  static constexpr bool sum = false;    // the input is terms of the residual stream
  static constexpr bool first = false;  // ... or the embedded token
  static constexpr bool logits = false;
  static constexpr bool router = false;  // the output goes as float32, two a packet
  static constexpr int experts = 0, strips = 0,
                       score = 0;              // strips of one expert; 1 sigmoid, 2 sum 1
  static constexpr int scores = 0;             // packets of the router's output
  static constexpr int kib = 0, kib_step = 0;  // where its weights begin behind the streams
  static constexpr int form = 0;               // how the weights lie in the stream: forms.cuh
  static constexpr bool whole = true;          // all tiles have as many columns
  static constexpr int parts = 1;              // weights laid side by side, in groups of lanes
  static constexpr int lane0 = 16, lane1 = 0, lane2 = 0, column0 = 0, column1 = 0, column2 = 0;
  static constexpr int state = 0;  // KV state of the first layer
  static constexpr int q_norm = -1, k_norm = -1, head_step = 0;
  static constexpr float q_eps = 0, k_eps = 0;
  static constexpr uint64_t kinds = 0;  // bit i: the kind of layer i of the template (sight.cuh)
  static constexpr float cap = 0;       // soft cap of scores or logits, 0 none
};

/// Packets of a unit of 16 or 8 columns. Packet j holds columns 4j to 4j + 3, those of a unit of 16
/// also a pair of the last four (j = 0, 1): what a lane of the sum over warps has, and its share.
TM_BOTH constexpr int packets_of(int unit) {
  return unit == 16 ? 3 : 2;
}

/// Where a pair of 16 columns stands among `all`: those that a warp takes side by side.
TM_BOTH constexpr int turned_pair(int pair, int all) {
  return pair % kWarps * (all / kWarps) + pair / kWarps;
}

/// First output column of a strip.
template <class P>
TM_DEVICE int column_of(int strip) {
  if constexpr (P::act) return strip * 8;
  if constexpr (P::parts == 1) return strip * 16;
  constexpr int group = P::lane0 + P::lane1 + P::lane2;
  const int g = strip * 16 / group, r = strip * 16 % group;
  if (r < P::lane0) return P::column0 + g * P::lane0 + r;
  if (r < P::lane0 + P::lane1) return P::column1 + g * P::lane1 + r - P::lane0;
  return P::column2 + g * P::lane2 + r - P::lane0 - P::lane1;
}

}  // namespace treadle::mega
