// Rows that change hands while a launch goes on: between two steps the host seats another sequence
// in a row, clears it, or gives it further pages.
//
// A sheet in the host's memory: word 0 the number of steps after which it holds; from word 4 on
// four words a row: what is new (0 nothing, 1 pages, 2 the sequence), token, position, the first
// page that is new | how many << 16; behind them the pages [rows][pages of a row]. The first worker
// looks at it once the host allows the next step, copies pages to where all read them, and tells
// the others.
#pragma once

namespace treadle::mega {

enum Seat : uint32_t { kSame, kPages, kTaken };
constexpr int kSheet = 4 + 4 * Model::kRows;  // words before the pages

/// Whether the sheet holds after so many steps; then its pages are where all read them. By a warp
/// of the first worker.
TM_DEVICE bool take_sheet(const Args& a, uint32_t steps, int lane) {
  if (a.seats == nullptr || load_foreign(a.seats) != steps) return false;
  uint32_t* to = reinterpret_cast<uint32_t*>(const_cast<int32_t*>(a.pages));
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    if (load_foreign(a.seats + 4 + 4 * row) == kSame) continue;
    const uint32_t span = load_foreign(a.seats + 4 + 4 * row + 3);
    const uint32_t first = row * a.row_pages + (span & 0xffff), pages = span >> 16;
#pragma unroll 4
    for (uint32_t i = lane; i < pages; i += kLanes)
      to[first + i] = load_foreign(a.seats + kSheet + first + i);
  }
  fence_grid();  // whoever sees the packets sees the pages
  warp_sync();
  return true;
}

/// Tells all workers of the sheet's rows.
TM_DEVICE void tell_seats(const Args& a, int at, int lane, uint32_t told) {
  if (lane >= Model::kRows) return;
  const uint32_t* from = a.seats + 4 + 4 * lane;
  store_packet(fresh(a.packets) + at + lane, make_uint4(load_foreign(from), load_foreign(from + 1),
                                                        load_foreign(from + 2), told));
}

/// Takes what the first worker told.
template <class P>
TM_DEVICE void take_seats(const Args& a, Smem& s, int at, int lane, uint32_t epoch) {
  uint4 v[1] = {make_uint4(0, 0, 0, 0)};
  poll(a, [&](int) { return at + lane; }, lane < Model::kRows ? 1u : 0u, epoch, P::index, v);
  if (lane < Model::kRows && v[0].x == kTaken) {
    s.token[lane] = static_cast<int32_t>(v[0].y);
    s.position[lane] = static_cast<int32_t>(v[0].z);
  }
  fence_grid();
}

}  // namespace treadle::mega
