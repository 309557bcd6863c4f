// Tensor parallelism inside the kernel: every rank runs this source on its shard, and what all must
// sum travels as packets into an inbox of each, rank after rank. Nobody reduces: whoever reads the
// residual stream adds the terms of all ranks in their order, so that all ranks have the same bits.
//
// A packet is 16 bytes in one store, so it is whole or not there, and says itself which phase it is
// of: no flag, no fence, no second trip. The inboxes of o and of down are each other's second half:
// who writes to one has read the other one's packets of all ranks, which their workers sent only
// after they had read what is being overwritten (treadle.mega.codegen_peers checks that each does).
#pragma once

namespace treadle::mega {

/// Strips of the vocabulary before this rank's.
TM_DEVICE int strips_before(const Args& a) {
  if constexpr (Model::kRanks == 1) return 0;
  return static_cast<int>(a.rank * (a.vocab / 16));
}

/// A packet to the same place of every rank's memory.
TM_DEVICE void tell_ranks(const Args& a, int place, uint4 v) {
#pragma unroll
  for (int i = 0; i < Model::kRanks; i++) store_packet_far(fresh(a.peers[i]) + place, v);
}

/// A phase's output, whose place is that of rank 0: to this rank's workers, or to the inbox of
/// every rank.
template <class P>
TM_DEVICE void send_packet(const Args& a, uint4* to, uint4 v) {
  if constexpr (P::rank_stride == 0)
    store_packet(to, v);
  else
    tell_ranks(a, static_cast<int>(to - a.packets + a.rank * P::rank_stride), v);
}

}  // namespace treadle::mega
