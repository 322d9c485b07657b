// SPDX-License-Identifier: Apache-2.0
#include "host/cases/junit.hpp"

#include "host/dead_letter.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace pl::host {

namespace {

constexpr std::string_view red = "\x1b[31m", green = "\x1b[32m", plain = "\x1b[0m";

// Records and expectations must not send commands to a terminal. Values are JSON, which keeps its form.
std::string harmless(std::string_view text) {
  std::string json;
  append_json_for_terminal(json, text);
  return shown(json, true);
}

std::string painted(const std::string& line, bool color) {
  if (!color || line.empty() || (line[0] != '-' && line[0] != '+')) return line;
  return fmt::format("{}{}{}", line[0] == '-' ? red : green, line, plain);
}

// XML allows neither U+FFFE nor U+FFFF. The controls that it does not allow are escaped already.
bool is_forbidden(std::string_view character) { return character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF"; }

// Escape for XML. Characters that XML does not allow are replaced.
std::string escaped(std::string_view text) {
  std::string out;
  each_character(text, [&](std::string_view bytes, bool valid) {
    if (!valid || is_forbidden(bytes))
      out += replacement_character;
    else if (bytes == "<")
      out += "&lt;";
    else if (bytes == ">")
      out += "&gt;";
    else if (bytes == "&")
      out += "&amp;";
    else if (bytes == "\"")
      out += "&quot;";
    else
      out += bytes;
  });
  return out;
}

// Escape for an attribute. Programs that show the results print attributes on one line.
std::string attribute(std::string_view text) { return escaped(shown(text)); }

}  // namespace

std::string to_text(const std::vector<finding>& findings, bool color) {
  std::string out;
  for (const auto& f : findings) {
    out += fmt::format("  {}{}{}\n", harmless(f.headline), f.where ? "  at " : "", shown(f.where.to_string()));
    for (const auto& line : f.lines) out += fmt::format("    {}\n", painted(harmless(line), color));
  }
  return out;
}

std::string to_junit(const std::string& suite, const std::vector<case_result>& results) {
  const auto failed = std::ranges::count_if(results, [](const auto& r) { return !r.findings.empty(); });
  double seconds = 0;
  for (const auto& r : results) seconds += r.seconds;
  auto out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" "
      "errors=\"0\" time=\"{:.3f}\">\n",
      attribute(suite), results.size(), failed, seconds);
  for (const auto& r : results) {
    out += fmt::format("<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3f}\"",
                       attribute(suite), attribute(r.name), attribute(r.file), r.where.line(), r.seconds);
    if (r.findings.empty())
      out += "/>\n";
    else
      out += fmt::format(">\n<failure message=\"{}\">{}</failure>\n</testcase>\n",
                         attribute(harmless(r.findings.front().headline)), escaped(to_text(r.findings, false)));
  }
  return out + "</testsuite>\n</testsuites>\n";
}

}  // namespace pl::host
