// SPDX-License-Identifier: Apache-2.0
#include "config/diagnostics.hpp"

#include "config/secrets.hpp"
#include "config/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace pl::config {

namespace {

constexpr std::size_t max_shown = 160;  // bytes of a source line
constexpr std::string_view secret_mark = "<secret>";

// One line of a source, prepared for a terminal, with the columns of the marked bytes.
struct shown_line {
  std::string text;
  std::size_t caret = 0, width = 1;  // in columns
};

class line_printer {
 public:
  line_printer(const source_text& source, std::size_t offset, std::size_t length)
      : source_(source), mark_(offset), mark_end_(offset + std::max<std::size_t>(length, 1)) {}

  shown_line print() {
    const auto number = source_.line_at(mark_);
    begin_ = source_.line_begin(number);
    end_ = begin_ + source_.line(number).size();
    const auto secrets = source_.secrets_in(begin_, end_);
    clip();
    if (cut_front_) put("...", 3);
    auto secret = secrets.begin();
    for (auto at = begin_; at < end_;) {
      while (secret != secrets.end() && secret->end <= at) ++secret;
      if (secret != secrets.end() && secret->begin <= at) {
        reach(at, secret->end, [&] { put(secret_mark, secret_mark.size()); });
        at = secret->end;
      } else {
        const auto glyph = next_glyph(source_.text().substr(at, end_ - at));
        reach(at, at + glyph.bytes, [&] { put(glyph.shown, glyph.columns); });
        at += glyph.bytes;
      }
    }
    if (cut_back_) put("...", 3);
    finish();
    return std::move(out_);
  }

 private:
  void clip() {
    if (end_ - begin_ <= max_shown) return;
    const auto wanted = mark_ > begin_ + max_shown / 2 ? mark_ - max_shown / 2 : begin_;
    auto from = std::min(wanted, end_ - max_shown);
    auto to = from + max_shown;
    while (from > begin_ && is_continuation(source_.text()[from])) --from;
    while (to < end_ && is_continuation(source_.text()[to])) ++to;
    cut_front_ = from > begin_;
    cut_back_ = to < end_;
    begin_ = from;
    end_ = to;
  }

  // Print the bytes [at, next), and record the columns if the marked bytes begin or end among them.
  template <typename Show>
  void reach(std::size_t at, std::size_t next, Show show) {
    const auto before = columns_;
    show();
    if (at <= mark_ && mark_ < next) out_.caret = before, found_ = true;
    if (found_ && at < mark_end_) mark_columns_end_ = columns_;
  }

  void put(std::string_view text, std::size_t columns) {
    out_.text += text;
    columns_ += columns;
  }

  void finish() {
    if (!found_) out_.caret = columns_;  // at the end of the line
    out_.width = mark_columns_end_ > out_.caret ? mark_columns_end_ - out_.caret : 1;
  }

  const source_text& source_;
  std::size_t mark_, mark_end_;
  std::size_t begin_ = 0, end_ = 0, columns_ = 0, mark_columns_end_ = 0;
  bool cut_front_ = false, cut_back_ = false, found_ = false;
  shown_line out_;
};

// Terminal escape sequences; all empty without color.
struct palette {
  std::string_view reset, bold, red, magenta, cyan, green;
};

palette palette_for(bool color) {
  if (!color) return {};
  return {"\x1b[0m", "\x1b[1m", "\x1b[1;31m", "\x1b[1;35m", "\x1b[1;36m", "\x1b[1;32m"};
}

std::pair<std::string_view, std::string_view> label(severity level, const palette& colors) {
  switch (level) {
    case severity::error:
      return {"error: ", colors.red};
    case severity::warning:
      return {"warning: ", colors.magenta};
    case severity::note:
      break;
  }
  return {"note: ", colors.cyan};
}

void render_one(const diagnostic& d, const palette& colors, std::string& out) {
  const auto [name, color] = label(d.level, colors);
  if (d.where) out += fmt::format("{}{}:{} ", colors.bold, d.where.to_string(), colors.reset);
  out += fmt::format("{}{}{}{}", color, name, colors.reset, d.message);
  if (!d.hint.empty()) out += "; " + d.hint;
  out += '\n';
  if (d.where.exact() && d.where.source()->from() == source_text::origin::file) {
    const auto line = line_printer(*d.where.source(), d.where.offset(), d.where.length()).print();
    out += fmt::format("{:5} | {}\n", d.where.line(), line.text);
    out += fmt::format("      | {:{}}{}^{:~<{}}{}\n", "", line.caret, colors.green, "", line.width - 1, colors.reset);
  }
  for (const auto& note : d.notes) render_one(note, colors, out);
}

std::string count(std::size_t n, std::string_view what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

}  // namespace

// ------------------------------------------------------------------------------------------------------ source_text

source_text::source_text(origin from, std::string name, std::string text)
    : from_(from), name_(std::move(name)), text_(std::move(text)) {
  lines_.push_back(0);
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] == '\n') lines_.push_back(i + 1);
  }
  for (const auto& key : find_private_keys(text_)) hide(key.begin, key.end);
}

std::string source_text::name() const {
  if (from_ == origin::file) return printable(name_);
  std::string shown;
  std::size_t at = 0;
  for (const auto& secret : secrets_in(0, text_.size())) {
    shown.append(text_, at, secret.begin - at).append(secret_mark);
    at = secret.end;
  }
  shown.append(text_, at);
  return name_ + " " + printable(shown);
}

