// SPDX-License-Identifier: Apache-2.0
// file_sink: rows as NDJSON (one JSON object a line), appended to a file.
#include "line_file.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/text_template.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

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
                       "Rotate before the file would grow beyond this many bytes; a batch is never split, so one batch "
                       "larger than it makes one larger file. 0: never by size.")
                .example("64MiB"),
            pl::option(&rotate_options::max_age, "max_age",
                       "Rotate at the first write after the file is this old. 0: never by age.")
                .range(0)
                .example("1d"),
            pl::option(&rotate_options::max_files, "max_files",
                       "How many rotated files to keep; older ones are deleted. 0: all are kept.")
                .range(0, 1'000'000)
                .example("10")};
  }
};

struct options {
  std::string path;
  fsync_policy fsync = fsync_policy::batch;
  std::chrono::nanoseconds fsync_interval = 1s;
  rotate_options rotate;
  std::string mode = "0640";

  static pl::option_table<options> table() {
    return {
        pl::option(
            &options::path, "path",
            "File to append to; its folder is made where it is missing. {pipeline}, {node} and {writer} stand for "
            "the names in the configuration and the writer's number. Writers without {writer} share the file.")
            .required()
            .example("dead-letters/{pipeline}.ndjson"),
        pl::option(&options::fsync, "fsync",
                   "When rows are forced to the disk. batch: before they count as delivered, so that a power cut loses "
                   "nothing; interval: every fsync_interval; never: whenever the system does (a crash of the program "
                   "loses nothing in any case)."),
        pl::option(&options::fsync_interval, "fsync_interval", "Time between two syncs with fsync: interval.")
            .range(0.001, 3600),
        pl::option(&options::rotate, "rotate", "When a new file is begun; the old one gets its time into its name.")
            .example("{max_size: 64MiB, max_files: 10}"),
        pl::option(&options::mode, "mode",
                   "Permissions of new files, in octal; folders that are made can also be entered by whoever may read.")
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

// A name from the configuration is one part of a path, never several.
void append_name(std::string& path, std::string_view name) {
  for (const char c : name) path.push_back(c == '/' || c == '\0' ? '_' : c);
}

std::string expand_path(const std::string& source, const pl::context& ctx) {
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) throw pl::invalid_options("path", parsed.why().message);
  std::string path;
  for (const auto& piece : parsed->pieces()) {
    if (!piece.is_column)
      path += piece.text;
    else if (piece.text == "pipeline")
      append_name(path, ctx.pipeline());
    else if (piece.text == "node")
      append_name(path, ctx.node());
    else if (piece.text == "writer")
      path += std::to_string(ctx.lane());
    else
      throw pl::invalid_options(
          "path", "unknown name {" + piece.text + "} in the path; there are {pipeline}, {node} and {writer}");
  }
  if (path.empty() || path.back() == '/')
    throw pl::invalid_options("path", "'" + path + "' is no file name; write e.g. out/{pipeline}.ndjson");
  return path;
}

pl::files::line_file_options file_options(const options& o, const pl::context& ctx) {
  const auto mode = parse_mode(o.mode);
  if (!mode || (*mode & 0600U) != 0600U)
    throw pl::invalid_options(
        "mode",
        "'" + o.mode +
            "' is no file mode that its owner can read and write; write it in octal and in quotes, e.g. \"0640\"");
  pl::files::line_file_options to;
  to.path = expand_path(o.path, ctx);
  to.mode = *mode;
  to.sync = o.fsync == fsync_policy::batch;
  to.rotate = {o.rotate.max_size.bytes, o.rotate.max_age, o.rotate.max_files};
  return to;
}

}  // namespace

class file_sink final : public pl::sink {
 public:
  using options = ::file_sink::options;

  static pl::description describe() {
    return {.name = "file_sink",
            .doc =
                "Appends rows to a file as NDJSON, one JSON object a line.\n"
                "Lines are whole even after a crash in the middle of a write, and several writers may share a file. "
                "Also the default place of dead letters.",
            .example =
                "plugin: file_sink\nfrom: parsed\npath: \"out/{pipeline}.ndjson\"\nrotate: {max_size: 64MiB, "
                "max_files: 10}\n"};
  }

  file_sink(options o, pl::context ctx)
      : options_(std::move(o)),
        file_(file_options(options_, ctx), [ctx](const std::string& m) { ctx.warn(m); }),
        bytes_(ctx.counter("file_sink_bytes_total", "Bytes appended to the file")),
        rotations_(ctx.counter("file_sink_rotations_total", "Times that the file was rotated")),
        repaired_(ctx.counter("file_sink_repaired_bytes_total", "Bytes of torn last lines that were cut off")) {}

  ~file_sink() override { stop_syncing(); }

  pl::result<void> check() override { return file_.check(); }

  pl::result<void> start() override {
    if (auto r = file_.open(); !r) return r;
    count_events();
    if (options_.fsync == fsync_policy::interval && !syncer_.joinable())
      syncer_ = std::jthread([this](const std::stop_token& stop) { sync_every_interval(stop); });
    return {};
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    lines_.clear();
    for (const auto b : batches)
      for (const auto row : b.selection()) {
        pl::append_json_row(lines_, b, row);
        lines_.push_back('\n');
      }
    const std::scoped_lock lock(mutex_);
    if (auto failed = std::exchange(sync_failure_, {})) return *failed;
    if (auto r = file_.append(lines_); !r) return r;
    dirty_ = true;
    bytes_.add(static_cast<double>(lines_.size()));
    count_events();
    return {};
  }

  pl::result<void> stop() override {
    stop_syncing();
    return options_.fsync == fsync_policy::never ? pl::result<void>{} : file_.close();
  }

 private:
  void count_events() {
    rotations_.add(static_cast<double>(file_.rotations() - std::exchange(rotations_seen_, file_.rotations())));
    repaired_.add(static_cast<double>(file_.repaired_bytes() - std::exchange(repaired_seen_, file_.repaired_bytes())));
  }

  void sync_every_interval(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, stop, options_.fsync_interval, [] { return false; }) && !stop.stop_requested()) {
      if (!std::exchange(dirty_, false)) continue;
      if (auto r = file_.sync(); !r) sync_failure_ = r.why();  // told by the next write
    }
  }

  void stop_syncing() {
    if (!syncer_.joinable()) return;
    syncer_.request_stop();
    syncer_.join();
  }

  const options options_;
  pl::files::line_file file_;
  std::string lines_;
  pl::counter bytes_, rotations_, repaired_;
  std::uint64_t rotations_seen_ = 0, repaired_seen_ = 0;

  // fsync: interval has a thread of its own, so that the last rows before a pause reach the disk too.
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool dirty_ = false;
  std::optional<pl::failure> sync_failure_;
  std::jthread syncer_;
};

}  // namespace file_sink

PL_EXPORT("0.1.0", file_sink::file_sink)
