#include "grammar/typed/clock.h"

#include <memory>
#include <string>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/hash.h"

namespace treadle {
namespace {

constexpr int kDay = 24 * 60;
constexpr int kLast = kDay - 1;  // 23:59

std::string clock_text(int minutes) {
  const auto two = [](int value) {
    return std::string{static_cast<char>('0' + value / 10), static_cast<char>('0' + value % 10)};
  };
  return two(minutes / 60) + ":" + two(minutes % 60);
}

// What follows a local time of `minutes` since midnight.
NodeRef rest_of(Store& store, int minutes) {
  const NodeRef digit = store.byte_set(ByteSet::range('0', '9'));
  const NodeRef fraction = store.optional(store.cat(store.bytes("."), store.plus(digit)));
  std::vector<NodeRef> zones = {
      store.bytes("+" + clock_text((minutes - kLast + kDay) % kDay)),
      store.bytes("-" + clock_text(kLast - minutes)),
  };
  if (minutes == kLast) {
    zones.push_back(store.bytes("Z"));
    zones.push_back(store.bytes("z"));
  }
  return store.cat(store.bytes(":60"), store.cat(fraction, store.any_of(zones)));
}

class LeapClock final : public Typed {
 public:
  // `read` characters of hh:mm have been read, with digits worth `minutes`.
  LeapClock(int read, int minutes) : Typed(TypedTag::other, true), read_(read), minutes_(minutes) {}

  uint64_t hash() const override {
    return mix(mix(static_cast<uint64_t>(tag), 0x636c6f636bULL),
               static_cast<uint64_t>(read_) << 32 | static_cast<uint64_t>(minutes_));
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const LeapClock&>(other);
    return read_ == that.read_ && minutes_ == that.minutes_;
  }
  Digest digest(Store&) const override {
    Digest out = Digest::of(static_cast<uint64_t>(tag)).add("clock");
    return out.add(static_cast<uint64_t>(read_) << 32 | static_cast<uint64_t>(minutes_));
  }
  ByteSet first(Store&) const override {
    switch (read_) {
      case 0:
        return ByteSet::range('0', '2');
      case 1:
        return ByteSet::range('0', minutes_ == 20 * 60 ? '3' : '9');
      case 2:
        return ByteSet::of(':');
      case 3:
        return ByteSet::range('0', '5');
      default:
        return ByteSet::range('0', '9');
    }
  }
  NodeRef derive(Store& store, uint8_t byte) const override {
    static constexpr int kWorth[] = {600, 60, 0, 10, 1};
    if (!first(store).contains(byte)) return store.empty();
    const int minutes = minutes_ + (read_ == 2 ? 0 : (byte - '0') * kWorth[read_]);
    if (read_ == 4) return rest_of(store, minutes);
    return store.typed(std::make_unique<LeapClock>(read_ + 1, minutes));
  }

 private:
  int read_, minutes_;
};

}  // namespace

NodeRef leap_second(Store& store) {
  return store.typed(std::make_unique<LeapClock>(0, 0));
}

}  // namespace treadle
