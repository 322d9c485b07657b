// SPDX-License-Identifier: Apache-2.0
// file_sink appends rows to a file as NDJSON (one JSON object per line).
#include "line_keys.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <file_common/line_file.hpp>
#include <file_common/path_template.hpp>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <vector>

namespace file_sink {
using namespace std::chrono_literals;

enum class fsync_policy { never, batch, interval };
constexpr std::array<std::pair<std::string_view, fsync_policy>, 3> choices(fsync_policy) {
  return {{{"never", fsync_policy::never}, {"batch", fsync_policy::batch}, {"interval", fsync_policy::interval}}};
}

struct rotate_options {
  pl::byte_size max_size{0};
  std::chrono::nanoseconds max_age{0};
  std::uint32_t max_files = 0;

  static pl::option_table<rotate_options> table() {
    return {pl::option(&rotate_options::max_size, "max_size",
                       "Rotate before the file would become larger than this. A batch is never split, so a larger "
                       "batch leads to a larger file. 0: never by size.")
                .example("64MiB"),
            pl::option(&rotate_options::max_age, "max_age",
                       "Rotate at the first write after the file is this old. 0: never by age.")
                .range(0)
                .example("1d"),
            pl::option(&rotate_options::max_files, "max_files",
                       "Number of rotated files to keep; older ones are deleted. 0: keep all.")
                .range(0, 1'000'000)
                .example("10")};
  }
};

constexpr std::string_view dead_letters_node = "dead_letters";  // the name is reserved for the sink of dead letters
constexpr rotate_options dead_letter_rotation{
    .max_size = pl::byte_size{std::uint64_t{64} << 20U}, .max_age = {}, .max_files = 16};

struct options {
  std::string path;
  fsync_policy fsync = fsync_policy::batch;
  std::chrono::nanoseconds fsync_interval = 1s;
  std::optional<rotate_options> rotate;
  std::vector<std::string> unique_by, unique_by_optional;
  std::string mode = "0640";

  static pl::option_table<options> table() {
    return {
        pl::option(
            &options::path, "path",
            "File to append to; its folder is created if it does not exist. {pipeline} and {node} are replaced by the "
            "names in the configuration, {writer} by the number of the writer. Without {writer}, all writers share the "
            "file.")
            .required()
            .example("dead-letters/{pipeline}.ndjson"),
        pl::option(&options::fsync, "fsync",
                   "When to sync rows to the disk. batch: before a batch counts as delivered, so that a power failure "
                   "loses nothing; interval: every fsync_interval; never: leave it to the system. A crash of the "
                   "program loses nothing in any case."),
        pl::option(&options::fsync_interval, "fsync_interval", "Time between two syncs with fsync: interval.")
            .range(0.001, 3600),
        pl::option(
            &options::rotate, "rotate",
            "When to rotate the file. The name of the old file gets the time of the rotation. Default: dead letters "
            "are rotated at 64MiB, and 16 old files are kept; other files are never rotated.")
            .example("{max_size: 64MiB, max_files: 10}"),
        pl::option(
            &options::unique_by, "unique_by",
            "Columns that identify a row. A row is not written if its values in these columns equal those of a line in "
            "the file or in an existing rotated file. Rows without a value in one of the columns are always written. "
            "Needs about 60 bytes of memory per line, and reads the files once.")
            .example("[stream, position, node]"),
        pl::option(&options::unique_by_optional, "unique_by_optional",
                   "Further columns of unique_by. In these, no value counts as a value.")
            .example("[record]"),
        pl::option(&options::mode, "mode",
                   "Permissions of new files, in octal. New folders also get execute permission where there is read "
                   "permission.")
            .example("\"0640\"")};
  }
};

namespace {

std::optional<mode_t> parse_mode(std::string_view text) {
  if (text.starts_with("0o")) text.remove_prefix(2);
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc{} || end != text.data() + text.size() || mode > 0777) return std::nullopt;
  return static_cast<mode_t>(mode);
}

std::filesystem::path expand_path(const std::string& source, const pl::context& ctx) {
  auto path = pl::files::expand_path(source, {ctx.pipeline(), ctx.node(), ctx.lane()});
  if (!path.ok()) throw pl::invalid_options("path", path.why().message);
  return std::move(path).value();
}

pl::files::line_file_options file_options(const options& o, const pl::context& ctx) {
  const auto mode = parse_mode(o.mode);
  if (!mode || (*mode & 0600U) != 0600U)
    throw pl::invalid_options(
        "mode",
        "'" + o.mode +
            "' is not a file mode with which the owner can read and write; write it in octal and in quotes, such as "
            "\"0640\"");
  pl::files::line_file_options to;
  to.path = expand_path(o.path, ctx);
  to.mode = *mode;
  to.sync = o.fsync == fsync_policy::batch;
  to.keep_unsynced = o.fsync == fsync_policy::interval;
  // A source of broken records must not fill the disk with dead letters.
  const auto rotate = o.rotate.value_or(ctx.node() == dead_letters_node ? dead_letter_rotation : rotate_options{});
  to.rotate = {rotate.max_size.bytes, rotate.max_age, rotate.max_files};
  return to;
}

std::optional<pl::files::line_keys> make_keys(const options& o, const pl::files::line_file_options& file) {
  if (o.unique_by.empty()) {
    if (!o.unique_by_optional.empty())
      throw pl::invalid_options("unique_by_optional", "it has no effect without 'unique_by'");
    return std::nullopt;
  }
  std::vector<pl::files::key_column> columns;
  const auto add = [&](const std::vector<std::string>& names, const std::string& option, bool optional) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto twice = std::ranges::find(columns, names[i], &pl::files::key_column::name) != columns.end();
      if (names[i].empty() || twice)
        throw pl::invalid_options(option + "[" + std::to_string(i) + "]",
                                  twice ? "'" + names[i] + "' occurs twice" : "the name of a column is empty");
      columns.push_back({names[i], optional});
    }
  };
  add(o.unique_by, "unique_by", false);
  add(o.unique_by_optional, "unique_by_optional", true);
  return std::optional<pl::files::line_keys>(std::in_place, file.path, std::move(columns), file.sync);
}

