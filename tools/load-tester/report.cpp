// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <fmt/format.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <iterator>
#include <string_view>

namespace pl::load {
namespace {

using writer = rapidjson::PrettyWriter<rapidjson::StringBuffer>;

std::string list_of(const std::vector<std::uint64_t>& seqs) {
  std::string text;
  for (const auto seq : seqs) text += fmt::format("{}{}", text.empty() ? "" : ", ", seq);
  return text;
}

std::string examples(const std::vector<std::uint64_t>& seqs) {
  return seqs.empty() ? std::string{} : fmt::format(" (seq {})", list_of(seqs));
}

void count_line(std::string& out, std::string_view name, std::uint64_t n, std::string_view remark = {}) {
  const auto begin = out.size();
  fmt::format_to(std::back_inserter(out), "  {:<18}{:>13}", name, grouped(n));
  if (!remark.empty()) fmt::format_to(std::back_inserter(out), "   {}", remark);
  while (out.size() > begin && out.back() == ' ') out.pop_back();
  out += '\n';
}

void latency_line(std::string& out, std::string_view name, const latency& l) {
  if (l.count == 0) return;
  fmt::format_to(std::back_inserter(out), "  {:<20}{:>11}{:>11}{:>11}{:>11}\n", name, time_text(l.p50),
                 time_text(l.p95), time_text(l.p99), time_text(l.max));
}

void sent_text(std::string& out, const report& r) {
  const auto& m = r.messages;
  count_line(out, "sent", m.sent,
             fmt::format("{:.0f}/s; {} messages, {} of them broken, {} copies", r.rate(), grouped(m.messages),
                         grouped(m.broken), grouped(m.sent - m.messages)));
  count_line(out, "acknowledged", m.acknowledged, r.qos == 0 ? "QoS 0: handed to the network" : "");
  if (r.broken_connections > 0)
    count_line(out, "broken connections", r.broken_connections,
               fmt::format("{} messages may have reached the broker twice", grouped(m.maybe_twice)));
}

void stored_text(std::string& out, const report& r) {
  const auto& m = r.messages;
  count_line(out, "stored", m.stored, fmt::format("{} expected", grouped(m.expected)));
  count_line(out, "lost", m.lost, examples(m.lost_examples));
  count_line(out, "duplicated", m.duplicated, examples(m.duplicated_examples));
  if (m.altered > 0) count_line(out, "altered", m.altered, "rows that differ from the message");
  if (r.dead_letters_read)
    count_line(out, "dead-lettered", m.dead_lettered, fmt::format("{} broken were sent", grouped(m.broken)));
  else if (m.broken > 0)
    fmt::format_to(std::back_inserter(out), "  {:<18}{:>13}   set --dead-letters to count them\n", "dead-lettered",
                   "?");
  const auto& a = r.alerts;
  count_line(out, "alerts", a.seen, fmt::format("{} expected", grouped(a.expected)));
  count_line(out, "alerts resolved", a.resolved_seen, fmt::format("{} expected", grouped(a.resolved_expected)));
}

void latencies_text(std::string& out, const report& r) {
  fmt::format_to(std::back_inserter(out), "\n  {:<20}{:>11}{:>11}{:>11}{:>11}\n", "latency", "p50", "p95", "p99",
                 "max");
  latency_line(out, "sent late", r.lateness);
  latency_line(out, "device -> broker", r.to_broker);
  if (!r.verified) return;
  latency_line(out, "device -> database", r.to_database);
  latency_line(out, "  query interval", r.resolution);
  latency_line(out, "device -> alert", r.alerts.to_alert);
}

void put(writer& w, const char* name, std::uint64_t n) {
  w.Key(name);
  w.Uint64(n);
}
void put(writer& w, const char* name, double n) {
  w.Key(name);
  w.Double(n);
}
void put(writer& w, const char* name, bool b) {
  w.Key(name);
  w.Bool(b);
}
void put(writer& w, const char* name, const std::string& text) {
  w.Key(name);
  w.String(text.c_str(), static_cast<rapidjson::SizeType>(text.size()));
}
void put(writer& w, const char* name, const std::vector<std::uint64_t>& list) {
  w.Key(name);
  w.StartArray();
  for (const auto n : list) w.Uint64(n);
  w.EndArray();
}
void put(writer& w, const char* name, const std::vector<std::string>& list) {
  w.Key(name);
  w.StartArray();
  for (const auto& text : list) w.String(text.c_str());
  w.EndArray();
}
void put_milliseconds(writer& w, const char* name, const latency& l) {
  w.Key(name);
  if (l.count == 0) {
    w.Null();
    return;
  }
  w.StartObject();
  put(w, "count", l.count);
  put(w, "p50", static_cast<double>(l.p50) / 1000);
  put(w, "p95", static_cast<double>(l.p95) / 1000);
  put(w, "p99", static_cast<double>(l.p99) / 1000);
  put(w, "max", static_cast<double>(l.max) / 1000);
  w.Key("histogram");  // how many are less than each bound
  w.StartArray();
  for (std::size_t i = 0; i < l.below.size(); ++i) {
    w.StartObject();
    put(w, "below", static_cast<std::uint64_t>(latency_bounds_ms[i]));
    put(w, "count", l.below[i]);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
}

void put_stored(writer& w, const report& r) {
  const auto& m = r.messages;
  put(w, "expected", m.expected);
  put(w, "stored", m.stored);
  put(w, "lost", m.lost);
  put(w, "lost_seq", m.lost_examples);
  put(w, "duplicated", m.duplicated);
  put(w, "duplicated_seq", m.duplicated_examples);
  put(w, "altered", m.altered);
  put(w, "broken_stored", m.broken_stored);
  if (r.dead_letters_read) {
    put(w, "dead_lettered", m.dead_lettered);
    put(w, "good_dead_lettered", m.good_dead_lettered);
    put(w, "broken_vanished", m.broken_vanished);
  }
  w.Key("alerts");
  w.StartObject();
  put(w, "expected", r.alerts.expected);
  put(w, "seen", r.alerts.seen);
  put(w, "missing", r.alerts.missing);
  put(w, "resolved_expected", r.alerts.resolved_expected);
  put(w, "resolved_seen", r.alerts.resolved_seen);
  put(w, "resolved_missing", r.alerts.resolved_missing);
  put(w, "duplicated", r.alerts.duplicated);
  put(w, "unexpected", r.alerts.unexpected);
  w.EndObject();
}

void put_report(writer& w, const report& r) {
  const auto& m = r.messages;
  w.StartObject();
  put(w, "run", r.run);
  const auto wrong = faults(r);
  put(w, "passed", wrong.empty());
  put(w, "faults", wrong);
  put(w, "interrupted", r.interrupted);
  put(w, "seconds", r.seconds);
  put(w, "wanted_rate", r.wanted_rate);
  put(w, "rate", r.rate());
  put(w, "devices", std::uint64_t{r.devices});
  put(w, "silent_devices", std::uint64_t{r.silent_devices});
  put(w, "connections", std::uint64_t{r.connections});
  put(w, "broken_connections", r.broken_connections);
  put(w, "qos", static_cast<std::uint64_t>(r.qos));
  put(w, "messages", m.messages);
  put(w, "broken", m.broken);
  put(w, "sent", m.sent);
  put(w, "acknowledged", m.acknowledged);
  put(w, "maybe_twice", m.maybe_twice);
  put(w, "verified", r.verified);
  if (r.verified) put_stored(w, r);
  w.Key("latency_ms");
  w.StartObject();
  put_milliseconds(w, "leaving_late", r.lateness);
  put_milliseconds(w, "to_broker", r.to_broker);
  put_milliseconds(w, "to_database", r.to_database);
  put_milliseconds(w, "to_database_resolution", r.resolution);
  put_milliseconds(w, "to_alert", r.alerts.to_alert);
  w.EndObject();
  w.EndObject();
}

template <class Fill>
std::string json_text(const Fill& fill) {
  rapidjson::StringBuffer buffer;
  writer w(buffer);
  w.SetIndent(' ', 2);
  w.SetMaxDecimalPlaces(3);
  fill(w);
  return std::string(buffer.GetString(), buffer.GetSize()) + '\n';
}

}  // namespace

std::vector<std::string> faults(const report& r) {
  std::vector<std::string> list;
  const auto add = [&](std::uint64_t n, const char* what) {
    if (n > 0) list.push_back(fmt::format("{} {}", grouped(n), what));
  };
  const auto& m = r.messages;
  if (m.sent == 0) list.emplace_back("nothing was sent");
  add(m.sent - m.acknowledged, "not acknowledged by the broker");
  if (r.verified) {
    add(m.lost, "lost");
    add(m.duplicated, "duplicated");
    add(m.altered, "stored with contents that differ from the message");
    add(m.good_dead_lettered, "good messages among the dead letters");
    add(m.broken_stored, "broken messages stored");
    add(m.broken_vanished, "broken messages neither stored nor among the dead letters");
    add(r.alerts.missing, "alerts missing");
    add(r.alerts.resolved_missing, "alerts not resolved");
    add(r.alerts.duplicated, "duplicated alerts");
    add(r.alerts.unexpected, "unexpected alerts");
  }
  list.insert(list.end(), r.errors.begin(), r.errors.end());
  return list;
}

std::string as_text(const report& r) {
  auto out = fmt::format("run {}: {} devices on {} connections, QoS {}, {:.1f} s{}\n\n", r.run, r.devices,
                         r.connections, r.qos, r.seconds, r.interrupted ? ", interrupted" : "");
  sent_text(out, r);
  if (r.verified) stored_text(out, r);
  latencies_text(out, r);
  const auto wrong = faults(r);
  if (wrong.empty())
    return out + (r.verified ? "\nnothing lost, nothing duplicated\n"
                             : "\nall acknowledged (add --verify to check the rest)\n");
  out += "\nFAILED:\n";
  for (const auto& fault : wrong) out += fmt::format("  {}\n", fault);
  return out;
}

std::string as_json(const report& r) {
  return json_text([&](writer& w) { put_report(w, r); });
}

std::string as_text(const limit_report& r) {
  auto out = fmt::format("  {:>12}{:>12}{:>14}{:>14}   {}\n", "wanted/s", "sent/s", "p99 broker", "p99 database", "");
  for (const auto& t : r.trials)
    out +=
        fmt::format("  {:>12.0f}{:>12.0f}{:>14}{:>14}   {}\n", t.rate, t.seen.rate(), time_text(t.seen.to_broker.p99),
                    time_text(t.seen.to_database.p99), t.sustained ? "sustained" : t.why_not);
  if (r.rate <= 0)
    return out + "\nno rate was sustained; check that the pipeline runs and that nothing else writes to its table\n";
  return out + fmt::format("\nlimit: {:.0f} messages per second without loss\n", r.rate);
}

std::string as_json(const limit_report& r) {
  return json_text([&](writer& w) {
    w.StartObject();
    put(w, "limit", r.rate);
    put(w, "passed", r.rate > 0);
    w.Key("trials");
    w.StartArray();
    for (const auto& t : r.trials) {
      w.StartObject();
      put(w, "rate", t.rate);
      put(w, "held", t.sustained);
      put(w, "why_not", t.why_not);
      w.Key("report");
      put_report(w, t.seen);
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  });
}

std::string grouped(std::uint64_t n) {
  auto text = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

std::string time_text(std::int64_t us) {
  const auto value = static_cast<double>(us);
  if (us < 1000) return fmt::format("{} us", us);
  if (us < 100'000) return fmt::format("{:.1f} ms", value / 1e3);
  if (us < 1'000'000) return fmt::format("{:.0f} ms", value / 1e3);
  return fmt::format("{:.2f} s", value / 1e6);
}

}  // namespace pl::load
