// SPDX-License-Identifier: Apache-2.0
#include "start_policy.hpp"

#include <charconv>
#include <chrono>

namespace kafka {

namespace {

// Reads the text from left to right; once something doesn't fit, `failed` stays true.
class reader {
 public:
  explicit reader(std::string_view text) : rest_(text) {}

  int number(std::size_t digits, int low, int high) {
    int value = 0;
    if (rest_.size() < digits) return fail();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + digits, value);
    if (error != std::errc{} || end != rest_.data() + digits || value < low || value > high) return fail();
    rest_.remove_prefix(digits);
    return value;
  }
  bool accept(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) (void)fail();
  }
  // Digits after the point, as milliseconds; finer ones are cut off.
  int fraction() {
    int ms = 0, unit = 100, digits = 0;
    for (; !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; rest_.remove_prefix(1), ++digits) {
      ms += (rest_.front() - '0') * unit;
      unit /= 10;
    }
    return digits == 0 ? fail() : ms;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] bool failed() const { return failed_; }
  int fail() {
    failed_ = true;
    return 0;
  }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

std::chrono::minutes zone(reader& in) {
  using namespace std::chrono;
  if (in.accept('Z') || in.accept('z')) return minutes(0);
  const bool west = in.accept('-');
  if (!west) in.expect('+');
  const auto h = hours(in.number(2, 0, 23));
  in.expect(':');
  const auto offset = h + minutes(in.number(2, 0, 59));
  return west ? -offset : offset;
}

std::optional<std::int64_t> parse_time_ms(std::string_view text) {
  using namespace std::chrono;
  reader in(text);
  const auto y = year(in.number(4, 0, 9999));
  in.expect('-');
  const auto m = month(static_cast<unsigned>(in.number(2, 1, 12)));
  in.expect('-');
  const auto date = year_month_day(y, m, day(static_cast<unsigned>(in.number(2, 1, 31))));
  if (in.failed() || !date.ok()) return std::nullopt;
  sys_time<milliseconds> t = sys_days(date);
  if (!in.at_end()) {
    if (!in.accept('t') && !in.accept(' ')) in.expect('T');
    t += hours(in.number(2, 0, 23));
    in.expect(':');
    t += minutes(in.number(2, 0, 59));
    in.expect(':');
    t += seconds(in.number(2, 0, 59));
    if (in.accept('.')) t += milliseconds(in.fraction());
    t -= zone(in);
  }
  if (in.failed() || !in.at_end()) return std::nullopt;
  return t.time_since_epoch().count();
}

}  // namespace

std::optional<start_policy> parse_start(std::string_view text) {
  if (text == "earliest") return start_policy{start_policy::kind::earliest, 0};
  if (text == "latest") return start_policy{start_policy::kind::latest, 0};
  const auto time = parse_time_ms(text);
  if (!time || *time < 0) return std::nullopt;
  return start_policy{start_policy::kind::time, *time};
}

}  // namespace kafka
