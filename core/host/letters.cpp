// SPDX-License-Identifier: Apache-2.0
#include "host/letters.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text_template.hpp>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

std::string as_json(const rapidjson::Value& v) {
  rapidjson::StringBuffer text;
  rapidjson::Writer<rapidjson::StringBuffer> writer(text);
  v.Accept(writer);
  return {text.GetString(), text.GetSize()};
}

std::optional<std::string> from_base64(std::string_view text) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0, have = 0;
  for (const char c : text) {
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6U | static_cast<unsigned>(digit);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    bytes.push_back(static_cast<char>(bits >> have & 0xFFU));
  }
  return bytes;
}

std::string_view text_of(const rapidjson::Value& v) { return {v.GetString(), v.GetStringLength()}; }

// See append_json: text, or {"base64": "..."} for what isn't UTF-8.
std::optional<std::string> bytes_of(const rapidjson::Value& v) {
  if (v.IsNull()) return std::nullopt;
  if (v.IsString()) return std::string(text_of(v));
  if (v.IsObject() && v.MemberCount() == 1 && v.HasMember("base64") && v["base64"].IsString())
    if (auto bytes = from_base64(text_of(v["base64"]))) return bytes;
  return as_json(v);
}

void append_name(std::string& path, std::string_view name) {
  for (const char c : name) path.push_back(c == '/' || c == '\0' ? '_' : c);
}

// As file_sink expands it.
result<fs::path> expand(const text_template& path, const config::pipeline& p, std::uint32_t writer) {
  std::string text;
  for (const auto& piece : path.pieces()) {
    if (!piece.is_column)
      text += piece.text;
    else if (piece.text == "pipeline")
      append_name(text, p.name);
    else if (piece.text == "node")
      text += "dead_letters";
    else if (piece.text == "writer")
      text += std::to_string(writer);
    else
      return fatal("unknown name {" + piece.text + "} in the path of the dead letters");
  }
  return fs::path(text);
}

// out.20261124T182806.123456Z.ndjson, of out.ndjson
bool is_rotated(const fs::path& file, std::string_view name) {
  static constexpr std::string_view shape = "00000000T000000.000000Z";
  const auto stem = file.stem().string() + ".", extension = file.extension().string();
  if (name.size() != stem.size() + shape.size() + extension.size() || !name.starts_with(stem) ||
      !name.ends_with(extension))
    return false;
  const auto stamp = name.substr(stem.size(), shape.size());
  return std::equal(stamp.begin(), stamp.end(), shape.begin(),
                    [](char c, char s) { return s == '0' ? c >= '0' && c <= '9' : c == s; });
}

}  // namespace

std::optional<letter> parse_letter(std::string_view line) {
  rapidjson::Document d;
  constexpr unsigned how =
      rapidjson::kParseIterativeFlag | rapidjson::kParseFullPrecisionFlag | rapidjson::kParseValidateEncodingFlag;
  d.Parse<how>(line.data(), line.size());
  if (d.HasParseError() || !d.IsObject()) return std::nullopt;
  const auto at = [&](const char* name) { return d.HasMember(name) && !d[name].IsNull() ? &d[name] : nullptr; };
  const auto text = [&](const char* name) {
    const auto* v = at(name);
    return v != nullptr && v->IsString() ? std::string(text_of(*v)) : std::string();
  };
  letter l{
      text("time"), text("pipeline"), text("node"), text("reason"), text("stream"), {}, {}, {}, {}, {}, {}, {}, {}};
  if (l.node.empty() || l.reason.empty()) return std::nullopt;
  l.time_ns = parse_time(l.time);
  if (const auto own = text("record_time"); !own.empty()) l.record_time_ns = parse_time(own);
  if (const auto* v = at("position"); v != nullptr && v->IsUint64()) l.position = v->GetUint64();
  if (const auto* v = at("topic")) l.topic = bytes_of(*v);
  if (const auto* v = at("key")) l.key = bytes_of(*v);
  if (const auto* v = at("value")) l.value = bytes_of(*v);
  if (const auto* v = at("headers")) l.headers = as_json(*v);
  if (const auto* v = at("record")) l.record = as_json(*v);
  return l;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  using namespace std::chrono;
  const std::string copy(text);
  int y = 0, read = 0;
  unsigned m = 0, d = 0, h = 0, min = 0, s = 0;
  if (std::sscanf(copy.c_str(), "%4d-%2u-%2u%n", &y, &m, &d, &read) != 3 || read != 10) return std::nullopt;
  const year_month_day date{year(y), month(m), day(d)};
  if (!date.ok() || y < 1678 || y > 2261) return std::nullopt;
  const auto midnight = sys_days(date).time_since_epoch() / nanoseconds(1);
  if (copy.size() == 10) return midnight;
  if (std::sscanf(copy.c_str() + 10, "%*1[Tt ]%2u:%2u:%2u%n", &h, &min, &s, &read) != 3 || read != 9)
    return std::nullopt;
  if (h > 23 || min > 59 || s > 60) return std::nullopt;
  auto rest = text.substr(19);
  std::int64_t ns = 0, unit = 100'000'000;
  if (rest.starts_with('.'))
    for (rest.remove_prefix(1); !rest.empty() && rest[0] >= '0' && rest[0] <= '9'; rest.remove_prefix(1), unit /= 10)
      ns += (rest[0] - '0') * unit;
  std::int64_t offset = 0;
  if (rest != "Z" && rest != "z") {
    unsigned oh = 0, om = 0;
    const std::string zone(rest);
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') ||
        std::sscanf(zone.c_str() + 1, "%2u:%2u", &oh, &om) != 2)
      return std::nullopt;
    offset = (std::int64_t{oh} * 3600 + std::int64_t{om} * 60) * (zone[0] == '-' ? -1 : 1);
  }
  const auto seconds = std::int64_t{h} * 3600 + std::int64_t{min} * 60 + std::int64_t{s} - offset;
  return midnight + seconds * 1'000'000'000 + ns;
}

