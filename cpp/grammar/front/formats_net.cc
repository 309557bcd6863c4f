// Names and addresses of the internet: RFC 1123, 2673, 4291, 5321, 6531, 3986, 3987, 6570.
#include "grammar/front/formats.h"

namespace treadle::schema {
namespace {

using std::string;

constexpr std::string_view kOctet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

string ipv4() {
  const string octet(kOctet);
  return octet + "(?:\\." + octet + "){3}";
}

// RFC 3986's IPv6address: eight groups, at most one of the runs of zeros left out.
string ipv6() {
  const string h = "[0-9A-Fa-f]{1,4}";
  const string g = "(?:" + h + ":)";
  const string last = "(?:" + g + h + "|" + ipv4() + ")";
  string out = "(?:" + g + "{6}" + last + "|::" + g + "{5}" + last;
  for (int before = 0; before < 5; ++before) {
    const string left = before == 0 ? "(?:" + h + ")?"
                                    : "(?:" + g + "{0," + std::to_string(before) + "}" + h + ")?";
    const int after = 4 - before;
    out += "|" + left + "::" + (after > 0 ? g + "{" + std::to_string(after) + "}" : "") + last;
  }
  out += "|(?:" + g + "{0,5}" + h + ")?::" + h + "|(?:" + g + "{0,6}" + h + ")?::)";
  return out;
}

// `letters`: the class body of letters and digits of a label or word.
string label(const string& letters) {
  return "[" + letters + "](?:[" + letters + "-]*[" + letters + "])?";
}

string email(const string& extra, const string& domain_extra) {
  const string letters = "A-Za-z0-9" + domain_extra;
  const string atom = "[A-Za-z0-9" + extra + "!#$%&'*+\\-/=?^_`{|}~]+";
  const string quoted = "\"(?:[ !#-\\[\\]-~" + extra + "]|\\\\[ -~])*\"";
  const string domain = label(letters) + "(?:\\." + label(letters) + ")*";
  const string literal = "\\[(?:" + ipv4() + "|IPv6:" + ipv6() + ")\\]";
  return "(?:" + atom + "(?:\\." + atom + ")*|" + quoted + ")@(?:" + domain + "|" + literal + ")";
}

// The parts of RFC 3986; `more` are RFC 3987's characters beyond ASCII, `personal` those that only
// a query may hold.
string uri(bool absolute, std::string_view extra, std::string_view personal_extra) {
  const string more(extra), personal(personal_extra);
  const string unreserved = "A-Za-z0-9\\-._~" + more;
  const string sub = "!$&'()*+,;=";
  const string hex = "%[0-9A-Fa-f]{2}";
  const string pchar = "(?:[" + unreserved + sub + ":@]|" + hex + ")";
  const string user = "(?:(?:[" + unreserved + sub + ":]|" + hex + ")*@)?";
  const string future = "[vV][0-9A-Fa-f]+\\.[A-Za-z0-9\\-._~!$&'()*+,;=:]+";
  const string host =
      "(?:\\[(?:" + ipv6() + "|" + future + ")\\]|(?:[" + unreserved + sub + "]|" + hex + ")*)";
  const string authority = "//" + user + host + "(?::\\d*)?";
  const string tail = "(?:/" + pchar + "*)*";
  const string scheme = "[A-Za-z][A-Za-z0-9+\\-.]*:";
  const string hierarchy =
      "(?:" + authority + tail + "|/(?:" + pchar + "+" + tail + ")?|" + pchar + "+" + tail + "|)";
  const string query = "(?:\\?(?:" + pchar + "|[/?" + personal + "])*)?";
  const string fragment = "(?:#(?:" + pchar + "|[/?])*)?";
  const string whole = scheme + hierarchy + query + fragment;
  if (absolute) return whole;
  const string no_colon = "(?:[" + unreserved + sub + "@]|" + hex + ")";
  const string relative = "(?:" + authority + tail + "|/(?:" + pchar + "+" + tail + ")?|" +
                          no_colon + "+" + tail + "|)";
  return "(?:" + whole + "|" + relative + query + fragment + ")";
}

// RFC 6570: literals and {expressions} of all four levels.
string uri_template(std::string_view extra, std::string_view personal_extra) {
  const string more(extra), personal(personal_extra);
  const string hex = "%[0-9A-Fa-f]{2}";
  const string name = "(?:[A-Za-z0-9_]|" + hex + ")(?:\\.?(?:[A-Za-z0-9_]|" + hex + "))*";
  const string variable = name + "(?::[1-9]\\d{0,3}|\\*)?";
  const string expression = "\\{[+#./;?&=,!@|]?" + variable + "(?:," + variable + ")*\\}";
  const string literal = "[!#$&-;=?-\\[\\]_a-z~" + more + personal + "]";
  return "(?:" + literal + "|" + hex + "|" + expression + ")*";
}

constexpr std::string_view kUcs =
    "\\u{A0}-\\u{D7FF}\\u{F900}-\\u{FDCF}\\u{FDF0}-\\u{FFEF}\\u{10000}-\\u{1FFFD}"
    "\\u{20000}-\\u{2FFFD}\\u{30000}-\\u{3FFFD}\\u{40000}-\\u{4FFFD}\\u{50000}-\\u{5FFFD}"
    "\\u{60000}-\\u{6FFFD}\\u{70000}-\\u{7FFFD}\\u{80000}-\\u{8FFFD}\\u{90000}-\\u{9FFFD}"
    "\\u{A0000}-\\u{AFFFD}\\u{B0000}-\\u{BFFFD}\\u{C0000}-\\u{CFFFD}\\u{D0000}-\\u{DFFFD}"
    "\\u{E1000}-\\u{EFFFD}";
constexpr std::string_view kPrivate =
    "\\u{E000}-\\u{F8FF}\\u{F0000}-\\u{FFFFD}\\u{100000}-\\u{10FFFD}";

constexpr std::string_view kBeyondAscii = "\\u{80}-\\u{D7FF}\\u{E000}-\\u{10FFFF}";

// Lower-case letters of scripts written from left to right whose code points RFC 5892 lets stand
// anywhere in a label (PVALID without a context rule).
constexpr std::string_view kPlainLetters =
    "\\u{DF}-\\u{F6}\\u{F8}-\\u{FF}\\u{3B1}-\\u{3C1}\\u{3C3}-\\u{3C9}\\u{430}-\\u{45F}"
    "\\u{3041}-\\u{3096}\\u{30A1}-\\u{30FA}\\u{4E00}-\\u{9FA5}\\u{AC00}-\\u{D7A3}";

// RFC 5890: A-labels are left out (formats_misc.cc), U-labels kept so short that their Punycode
// fits into 63 octets.
string idn_host_name() {
  const string letter = "[a-z0-9" + string(kPlainLetters) + "]";
  const string unicode = letter + "(?:" + letter + "{0,10}|" + letter + "-" + letter + "{1,8})";
  return "(?:" + unicode + "|[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)";
}

}  // namespace

std::string net_pattern(std::string_view name) {
  if (name == "ipv4" || name == "ip-address") return ipv4();
  if (name == "ipv6") return ipv6();
  if (name == "email") return email("", "");
  if (name == "idn-email") return email(string(kBeyondAscii), "\\p{L}\\p{M}\\p{N}");
  if (name == "idn-hostname") return idn_host_name();
  if (name == "uri") return uri(true, "", "");
  if (name == "uri-reference") return uri(false, "", "");
  if (name == "iri") return uri(true, kUcs, kPrivate);
  if (name == "iri-reference") return uri(false, kUcs, kPrivate);
  if (name == "uri-template") return uri_template(kUcs, kPrivate);
  return "";
}

}  // namespace treadle::schema
