// SPDX-License-Identifier: Apache-2.0
// file_source: the lines of files as records, once (for replays) or as they are written (follow).
#include "tracked_file.hpp"

#include <pipeline/plugin.hpp>

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

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
                   "File to read; * ? [a-z] stand for several, which are read in the order of their names.")
            .required()
            .example("telemetry/*.ndjson"),
        pl::option(&options::more_paths, "more_paths", "Further files or patterns.")
            .example("[archive/2026-11.ndjson]"),
        pl::option(
            &options::follow, "follow",
            "false: read each file once and end. true: go on with what is written to them, through rotation and "
            "truncation, and with new files that fit the pattern; a last line counts once its line end is there."),
        pl::option(&options::max_line, "max_line",
                   "Longer lines are cut off here, with a warning; cut JSON can't be parsed, so the record ends in the "
                   "dead letters and not unnoticed in a table.")
            .range(64, 1 << 30)};
  }
};

namespace {

std::vector<std::string> expand(const std::vector<std::string>& patterns) {
  std::set<std::string> found;
  for (const auto& p : patterns) {
    glob_t matches{};
    if (::glob(p.c_str(), 0, nullptr, &matches) == 0)
      found.insert(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    else if (p.find_first_of("*?[") == std::string::npos)
      found.insert(p);  // so that its absence is told
    ::globfree(&matches);
  }
  return {found.begin(), found.end()};
}

// Which lane reads a file: the same after a restart, and when other files come and go.
std::uint32_t lane_of(std::string_view path, std::uint32_t lanes) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return static_cast<std::uint32_t>((hash ^ hash >> 32U) % std::max(1U, lanes));
}

// Where each path's newest file begins, over restarts. Small, and written only when a file is rotated.
class anchor_store {
 public:
  anchor_store(const pl::context& ctx)  // NOLINT(google-explicit-constructor)
      : file_(std::filesystem::path(ctx.state_dir()) / (std::string(ctx.pipeline()) + "-" + std::string(ctx.node()) +
                                                        "-" + std::to_string(ctx.lane()) + ".files")) {}

  void load() {
    std::ifstream in(file_);
    for (std::string line; std::getline(in, line);) {
      std::istringstream fields(line);
      anchor a;
      std::string path;
      if (fields >> a.base >> a.inode && fields.get() == ' ' && std::getline(fields, path)) known_[path] = a;
    }
  }
  [[nodiscard]] anchor of(const std::string& path) const {
    const auto it = known_.find(path);
    return it == known_.end() ? anchor{} : it->second;
  }
  pl::result<void> set(const std::string& path, anchor a) {
    known_[path] = a;
    std::error_code error;
    std::filesystem::create_directories(file_.parent_path(), error);
    const auto fresh = file_.string() + ".new";
    std::ofstream out(fresh, std::ios::trunc);
    for (const auto& [name, place] : known_) out << place.base << ' ' << place.inode << ' ' << name << '\n';
    out.close();
    if (out) std::filesystem::rename(fresh, file_, error);
    if (out && !error) return {};
    return pl::retry(
        "cannot write " + file_.string() +
        ", which remembers where rotated files begin; free space, or give this user the right to write there");
  }

 private:
  std::filesystem::path file_;
  std::map<std::string, anchor> known_;
};

// Wakes up when something changes in the folders of the files. Where the system can't tell (network file systems), it only
// waits.
class folder_watch {
 public:
  void start() { fd_ = descriptor(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }
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
  descriptor fd_;
};

}  // namespace

class file_source final : public pl::source {
 public:
  using options = lines::options;

  static pl::description describe() {
    return {.name = "file_source",
            .doc =
                "Reads the lines of files as records: NDJSON for replays and tests, or logs as they are written.\n"
                "Each file is a stream named by its path; a record's position is the byte offset of its line. Columns: "
                "value "
                "(the line), topic (the path), offset.",
            .example = "plugin: file_source\npath: \"telemetry/*.ndjson\"\nfollow: false\n",
            .abilities = PL_REPLAYABLE};
  }

  file_source(options o, pl::context ctx)
      : options_(std::move(o)), ctx_(ctx), anchors_(ctx), patterns_(options_.more_paths) {
    if (options_.path.empty()) throw pl::invalid_options("path", "the path is empty; write e.g. telemetry/*.ndjson");
    patterns_.insert(patterns_.begin(), options_.path);
    schema_ = ctx.schema({"value", "topic", "offset"});
  }

