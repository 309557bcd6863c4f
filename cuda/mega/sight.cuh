// What a row sees: layers of one template may be of two kinds, which differ in how far back they
// look and in their rotation; and how long the segments are that a row's positions are cut into.
#pragma once

namespace treadle::mega {

/// Tiles of a page's keys of a head, and of its values.
constexpr int kHalfTiles = (kPage * Model::kHead * 2 + kTile - 1) / kTile;
constexpr bool kWindows = Model::kSees0 > 0 || Model::kSees1 > 0;
/// Segments that a row is cut into at most: partials of later ones stand where the first ones
/// stood.
constexpr int kSegments = Model::kPages / Model::kSegmentPages < Model::kSegmentsMost
                              ? Model::kPages / Model::kSegmentPages
                              : Model::kSegmentsMost;
constexpr bool kStretched = kSegments < Model::kPages / Model::kSegmentPages;

/// Kind of a layer of a phase's template.
template <class P>
TM_DEVICE int kind_of(int layer) {
  if constexpr (Model::kKinds == 1) return 0;
  return static_cast<int>(static_cast<uint64_t>(P::kinds) >> layer & 1);
}

/// First position that a row sees.
TM_DEVICE int seen_from(int kind, int position) {
  if constexpr (!kWindows) return 0;
  const int window = kind ? Model::kSees1 : Model::kSees0;
  return window && position >= window ? position - window + 1 : 0;
}

/// Pages of a segment: as many more, by twos, as leave a row `kSegments` of them.
TM_DEVICE int segment_pages(int kind, int position) {
  int pages = Model::kSegmentPages;
  if constexpr (kStretched) {
    const int seen = position / kPage - seen_from(kind, position) / kPage;
    while (seen + 1 > pages * (kSegments - 1)) pages *= 2;
  }
  return pages;
}

/// Segments of a row: a short tail joins the one before it.
TM_DEVICE int segments_of(int kind, int position) {
  const int length = kPage * segment_pages(kind, position);
  const int n = (position + length - Model::kTail) / length;
  return n > 1 ? n : 1;
}

/// Last page of a segment.
TM_DEVICE int last_page(int kind, int segment, int position) {
  const int pages = segment_pages(kind, position);
  return segment + 1 < segments_of(kind, position) ? (segment + 1) * pages - 1 : position / kPage;
}

}  // namespace treadle::mega
