// SPDX-License-Identifier: Apache-2.0
#include "host/letters.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/text_template.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <system_error>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

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

// A line's members in their original text: whatever a record held, it is read back as it was written.
class members {
 public:
  static std::optional<members> of(std::string_view line) {
    members m;
    const bool whole = is_utf8(line) && each_json_member(line, [&](std::string_view key, std::string_view value) {
                         m.all_.emplace_back(json_text(key).value_or(std::string()), value);
                       });
    return whole ? std::optional(std::move(m)) : std::nullopt;
  }

  // Of one that is there twice the first. Empty: missing or null.
  [[nodiscard]] std::string_view raw(std::string_view name) const {
    const auto at = std::find_if(all_.begin(), all_.end(), [&](const auto& m) { return m.first == name; });
    return at == all_.end() || at->second == "null" ? std::string_view{} : at->second;
  }
  [[nodiscard]] std::string text(std::string_view name) const { return json_text(raw(name)).value_or(std::string()); }
  [[nodiscard]] std::optional<std::uint64_t> position(std::string_view name) const {
    const auto digits = raw(name);
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (error != std::errc{} || end != digits.data() + digits.size() || n < 0) return std::nullopt;
    return static_cast<std::uint64_t>(n);
  }
  // See append_json: text, or {"base64": "..."} for what isn't UTF-8.
  [[nodiscard]] std::optional<std::string> bytes(std::string_view name) const {
    const auto value = raw(name);
    if (value.empty()) return std::nullopt;
    if (auto text = json_text(value)) return text;
    std::string_view coded;
    std::size_t count = 0;
    const bool object = each_json_member(value, [&](std::string_view key, std::string_view inner) {
      if (++count == 1 && key == "\"base64\"") coded = inner;
    });
    const auto base64 = object && count == 1 ? json_text(coded) : std::nullopt;
    auto decoded = base64 ? from_base64(*base64) : std::nullopt;
    return decoded ? std::move(decoded) : std::optional(std::string(value));
  }

 private:
  std::vector<std::pair<std::string, std::string_view>> all_;
};

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

// Steps over a time; once something doesn't fit, nothing does.
class time_reader {
 public:
  explicit time_reader(std::string_view text) noexcept : rest_(text) {}
  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] bool done() const noexcept { return rest_.empty(); }

  bool any_of(std::string_view characters) noexcept {
    if (done() || characters.find(rest_[0]) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Of exactly so many digits, and what must follow.
  int number(int digits, char then = '\0') noexcept {
    int n = 0;
    for (; digits > 0; --digits) n = n * 10 + digit();
    if (then != '\0') good_ = any_of({&then, 1}) && good_;
    return n;
  }
  // In nanoseconds; what is smaller is left out.
  std::int64_t fraction() noexcept {
    std::int64_t ns = std::int64_t{digit()} * 100'000'000;
    for (std::int64_t unit = 10'000'000; good_ && at_digit(); unit /= 10) ns += digit() * unit;
    return ns;
  }
  // Seconds east of UTC.
  int zone() noexcept {
    if (any_of("Zz")) return 0;
    const bool west = !done() && rest_[0] == '-';
    good_ = any_of("+-") && good_;
    const int hours = number(2, ':'), minutes = number(2);
    good_ = good_ && hours < 24 && minutes < 60;
    return (hours * 3600 + minutes * 60) * (west ? -1 : 1);
  }

 private:
  [[nodiscard]] bool at_digit() const noexcept { return !done() && rest_[0] >= '0' && rest_[0] <= '9'; }
  int digit() noexcept {
    good_ = good_ && at_digit();
    if (!good_) return 0;
    const int d = rest_[0] - '0';
    rest_.remove_prefix(1);
    return d;
  }
  std::string_view rest_;
  bool good_ = true;
};

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
  if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // left by an editor
  const auto m = members::of(line);
  if (!m) return std::nullopt;
  letter l;
  l.node = m->text("node");
  l.reason = m->text("reason");
  if (l.node.empty() || l.reason.empty()) return std::nullopt;
  l.time = m->text("time");
  l.pipeline = m->text("pipeline");
  l.stream = m->text("stream");
  l.time_ns = parse_time(l.time);
  l.record_time_ns = parse_time(m->text("record_time"));
  l.position = m->position("position");
  if (auto topic = m->bytes("topic"); topic && is_utf8(*topic)) l.topic = std::move(topic);
  l.key = m->bytes("key");
  l.value = m->bytes("value");
  l.headers = m->raw("headers");
  l.record = m->raw("record");
  return l;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  using namespace std::chrono;
  time_reader in(text);
  const int y = in.number(4, '-'), m = in.number(2, '-'), d = in.number(2);
  const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  if (!in.good() || !date.ok() || y < 1678 || y > 2261) return std::nullopt;
  const auto midnight = sys_days(date).time_since_epoch() / nanoseconds(1);
  if (in.done()) return midnight;
  if (!in.any_of("Tt ")) return std::nullopt;
  const int h = in.number(2, ':'), min = in.number(2, ':'), s = in.number(2);
  const auto ns = in.any_of(".") ? in.fraction() : 0;
  const auto offset = in.zone();
  if (!in.good() || !in.done() || h > 23 || min > 59 || s > 60) return std::nullopt;
  return midnight + (h * 3600 + min * 60 + s - offset) * std::int64_t{1'000'000'000} + ns;
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