  pl::result<void> check() override {
    const auto found = expand(patterns_);
    if (found.empty() && !options_.follow) return pl::bad_option("path", "no file fits '" + options_.path + "'");
    for (const auto& path : found)
      if (::access(path.c_str(), R_OK) != 0 && !(options_.follow && errno == ENOENT))
        return pl::bad_option("path", "cannot read " + path + ": " + std::generic_category().message(errno));
    return {};
  }

  pl::result<void> start() override {
    if (options_.follow) {
      anchors_.load();
      watch_.start();
      for (const auto& p : patterns_) watch_.add(p);
    }
    if (auto r = find_files(); !r) return r;
    if (files_.empty() && !options_.follow && ctx_.lanes() <= 1)
      return pl::bad_option("path", "no file fits '" + options_.path + "'");
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (request.max_rows == 0) return pl::nothing_yet();
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

  pl::result<void> seek(std::string_view stream, std::uint64_t next) override {
    for (auto& f : files_)
      if (f->path() == stream) return f->is_open() ? f->seek(next) : open(*f, next);
    return pl::fatal("no stream '" + std::string(stream) +
                     "' here; the files that are read: " + std::to_string(files_.size()));
  }

  void settle(std::span<const pl_range> ranges) override {
    for (const auto& r : ranges)
      for (auto& f : files_)
        if (f->path() == pl::view(r.stream)) f->settled(r.next);
  }

 private:
  // New files that fit the patterns, opened where the host says.
  pl::result<void> find_files() {
    look_again_ = clock::now() + 1s;
    for (const auto& path : expand(patterns_)) {
      if (lane_of(path, ctx_.lanes()) != ctx_.lane()) continue;
      const bool known = std::any_of(files_.begin(), files_.end(), [&](const auto& f) { return f->path() == path; });
      std::error_code error;
      if (known || (options_.follow && !std::filesystem::exists(path, error))) continue;
      auto fresh =
          std::make_unique<tracked_file>(path, options_.follow, [ctx = ctx_](const std::string& m) { ctx.warn(m); });
      auto next = ctx_.assigned(path, anchors_.of(path).base);
      if (!next.ok()) return next.why();
      if (auto r = open(*fresh, *next); !r) return r;
      files_.push_back(std::move(fresh));
      watch_.add(path);
    }
    return {};
  }

  pl::result<void> open(tracked_file& f, std::uint64_t next) {
    if (auto r = f.open(next, anchors_.of(f.path())); !r) return r;
    return remember(f);
  }

  // Before the first record of a new file is handed out: otherwise a restart would take its position for one in another file.
  pl::result<void> remember(tracked_file& f) {
    if (!options_.follow || !f.place_changed()) return {};
    return anchors_.set(f.path(), f.place());
  }

  // One file after the other; while following, each gets its turn.
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
      if (chunk_.cut != 0) warn_of_cut(f);
      if (chunk_.at_end || options_.follow) ++turn_;
      if (!chunk_.lines.empty() || f.next() != first) return make_batch(f, first);
    }
    return pl::batch();
  }

  // About as much as max_rows lines take: what is read beyond them is read again.
  [[nodiscard]] std::size_t block_size(const pl::poll_request& request) const {
    return std::min(request.max_bytes,
                    static_cast<std::size_t>(request.max_rows) * (average_line_ + average_line_ / 4 + 1));
  }

  void warn_of_cut(const tracked_file& f) const {
    ctx_.warn(f.path() + ": " + std::to_string(chunk_.cut) + (chunk_.cut == 1 ? " line" : " lines") + " before byte " +
              std::to_string(f.next()) + " longer than max_line (" + std::to_string(options_.max_line.bytes) +
              " bytes), cut off there");
  }

  pl::batch make_batch(const tracked_file& f, std::uint64_t first) {
    const auto& found = chunk_.lines;
    const auto rows = static_cast<std::uint32_t>(found.size());
    auto b = ctx_.build(schema_, rows);
    auto value = b.make_column(0), topic = b.make_column(1), offset = b.make_column(2);
    auto position = b.allocate<std::uint64_t>(rows);
    const auto path = b.copy(f.path());
    // A block that is nearly empty would hold much memory for little: its lines are copied.
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
  clock::time_point look_again_{};
};

}  // namespace lines

PL_EXPORT("0.1.0", lines::file_source)
