// SPDX-License-Identifier: Apache-2.0
#include "message.hpp"

#include "key_table.hpp"
#include "text.hpp"

#include <pipeline/options.hpp>
#include <pipeline/text_template.hpp>
#include <pipeline/time.hpp>

#include <array>
#include <cmath>

namespace threshold_alert {
namespace {

constexpr std::array<std::pair<std::string_view, field>, 10> fields{{{"rule", field::rule},
                                                                     {"state", field::state},
                                                                     {"severity", field::severity},
                                                                     {"metric", field::metric},
                                                                     {"value", field::value},
                                                                     {"threshold", field::threshold},
                                                                     {"since", field::since},
                                                                     {"time", field::time},
                                                                     {"stream", field::stream},
                                                                     {"position", field::position}}};

pl::result<message_piece> named(const std::string& name, const std::vector<std::string>& group_by) {
  for (const auto& [known, what] : fields)
    if (known == name) return message_piece{what, {}, 0};
  for (std::size_t i = 0; i < group_by.size(); ++i)
    if (group_by[i] == name) return message_piece{field::key, {}, i};
  std::vector<std::string> all = group_by;
  for (const auto& f : fields) all.emplace_back(f.first);
  return pl::fatal("unknown placeholder {" + name + "} in a message" + suggestion(name, all));
}

// Append a value. The value of a silence rule is in seconds and is printed as a duration such as 5m30s.
void append_value(std::string& out, const rule& r, const pl::cell& c) {
  const auto seconds = pl::number_of(c);
  if (r.when == condition::silence && seconds && std::abs(*seconds) < 9e9)
    out += pl::detail::duration_text(std::chrono::milliseconds(std::llround(*seconds * 1e3)));
  else
    pl::text_template::append_plain(out, c);
}

std::string unit_name(rate_unit u) {
  for (const auto& [name, unit] : choices(u))
    if (unit == u) return std::string(name);
  return {};
}

void append_device(std::string& out, std::span<const pl::cell> key) {
  for (const auto& c : key) {
    if (&c != key.data()) out.push_back('/');
    pl::text_template::append_plain(out, c);
  }
}

// What is true of the value. A value within the hysteresis, or a clear value that must stay clear for a while, does not
// resolve the alert but is not a breach either.
std::string default_limit(const rule& r, occasion_text of) {
  constexpr std::string_view held = " and has not cleared yet";
  switch (r.when) {
    case condition::above:
      if (of == occasion_text::held) return ", was above {threshold}" + std::string(held);
      return of == occasion_text::resolved ? ", no longer above {threshold}" : ", above {threshold}";
    case condition::below:
      if (of == occasion_text::held) return ", was below {threshold}" + std::string(held);
      return of == occasion_text::resolved ? ", no longer below {threshold}" : ", below {threshold}";
    case condition::outside:
      if (of == occasion_text::held) return ", was beyond {threshold}" + std::string(held);
      return of == occasion_text::resolved ? ", within its limits again" : ", beyond {threshold}";
    case condition::equals:
      if (of == occasion_text::held) return ", was {threshold}" + std::string(held);
      return of == occasion_text::resolved ? ", no longer {threshold}" : "";
    case condition::silence:
    case condition::expression:
      break;
  }
  return {};
}

// The condition itself may be long, and is in the configuration under the rule's name.
std::string default_condition(const rule& r, occasion_text of) {
  const std::string value = r.metric.empty() ? "" : " ({metric} is {value})";
  switch (of) {
    case occasion_text::breached:
      return "the condition is true for {device}" + value;
    case occasion_text::held:
      return "the condition was true for {device} and has not cleared yet" + value;
    case occasion_text::resolved:
      break;
  }
  return "the condition is no longer true for {device}" + value;
}

std::string default_source(const rule& r, occasion_text of) {
  if (r.when == condition::silence) {
    const std::string data = (r.metric.empty() ? "data" : "{metric}") + std::string(" from {device}");
    return of == occasion_text::resolved ? data + " again after {value}" : "no " + data + " for {value}";
  }
  if (r.when == condition::expression) return default_condition(r, of);
  const auto value = r.rate ? " changes by {value} per " + unit_name(*r.rate) : std::string(" is {value}");
  return "{metric} of {device}" + value + default_limit(r, of);
}

}  // namespace

pl::result<message_template> parse_message(std::string_view source, const std::vector<std::string>& group_by) {
  const auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) return parsed.why();
  message_template m;
  for (const auto& p : parsed->pieces()) {
    if (!p.is_column) {
      m.push_back({field::literal, p.text, 0});
      continue;
    }
    auto piece = named(p.text, group_by);
    if (!piece.ok()) return piece.why();
    m.push_back(*std::move(piece));
  }
  return m;
}

message_template default_message(const rule& r, occasion_text of) {
  auto m = *parse_message("{rule}: " + default_source(r, of), {"device"});
  for (auto& piece : m)
    if (piece.what == field::key) piece.what = field::device;
  return m;
}

std::string device_text(std::string_view key, std::vector<pl::cell>& scratch) {
  unpack_key(key, scratch);
  std::string text;
  append_device(text, scratch);
  return text;
}

void append_message(std::string& out, const message_template& m, const message_values& v) {
  for (const auto& p : m) switch (p.what) {
      case field::literal:
        out += p.text;
        break;
      case field::rule:
        out += v.of.name;
        break;
      case field::state:
        out += v.state;
        break;
      case field::severity:
        out += v.severity;
        break;
      case field::metric:
        out += v.of.metric;
        break;
      case field::value:
        append_value(out, v.of, v.value);
        break;
      case field::threshold:
        append_value(out, v.of, v.threshold);
        break;
      case field::since:
        pl::append_rfc3339(out, v.since);
        break;
      case field::time:
        pl::append_rfc3339(out, v.time);
        break;
      case field::stream:
        out += v.stream;
        break;
      case field::position:
        if (v.position != PL_UNKNOWN) out += std::to_string(v.position);
        break;
      case field::device:
        append_device(out, v.key);
        break;
      case field::key:
        pl::text_template::append_plain(out, v.key[p.key]);
        break;
    }
}

}  // namespace threshold_alert
