// SPDX-License-Identifier: Apache-2.0
// Positions in configurations, and messages that refer to positions. The classes are not thread-safe: do not change
// an object while other threads use it.
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

/// A text that positions refer to: a file or a command-line option. Every position shares ownership of its text. The
/// text records which of its bytes are secret; call `hide` before messages are rendered.
class source_text {
 public:
  enum class origin : std::uint8_t { file, command_line };

  source_text(origin from, std::string name, std::string text);

  /// Return the file's name as given, or the command-line option as written, without secrets.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] origin from() const { return from_; }
  [[nodiscard]] std::string_view text() const { return text_; }

  /// Line numbers start at 1. `line_at(offset)` returns the line that contains that byte.
  [[nodiscard]] std::size_t line_at(std::size_t offset) const;
  [[nodiscard]] std::size_t line_begin(std::size_t line) const;
  [[nodiscard]] std::string_view line(std::size_t number) const;

  /// Mark the bytes [begin, end) as secret: messages do not show them.
  void hide(std::size_t begin, std::size_t end);

  struct range {
    std::size_t begin, end;
  };
  /// Return the parts of [begin, end) that must not be shown: hidden ranges, and text that looks like a password
  /// because of its context. Ascending, not overlapping.
  [[nodiscard]] std::vector<range> secrets_in(std::size_t begin, std::size_t end) const;

 private:
  origin from_;
  std::string name_, text_;
  std::vector<std::size_t> lines_;  // offsets of the lines' first bytes
  std::vector<range> hidden_;
};

/// A place in a source_text. A default location is empty: the message then starts with its severity.
class location {
 public:
  location() = default;
  /// Refers to the whole text, without line and column.
  explicit location(std::shared_ptr<source_text> source) : source_(std::move(source)) {}
  location(std::shared_ptr<source_text> source, std::size_t offset, std::size_t length)
      : source_(std::move(source)), offset_(offset), length_(length), exact_(true) {}

  [[nodiscard]] explicit operator bool() const { return source_ != nullptr; }
  [[nodiscard]] bool exact() const { return exact_; }
  [[nodiscard]] std::string file() const { return source_ ? source_->name() : std::string(); }
  [[nodiscard]] std::size_t line() const;    ///< from 1; 0 if not exact
  [[nodiscard]] std::size_t column() const;  ///< from 1, in characters; 0 if not exact
  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] std::size_t length() const { return length_; }
  [[nodiscard]] const std::shared_ptr<source_text>& source() const { return source_; }

  /// "configs/iot.yaml:14:5"; "--set lanes=x"; empty without a place.
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

  /// Add a note that is always shown right after this message.
  diagnostic& note(location at, std::string text);
};

/// Collects messages. Keeps equal messages at the same position once, and at most `max_entries` messages.
class diagnostics {
 public:
  static constexpr std::size_t max_entries = 200;

  /// The returned reference is valid until the next call.
  diagnostic& error(location where, std::string message, std::string hint = {});
  diagnostic& warning(location where, std::string message, std::string hint = {});
  /// Add something that is worth knowing and probably intended.
  diagnostic& note(location where, std::string message, std::string hint = {});
  void append(const diagnostics& other);

  [[nodiscard]] bool has_errors() const { return errors_ > 0; }
  [[nodiscard]] std::size_t errors() const { return errors_; }
  [[nodiscard]] std::size_t warnings() const { return warnings_; }
  [[nodiscard]] bool empty() const { return entries_.empty(); }

  /// Return the messages by position: files in order of their first message, then by position in the file.
  [[nodiscard]] std::vector<diagnostic> sorted() const;

  /// Render the messages like a compiler: one paragraph for each message with its line and a caret, and the count at
  /// the end ("3 errors, 1 warning"). Empty without messages. Never shows a secret. Ends with a line break.
  [[nodiscard]] std::string render(bool color = false) const;

 private:
  diagnostic& add(severity level, location where, std::string message, std::string hint);

  std::vector<diagnostic> entries_;
  std::vector<const source_text*> order_;
  diagnostic overflow_;
  std::size_t errors_ = 0, warnings_ = 0, notes_ = 0;
};

/// Prepare a text for a message: escape control characters, hide passwords in URLs, cut at 80 characters.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace pl::config