// new_lines selects the lines of one write that are not in the file yet.
class new_lines final : public pl::files::line_chooser {
 public:
  explicit new_lines(pl::files::line_keys& known) : known_(known) {}

  // For each write, call begin(), then add() after each line is appended to the text, then in() with the whole text.
  void begin() { lines_.clear(); }
  void add(std::string_view text, std::size_t begin) {
    lines_.push_back({begin, text.size(), known_.key_of(text.substr(begin, text.size() - begin - 1))});
  }
  void in(std::string_view text) { text_ = text; }

  bool far_behind(const struct stat& now) override { return known_.far_behind(now); }
  pl::result<void> catch_up(const struct stat& now) override { return known_.catch_up(now); }

  std::string_view choose() override {
    chosen_.clear();
    keys_.clear();
    here_.clear();
    repeated_ = 0;
    for (const auto& l : lines_) {
      if (l.key && (known_.contains(*l.key) || !here_.insert(*l.key).second)) {
        ++repeated_;
        continue;
      }
      if (l.key) keys_.push_back(*l.key);
      chosen_ += text_.substr(l.begin, l.end - l.begin);
    }
    return chosen_;
  }
  void appended(off_t end) override { known_.appended(keys_, end); }

  [[nodiscard]] std::uint64_t repeated() const noexcept { return repeated_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return chosen_.size(); }

 private:
  struct line {
    std::size_t begin, end;
    std::optional<pl::files::line_key> key;
  };
  pl::files::line_keys& known_;
  std::vector<line> lines_;
  std::string_view text_;
  std::string chosen_;
  std::vector<pl::files::line_key> keys_;
  std::unordered_set<pl::files::line_key, pl::files::line_key::hasher> here_;
  std::uint64_t repeated_ = 0;
};

}  // namespace

class file_sink final : public pl::sink, public pl::columns_aware, public pl::rewritable {
 public:
  using options = ::file_sink::options;

  static pl::description describe() {
    return {.name = "file_sink",
            .doc =
                "Appends rows to a file as NDJSON, one JSON object per line.\n"
                "A crash during a write leaves no incomplete line, and several writers may share a file. By default, "
                "dead letters are written with this sink.",
            .example =
                "plugin: file_sink\nfrom: parsed\npath: \"out/{pipeline}.ndjson\"\nrotate: {max_size: 64MiB, "
                "max_files: 10}\n",
            .dead_letters =
                "{plugin: file_sink, path: \"dead-letters/{pipeline}.ndjson\", unique_by: [stream, position, node], "
                "unique_by_optional: [pipeline, topic, key, value, headers, record, record_time]}"};
  }

