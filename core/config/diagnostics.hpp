// SPDX-License-Identifier: Apache-2.0
// Positions, and the messages that point at them. Values without hidden state; not shared between threads while
// changing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

/// One text that positions refer to: a file, or a command line option. Held by everything that points into it.
/// Remembers which of its bytes are secret; `hide` may be called for as long as messages have not been rendered.
class source_text {
 public:
  enum class origin : std::uint8_t { file, command_line };

  source_text(origin from, std::string name, std::string text);

  /// The file's name as given; for a command line option the option as written, secrets left out.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] origin from() const { return from_; }
  [[nodiscard]] std::string_view text() const { return text_; }

  /// Line numbers start at 1. `line_at(offset)` is the line that holds that byte.
  [[nodiscard]] std::size_t line_at(std::size_t offset) const;
  [[nodiscard]] std::size_t line_begin(std::size_t line) const;
  [[nodiscard]] std::string_view line(std::size_t number) const;

  /// The bytes [begin, end) are never shown again.
  void hide(std::size_t begin, std::size_t end);

  struct range {
    std::size_t begin, end;
  };
  /// What of [begin, end) must not be shown: hidden ranges, and what looks like a password by its surroundings.
  /// Ascending, not overlapping.
  [[nodiscard]] std::vector<range> secrets_in(std::size_t begin, std::size_t end) const;

 private:
  origin from_;
  std::string name_, text_;
  std::vector<std::size_t> lines_;  // offsets of the lines' first bytes
  std::vector<range> hidden_;
};

/// A place in a source_text. Default: nowhere (a message about it starts with its severity).
class location {
 public:
  location() = default;
  /// The whole text, without line and column.
  explicit location(std::shared_ptr<source_text> source) : source_(std::move(source)) {}
  location(std::shared_ptr<source_text> source, std::size_t offset, std::size_t length)
      : source_(std::move(source)), offset_(offset), length_(length), exact_(true) {}

  [[nodiscard]] explicit operator bool() const { return source_ != nullptr; }
  [[nodiscard]] bool exact() const { return exact_; }
  [[nodiscard]] std::string file() const { return source_ ? source_->name() : std::string(); }
  [[nodiscard]] std::size_t line() const;    ///< from 1; 0 where not exact
  [[nodiscard]] std::size_t column() const;  ///< from 1, in characters; 0 where not exact
  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] std::size_t length() const { return length_; }
  [[nodiscard]] const std::shared_ptr<source_text>& source() const { return source_; }

  /// "configs/iot.yaml:14:5"; "--set lanes=x"; empty for nowhere.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const location&, const location&) = default;

 private:
  std::shared_ptr<source_text> source_;
  std::size_t offset_ = 0, length_ = 0;
  bool exact_ = false;
};

enum class severity : std::uint8_t { error, warning, note };

struct diagnostic {
  severity level = severity::error;
  location where;
  std::string message;  ///< one sentence, lower case, no full stop
  std::string hint;     ///< the likely fix; shown after the message; may be empty
  std::vector<diagnostic> notes;

  /// Adds a note that is always shown right after this message.
  diagnostic& note(location at, std::string text);
};

/// Collects messages; keeps those that say the same at the same place once, and at most `max_entries`.
class diagnostics {
 public:
  static constexpr std::size_t max_entries = 200;

  /// The reference is good until the next call.
  diagnostic& error(location where, std::string message, std::string hint = {});
  diagnostic& warning(location where, std::string message, std::string hint = {});
  void append(const diagnostics& other);

  [[nodiscard]] bool has_errors() const { return errors_ > 0; }
  [[nodiscard]] std::size_t errors() const { return errors_; }
  [[nodiscard]] std::size_t warnings() const { return warnings_; }
  [[nodiscard]] bool empty() const { return entries_.empty(); }

  /// By position: files in the order in which they first appeared, then by place in the file.
  [[nodiscard]] std::vector<diagnostic> sorted() const;

  /// Like a compiler: one paragraph for each message with its line and a caret, and the count at the end
  /// ("3 errors, 1 warning"). Empty if there is nothing. Never shows a secret. Ends with a line break.
  [[nodiscard]] std::string render(bool color = false) const;

 private:
  diagnostic& add(severity level, location where, std::string message, std::string hint);

  std::vector<diagnostic> entries_;
  std::vector<const source_text*> order_;
  diagnostic overflow_;
  std::size_t errors_ = 0, warnings_ = 0;
};

/// The candidate that `name` was probably meant to be (restricted Damerau-Levenshtein; at most about a third of the
/// letters wrong, case and '-' against '_' for free), or nothing.
[[nodiscard]] std::optional<std::string_view> nearest(std::string_view name,
                                                      std::span<const std::string_view> candidates);

/// "did you mean 'table'?", or empty.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

/// Text made fit for a message: control characters escaped, passwords in URLs left out, cut at 80 characters.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace pl::config