std::size_t source_text::line_at(std::size_t offset) const {
  return static_cast<std::size_t>(std::upper_bound(lines_.begin(), lines_.end(), offset) - lines_.begin());
}

std::size_t source_text::line_begin(std::size_t line) const { return lines_[line - 1]; }

std::string_view source_text::line(std::size_t number) const {
  const auto begin = lines_[number - 1];
  auto end = number < lines_.size() ? lines_[number] - 1 : text_.size();
  if (end > begin && text_[end - 1] == '\r') --end;
  return text().substr(begin, end - begin);
}

void source_text::hide(std::size_t begin, std::size_t end) {
  if (begin < end) hidden_.push_back({begin, std::min(end, text_.size())});
}

std::vector<source_text::range> source_text::secrets_in(std::size_t begin, std::size_t end) const {
  std::vector<range> found;
  for (const auto& r : hidden_) {
    if (r.begin < end && begin < r.end) found.push_back({std::max(r.begin, begin), std::min(r.end, end)});
  }
  for (const auto& r : find_secrets(text().substr(begin, end - begin))) {
    found.push_back({begin + r.begin, begin + r.end});
  }
  std::sort(found.begin(), found.end(), [](const range& a, const range& b) { return a.begin < b.begin; });
  std::vector<range> merged;
  for (const auto& r : found) {
    if (!merged.empty() && r.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, r.end);
    } else {
      merged.push_back(r);
    }
  }
  return merged;
}

// --------------------------------------------------------------------------------------------------------- location

std::size_t location::line() const { return exact_ ? source_->line_at(offset_) : 0; }

std::size_t location::column() const {
  if (!exact_) return 0;
  const auto begin = source_->line_begin(line());
  return 1 + count_characters(source_->text().substr(begin, offset_ - begin));
}

std::string location::to_string() const {
  if (!source_) return {};
  if (!exact_ || source_->from() == source_text::origin::command_line) return file();
  return fmt::format("{}:{}:{}", file(), line(), column());
}

// ------------------------------------------------------------------------------------------------------ diagnostics

diagnostic& diagnostic::note(location at, std::string text) {
  notes.push_back({severity::note, std::move(at), std::move(text), {}, {}});
  return *this;
}

diagnostic& diagnostics::error(location where, std::string message, std::string hint) {
  return add(severity::error, std::move(where), std::move(message), std::move(hint));
}

diagnostic& diagnostics::warning(location where, std::string message, std::string hint) {
  return add(severity::warning, std::move(where), std::move(message), std::move(hint));
}

diagnostic& diagnostics::note(location where, std::string message, std::string hint) {
  return add(severity::note, std::move(where), std::move(message), std::move(hint));
}

diagnostic& diagnostics::add(severity level, location where, std::string message, std::string hint) {
  diagnostic made{level, std::move(where), std::move(message), std::move(hint), {}};
  for (const auto& entry : entries_) {
    // aliases and merge keys repeat one mistake in several places of the tree: report it once
    if (entry.level == level && entry.where == made.where && entry.message == made.message) {
      return overflow_ = std::move(made);
    }
  }
  ++(level == severity::error ? errors_ : level == severity::warning ? warnings_ : notes_);
  if (entries_.size() >= max_entries) return overflow_ = std::move(made);
  const auto* source = made.where.source().get();
  if (std::find(order_.begin(), order_.end(), source) == order_.end()) order_.push_back(source);
  entries_.push_back(std::move(made));
  return entries_.back();
}

void diagnostics::append(const diagnostics& other) {
  for (const auto& d : other.entries_) add(d.level, d.where, d.message, d.hint).notes = d.notes;
}

std::vector<diagnostic> diagnostics::sorted() const {
  auto result = entries_;
  const auto rank = [&](const diagnostic& d) {
    const auto place = std::find(order_.begin(), order_.end(), d.where.source().get()) - order_.begin();
    return std::pair(place, d.where.exact() ? d.where.offset() + 1 : 0);
  };
  std::stable_sort(result.begin(), result.end(),
                   [&](const diagnostic& a, const diagnostic& b) { return rank(a) < rank(b); });
  return result;
}

std::string diagnostics::render(bool color) const {
  if (entries_.empty()) return {};
  const auto colors = palette_for(color);
  std::string out;
  for (const auto& d : sorted()) render_one(d, colors, out);
  const auto all = errors_ + warnings_ + notes_;
  if (all > entries_.size()) out += fmt::format("... and {} more that are not shown\n", all - entries_.size());
  if (errors_ > 0) out += count(errors_, "error");
  if (errors_ > 0 && warnings_ > 0) out += ", ";
  if (warnings_ > 0) out += count(warnings_, "warning");
  return errors_ + warnings_ > 0 ? out + "\n" : out;
}

std::string printable(std::string_view text) {
  constexpr std::size_t limit = 80;
  std::string shown;
  const auto secrets = find_secrets(text);
  auto secret = secrets.begin();
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (columns >= limit) return shown + "...";
    while (secret != secrets.end() && secret->end <= at) ++secret;
    if (secret != secrets.end() && secret->begin <= at) {
      shown += secret_mark;
      columns += secret_mark.size();
      at = secret->end;
      continue;
    }
    const auto glyph = next_glyph(text.substr(at));
    if (text[at] == '\n') {
      shown += "\\n";
    } else {
      shown += glyph.shown;
    }
    columns += glyph.columns;
    at += glyph.bytes;
  }
  return shown;
}

}  // namespace pl::config