  file_sink(options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        file_(file_options(options_, ctx), [ctx](const std::string& m) { ctx.warn(m); }),
        known_(make_keys(options_, file_options(options_, ctx))),
        bytes_(ctx.counter("file_sink_bytes_total", "Bytes appended to the file")),
        rotations_(ctx.counter("file_sink_rotations_total", "Number of rotations of the file")),
        repaired_(ctx.counter("file_sink_repaired_bytes_total", "Bytes of torn last lines that were removed")),
        repeated_(ctx.counter("file_sink_repeated_total", "Rows that were not written because of unique_by")) {
    if (known_) fresh_.emplace(*known_);
  }

  ~file_sink() override { stop_syncing(); }

  pl::result<void> check() override { return file_.check(); }

  pl::result<void> start() override {
    if (auto r = file_.open(); !r) return r;
    count_events();
    if (options_.fsync == fsync_policy::interval && !syncer_.joinable())
      syncer_ = std::jthread([this](const std::stop_token& stop) { sync_every_interval(stop); });
    return {};
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return nullptr;
    for (std::size_t i = 0; i < options_.unique_by.size(); ++i)
      if (!pl::find_column(*in, options_.unique_by[i]))
        return pl::bad_option("unique_by[" + std::to_string(i) + "]", missing(options_.unique_by[i], *in));
    return nullptr;
  }

  pl::result<void> may_rewrite() override {
    if (!options_.unique_by.empty()) return {};
    return pl::bad_option("unique_by",
                          "lines that are already in the file would be appended again; set 'unique_by' to the columns "
                          "that identify a row");
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    lines_.clear();
    if (fresh_) fresh_->begin();
    for (const auto b : batches) {
      warn_of_missing(b.schema());
      for (const auto row : b.selection()) {
        const auto begin = lines_.size();
        pl::append_json_row(lines_, b, row);
        lines_.push_back('\n');
        if (fresh_) fresh_->add(lines_, begin);
      }
    }
    const std::scoped_lock lock(mutex_);
    if (auto failed = std::exchange(sync_failure_, {})) return *failed;
    if (auto r = fresh_ ? append_new() : file_.append(lines_); !r) return r;
    dirty_ = true;
    bytes_.add(static_cast<double>(fresh_ ? fresh_->bytes() : lines_.size()));
    count_events();
    return {};
  }

  pl::result<void> stop() override {
    stop_syncing();
    return options_.fsync == fsync_policy::never ? pl::result<void>{} : file_.close();
  }

 private:
  static std::string missing(std::string_view column, const pl_schema& in) {
    std::string text =
        "the input has no column '" + std::string(column) + "', so rows cannot be identified; its columns are: ";
    for (pl::column_index c = 0; c < in.ncols; ++c) text.append(c == 0 ? "" : ", ").append(pl::view(in.names[c]));
    return text;
  }

  // Warn about missing columns if columns() could not check them. Warn once, because all batches have the same columns.
  void warn_of_missing(const pl_schema& in) {
    if (!fresh_ || warned_ || &in == complete_) return;
    for (const auto& column : options_.unique_by)
      if (!pl::find_column(in, column)) {
        warned_ = true;
        return ctx_.warn("unique_by: " + missing(column, in) + ". Such rows are written even if they are duplicates");
      }
    complete_ = &in;
  }

  pl::result<void> append_new() {
    fresh_->in(lines_);
    const auto began = std::chrono::steady_clock::now();
    if (auto r = file_.append(*fresh_); !r) return r;
    repeated_.add(static_cast<double>(fresh_->repeated()));
    if (!std::exchange(read_once_, true) && known_->lines_read() != 0)
      ctx_.info("unique_by: read " + std::to_string(known_->lines_read()) + " lines of " + file_.name() +
                " and its rotated files in " +
                std::to_string((std::chrono::steady_clock::now() - began) / std::chrono::milliseconds(1)) + " ms");
    return {};
  }

  void count_events() {
    rotations_.add(static_cast<double>(file_.rotations() - std::exchange(rotations_seen_, file_.rotations())));
    repaired_.add(static_cast<double>(file_.repaired_bytes() - std::exchange(repaired_seen_, file_.repaired_bytes())));
  }

  void sync_every_interval(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, stop, options_.fsync_interval, [] { return false; }) && !stop.stop_requested()) {
      if (!std::exchange(dirty_, false)) continue;
      auto r = file_.sync();
      dirty_ = !r.ok();
      if (!r && !std::exchange(sync_failing_, true))
        ctx_.error(r.why().message + "; no row is written until those that are not synced are written again");
      if (r.ok() && std::exchange(sync_failing_, false)) ctx_.info(file_.name() + " can be synced again");
      sync_failure_ = r.ok() ? std::nullopt : std::optional(r.why());  // the next write returns it
    }
  }

  void stop_syncing() {
    if (!syncer_.joinable()) return;
    syncer_.request_stop();
    syncer_.join();
  }

  const options options_;
  const pl::context ctx_;
  pl::files::line_file file_;
  std::string lines_;
  std::optional<pl::files::line_keys> known_;  // with unique_by
  std::optional<new_lines> fresh_;
  bool read_once_ = false, warned_ = false;
  const pl_schema* complete_ = nullptr;  // has all columns of unique_by
  pl::counter bytes_, rotations_, repaired_, repeated_;
  std::uint64_t rotations_seen_ = 0, repaired_seen_ = 0;

  // With fsync: interval a separate thread syncs, so that the last rows before a pause reach the disk, too.
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool dirty_ = false, sync_failing_ = false;
  std::optional<pl::failure> sync_failure_;
  std::jthread syncer_;
};

}  // namespace file_sink

PL_EXPORT("0.1.0", file_sink::file_sink)
