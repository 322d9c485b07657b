// SPDX-License-Identifier: Apache-2.0
// file_source reads the lines of files as records, either once (for replays) or continuously (follow).
#include "anchor_store.hpp"
#include "input_reader.hpp"
#include "tracked_file.hpp"

#include <pipeline/hash.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/posix.hpp>

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace lines {
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

struct options {
  std::string path;
  std::vector<std::string> more_paths;
  bool follow = false;
  pl::byte_size max_line{1ULL << 20U};

  static pl::option_table<options> table() {
    return {
        pl::option(&options::path, "path",
                   "File to read. A pattern with * ? [a-z] selects several files, which are read in the order of their "
                   "names. - is standard input.")
            .required()
            .example("telemetry/*.ndjson"),
        pl::option(&options::more_paths, "more_paths", "Further files or patterns.")
            .example("[archive/2026-11.ndjson]"),
        pl::option(
            &options::follow, "follow",
            "false: read each file once and end. true: continue with new lines, through rotation and truncation, and "
            "with new files that match the pattern; an incomplete last line is read after its newline is written."),
        pl::option(&options::max_line, "max_line",
                   "Maximum length of a line in bytes. Longer lines are truncated, with a warning. Truncated JSON "
                   "cannot be parsed, so the record becomes a dead letter and is not stored unnoticed.")
            .range(64, 1 << 30)};
  }
};

namespace {

constexpr std::string_view standard_input = "-";  // as a path, and the name of its stream
constexpr auto store_interval = 2s;               // between two writes of what was read

std::vector<std::string> expand(const std::vector<std::string>& patterns) {
  std::set<std::string> found;
  for (const auto& p : patterns) {
    glob_t matches{};
    if (::glob(p.c_str(), 0, nullptr, &matches) == 0)
      found.insert(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    else if (p.find_first_of("*?[") == std::string::npos)
      found.insert(p);  // opening it reports that it is missing
    ::globfree(&matches);
  }
  return {found.begin(), found.end()};
}

// Return the lane that reads a file. It does not depend on other files, and is the same after a restart.
std::uint32_t lane_of(std::string_view path, std::uint32_t lanes) {
  const auto hash = pl::fnv1a_64(path);
  return static_cast<std::uint32_t>((hash ^ hash >> 32U) % std::max(1U, lanes));
}

std::filesystem::path anchors_of(const pl::context& ctx) {
  return std::filesystem::path(ctx.state_dir()) /
         (std::string(ctx.pipeline()) + "-" + std::string(ctx.node()) + "-" + std::to_string(ctx.lane()) + ".files");
}

// folder_watch waits for changes in the folders of the files. If the system does not report changes (network file
// systems), it waits for the time-out.
class folder_watch {
 public:
  void start() { fd_ = pl::descriptor(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }
  void add(const std::string& file) {
    const auto folder = std::filesystem::path(file).parent_path();
    if (fd_) ::inotify_add_watch(fd_.get(), folder.empty() ? "." : folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  }
  void wait(std::chrono::nanoseconds timeout) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min<std::chrono::nanoseconds>(timeout, 1s));
    if (!fd_) return std::this_thread::sleep_for(ms);
    pollfd p{fd_.get(), POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(ms.count()));
    char drain[4096];
    while (::read(fd_.get(), drain, sizeof drain) > 0) {
    }
  }

 private:
  pl::descriptor fd_;
};

}  // namespace

class file_source final : public pl::source, public pl::columns_aware {
 public:
  using options = lines::options;

  static pl::description describe() {
    return {.name = "file_source",
            .doc =
                "Reads the lines of files as records: NDJSON for replays and tests, or growing log files.\n"
                "Each file is a stream named by its path; a record's position is the byte offset of its line. Columns: "
                "value (the line), topic (the path), offset.",
            .example = "plugin: file_source\npath: \"telemetry/*.ndjson\"\nfollow: false\n",
            .abilities = PL_REPLAYABLE};
  }

  file_source(options o, pl::context ctx)
      : options_(std::move(o)), ctx_(ctx), anchors_(anchors_of(ctx)), patterns_(options_.more_paths) {
    if (options_.path.empty()) throw pl::invalid_options("path", "the path is empty; an example: telemetry/*.ndjson");
    if (options_.path == standard_input && !options_.more_paths.empty())
      throw pl::invalid_options("more_paths", "standard input cannot be combined with files; use two sources");
    patterns_.insert(patterns_.begin(), options_.path);
    schema_ = ctx.schema({"value", "topic", "offset"});
  }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }
  pl::result<pl::column_set> typed_columns(const pl::column_set&, std::uint32_t) override {
    return pl::column_set{schema_, {PL_BYTES, PL_TEXT, PL_I64}};
  }

  pl::result<void> check() override {
    if (reads_input()) return {};
    const auto found = expand(patterns_);
    if (found.empty() && !options_.follow) return pl::bad_option("path", "no file matches '" + options_.path + "'");
    for (const auto& path : found)
      if (::access(path.c_str(), R_OK) != 0 && !(options_.follow && errno == ENOENT))
        return pl::bad_option("path", "cannot read " + path + ": " + std::generic_category().message(errno));
    return {};
  }

  pl::result<void> start() override {
    if (reads_input()) return start_input();
    anchors_.load();
    if (options_.follow) {
      watch_.start();
      for (const auto& p : patterns_) watch_.add(p);
    }
    if (auto r = find_files(); !r) return r;
    if (files_.empty() && !options_.follow && ctx_.lanes() <= 1)
      return pl::bad_option("path", "no file matches '" + options_.path + "'");
    return {};
  }

  pl::result<void> stop() override {
    store_changed(clock::now());
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (request.max_rows == 0) return pl::nothing_yet();
    if (reads_input()) return poll_input(request);
    const auto until = clock::now() + request.timeout;
    for (;;) {
      if (options_.follow && clock::now() >= look_again_)
        if (auto r = find_files(); !r) return r.why();
      auto got = poll_files(request);
      if (!got.ok() || *got) return got;
      if (!options_.follow) return pl::end_of_stream();
      const auto left = until - clock::now();
      if (left <= 0ns) return pl::nothing_yet();
      watch_.wait(left);
      look_again_ = clock::now();
    }
  }

  void settle(std::span<const pl_range> ranges) override {
    for (const auto& r : ranges)
      for (auto& f : files_)
        if (f->path() == pl::view(r.stream)) f->settled(r.next);
  }

 private:
  // ----------------------------------------------------------------------------------------------- standard input ---

  [[nodiscard]] bool reads_input() const { return options_.path == standard_input; }

  // Each run reads new records, whatever the last run has read: the stream begins at 0 again.
  pl::result<void> start_input() {
    if (input_started_)
      return pl::fatal(
          "standard input cannot be read again; records that were read and not written are lost. Read a file if "
          "that must not happen");
    if (ctx_.lane() == 0) {
      const auto next = ctx_.assigned(standard_input, 0, pl::start_reason::reset);
      if (!next.ok()) return next.why();
      input_.emplace(STDIN_FILENO, options_.max_line.bytes);
    }
    input_started_ = true;
    return {};
  }

  pl::result<pl::batch> poll_input(const pl::poll_request& request) {
    if (!input_ || input_->at_end()) return pl::end_of_stream();
    const auto first = input_->next();
    const auto found = input_->read(request.max_rows, request.timeout);
    if (!found.ok()) return found.why();
    if (const auto cut = input_->take_cut(); cut != 0) warn_of_cut(standard_input, cut, input_->next());
    if (input_->next() == first) return pl::nothing_yet();
    const auto rows = static_cast<std::uint32_t>(found->size());
    auto b = ctx_.build(schema_, rows);
    auto value = b.make_column(0), topic = b.make_column(1), offset = b.make_column(2);
    auto position = b.allocate<std::uint64_t>(rows);
    for (std::uint32_t r = 0; r < rows; ++r) {
      const auto& line = (*found)[r];
      value[r] = pl::bytes_cell(b.copy(line.text));
      topic[r] = pl::text_cell(standard_input);
      offset[r] = pl::int_cell(static_cast<std::int64_t>(line.offset));
      position[r] = line.offset;
    }
    b.set_positions(position);
    auto range = b.allocate<pl_range>(1);
    range[0] = pl::range_of(pl::borrow(standard_input), first, input_->next());
    b.set_ranges(range);
    return std::move(b).finish();
  }

  // -------------------------------------------------------------------------------------------------------- files ---

  // Open new files that match the patterns, at the position that the host assigns.
  pl::result<void> find_files() {
    look_again_ = clock::now() + 1s;
    for (const auto& path : expand(patterns_)) {
      if (lane_of(path, ctx_.lanes()) != ctx_.lane()) continue;
      const bool known = std::any_of(files_.begin(), files_.end(), [&](const auto& f) { return f->path() == path; });
      std::error_code error;
      if (known || (options_.follow && !std::filesystem::exists(path, error))) continue;
      auto fresh = std::make_unique<tracked_file>(
          path, options_.follow,
          [ctx = ctx_](const std::string& m) { m.starts_with("LOST") ? ctx.error(m) : ctx.warn(m); },
          [this](const std::string& other) { return is_configured(other); });
      const auto stored = anchors_.of(path);
      auto next = ctx_.assigned(path, stored.empty() ? 0 : stored.back().base);
      if (!next.ok()) return next.why();
      if (auto r = open(*fresh, *next); !r) return r;
      files_.push_back(std::move(fresh));
      watch_.add(path);
    }
    return {};
  }

  [[nodiscard]] bool is_configured(const std::string& path) const {
    const auto all = expand(patterns_);
    return std::find(all.begin(), all.end(), path) != all.end();
  }

  pl::result<void> open(tracked_file& f, std::uint64_t next) {
    if (auto r = f.open(next, anchors_.of(f.path())); !r) return r;
    return remember(f);
  }

  // Store the place before the first record of a new file is returned. Otherwise a restart would interpret its position
  // as one in the old file.
  pl::result<void> remember(tracked_file& f) {
    if (!options_.follow || !f.place_changed()) return {};
    anchors_.set(f.path(), f.known());
    return anchors_.save();
  }

  // Store what was read of each file, so that a replaced file is noticed after a restart.
  void store_changed(clock::time_point now) {
    if (changed_.empty()) return;
    store_again_ = now + store_interval;
    for (const auto& f : files_)
      if (changed_.contains(f->path())) anchors_.set(f->path(), f->known());
    changed_.clear();
    if (const auto saved = anchors_.save(); !saved.ok() && !std::exchange(warned_, true))
      ctx_.warn(saved.why().message + "; until then, a file that is replaced is not noticed");
  }

  // Read one file after the other; with `follow`, read the files in turn.
  pl::result<pl::batch> poll_files(const pl::poll_request& request) {
    for (std::size_t tried = 0; tried < files_.size(); ++tried) {
      auto& f = *files_[turn_ % files_.size()];
      const auto first = f.next();
      auto got = f.read({request.max_rows, block_size(request), options_.max_line.bytes, false}, std::move(chunk_));
      if (!got.ok()) return got.why();
      chunk_ = std::move(*got);
      if (auto r = remember(f); !r) {
        static_cast<void>(f.seek(first));
        return r.why();
      }
      if (f.next() != first) changed_.insert(f.path());
      if (const auto now = clock::now(); now >= store_again_) store_changed(now);
      if (chunk_.cut != 0) warn_of_cut(f.path(), chunk_.cut, f.next());
      if (chunk_.at_end || options_.follow) ++turn_;
      if (!chunk_.lines.empty() || f.next() != first) return make_batch(f, first);
    }
    return pl::batch();
  }

  // Return the approximate size of max_rows lines. Bytes after these lines would be read again.
  [[nodiscard]] std::size_t block_size(const pl::poll_request& request) const {
    return std::min(request.max_bytes,
                    static_cast<std::size_t>(request.max_rows) * (average_line_ + average_line_ / 4 + 1));
  }

  void warn_of_cut(std::string_view path, std::uint64_t cut, std::uint64_t next) const {
    ctx_.warn(std::string(path) + ": " + std::to_string(cut) + (cut == 1 ? " line" : " lines") + " before byte " +
              std::to_string(next) + " longer than max_line (" + std::to_string(options_.max_line.bytes) +
              " bytes), truncated");
  }

  pl::batch make_batch(const tracked_file& f, std::uint64_t first) {
    const auto& found = chunk_.lines;
    const auto rows = static_cast<std::uint32_t>(found.size());
    auto b = ctx_.build(schema_, rows);
    auto value = b.make_column(0), topic = b.make_column(1), offset = b.make_column(2);
    auto position = b.allocate<std::uint64_t>(rows);
    const auto path = b.copy(f.path());
    // Keeping a nearly empty block would waste memory, so its lines are copied.
    std::size_t used = 0;
    for (const auto& l : found) used += l.text.size();
    const bool keep_block = used >= chunk_.size / 4;
    for (std::uint32_t r = 0; r < rows; ++r) {
      value[r] = pl::bytes_cell(keep_block ? found[r].text : b.copy(found[r].text));
      topic[r] = pl::text_cell(path);
      offset[r] = pl::int_cell(static_cast<std::int64_t>(found[r].offset));
      position[r] = found[r].offset;
    }
    if (rows != 0) average_line_ = static_cast<std::size_t>(f.next() - first) / rows + 1;
    b.set_positions(position);
    auto range = b.allocate<pl_range>(1);
    range[0] = pl::range_of(pl::borrow(path), first, f.next(), f.end());
    b.set_ranges(range);
    if (keep_block) b.pin(chunk_.memory.release(), chunk_.size, [](void* p) { std::free(p); });
    return std::move(b).finish();
  }

  const options options_;
  const pl::context ctx_;
  anchor_store anchors_;
  std::vector<std::string> patterns_;
  const pl_schema* schema_;
  std::vector<std::unique_ptr<tracked_file>> files_;
  std::size_t turn_ = 0, average_line_ = 150;
  chunk chunk_;
  folder_watch watch_;
  clock::time_point look_again_{}, store_again_{};
  std::set<std::string> changed_;  // files of which more was read than is stored
  bool warned_ = false;
  std::optional<input_reader> input_;
  bool input_started_ = false;
};

}  // namespace lines

PL_EXPORT("0.1.0", lines::file_source)