bool letter_filter::fits(const letter& l) const {
  return (pipeline.empty() || l.pipeline == pipeline) && (node.empty() || l.node == node) &&
         (stream.empty() || l.stream == stream) && (!since || (l.time_ns && *l.time_ns >= *since)) &&
         (reason.empty() || l.reason.find(reason) != std::string::npos);
}

result<std::vector<fs::path>> letter_files(const config::pipeline& p) {
  std::string path = "dead-letters/{pipeline}.ndjson";
  std::uint32_t writers = 1;
  if (p.dead_letters) {
    if (p.dead_letters->plugin != "file_sink")
      return fatal(
          fmt::format("the dead letters of '{}' go to {}: only those that file_sink has written can be read here",
                      p.name, p.dead_letters->plugin));
    const auto* given = p.dead_letters->options.find("path");
    if (given == nullptr || !given->is_scalar()) return fatal("the dead letters' file_sink has no path");
    path = given->text;
    writers = p.dead_letters->writers;
  }
  const auto parsed = text_template::parse(path);
  if (!parsed.ok()) return fatal("the path of the dead letters: " + parsed.why().message);
  std::vector<fs::path> files;
  for (std::uint32_t w = 0; w < writers; ++w) {
    auto file = expand(*parsed, p, w);
    if (!file.ok()) return file.why();
    if (std::find(files.begin(), files.end(), *file) == files.end()) files.push_back(std::move(*file));
  }
  return files;
}

std::vector<fs::path> with_rotated(const fs::path& file) {
  std::vector<fs::path> all;
  std::error_code ignored;
  const auto folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (is_rotated(file, entry.path().filename().string())) all.push_back(file.parent_path() / entry.path().filename());
  std::sort(all.begin(), all.end());
  if (fs::exists(file, ignored)) all.push_back(file);
  return all;
}

result<void> each_line(const fs::path& file, const std::function<void(std::string_view line)>& take) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || fs::is_directory(file))
    return fatal(
        fmt::format("can't read {}: {}", file.string(), std::generic_category().message(errno != 0 ? errno : EISDIR)));
  for (std::string line; std::getline(in, line);)
    if (!in.eof()) take(line);  // a last line without its end is torn, or just being written
  if (in.bad()) return fatal(fmt::format("can't read {} to its end", file.string()));
  return {};
}

std::string shown(std::string_view text, bool keep_lines) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = utf8_sequence(text, i);
    const auto c = static_cast<unsigned char>(text[i]);
    const bool line = keep_lines && (c == '\n' || c == '\t');
    const bool c1 = n == 2 && c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (n == 0 || c1 || ((c < 0x20 || c == 0x7F) && !line)) {
      for (std::size_t b = 0; b < std::max<std::size_t>(n, 1); ++b)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i + b]));
    } else
      out += text.substr(i, n);
    i += std::max<std::size_t>(n, 1);
  }
  return out;
}

}  // namespace pl::host
