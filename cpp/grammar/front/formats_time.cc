// RFC 3339: dates, times (section 5.6) and durations (appendix A).
#include <string>
#include <string_view>

#include "grammar/front/formats.h"

namespace treadle::schema {
namespace {

constexpr std::string_view kDate =
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
    "|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";

// Second 60 stands only at the end of a UTC day: formats_misc adds those times (leap_second).
constexpr std::string_view kTime =
    "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?"
    "(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d))";

constexpr std::string_view kClock = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";

}  // namespace

std::string time_pattern(std::string_view name) {
  const std::string clock(kClock);
  if (name == "date") return std::string(kDate);
  if (name == "time") return std::string(kTime);
  if (name == "date-time") return std::string(kDate) + "[Tt]" + std::string(kTime);
  if (name == "duration") {
    return "P(?:(?:\\d+D|\\d+M(?:\\d+D)?|\\d+Y(?:\\d+M(?:\\d+D)?)?)(?:" + clock + ")?|" + clock +
           "|\\d+W)";
  }
  return "";
}

}  // namespace treadle::schema
