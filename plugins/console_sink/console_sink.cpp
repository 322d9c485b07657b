// SPDX-License-Identifier: Apache-2.0
// console_sink: rows on standard output, for people or for the next program.
#include "table.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace console {

enum class output_format { ndjson, text };
constexpr std::array<std::pair<std::string_view, output_format>, 2> choices(output_format) {
  return {{{"ndjson", output_format::ndjson}, {"text", output_format::text}}};
}
enum class color_policy { automatic, always, never };
constexpr std::array<std::pair<std::string_view, color_policy>, 3> choices(color_policy) {
  return {{{"auto", color_policy::automatic}, {"always", color_policy::always}, {"never", color_policy::never}}};
}
enum class output_stream { out, err };
constexpr std::array<std::pair<std::string_view, output_stream>, 2> choices(output_stream) {
  return {{{"stdout", output_stream::out}, {"stderr", output_stream::err}}};
}

struct options {
  output_format format = output_format::ndjson;
  color_policy color = color_policy::automatic;
  output_stream stream = output_stream::out;
  std::uint32_t max_width = 40;

  static pl::option_table<options> table() {
    return {pl::option(&options::format, "format",
                       "ndjson: a JSON object a line, for programs; text: columns one under the other, for people."),
            pl::option(&options::color, "color", "Colors in text. auto: on a terminal, unless NO_COLOR is set."),
            pl::option(&options::stream, "stream", "Where the rows go. The host's own log goes to stderr."),
            pl::option(&options::max_width, "max_width", "Longer values are cut off in text, in characters.")
                .range(4, 10'000)};
  }
};

namespace {

bool wants_color(color_policy policy, int fd) {
  if (policy != color_policy::automatic) return policy == color_policy::always;
  const char* no_color = std::getenv("NO_COLOR");
  return ::isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0');
}

// A reader that is gone is an error to report, not a signal to die of. Whether the program ignores SIGPIPE is its own
// business, so it is held back for this thread and this write only.
class sigpipe_held_back {
 public:
  sigpipe_held_back() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    if (!was_pending_) pthread_sigmask(SIG_BLOCK, &pipe_, &old_);
  }
  sigpipe_held_back(const sigpipe_held_back&) = delete;
  sigpipe_held_back& operator=(const sigpipe_held_back&) = delete;
  ~sigpipe_held_back() {
    if (was_pending_) return;
    const timespec now{};
    while (sigtimedwait(&pipe_, nullptr, &now) == -1 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }

 private:
  sigset_t pipe_{}, old_{};
  bool was_pending_ = false;
};

// All of it, also on a descriptor that doesn't block. Answers an errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n > 0)
      text.remove_prefix(static_cast<std::size_t>(n));
    else if (errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, 1000);
    } else if (errno != EINTR)
      return errno;
  }
  return 0;
}

}  // namespace

class console_sink final : public pl::sink {
 public:
  using options = console::options;

  static pl::description describe() {
    return {.name = "console_sink",
            .doc =
                "Writes rows to standard output, as NDJSON or as a table.\n"
                "For a first look at a pipeline, and for feeding the next program of a shell pipe.",
            .example = "plugin: console_sink\nfrom: alerts\nformat: text\n"};
  }

  console_sink(options o, pl::context)
      : options_(o),
        file_(o.stream == output_stream::out ? stdout : stderr),
        table_(wants_color(o.color, ::fileno(file_)), o.max_width) {}

  pl::result<void> write(const pl::batch_list& batches) override {
    text_.clear();
    for (const auto b : batches) {
      if (options_.format == output_format::text) {
        table_.append(text_, b);
        continue;
      }
      for (const auto row : b.selection()) {
        pl::append_json_row(text_, b, row);
        text_.push_back('\n');
      }
    }
    return text_.empty() ? pl::result<void>{} : print();
  }

 private:
  // Several writers, and the rest of the program, share the stream: its lock keeps their lines whole.
  pl::result<void> print() {
    const sigpipe_held_back held;
    ::flockfile(file_);
    ::fflush_unlocked(file_);
    const int error = write_all(::fileno(file_), text_);
    ::funlockfile(file_);
    if (error == 0) return {};
    const std::string name = options_.stream == output_stream::out ? "standard output" : "standard error";
    if (error == EPIPE)
      return pl::fatal(name +
                       " is closed: the program that read it has ended; rows that it did not read are not delivered");
    const auto text = "cannot write to " + name + ": " + std::generic_category().message(error);
    return error == EBADF ? pl::fatal(text + "; it is closed") : pl::retry(text);
  }

  const options options_;
  std::FILE* const file_;
  class table table_;
  std::string text_;
};

}  // namespace console

PL_EXPORT("0.1.0", console::console_sink)
