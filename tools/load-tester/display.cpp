// SPDX-License-Identifier: Apache-2.0
#include "display.hpp"

#include "clock.hpp"
#include "report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace pl::load {
namespace {

constexpr std::int64_t second_us = 1'000'000;

double rate(std::uint64_t now, std::uint64_t before, double seconds) {
  return seconds > 0 ? static_cast<double>(now - before) / seconds : 0;
}

std::string row(const char* name, std::uint64_t n, double per_second, const latency& l) {
  if (l.count == 0) return fmt::format("  {:<14}{:>13}{:>10.0f}\n", name, grouped(n), per_second);
  return fmt::format("  {:<14}{:>13}{:>10.0f}{:>11}{:>11}{:>11}{:>11}\n", name, grouped(n), per_second,
                     time_text(l.p50), time_text(l.p95), time_text(l.p99), time_text(l.max));
}

}  // namespace

display::display(bool quiet, std::string run)
    : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1), run_(std::move(run)) {}

std::string display::table(const snapshot& s, double seconds) const {
  const auto& p = s.sent;
  auto out = fmt::format("run {}  {:.0f} s  {}  {} of {} connections{}\n", run_,
                         static_cast<double>(last_us_ - begin_us_) / static_cast<double>(second_us),
                         s.sending ? "sending" : "waiting for outstanding messages", s.connected, s.connections,
                         s.broken_connections > 0 ? fmt::format(", {} broken so far", s.broken_connections) : "");
  out += fmt::format("  {:<14}{:>13}{:>10}{:>11}{:>11}{:>11}{:>11}\n", "", "total", "/s", "p50", "p95", "p99", "max");
  out += row("sent", p.sent, rate(p.sent, before_.sent, seconds), {});
  out += row("acknowledged", p.acknowledged, rate(p.acknowledged, before_.acknowledged, seconds), p.to_broker);
  if (s.waiting > 0) out += fmt::format("  {:<14}{:>13}\n", "in flight", grouped(s.waiting));
  if (!s.verify) return out;
  out += row("stored", p.seen, rate(p.seen, before_.seen, seconds), p.to_database);
  out += fmt::format("  {:<14}{:>13}{:>10}", "alerts", grouped(s.alerts.seen), fmt::format("of {}", s.alerts.expected));
  const auto& l = s.alerts.to_alert;
  if (l.count > 0)
    out +=
        fmt::format("{:>11}{:>11}{:>11}{:>11}", time_text(l.p50), time_text(l.p95), time_text(l.p99), time_text(l.max));
  out += '\n';
  if (!s.error.empty()) out += fmt::format("  database: {:.100}\n", s.error);
  return out;
}

std::string display::line(const snapshot& s, double seconds) const {
  const auto& p = s.sent;
  auto out = fmt::format("{:>5.0f} s  sent {} ({:.0f}/s)  acknowledged {}",
                         static_cast<double>(last_us_ - begin_us_) / static_cast<double>(second_us), grouped(p.sent),
                         rate(p.sent, before_.sent, seconds), grouped(p.acknowledged));
  if (s.verify)
    out += fmt::format("  stored {} of {} (p99 {})  alerts {} of {}", grouped(p.seen), grouped(p.expected),
                       time_text(p.to_database.p99), s.alerts.seen, s.alerts.expected);
  if (s.broken_connections > 0) out += fmt::format("  broken connections {}", s.broken_connections);
  if (!s.error.empty()) out += fmt::format("  database: {}", s.error);
  return out + '\n';
}

bool display::is_due() const { return !quiet_ && now_us() - last_us_ >= (terminal_ ? second_us / 2 : 5 * second_us); }

void display::show(const snapshot& s) {
  const auto now = now_us();
  if (begin_us_ == 0) begin_us_ = last_us_ = now;
  if (!is_due()) return;
  const auto seconds = static_cast<double>(now - last_us_) / static_cast<double>(second_us);
  last_us_ = now;
  auto text = terminal_ ? table(s, seconds) : line(s, seconds);
  before_ = s.sent;
  if (terminal_) {
    // Overwrite the previous table: move the cursor up, and clear from there.
    const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    text = (lines_ > 0 ? fmt::format("\x1b[{}A\x1b[J", lines_) : std::string{}) + text;
    lines_ = lines;
  }
  std::fwrite(text.data(), 1, text.size(), stderr);
}

// Clear the table: the report follows, and contains the same values.
void display::finish() {
  if (lines_ > 0) std::fprintf(stderr, "\x1b[%dA\x1b[J", lines_);
  lines_ = 0;
}

}  // namespace pl::load
